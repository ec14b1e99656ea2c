"""What the report and an asset's statement read; every statement is a named query of ``reports.sql``."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from kraken_recon.alerts.store import AlertStore
from kraken_recon.database.store import Store, named_queries
from kraken_recon.errors import NotOnRecordError
from kraken_recon.reconciliation.margin.store import MarginStore

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from uuid import UUID

    from kraken_recon.desk_books.declared_here import DeclaredBooks

# Where an entry stands in its statement: its time, and its number among those of the same time.
Place: TypeAlias = tuple[datetime, int]
BEGINNING: Final[Place] = (datetime(1, 1, 1, tzinfo=UTC), 0)


class ReportStore(Store):
    """Read-only views for people."""

    queries = named_queries(__file__, "reports")

    def latest_runs(self, names: Collection[str] | None) -> list[dict[str, Any]]:
        """Read the newest run of each active account, or of those named."""
        return self._rows("latest_runs", names=sorted(names) if names is not None else None)

    def runs(self, run_ids: Collection[UUID]) -> list[dict[str, Any]]:
        """Read runs by id."""
        return self._rows("runs", run_ids=list(run_ids))

    def findings_of(self, run_ids: Collection[UUID]) -> list[dict[str, Any]]:
        """Read the discrepancies of runs."""
        return self._rows("findings_of", run_ids=list(run_ids))

    def open_alerts(self, names: Collection[str] | None, *, most: int = 100) -> list[dict[str, Any]]:
        """Read the newest alerts that nobody resolved yet."""
        return AlertStore(self._unit).find_alerts(names, with_resolved=False, most=most)

    def margin_positions(self, names: Collection[str]) -> list[dict[str, Any]]:
        """Read the margin positions on record of these accounts that are not closed."""
        return MarginStore(self._unit).open_positions(names)

    def margin_changes(self, run_ids: Collection[UUID]) -> list[dict[str, Any]]:
        """Read what runs found of margin positions."""
        return MarginStore(self._unit).changes(run_ids)

    def desk_books(self, declared: DeclaredBooks, names: Collection[str]) -> list[dict[str, Any]]:
        """Read the desk books about accounts, each with its newest judgement."""
        return self._rows("desk_books", names=sorted(names), **declared.as_filter())

    def desk_differences(
        self, judgements: Collection[tuple[UUID, str]], asset: str | None = None
    ) -> list[dict[str, Any]]:
        """Read what differed in judgements, each a run and a book."""
        runs, books = [run_id for run_id, _ in judgements], [book for _, book in judgements]
        return self._rows("desk_differences", run_ids=runs, books=books, asset=asset)

    def desk_book_counts(self, declared: DeclaredBooks) -> list[dict[str, Any]]:
        """Count how each desk book stands over all active accounts, and how old its oldest judgement is."""
        return self._rows("desk_book_counts", **declared.as_filter())

    def account_id(self, name: str) -> int:
        """Find an account by name.

        Raises:
            NotOnRecordError: there is none.
        """
        rows = self._rows("account_id", name=name)
        if not rows:
            raise NotOnRecordError(f"no account is named {name}; see `python -m kraken_recon report`")
        return int(rows[0]["account_id"])

    def was_held(self, account_id: int, asset: str) -> bool:
        """Say whether anything is on record of an asset of an account."""
        return self._value(bool, "was_held", account_id=account_id, asset=asset)

    def statement_opening(self, account_id: int, asset: str, at: datetime) -> Decimal:
        """Sum what an asset opened with."""
        return self._value(Decimal, "statement_opening", account_id=account_id, asset=asset, at=at)

    def statement_entries(self, account_id: int, asset: str, at: datetime) -> list[dict[str, Any]]:
        """Read an asset's ledger entries up to a moment, oldest first."""
        return self._rows("statement_entries", account_id=account_id, asset=asset, at=at)

    def statement_adjustments(self, account_id: int, asset: str, at: datetime) -> list[dict[str, Any]]:
        """Read what was written without a ledger entry."""
        return self._rows("statement_adjustments", account_id=account_id, asset=asset, at=at)

    def statement_residual(self, account_id: int, asset: str, at: datetime) -> Decimal:
        """Sum the residuals of an asset that are seen now and not written anywhere."""
        return self._value(Decimal, "statement_residual", account_id=account_id, asset=asset, at=at)

    def statement_wallets(self, account_id: int, asset: str) -> list[str]:
        """Name the wallets of an asset's ledger entries."""
        rows = self._rows("statement_wallets", account_id=account_id, asset=asset)
        return [row["wallet"] for row in rows]

    def statement_part(  # noqa: PLR0913 - each narrows the part
        self,
        account_id: int,
        asset: str,
        at: datetime,
        *,
        wallets: Sequence[str],
        before: Place | None = None,
        after: Place | None = None,
        most: int,
    ) -> list[dict[str, Any]]:
        """Read entries up to a moment: newest first those before a place, or oldest first those after one."""
        time, seq = after or before or (None, None)
        of = {"account_id": account_id, "asset": asset, "at": at, "wallets": list(wallets), "most": most}
        return self._rows("statement_after" if after else "statement_page", **of, time=time, seq=seq)

    def statement_total(self, account_id: int, asset: str, at: datetime) -> Decimal:
        """Sum all entries of an asset up to a moment."""
        return self._value(Decimal, "statement_total", account_id=account_id, asset=asset, at=at)

    def statement_newer(self, account_id: int, asset: str, at: datetime, than: Place) -> Decimal:
        """Sum the entries of an asset up to a moment that are newer than one of them."""
        time, seq = than
        of = {"account_id": account_id, "asset": asset, "at": at}
        return self._value(Decimal, "statement_newer", **of, time=time, seq=seq)

    def statement_place(self, account_id: int, asset: str, ledger_ids: Collection[str]) -> Place | None:
        """Find the newest of these entries."""
        rows = self._rows(
            "statement_place", account_id=account_id, asset=asset, ledger_ids=sorted(ledger_ids)
        )
        return (rows[0]["entry_time"], rows[0]["ingest_seq"]) if rows else None

    def explaining_entries(self, account_id: int, asset: str, run_id: UUID) -> frozenset[str]:
        """Name the entries that explain what a run found."""
        rows = self._rows("explaining_entries", account_id=account_id, asset=asset, run_id=run_id)
        return frozenset(row["ledger_id"] for row in rows)
