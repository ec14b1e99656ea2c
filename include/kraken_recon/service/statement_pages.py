"""An asset's statement page by page: the same numbers as the whole one, however long it is.

Invariants:
1. The pages of a statement joined are the statement (a property test).
2. A page reads its own entries; of all others only their sum, which the database computes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from kraken_recon.domain.money import ZERO, exact_arithmetic
from kraken_recon.service.reporting import entry_view, holder_of, statement_frame

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager
    from datetime import datetime
    from decimal import Decimal

    from kraken_recon.service.reporting import Reports

ENTRIES_PER_READ = 5_000


class StatementStore(Protocol):
    """Parts of a statement; a place is the time and the sequence number of an entry."""

    def statement_wallets(self, account_id: int, asset: str) -> list[str]:
        """Name the wallets of an asset's ledger entries."""
        ...

    def statement_page(  # noqa: PLR0913 - each narrows the page
        self,
        account_id: int,
        asset: str,
        at: datetime,
        *,
        wallets: Sequence[str],
        before: tuple[datetime, int] | None = None,
        most: int,
    ) -> Sequence[Mapping[str, Any]]:
        """Read entries up to a moment, newest first, that are older than one of them."""
        ...

    def statement_after(  # noqa: PLR0913 - the same
        self,
        account_id: int,
        asset: str,
        at: datetime,
        *,
        wallets: Sequence[str],
        after: tuple[datetime, int] | None = None,
        most: int,
    ) -> Sequence[Mapping[str, Any]]:
        """Read entries up to a moment, oldest first, that are newer than one of them."""
        ...

    def statement_total(self, account_id: int, asset: str, at: datetime) -> Decimal:
        """Sum all entries of an asset up to a moment."""
        ...

    def statement_newer(
        self, account_id: int, asset: str, at: datetime, than: tuple[datetime, int]
    ) -> Decimal:
        """Sum the entries of an asset up to a moment that are newer than one of them."""
        ...


class StatementUnit(Protocol):
    """One transaction."""

    @property
    def reports(self) -> Reports:
        """What a whole statement reads too."""
        ...

    @property
    def pages(self) -> StatementStore:
        """Its parts."""
        ...


@dataclass(frozen=True, slots=True)
class StatementPage:
    """A page of a statement, its newest entry first; ``next_place`` begins the next page, if there is one."""

    view: dict[str, Any]
    next_place: tuple[datetime, int] | None


@exact_arithmetic()
def statement_page(  # noqa: PLR0913 - what a page is of
    unit: StatementUnit,
    account: str,
    asset: str,
    at: datetime,
    *,
    before: tuple[datetime, int] | None = None,
    most: int,
) -> StatementPage:
    """Write the entries older than a place as a part of a bank statement.

    Raises:
        ConfigurationError: there is no such account, or it never held the asset.
    """
    account_id = holder_of(unit.reports, account, asset)
    wallets = unit.pages.statement_wallets(account_id, asset)
    rows = unit.pages.statement_page(account_id, asset, at, wallets=wallets, before=before, most=most + 1)
    shown = rows[:most]
    opening = sum(unit.reports.statement_openings(account_id, asset, at).values(), ZERO)
    closing = opening + unit.pages.statement_total(account_id, asset, at)
    running = closing
    if before and shown:
        running -= unit.pages.statement_newer(account_id, asset, at, _place(shown[0]))
    entries = []
    for row in shown:
        entries.append(entry_view(row, running))
        running -= row["amount"] - row["fee"]
    frame = statement_frame(unit.reports, account, asset, at, opening=opening, closing=closing)
    return StatementPage({**frame, "entries": entries}, _place(shown[-1]) if len(rows) > most else None)


def statement_entries(
    open_unit: Callable[[], AbstractContextManager[StatementUnit]], account: str, asset: str, at: datetime
) -> Iterator[dict[str, Any]]:
    """Read every entry of a statement, oldest first; a transaction is open only while some are read.

    Raises:
        ConfigurationError: there is no such account, or it never held the asset.
    """
    with open_unit() as unit:
        account_id = holder_of(unit.reports, account, asset)
        wallets = unit.pages.statement_wallets(account_id, asset)
        running = sum(unit.reports.statement_openings(account_id, asset, at).values(), ZERO)
    after: tuple[datetime, int] | None = None
    while True:
        with open_unit() as unit:
            rows = unit.pages.statement_after(
                account_id, asset, at, wallets=wallets, after=after, most=ENTRIES_PER_READ
            )
        for row in rows:
            with exact_arithmetic():
                running += row["amount"] - row["fee"]
            yield entry_view(row, running)
        if len(rows) < ENTRIES_PER_READ:
            return
        after = _place(rows[-1])


def _place(entry: Mapping[str, Any]) -> tuple[datetime, int]:
    return entry["entry_time"], entry["ingest_seq"]
