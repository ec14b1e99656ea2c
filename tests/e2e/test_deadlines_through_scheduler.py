"""Missed deadlines on a real Airflow: scheduler, triggerer and DAG processor, and the watch beside them."""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg.rows import dict_row

from local_stack.databases import postgres_connection
from local_stack.processes import poll_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from desks.airflow_processes import StartAirflow
    from local_stack.airflow import AirflowApi

SECRET = "webhook secret"
ALERTS = "select *, evidence ->> 'dag_run_id' as run_id from trading.alerts order by alert_id"
# DAGs on the deadline of the product, only shorter: one hangs unless it is for one account, one never starts,
# one fails at once, one is backfilled in time and one is not.
DAGS = """
from __future__ import annotations
import time
from datetime import timedelta
import pendulum
from airflow.sdk import CronDataIntervalTimetable, Param, dag, task
from airflow.sdk.exceptions import AirflowFailException
from kraken_airflow.dag_parts.deadlines import due_within, tell_of_failed_task

DUE = due_within(timedelta(seconds=4), narrowed_by={"accounts": []})

@dag(schedule=None, max_active_runs=4, params={"accounts": Param([], type="array")}, **DUE)
def slow():
    @task
    def work(params):
        time.sleep(0 if params["accounts"] else 12)
    work()

# Time enough to fail on a busy machine.
LATER = due_within(timedelta(seconds=30))

@dag(schedule=None, default_args={"on_failure_callback": tell_of_failed_task}, **LATER)
def red():
    @task
    def work():
        raise AirflowFailException("the key is refused")
    work()

slow()
red()

def make(dag_id, schedule, seconds, allowance=timedelta(minutes=1)):
    @dag(dag_id=dag_id, schedule=schedule, start_date=pendulum.datetime(2026, 1, 1, tz="UTC"), catchup=False,
         max_active_runs=4,
         **due_within(timedelta(seconds=4), backfill_allowance=allowance))
    def build():
        @task
        def work():
            time.sleep(seconds)
        work()
    return build()

make("never_started", None, 0)
make("quick", CronDataIntervalTimetable("0 0 * * *", timezone="UTC"), 0)
make("crawling", CronDataIntervalTimetable("0 0 * * *", timezone="UTC"), 20, timedelta(seconds=1))
"""


