"""Read-only views for people; every statement is a named query of ``reports.sql``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kraken_recon.alerts.store import AlertStore
from kraken_recon.database.store import Store, named_queries
from kraken_recon.errors import ConfigurationError
from kraken_recon.reconciliation.margin.store import MarginStore

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from datetime import datetime
    from decimal import Decimal
    from uuid import UUID


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

    def account_id(self, name: str) -> int:
        """Find an account by name.

        Raises:
            ConfigurationError: there is none.
        """
        rows = self._rows("account_id", name=name)
        if not rows:
            raise ConfigurationError(f"no account is named {name}; see `python -m kraken_recon report`")
        return int(rows[0]["account_id"])

    def was_held(self, account_id: int, asset: str) -> bool:
        """Say whether anything is on record of an asset of an account."""
        [row] = self._rows("was_held", account_id=account_id, asset=asset)
        return bool(row["was_held"])

    def statement_openings(self, account_id: int, asset: str, at: datetime) -> Mapping[str, Decimal]:
        """Sum what an asset opened with, per wallet."""
        rows = self._rows("statement_openings", account_id=account_id, asset=asset, at=at)
        return {row["wallet"]: row["quantity"] for row in rows}

    def statement_entries(self, account_id: int, asset: str, at: datetime) -> list[dict[str, Any]]:
        """Read an asset's ledger entries up to a moment, oldest first."""
        return self._rows("statement_entries", account_id=account_id, asset=asset, at=at)

    def statement_adjustments(self, account_id: int, asset: str, at: datetime) -> list[dict[str, Any]]:
        """Read what was written without a ledger entry."""
        return self._rows("statement_adjustments", account_id=account_id, asset=asset, at=at)

    def statement_residual(self, account_id: int, asset: str, at: datetime) -> Decimal:
        """Sum the residuals of an asset that are seen now and not written anywhere."""
        rows = self._rows("statement_residuals", account_id=account_id, asset=asset, at=at)
        residual: Decimal = rows[0]["residual"]
        return residual
