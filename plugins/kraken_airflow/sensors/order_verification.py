"""Wait for Kraken's books of ended orders, and judge each order as soon as its books are there."""

from __future__ import annotations

import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.sdk import BaseSensorOperator
from airflow.sdk.configuration import conf

from kraken_airflow.dag_parts.failures import translated_failures
from kraken_airflow.operators.base import TradingDbTask
from kraken_airflow.telemetry.data_quality import Agreement
from kraken_airflow.telemetry.lineage import BOOKED, table
from kraken_airflow.telemetry.metrics import add, metered, observe, publish_verification_rates
from kraken_airflow.telemetry.task_log import counted, named
from kraken_airflow.triggers.order_verification import RULES, OrderVerificationTrigger
from kraken_recon.alerts.silence_rules import Job
from kraken_recon.errors import AccountsLeftError
from kraken_recon.verification.alerts import RateRules, publish_rates
from kraken_recon.verification.rules.judge import Overall
from kraken_recon.verification.verifying import claim_orders, verify_claimed

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from airflow.sdk import Context

    from kraken_recon.verification.evidence import SeenBooks

TRIGGERER_PATIENCE = timedelta(minutes=2)
# What ends while a poke is at work is taken along. While each look brings verdicts, the books of the rest are
# on their way, and another look is quicker than a trigger and a new process. But no poke goes on for ever.
POKE_LONGEST = timedelta(seconds=60)
PAUSE_SECONDS = 1.0


class OrderVerificationSensor(TradingDbTask, BaseSensorOperator):
    """Claim orders that ended, verify those whose books are there, and watch the rest for a while.

    Each poke claims what is due, looks at Kraken's books of the whole batch at once, writes every verdict
    that can be reached, and goes on while new orders are due; it is done when nothing is watched any more.
    What is still not there after ``watch_seconds`` is written as inconclusive and let go until it is due
    again. Claims are kept under the name of the task's try, so that a resumed, rescheduled or repeated poke
    goes on with the same batch. At the end the failure rates are counted and published.

    Args:
        trading_conn_id: connection of the trading database.
        deferrable: wait in the triggerer, without a worker slot; without it, as ``mode`` says. Airflow's
            ``[operators] default_deferrable`` decides where it is not given.
        watch_seconds: how long to wait for books, from the start of the DAG run.
        rate_rules: when a failure rate is worth an alert.
    """

    page = "orders"
    BOOKS = ("QueryOrders", "QueryTrades", "Ledgers")
    READS = ("accounts", "orders", "desk_orders", "fills", "ledger_entries", "position_events")
    WRITES = (
        "order_verifications",
        "order_verification_levels",
        "verification_rates",
        "fills",
        *BOOKED,
        "alerts",
    )

    def __init__(
        self,
        *,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        watch_seconds: float = 150.0,
        rate_rules: RateRules | None = None,
        **kwargs: Any,  # noqa: ANN401 - whatever BaseSensorOperator takes
    ) -> None:
        super().__init__(**({"poke_interval": 2.0, "timeout": watch_seconds + 60} | kwargs))
        self.deferrable = deferrable
        self.watch_seconds = watch_seconds
        self.rate_rules = rate_rules or RateRules()

    def poke(self, context: Context, ready: Collection[int] | None = None) -> bool:
        """Claim and look until nothing new is due, and write verdicts; say whether nothing is watched.

        With ``ready`` the first look is at these orders of the batch and at newly claimed ones alone.
        """
        is_over = datetime.now(UTC) >= self._watch_until(context)
        token = _token(context)
        hook = self.hook()
        with translated_failures(), metered(hook.wiring()) as wiring:
            ports = wiring.verifying_ports()
            claimed_count = 0
            verdicts: dict[int, Overall] = {}
            failures: dict[str, str] = {}
            seen: dict[int, SeenBooks] = {}
            last_look_at = datetime.now(UTC) + POKE_LONGEST
            while True:
                claimed = claim_orders(ports, RULES, token)
                only = None if ready is None or is_over else {*ready, *claimed}
                done = verify_claimed(ports, RULES, token, seen, order_ids=only, keeps_watching=not is_over)
                claimed_count += len(claimed)
                verdicts.update(done.verdicts)
                failures.update(done.failures)
                for latency in done.latencies.values():
                    observe("verification.latency", latency)
                is_flowing = bool(done.verdicts and done.watched)
                if is_over or not (claimed or is_flowing) or datetime.now(UTC) >= last_look_at:
                    break
                ready = None if is_flowing else ()
                if is_flowing:
                    time.sleep(PAUSE_SECONDS)
            counts = Counter(verdicts.values())
            self.agreements = [Agreement(table("orders"), counts[Overall.VERIFIED], counts[Overall.MISMATCH])]
            self._tell_verdicts(claimed_count, verdicts, done.watched)
            if not done.watched:
                publish_verification_rates(publish_rates(ports, self.rate_rules))
                self.leave_heartbeat(Job.ORDER_VERIFICATION)
            if failures and (is_over or not done.watched):
                raise AccountsLeftError("verdicts not written", accounts=failures)
        return done.watched == 0

    def _tell_verdicts(self, claimed: int, verdicts: Mapping[int, Overall], watched: int) -> None:
        counts = Counter(str(verdict) for verdict in verdicts.values())
        for verdict, count in counts.items():
            add(f"verification.{verdict}", count)
        told = ", ".join(f"{count} {verdict}" for verdict, count in sorted(counts.items())) or "no verdict"
        lines = [
            f"{counted(claimed, 'order')} claimed; {told}; {watched} watched until Kraken's books show them"
        ]
        wrong = sorted(order for order, verdict in verdicts.items() if verdict is Overall.MISMATCH)
        if wrong:
            lines.append(f"Books contradict each other about the orders {named([str(n) for n in wrong])}")
        self.tell(lines)

    def execute(self, context: Context) -> None:
        """Poke, and defer as long as something is watched."""
        if not self.deferrable:
            super().execute(context)
        elif not self.poke(context):
            self._defer(context)

    def resume(self, context: Context, event: dict[str, Any]) -> None:
        """Go on with the batch when its trigger has fired."""
        if not self.poke(context, event["ready"]):
            self._defer(context)

    def _defer(self, context: Context) -> NoReturn:
        watch_until = self._watch_until(context)
        left = max(watch_until - datetime.now(UTC), timedelta(0))
        self.defer(
            trigger=OrderVerificationTrigger(
                token=_token(context),
                watch_until=watch_until.isoformat(),
                trading_conn_id=self.trading_conn_id,
            ),
            method_name="resume",
            timeout=left + TRIGGERER_PATIENCE,
        )
        raise AssertionError("a task that defers does not come back")

    def _watch_until(self, context: Context) -> datetime:
        started = context["dag_run"].start_date or datetime.now(UTC)
        return datetime.fromisoformat(started.isoformat()) + timedelta(seconds=self.watch_seconds)


def _token(context: Context) -> str:
    ti = context["ti"]
    return f"{ti.dag_id}|{ti.run_id}|{ti.task_id}|{ti.try_number}"
