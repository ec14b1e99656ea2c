"""Tasks around order verification: say how many fail."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.sdk.observability import stats

from kraken_airflow.failures import translated_failures
from kraken_airflow.operators.reconcile import TradingDbOperator
from kraken_airflow.verification import verifying_ports
from kraken_recon.service.verification_outcomes import RateRules, publish_rates

if TYPE_CHECKING:
    from typing import Any

    from airflow.sdk import Context


class PublishRatesOperator(TradingDbOperator):
    """Count verdicts by window, account and source; publish failure rates, and alert on high ones.

    Args:
        percent_max: the failure rate above which an alert is raised, in percent.
        judged_min: how many orders a window must have judged for its rate to mean anything.
    """

    def __init__(self, *, percent_max: float = 5.0, judged_min: int = 10, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.percent_max = percent_max
        self.judged_min = judged_min

    def execute(self, context: Context) -> None:  # noqa: ARG002 - Airflow's signature
        """Write the rows, and set one gauge per window, account and source."""
        with translated_failures():
            counts = publish_rates(
                verifying_ports(self.trading_conn_id), RateRules(self.percent_max, self.judged_min)
            )
        newest = {(c.window_seconds, c.account, c.source): c for c in reversed(counts)}
        for count in newest.values():
            percent = count.failure_percent
            if percent is None:
                continue
            tags = {
                "account": count.account,
                "source": count.source,
                "window_seconds": str(count.window_seconds),
            }
            stats.gauge("kraken_recon.verification.failure_percent", percent, tags=tags)
            self.log.info(
                "%s, %s, last %d h: %d of %d failed",
                count.account,
                count.source,
                count.window_seconds // 3600,
                count.mismatched,
                count.judged,
            )
