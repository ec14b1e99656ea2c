"""Collect what the pages of orders and of the database say; JSON gives the same, without the drawings."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

from kraken_airflow.dashboard.charts import chart
from kraken_airflow.dashboard.downloads import plain

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kraken_recon.adapters.postgres.unit_of_work import PostgresUnitOfWork

MISMATCHES_MOST: Final = 200
RATES_AGE_MAX: Final = timedelta(days=7)
RATES_WINDOW_SECONDS: Final = 3_600
MISMATCHES_AGE_MAX: Final = timedelta(days=30)
SAMPLES_AGE_MAX: Final = timedelta(days=1)


def orders(unit: PostgresUnitOfWork, account: str | None, now: datetime) -> dict[str, Any]:
    """Answer: do my orders do what they say? Rates of all accounts, mismatches of all or of one."""
    rates = [
        {
            "window_start": row["window_start"].isoformat(),
            **{name: int(row[name]) for name in ("verified", "mismatched", "inconclusive")},
        }
        for row in unit.dashboard.rates_over_time(now - RATES_AGE_MAX, window_seconds=RATES_WINDOW_SECONDS)
    ]
    since = now - MISMATCHES_AGE_MAX
    found = unit.dashboard.mismatches(since, account=account, most=MISMATCHES_MOST + 1)
    totals = {name: sum(rate[name] for rate in rates) for name in ("verified", "mismatched", "inconclusive")}
    judged = totals["verified"] + totals["mismatched"]
    return {
        "account": account,
        "totals": totals,
        "verified_percent": f"{100 * totals['verified'] / judged:.2f}" if judged else None,
        "rates": rates,
        "mismatches": [plain(row) for row in found[:MISMATCHES_MOST]],
        "has_more_mismatches": len(found) > MISMATCHES_MOST,
        "level": "bad" if found or totals["mismatched"] else "good" if judged else "watch",
    }


def orders_charts(page: Mapping[str, Any]) -> list[Any]:
    """Draw the verdicts of each hour."""
    rates = page["rates"]
    series = [(name, [rate[name] for rate in rates]) for name in ("verified", "mismatched", "inconclusive")]
    return [_chart("Orders judged in each hour", "orders", rates, "window_start", series)]


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
        _chart(
            f"Sessions of {source['source']}",
            "sessions",
            source["samples"],
            "taken_at",
            [(label, [sample[name] for sample in source["samples"]]) for name, label in drawn],
        )
        for source in page["sources"]
    ]


def _chart(
    title: str,
    unit: str,
    rows: Sequence[Mapping[str, Any]],
    time: str,
    series: Sequence[tuple[str, Sequence[float]]],
) -> Any:  # noqa: ANN401 - handed to a template
    return chart(title, unit, [datetime.fromisoformat(row[time]) for row in rows], series)
