"""Which accounts come first, from Postgres; the statement is a named query of ``priority.sql``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kraken_recon.database.store import Store, named_queries
from kraken_recon.reconciliation.rules.priority import Need

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime


class PriorityStore(Store):
    """Which accounts come first."""

    queries = named_queries(__file__, "priority")

    def needs(self, account_ids: Collection[int], since: datetime) -> list[Need]:
        """Read why accounts may have to come before others; differences older than ``since`` do not count."""
        rows = self._execute("needs", account_ids=list(account_ids), since=since)
        return [Need(**row._asdict()) for row in rows]
