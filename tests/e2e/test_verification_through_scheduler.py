"""Orders that end are verified by a real Airflow: scheduler, triggerer, workers and simulator."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg.rows import dict_row

from desks.airflow import AirflowDesk, trading_connection
from desks.otlp_collector import OtlpCollector
from local_stack import airflow
from local_stack.databases import Database
from local_stack.ports import free_port
from local_stack.processes import Services, poll_until
from local_stack.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Simulator

ROOT = Path(__file__).parents[2]
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
    tmp_path: Path,
    postgres_url: str,
    project_environment: dict[str, str],
) -> Iterator[airflow.AirflowApi]:
    """A healthy Airflow that has parsed the DAG."""
    settings = Settings(tmp_path, "127.0.0.1", free_port(), 0, 0, postgres_url, tmp_path)
    metadata = Database(postgres_url, f"{desk.database_url.rsplit('/', 1)[1]}_airflow")
    metadata.ensure()
    connections = {
        "KRAKEN_RECON_ALLOWED_HOSTS": "127.0.0.1",
        "AIRFLOW_CONN_TRADING_DB": trading_connection(desk.database_url),
        "AIRFLOW_CONN_KRAKEN_DESK": os.environ["AIRFLOW_CONN_KRAKEN_DESK"],
        "AIRFLOW__METRICS__OTEL_ON": "True",
        **collector.settings,
        "PYTHONPATH": os.pathsep.join((project_environment["PYTHONPATH"], str(ROOT / "config"))),
    }
    environment = airflow.airflow_environment(settings, metadata_url=metadata.url, connections=connections)
    airflow.migrate(environment)
    services = Services(tmp_path)
    try:
        for service in airflow.component_services(settings, environment):
            services.ensure(service)
        api = airflow.AirflowApi(airflow.login_of(settings))
        api.wait_until_healthy(services)
        api.ensure_pool("kraken_api", slots=4, description="calls to Kraken at the same time")
        api.wait_until_parsed("order_verification")
        yield api
    finally:
        services.stop(services.names())
        with psycopg.connect(postgres_url, autocommit=True) as session:
            session.execute(f'drop database "{metadata.name}" with (force)'.encode())


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
    api: airflow.AirflowApi, desk: AirflowDesk, collector: OtlpCollector
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
