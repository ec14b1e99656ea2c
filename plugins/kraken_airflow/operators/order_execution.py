"""The tasks of ``order_execution``: keep a form's decision, do the work there is.

No amount travels between tasks; they stay in the database, where they are exact.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from airflow.sdk.exceptions import AirflowFailException

from kraken_airflow.dag_parts.failures import AlertedFailure
from kraken_airflow.dag_parts.form_fields import ORDER_PARAMS
from kraken_airflow.operators.base import TradingDbOperator
from kraken_airflow.telemetry.lineage import BOOKED
from kraken_airflow.telemetry.metrics import metered
from kraken_airflow.telemetry.task_log import counted
from kraken_recon.alerts.run_coverage import BACKFILL
from kraken_recon.alerts.silence_rules import Job
from kraken_recon.orders.deciding import accept_decisions, submit_decision
from kraken_recon.orders.executing import execute_orders
from kraken_recon.orders.store import OrderStore

if TYPE_CHECKING:
    from airflow.sdk import Context

    from kraken_airflow.hooks.trading_db import TradingDbHook

RUNBOOK: Final = "docs/runbooks/order_execution.md"
PRESETS: Final = {name: param.value for name, param in ORDER_PARAMS.items()}
"""What the form holds before anybody fills it in."""


class RecordDecisionOperator(TradingDbOperator):
    """Keep the decision that a form or a REST call brought, once for each key, or else for each run.

    Args:
        decision: all that the run was given, as JSON; nothing but presets is no decision.
    """

    template_fields = (*TradingDbOperator.template_fields, "decision")
    page = "orders"
    refuses_unknown_fields = False  # it keeps them with the decision that it refuses
    READS = ("accounts",)
    WRITES = ("order_decisions", "orders", "order_events", "alerts")

    def __init__(self, *, decision: str = "{}", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.decision = decision

    def work(self, context: Context, hook: TradingDbHook) -> None:
        """Write the decision down and judge it; fail if it is refused."""
        given = {name: value for name, value in json.loads(self.decision).items() if value not in ("", None)}
        if all(name in PRESETS and value == PRESETS[name] for name, value in given.items()):
            self.tell(["Nothing is decided in the form, so only what is there is worked on"])
            return
        run = context["dag_run"]
        if run.run_type == BACKFILL and "decision_key" not in given:
            raise AirflowFailException(
                "nothing is decided: a backfill would decide it once for each of its runs; trigger one run"
            )
        key = f"{context['dag'].dag_id}:{run.run_id}"
        with metered(hook.wiring()) as wiring:
            ports = wiring.order_ports()
            # A run may wait for hours until somebody lets it run; the decision is as old as the wish for it.
            decision_id = submit_decision(given, ports, key=key, via="airflow", decided_at=run.run_after)
            failures = accept_decisions(ports)
            with ports.open_unit_of_work() as unit:
                status, refusal, order_id = OrderStore(unit).decision(decision_id)
        if status == "refused":
            raise AlertedFailure(f"decision {decision_id} is refused: {refusal}")
        if order_id is None:
            # Its market could not be looked up; it stays, and is judged by the next run.
            self.log.warning("Decision %d is not judged yet: %s", decision_id, failures)
        else:
            self.tell([f"Decision {decision_id} of {given['account']} is order {order_id}"])


class ExecuteOrdersOperator(TradingDbOperator):
    """Place what is decided and follow what was placed, for every account.

    An account that fails does not stop the others; the task fails in the end, and names it.
    """

    page = "orders"
    refuses_unknown_fields = False  # the task before did
    BOOKS = (
        "BalanceEx",
        "OpenOrders",
        "QueryOrders",
        "ClosedOrders",
        "TradesHistory",
        "QueryTrades",
        "Ledgers",
    )
    ORDERS = ("AddOrder",)
    READS = ("accounts", "order_decisions", "positions")
    WRITES = ("orders", "order_decisions", "order_events", "order_books", "fills", *BOOKED, "alerts")

    def work(self, _: Context, hook: TradingDbHook) -> None:
        """Do all the work there is."""
        with metered(hook.wiring()) as wiring:
            done = execute_orders(wiring.order_ports())
            self.leave_heartbeat(Job.ORDER_EXECUTION)
        followed = f"{counted(done.accounts, 'account')} with orders to place or to follow"
        self.tell(
            [
                followed,
                f"{counted(done.sent, 'request')} left; {counted(done.adopted, 'order')} of others adopted",
            ]
        )
        if done.failures:
            raise AlertedFailure(
                f"orders of {len(done.failures)} accounts could not be worked on; {RUNBOOK} says what to do\n"
                + "\n".join(f"{name}: {reason}" for name, reason in sorted(done.failures.items()))
            )
