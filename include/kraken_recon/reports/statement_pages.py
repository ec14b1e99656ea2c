"""An asset's statement page by page: the same numbers as the whole one, however long it is.

Invariants:
1. The pages of a statement joined are the statement (a property test).
2. A page reads its own entries; of all others only their sum, which the database computes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kraken_recon.reports.report import entry_view, holder_of, statement_frame
from kraken_recon.reports.report_store import BEGINNING, Place, ReportStore
from kraken_recon.values.money import exact_arithmetic

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
    next_place: Place | None


@exact_arithmetic()
def statement_page(  # noqa: PLR0913 - what a page is of
    unit: UnitOfWork,
    account: str,
    asset: str,
    at: datetime,
    *,
    before: Place | None = None,
    most: int,
) -> StatementPage:
    """Write the entries older than a place as a part of a bank statement.

    Raises:
        NotOnRecordError: there is no such account, or it never held the asset.
    """
    reports = ReportStore(unit)
    account_id = holder_of(reports, account, asset)
    wallets = reports.statement_wallets(account_id, asset)
    rows = reports.statement_part(account_id, asset, at, wallets=wallets, before=before, most=most + 1)
    shown = rows[:most]
    opening = reports.statement_opening(account_id, asset, at)
    closing = opening + reports.statement_total(account_id, asset, at)
    running = closing
    if before and shown:
        running -= reports.statement_newer(account_id, asset, at, _place(shown[0]))
    entries = []
    for row in shown:
        entries.append(entry_view(row, running))
        running -= row["amount"] - row["fee"]
    frame = statement_frame(reports, account, asset, at, opening=opening, closing=closing)
    return StatementPage({**frame, "entries": entries}, _place(shown[-1]) if len(rows) > most else None)


def statement_entries(
    open_unit: Callable[[], AbstractContextManager[UnitOfWork]], account: str, asset: str, at: datetime
) -> Iterator[dict[str, Any]]:
    """Read every entry of a statement, oldest first; a transaction is open only while some are read.

    Raises:
        NotOnRecordError: there is no such account, or it never held the asset.
    """
    with open_unit() as unit:
        reports = ReportStore(unit)
        account_id = holder_of(reports, account, asset)
        wallets = reports.statement_wallets(account_id, asset)
        running = reports.statement_opening(account_id, asset, at)
    after = BEGINNING
    while True:
        with open_unit() as unit:
            rows = ReportStore(unit).statement_part(
                account_id, asset, at, wallets=wallets, after=after, most=ENTRIES_PER_READ
            )
        for row in rows:
            with exact_arithmetic():
                running += row["amount"] - row["fee"]
            yield entry_view(row, running)
        if len(rows) < ENTRIES_PER_READ:
            return
        after = _place(rows[-1])


def _place(entry: Mapping[str, Any]) -> Place:
    return entry["entry_time"], entry["ingest_seq"]
