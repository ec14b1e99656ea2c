"""A morning of the past, backfilled by a whole Airflow: API server, scheduler, workers, triggerer, simulator.

``BACKFILL_INTERVALS=96`` takes the whole day.
"""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg.rows import dict_row

from desks.logins import as_writer
from kraken_recon.cli.main import main
from kraken_recon.values.intervals import RUN_INTERVAL
from local_stack.databases import postgres_connection
from local_stack.processes import poll_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Simulator
    from desks.airflow_processes import StartAirflow
    from local_stack.airflow import AirflowApi

INTERVALS = int(os.environ.get("BACKFILL_INTERVALS", "32"))
TIMEOUT_SECONDS = 400
KEY, SECRET = "desk-key", "ZGVzay1zZWNyZXQ="
TODAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
YESTERDAY = TODAY - timedelta(days=1)
TRADED_AT = YESTERDAY + timedelta(hours=6, minutes=1)
FORGET_THE_TRADE = """
delete from trading.position_events where ledger_id = 'LAAAAA-00001-000002';
delete from trading.ledger_entries where ledger_id = 'LAAAAA-00001-000002';
update trading.positions set quantity = 0 where asset = 'BTC';
update trading.accounts set opened_at = now() - interval '2 days', ledger_read_until = null;
update trading.position_events set recorded_at = now() - interval '2 days';
"""


def entry(number: int, at: datetime, kind: str, asset: str, amount: str) -> dict[str, str]:
    return {
        "id": f"LAAAAA-00001-{number:06}", "refid": f"TAAAAA-00001-{number:06}",
        "time": str(at.timestamp()), "type": kind, "subtype": "", "aclass": "currency", "asset": asset,
        "amount": amount, "fee": "0",
    }  # fmt: skip


@pytest.fixture
def connections(simulator: Simulator, database_url: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """A desk that was opened two days ago and has missed yesterday's trade."""
    simulator.control.post(
        "accounts",
        {
            "name": "desk", "api_key": KEY, "api_secret": SECRET, "tier": "unlimited",
            "entries": [
                entry(1, TODAY - timedelta(days=4), "deposit", "ZUSD", "10000.0000"),
                entry(2, TRADED_AT, "trade", "XXBT", "0.0500000000"),
            ],
        },
    )  # fmt: skip
    connection = {"conn_type": "kraken", "login": KEY, "password": SECRET, "host": simulator.base_url}
    variables = {
        "KRAKEN_RECON_DSN": as_writer(database_url),
        "KRAKEN_RECON_ALLOWED_HOSTS": "127.0.0.1",
        "AIRFLOW_CONN_TRADING_DB": postgres_connection(database_url),
        "AIRFLOW_CONN_KRAKEN_DESK": json.dumps({**connection, "extra": {"tier": "unlimited"}}),
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with psycopg.connect(database_url) as session:
        session.execute("insert into trading.accounts (name, kraken_conn_id) values ('desk', 'kraken_desk')")
    assert main(["sync", "--account", "desk"]) == 0
    with psycopg.connect(database_url) as session:
        session.execute(FORGET_THE_TRADE)
    return variables


@pytest.fixture
def api(connections: dict[str, str], start_airflow: StartAirflow) -> Iterator[AirflowApi]:
    """A healthy Airflow that has parsed the DAG."""
    with start_airflow(connections) as airflow:
        airflow.wait_for("position_sync")
        yield airflow.api


@pytest.mark.timeout(480)
def test_the_past_is_backfilled_backwards_and_in_parallel(api: AirflowApi, database_url: str) -> None:
    def read(query: str) -> list[dict[str, Any]]:
        with psycopg.connect(database_url, row_factory=dict_row) as session:
            return session.execute(query.encode()).fetchall()

    runs = "select * from trading.reconciliation_runs where trigger = 'backfill' order by interval_start"
    api.unpause("position_sync")
    api.create_backfill(
        "position_sync",
        first=YESTERDAY,
        last=YESTERDAY + (INTERVALS - 1) * RUN_INTERVAL,
        max_active_runs=4,
        run_backwards=True,
    )
    poll_until(lambda: len(read(runs)) == INTERVALS, timeout_seconds=TIMEOUT_SECONDS, pause_seconds=1)

    done = read(runs)
    assert [row["interval_start"] for row in done] == [YESTERDAY + n * RUN_INTERVAL for n in range(INTERVALS)]
    assert {(row["status"], row["note"]) for row in done} == {("succeeded", None)}
    found = read(
        "select r.interval_end, d.asset, d.db_quantity, d.exchange_quantity, d.action"
        " from trading.discrepancies d join trading.reconciliation_runs r using (run_id)"
        " where r.trigger = 'backfill' order by 1"
    )
    assert [row["interval_end"] for row in found] == [
        r["interval_end"] for r in done if r["interval_end"] > TRADED_AT
    ]
    assert {tuple(row.values())[1:] for row in found} == {("BTC", Decimal(0), Decimal("0.05"), "applied")}
    assert read("select asset, quantity from trading.positions order by 1") == [
        {"asset": "BTC", "quantity": Decimal("0.05")},
        {"asset": "USD", "quantity": Decimal(10000)},
    ]
