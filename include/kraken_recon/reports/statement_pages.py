"""An asset's statement page by page: the same numbers as the whole one, however long it is.

Invariants:
1. The pages of a statement joined are the statement (a property test).
2. A page reads its own entries; of all others only their sum, which the database computes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kraken_recon.reports.page_store import PageStore
from kraken_recon.reports.report import entry_view, holder_of, statement_frame
from kraken_recon.reports.report_store import ReportStore
from kraken_recon.values.money import ZERO, exact_arithmetic

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from contextlib import AbstractContextManager
    from datetime import datetime

    from kraken_recon.database.unit_of_work import UnitOfWork

ENTRIES_PER_READ = 5_000


@dataclass(frozen=True, slots=True)
class StatementPage:
    """A page of a statement, its newest entry first; ``next_place`` begins the next page, if there is one."""

    view: dict[str, Any]
    next_place: tuple[datetime, int] | None


@exact_arithmetic()
def statement_page(  # noqa: PLR0913 - what a page is of
    unit: UnitOfWork,
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
    account_id = holder_of(ReportStore(unit), account, asset)
    wallets = PageStore(unit).statement_wallets(account_id, asset)
    rows = PageStore(unit).statement_page(
        account_id, asset, at, wallets=wallets, before=before, most=most + 1
    )
    shown = rows[:most]
    opening = sum(ReportStore(unit).statement_openings(account_id, asset, at).values(), ZERO)
    closing = opening + PageStore(unit).statement_total(account_id, asset, at)
    running = closing
    if before and shown:
        running -= PageStore(unit).statement_newer(account_id, asset, at, _place(shown[0]))
    entries = []
    for row in shown:
        entries.append(entry_view(row, running))
        running -= row["amount"] - row["fee"]
    frame = statement_frame(ReportStore(unit), account, asset, at, opening=opening, closing=closing)
    return StatementPage({**frame, "entries": entries}, _place(shown[-1]) if len(rows) > most else None)


def statement_entries(
    open_unit: Callable[[], AbstractContextManager[UnitOfWork]], account: str, asset: str, at: datetime
) -> Iterator[dict[str, Any]]:
    """Read every entry of a statement, oldest first; a transaction is open only while some are read.

    Raises:
        ConfigurationError: there is no such account, or it never held the asset.
    """
    with open_unit() as unit:
        account_id = holder_of(ReportStore(unit), account, asset)
        wallets = PageStore(unit).statement_wallets(account_id, asset)
        openings = ReportStore(unit).statement_openings(account_id, asset, at)
    with exact_arithmetic():
        running = sum(openings.values(), ZERO)
    after: tuple[datetime, int] | None = None
    while True:
        with open_unit() as unit:
            rows = PageStore(unit).statement_after(
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
