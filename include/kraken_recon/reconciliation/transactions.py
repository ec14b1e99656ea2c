"""Write the work on accounts in batches, one transaction each, and find out whose fault it is if one fails.

Invariants:
1. Everything that a run writes for an account is in one transaction; a run that dies leaves nothing.
2. An account that cannot be written is recorded as failed, and one of which not even that can be is left.
"""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from kraken_recon.database.retrying import STORE_TRIES_MAX, back_off, is_worth_repeating
from kraken_recon.errors import LockTimeoutError, StoreError, StoreUnreachableError
from kraken_recon.reconciliation.stages import Failed, Left
from kraken_recon.values.threads import side_by_side

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from kraken_recon.database.unit_of_work import UnitOfWork
    from kraken_recon.errors import KrakenReconError
    from kraken_recon.reconciliation.run import AccountWork

ACCOUNTS_PER_TRANSACTION: Final = 50


class AccountRefusedError(Exception):
    """One account's reading turned out to be unusable while it was being written."""

    def __init__(self, work: AccountWork, error: KrakenReconError) -> None:
        super().__init__(str(error))
        self.work = work
        self.error = error


def write_in_batches(
    works: Sequence[AccountWork],
    write: Callable[[UnitOfWork, Sequence[AccountWork]], None],
    open_unit_of_work: Callable[[], AbstractContextManager[UnitOfWork]],
    *,
    accounts_per_transaction: int = ACCOUNTS_PER_TRANSACTION,
    writers: int = 1,
) -> None:
    """Write in batches, one transaction each; an account that cannot be written is written as failed.

    An account of which nothing can be written is ``Left``. With several ``writers`` as many sessions take
    batches in turn: while one waits for the database, another computes.

    Raises:
        StoreUnreachableError: there is no database to write to.
    """
    batches = deque(
        works[start : start + accounts_per_transaction]
        for start in range(0, len(works), accounts_per_transaction)
    )
    writers = min(writers, len(batches))
    if writers <= 1:
        _write_all(batches, write, open_unit_of_work)
        return
    # The first that meets no database leaves nothing to the others.
    side_by_side(
        range(writers),
        lambda _: _write_all(batches, write, open_unit_of_work),
        concurrency=writers,
        stop=batches.clear,
    )


def _write_all(
    waiting: deque[Sequence[AccountWork]],
    write: Callable[[UnitOfWork, Sequence[AccountWork]], None],
    open_unit_of_work: Callable[[], AbstractContextManager[UnitOfWork]],
) -> None:
    """Write batches as long as some wait.

    One session serves as many as succeed in a row: a new one has everything to plan again.
    """
    mine: deque[Sequence[AccountWork]] = deque()
    tries = 0
    while _has_work(mine, waiting):
        tries += 1
        try:
            with open_unit_of_work() as unit:
                while _has_work(mine, waiting):
                    write(unit, mine[0])
                    unit.commit()
                    mine.popleft()
                    tries = 1
        except AccountRefusedError as refused:
            refused.work.fail(refused.error)
        except StoreUnreachableError:
            waiting.clear()
            raise
        except StoreError as error:
            if is_worth_repeating(error) and tries < STORE_TRIES_MAX:
                back_off(tries)
                continue
            tries = 0
            mine.extendleft(reversed(_parted(mine.popleft(), error)))


def _has_work(mine: deque[Sequence[AccountWork]], waiting: deque[Sequence[AccountWork]]) -> bool:
    """Take the next batch where this writer has none left; another one may take the last."""
    if not mine:
        with suppress(IndexError):
            mine.append(waiting.popleft())
    return bool(mine)


def _parted(failing: Sequence[AccountWork], error: StoreError) -> list[Sequence[AccountWork]]:
    """Say how to go on with a batch that could not be written: account by account, to find whose fault it is.

    A locked table is nobody's: the whole batch has failed then. What cannot even be recorded is left.
    """
    is_one_accounts = not (isinstance(error, LockTimeoutError) and error.locked_tables)
    if len(failing) > 1 and is_one_accounts:
        return [[work] for work in failing]
    if all(work.error for work in failing):
        for work in failing:
            why = f"{work.error}; it could not be recorded: {type(error).__name__}: {error}"
            work.stage = Left(why, work.reached)
        return []
    for work in failing:
        if not isinstance(work.stage, Failed):
            work.fail(error)
    return [failing]
