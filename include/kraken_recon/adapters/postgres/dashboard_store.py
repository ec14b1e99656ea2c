"""Read-only views of the pages in Airflow's UI; every statement is a named query of ``sql/dashboard.sql``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from kraken_recon.adapters.postgres.named_sql import load

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from sqlalchemy.engine import Connection

QUERIES: Final = {name: sa.text(query) for name, query in load("dashboard").items()}


class DashboardStore:
    """What the pages read over one connection, beyond the views that the command line shares."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def _rows(self, query: str, **values: object) -> list[Mapping[str, Any]]:
        return [dict(row) for row in self._connection.execute(QUERIES[query], values).mappings()]

    def rates_over_time(self, since: datetime, *, window_seconds: int) -> list[Mapping[str, Any]]:
        """Count the verdicts of all accounts in each window of one length, oldest first."""
        return self._rows("rates_over_time", since=since, window_seconds=window_seconds)

    def mismatches(
        self, since: datetime, *, account: str | None = None, most: int
    ) -> list[Mapping[str, Any]]:
        """Read the orders that did not do what they say, newest first, each with its failed levels."""
        return self._rows("mismatches", since=since, account=account, most=most)