class Receiver:
    """A webhook that accepts everything, and keeps what was signed rightly."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        messages = self.messages

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                at, given = (
                    part.split("=")[1] for part in self.headers["X-Kraken-Recon-Signature"].split(",")
                )
                wanted = hmac.new(SECRET.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
                if hmac.compare_digest(wanted, given):
                    messages.append(json.loads(body))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Stay silent."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def about(self, text: str) -> list[dict[str, Any]]:
        return [message for message in self.messages if text in message["subject"]]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def api(
    tmp_path: Path,
    database_url: str,
    receiver: Receiver,
    project_environment: dict[str, str],
    start_airflow: StartAirflow,
) -> Iterator[AirflowApi]:
    """A healthy Airflow with the DAGs above, and the watch beside it."""
    dags = tmp_path / "dags"
    dags.mkdir()
    (dags / "late.py").write_text(DAGS)
    webhook = {
        "conn_type": "http",
        "host": f"http://127.0.0.1:{receiver.server.server_port}",
        "password": SECRET,
    }
    connections = {
        "AIRFLOW_CONN_TRADING_DB": postgres_connection(database_url),
        "AIRFLOW_CONN_ALERTS_WEBHOOK": json.dumps(webhook),
        "KRAKEN_RECON_ALERT_CHANNELS": "alerts_webhook",
        "AIRFLOW__CORE__DAGS_FOLDER": str(dags),
        "PYTHONPATH": project_environment["PYTHONPATH"],  # without our policy, which would refuse these DAGs
    }
    with start_airflow(connections) as airflow:
        airflow.wait_for("slow", "red", "never_started", "quick", "crawling")
        yield airflow.api


@pytest.mark.timeout(300)
def test_a_missed_deadline_is_told_within_half_a_minute(
    api: AirflowApi, database_url: str, receiver: Receiver
) -> None:
    def alerts(kind: str = "deadline_missed") -> list[dict[str, Any]]:
        with psycopg.connect(database_url, row_factory=dict_row) as session:
            rows = session.execute(ALERTS.encode()).fetchall()
        return [row for row in rows if row["kind"] == kind]

    def until(what: Callable[[], object], seconds: float = 60) -> None:
        assert poll_until(lambda: bool(what()), timeout_seconds=seconds, pause_seconds=0.2), alerts()

    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    for backfilled in ("quick", "crawling"):
        api.unpause(backfilled)
        api.create_backfill(
            backfilled,
            first=midnight - timedelta(days=40),
            last=midnight - timedelta(days=36),
            max_active_runs=2,
            run_backwards=False,
        )
    # One run never starts, because its DAG is paused; one hangs; two fail in time.
    never = api.trigger("never_started", {})
    for unpaused in ("slow", "red"):
        api.unpause(unpaused)
    slow = api.trigger("slow", {})
    red = [api.trigger("red", {}) for _ in range(2)]
    red_due = datetime.now(UTC) + timedelta(seconds=30)
    until(lambda: {row["run_id"] for row in alerts()} >= {never, slow})
    # One account's run makes up for nothing of the run that hangs.
    one = api.trigger("slow", {"accounts": ["desk"]})
    api.wait_for_run("slow", one, timeout_seconds=60, on_change=lambda _: None)
    rows = {row["run_id"]: row for row in alerts()}
    until(lambda: receiver.about("never_started") and receiver.about("slow"))
    for run_id in (never, slow):
        due = datetime.fromisoformat(rows[run_id]["evidence"]["due"])
        assert rows[run_id]["opened_at"] - due < timedelta(seconds=30)
        told = datetime.fromisoformat(receiver.about(rows[run_id]["asset"])[0]["created_at"])
        assert told - due < timedelta(seconds=30)
    assert rows[never]["evidence"]["state"] == "queued"
    # The run that was late succeeds in the end.
    until(lambda: next(row for row in alerts() if row["run_id"] == slow)["status"] == "resolved")
    resolved = next(row for row in alerts() if row["run_id"] == slow)
    assert resolved["resolution"] == f"run {slow} of slow succeeded"
    assert next(row for row in alerts() if row["run_id"] == never)["status"] == "open"
    assert [row for row in alerts() if row["asset"] == "quick" and row["wallet"] == "backfill"] == []
    # The runs of the other backfill are due together: they raise one alert, which is told once, in time.
    until(lambda: receiver.about("crawling backfill"))
    [crawling] = [row for row in alerts() if row["asset"] == "crawling" and row["wallet"] == "backfill"]
    due = datetime.fromisoformat(crawling["evidence"]["due"])
    assert timedelta(0) <= crawling["opened_at"] - due < timedelta(seconds=30)
    assert crawling["status"] == "open"
    assert "its backfill as a whole had not ended by" in crawling["message"]
    [told_once] = receiver.about("crawling backfill")
    assert datetime.fromisoformat(told_once["created_at"]) - due < timedelta(seconds=30)
    # On a busy machine the run for one account may be late as well; that is another alert.
    for dag_id in ("never_started", "slow"):
        told = [message["subject"] for message in receiver.about(f": {dag_id}")]
        assert told.count(f"[opened] deadline missed: {dag_id}") == 1
    # What failed in time is told once, as what it is, though its deadline has passed since.
    until(lambda: [row["occurrences"] for row in alerts("run_failure")] == [2])
    until(lambda: datetime.now(UTC) > red_due + timedelta(seconds=5))
    [failure] = alerts("run_failure")
    assert (failure["asset"], failure["occurrences"], failure["run_id"] in red) == ("red", 2, True)
    assert "task work: the key is refused" in failure["message"]
    assert [row for row in alerts() if row["asset"] == "red"] == []
    assert [message["subject"] for message in receiver.about("red")] == ["[opened] run failure: red"]
