"""Do my orders do what they say?; JSON gives the same, without the drawings."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from kraken_airflow.dashboard.charts import chart
from kraken_airflow.dashboard.pages import plain

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kraken_recon.adapters.postgres.unit_of_work import PostgresUnitOfWork

MISMATCHES_MOST: Final = 200
RATES_AGE_MAX: Final = timedelta(days=7)
RATES_WINDOW_SECONDS: Final = 3_600
MISMATCHES_AGE_MAX: Final = timedelta(days=30)


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
    return [
        chart(
            "Orders judged in each hour",
            "orders",
            [datetime.fromisoformat(rate["window_start"]) for rate in rates],
            series,
        )
    ]
