"""Which accounts come first, from Postgres; the statement is a named query of ``priority.sql``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kraken_recon.database.store import Store, named_queries
from kraken_recon.reconciliation.rules.grouping import AccountCost
from kraken_recon.reconciliation.rules.priority import Need

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from datetime import datetime


class PriorityStore(Store):
    """Which accounts come first."""

    queries = named_queries(__file__, "priority")

    def needs(self, account_ids: Collection[int], since: datetime) -> list[Need]:
        """Read why accounts may have to come before others; differences older than ``since`` do not count."""
        rows = self._execute("needs", account_ids=list(account_ids), since=since)
        return [Need(**row._asdict()) for row in rows]

    def costs(self, account_ids: Sequence[int]) -> list[AccountCost]:
        """Read what accounts took lately, in the order given."""
        rows = {row.account_id: row for row in self._execute("costs", account_ids=list(account_ids))}
        found = [rows[number] for number in account_ids]
        return [AccountCost(row.name, row.seconds, row.calls) for row in found]
