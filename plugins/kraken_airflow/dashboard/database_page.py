"""Is the database healthy?; JSON gives the same, without the drawings."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

from kraken_airflow.dashboard.charts import chart
from kraken_airflow.dashboard.pages import plain

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kraken_recon.adapters.postgres.unit_of_work import PostgresUnitOfWork

SAMPLES_AGE_MAX: Final = timedelta(days=1)


def database(unit: PostgresUnitOfWork, now: datetime) -> dict[str, Any]:
    """Answer: is the database healthy? Samples of a day by source, and findings that have not returned."""
    names = (
        "taken_at",
        "connections",
        "connections_limit",
        "sessions",
        "ours",
        "idle_in_transaction",
        "waiting",
        "oldest_transaction_seconds",
    )
    rows = unit.sessions.samples(now - SAMPLES_AGE_MAX)
    findings = [plain(row) for row in unit.sessions.open_findings()]
    critical = any(finding["severity"] == "critical" for finding in findings)
    return {
        "sources": [
            {"source": source, "samples": [plain({name: row[name] for name in names}) for row in samples]}
            for source, samples in groupby(rows, lambda row: row["source"])
        ],
        "findings": findings,
        "level": "bad" if critical else "watch" if findings or not rows else "good",
    }


def database_charts(page: Mapping[str, Any]) -> list[Any]:
    """Draw the sessions of each source."""
    drawn = (
        ("connections", "connections of the server"),
        ("ours", "of the project"),
        ("idle_in_transaction", "idle in a transaction"),
        ("waiting", "waiting for a lock"),
    )
    return [
        chart(
            f"Sessions of {source['source']}",
            "sessions",
            [datetime.fromisoformat(sample["taken_at"]) for sample in source["samples"]],
            [(label, [sample[name] for sample in source["samples"]]) for name, label in drawn],
        )
        for source in page["sources"]
    ]
