"""Wait for locks in full once a run: what one session holds must not cost a wait for every account."""

from __future__ import annotations

from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Generic, TypeVar

from kraken_recon.database.unit_of_work import UnitOfWork
from kraken_recon.errors import LockTimeoutError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


Unit = TypeVar("Unit", bound=UnitOfWork)


class LockPatience(Generic[Unit]):
    """Opens the units of work of one run; once a lock was waited for in vain, they wait briefly."""

    def __init__(self, open_unit_of_work: Callable[[], AbstractContextManager[Unit]]) -> None:
        self._open = open_unit_of_work
        self._is_spent = False

    @contextmanager
    def open(self) -> Iterator[Unit]:
        """Open a unit of work.

        Raises:
            LockTimeoutError: it names the tables that others have locked as a whole, if that is why.
        """
        try:
            with self._open() as unit:
                if self._is_spent:
                    unit.wait_briefly()
                yield unit
        except LockTimeoutError as error:
            self._is_spent = True
            with self._open() as unit:
                locked_tables = unit.locked_tables()
            raise LockTimeoutError(str(error), locked_tables="; ".join(locked_tables)) from error
