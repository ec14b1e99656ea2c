"""Orders that end are verified by a real Airflow: scheduler, triggerer, workers and simulator."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg.rows import dict_row

from desks.airflow import AirflowDesk
from desks.otlp_collector import OtlpCollector
from local_stack.processes import poll_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Simulator
    from desks.airflow_processes import StartAirflow
    from local_stack.airflow import AirflowApi

ORDERS = 5
VERIFIED_WITHIN_SECONDS = 120
ENDED = """
insert into trading.orders (
  account_id, source, pair, base, quote, side, order_type, volume, kraken_txid, status, ended_at,
  volume_executed, cost_executed, fee_reported
)
select account_id, 'external', 'BTC/USD', 'BTC', 'USD', 'buy', 'market', 0.1, %(txid)s, 'closed', now(), 0.1,
  %(cost)s, %(fee)s
from trading.accounts where name = 'desk'
"""


@pytest.fixture
def desk(simulator: Simulator, database_url: str, monkeypatch: pytest.MonkeyPatch) -> AirflowDesk:
    """A desk that may trade fast."""
    desk = AirflowDesk(simulator, database_url, monkeypatch)
    desk.account("desk", ZUSD="1000000")
    simulator.control.patch("accounts/desk", {"tier": "unlimited"})
    simulator.control.post("prices", {"XBTUSD": "50000"})
    return desk


@pytest.fixture
def collector() -> Iterator[OtlpCollector]:
    """A server for metrics."""
    with OtlpCollector() as listening:
        yield listening


@pytest.fixture
def api(
    desk: AirflowDesk,
    collector: OtlpCollector,
    start_airflow: StartAirflow,
) -> Iterator[AirflowApi]:
    """A healthy Airflow that has parsed the DAG."""
    metrics = {"AIRFLOW__METRICS__OTEL_ON": "True", **collector.settings}
    with start_airflow({**desk.variables, **metrics}) as airflow:
        airflow.wait_for("order_verification")
        yield airflow.api


def end_order(desk: AirflowDesk) -> None:
    """Fill an order at the exchange, and record that it ended, as whoever follows orders does."""
    event = {"kind": "manual_order", "pair": "XBTUSD", "side": "buy", "volume": "0.1", "ordertype": "market"}
    made = desk.simulator.control.post("accounts/desk/events", event)
    ledger = desk.simulator.control.get("accounts/desk/statement")["ledger"]
    [paid] = [row for row in ledger if row["refid"] == made["trade"] and row["asset"] == "ZUSD"]
    with psycopg.connect(desk.database_url) as session:
        session.execute(
            ENDED, {"txid": made["order"], "cost": paid["amount"].lstrip("-"), "fee": paid["fee"]}
        )
        session.execute("select pg_notify('kraken_recon_orders_ended', '')")


@pytest.mark.timeout(300)
def test_orders_are_verified_by_an_event_and_late_ones_are_watched_by_the_triggerer(
    api: AirflowApi, desk: AirflowDesk, collector: OtlpCollector
) -> None:
    def read(query: str) -> list[dict[str, Any]]:
        with psycopg.connect(desk.database_url, row_factory=dict_row) as session:
            return session.execute(query.encode()).fetchall()

    def all_are(verdict: str, count: int) -> bool:
        found = read("select verdict from trading.order_verifications")
        return [row["verdict"] for row in found] == [verdict] * count

    for _ in range(ORDERS):
        end_order(desk)
    api.unpause("order_verification")
    assert poll_until(lambda: all_are("verified", ORDERS), timeout_seconds=VERIFIED_WITHIN_SECONDS)

    def sums() -> tuple[int, int]:
        points = [(name, point) for name, _, point in collector.points("airflow.kraken_recon.verification.")]
        return (
            sum(point.as_int for name, point in points if name == "verified"),
            sum(point.count for name, point in points if name == "latency"),
        )

    # A task's process exports what it counted before it ends.
    assert poll_until(lambda: sums() == (ORDERS, ORDERS), timeout_seconds=30), sums()

    desk.simulator.control.post("faults", {"name": "lag", "view": "ledger", "seconds": 3600})
    for _ in range(ORDERS):
        end_order(desk)
    claimed = "select claimed_by from trading.order_verifications where claimed_by is not null"
    assert poll_until(lambda: len(read(claimed)) == ORDERS, timeout_seconds=VERIFIED_WITHIN_SECONDS)
    assert poll_until(
        lambda: "deferred" in api.task_states("order_verification"), timeout_seconds=VERIFIED_WITHIN_SECONDS
    )
    desk.simulator.control.delete("faults")
    assert poll_until(lambda: all_are("verified", 2 * ORDERS), timeout_seconds=VERIFIED_WITHIN_SECONDS)
