"""Work on orders one by one: what fails for one is told at the end, and keeps no other waiting."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from kraken_recon.errors import KrakenReconError, OrderStuckError, RunStoppedError

if TYPE_CHECKING:
    from collections.abc import Iterator

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Troubles:
    """What failed so far, by what it was about."""

    found: dict[str, Exception] = field(default_factory=dict)

    @contextmanager
    def about(self, what: str) -> Iterator[None]:
        """Keep a failure for the end, unless the run was told to stop."""
        try:
            yield
        except RunStoppedError:
            raise
        except Exception as error:  # noqa: BLE001 - a defect met on one order must not cost the others
            self.add(what, error)

    def add(self, what: str, error: Exception) -> None:
        """Keep a failure for the end; one that nobody expected is logged in full."""
        is_expected = isinstance(error, KrakenReconError)
        log.warning("%s: %s", what, error if is_expected else "unexpected failure", exc_info=not is_expected)
        self.found[what] = error

    def tell(self) -> None:
        """Raise what failed, if anything did.

        Raises:
            OrderStuckError: naming each thing and its error.
        """
        if self.found:
            raise OrderStuckError("; ".join(f"{what}: {_told(error)}" for what, error in self.found.items()))


def _told(error: Exception) -> str:
    """Write an error for a row or an alert; the text of an unexpected one may hold anything."""
    name = type(error).__name__
    return f"{name}: {error}" if isinstance(error, KrakenReconError) else f"unexpected {name}, see the log"
