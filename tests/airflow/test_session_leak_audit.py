"""The DAG as Airflow runs it, asking Airflow's own API how far tasks are."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import psycopg
import pytest
from airflow.configuration import conf
from airflow.sdk.observability.stats import Stats

from desks.dag_runs import read_dags, run_dag
from desks.logins import as_writer
from kraken_airflow import watch
from kraken_airflow.operators.session_leak_audit import audited_connections, request_of
from kraken_recon.errors import ConfigurationError
from kraken_recon.sessions.airflow_api import AirflowApi
from kraken_recon.sessions.rules.records import AuditAction, AuditRule, Progress
from kraken_recon.values.task_identity import TaskIdentity
from local_stack.databases import postgres_connection
from local_stack.ports import free_port
from local_stack.processes import poll_until

if TYPE_CHECKING:
    from collections.abc import Callable


DAG_ID = "session_leak_audit"


@pytest.fixture
def run(trading_db: str) -> Callable[..., Any]:  # noqa: ARG001 - its connection is used
    dag = read_dags().dags[DAG_ID]

    def audit(**params: Any) -> Any:
        return run_dag(dag, run_conf=params)

    return audit


def idle_seconds(url: str) -> float:
    """Ask the server for how long the leak has been idle in its transaction."""
    query = (
        "select extract(epoch from clock_timestamp() - state_change)::float8 from pg_stat_activity"
        " where application_name = 'kraken_recon:leak' and state = 'idle in transaction'"
    )
    with psycopg.connect(url) as session:
        row = session.execute(query).fetchone()
    return row[0] if row else 0.0


@pytest.mark.usefixtures("api")
def test_a_run_finds_names_and_ends_a_leak(
    run: Callable[..., Any], trading_db: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    gauges: dict[str, float] = {}
    monkeypatch.setattr(Stats, "gauge", lambda name, value, **_: gauges.update({name: value}))
    leak = psycopg.connect(as_writer(trading_db), application_name="kraken_recon:leak")
    try:
        leak.execute("select 1")
        assert poll_until(lambda: idle_seconds(trading_db) > 1, timeout_seconds=10)
        run(hold_seconds=1)
        done = run(hold_seconds=1, dry_run=False)
    finally:
        leak.close()
    assert str(done.state) == "success"
    with psycopg.connect(trading_db) as connection:
        query = "select action, outcome from trading.session_actions order by action_id"
        assert connection.execute(query).fetchall() == [("terminate", "dry_run"), ("terminate", "done")]
        owners = connection.execute("select distinct dag_id, task_id from trading.session_owners").fetchall()
    assert (DAG_ID, "audit_sessions") in owners
    assert gauges["kraken_recon.sessions.idle_in_transaction"] == 1
    assert gauges["kraken_recon.sessions.connections_limit"] > 0


def test_airflow_is_asked_about_each_try(run: Callable[..., Any], api: AirflowApi) -> None:
    done = run()
    [ti] = [ti for ti in done.get_task_instances() if ti.task_id == "audit_sessions"]
    ended = TaskIdentity(ti.id, DAG_ID, done.run_id, "audit_sessions", -1, ti.try_number)
    forgotten = TaskIdentity(uuid4(), DAG_ID, "no such run", "audit_sessions", -1, 1)
    states = api.task_states([ended, forgotten])
    assert states is not None
    assert set(states.of_try) == {ti.id}
    assert (states.of_try[ti.id].name, states.of_try[ti.id].progress) == ("success", Progress.ENDED)
    assert states.of_try[ti.id].ended_seconds >= 0


def test_people_are_told_of_a_watch_that_died(
    run: Callable[..., Any], trading_db: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrived: list[dict[str, Any]] = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            arrived.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Stay silent."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        webhook = {"conn_type": "http", "host": f"http://127.0.0.1:{server.server_port}"}
        monkeypatch.setenv("AIRFLOW_CONN_ALERTS_WEBHOOK", json.dumps(webhook))
        monkeypatch.setenv("KRAKEN_RECON_ALERT_CHANNELS", "alerts_webhook")
        assert watch.main(["--once"]) == 0
        assert str(run().state) == "success"
        assert arrived == []
        with psycopg.connect(trading_db) as session:
            session.execute(
                "update trading.heartbeats set beat_at = beat_at - interval '1 hour' where job = 'watch'"
            )
        for _ in range(2):
            assert str(run().state) == "success"
        assert [message["subject"] for message in arrived] == ["[opened] watch silent: watch"]
        assert watch.main(["--once"]) == 0
        assert str(run().state) == "success"
        server.shutdown()
    with psycopg.connect(trading_db) as session:
        alerts = session.execute("select kind, status from trading.alerts").fetchall()
        beats = session.execute("select job from trading.heartbeats order by 1").fetchall()
    assert alerts == [("watch_silent", "resolved")]
    assert beats == [(DAG_ID,), ("watch",)]


def test_an_airflow_that_is_not_there_tells_nothing() -> None:
    assert AirflowApi(f"http://127.0.0.1:{free_port()}", "u", "p").task_states([]) is None


def test_a_run_without_the_api_works_and_knows_less(run: Callable[..., Any], trading_db: str) -> None:
    assert conf.get("core", "dags_folder")
    assert str(run().state) == "success"
    with psycopg.connect(trading_db) as connection:
        assert connection.execute("select excess from trading.session_samples").fetchall() == [(None,)]


def test_another_database_is_looked_at_and_an_unreachable_one_fails_the_run(
    run: Callable[..., Any], trading_db: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = trading_db.rsplit("/", 1)[0]
    monkeypatch.setenv("AIRFLOW_CONN_METADATA_AUDIT", postgres_connection(f"{other}/postgres"))
    assert str(run(connections=["trading_db", "metadata_audit"]).state) == "success"
    monkeypatch.setenv("AIRFLOW_CONN_METADATA_AUDIT", postgres_connection(f"{other}/no_such_database"))
    assert str(run(connections=["trading_db", "metadata_audit"]).state) != "success"
    with psycopg.connect(trading_db) as connection:
        rows = connection.execute(
            "select source, count(*) from trading.session_samples group by 1"
        ).fetchall()
    assert dict(rows)["metadata_audit"] == 1
    assert dict(rows)["trading_db"] >= 2


def test_the_form_is_read_strictly() -> None:
    request = request_of({"policy": {"over_pool": "report"}, "hold_seconds": 5, "dry_run": False})
    assert request.policy.most[AuditRule.OVER_POOL] is AuditAction.REPORT
    assert request.policy.most[AuditRule.OWNER_ENDED] is AuditAction.TERMINATE
    assert (request.thresholds.hold_seconds, request.policy.is_dry_run) == (5, False)
    assert request_of({}).policy.is_dry_run
    for policy in ({"no_such_rule": "report"}, {"over_pool": "kill"}):
        with pytest.raises(ConfigurationError, match="policy"):
            request_of({"policy": policy})


def test_every_rule_and_alert_has_its_section() -> None:
    runbook = (Path(__file__).parents[2] / "docs/runbooks/session_leak_audit.md").read_text()
    missing = [rule for rule in AuditRule if f"\n### `{rule}`\n" not in runbook]
    assert not missing, f"say in the runbook what to do about {missing}"
    assert all(kind in runbook for kind in ("session_leak", "pool_pressure"))


@pytest.mark.parametrize(
    ("text", "url", "user"),
    [
        ('{"conn_type": "http", "host": "http://a:1", "login": "u", "password": "p"}', "http://a:1", "u"),
        ('{"conn_type": "http", "host": "a", "port": 2, "schema": "https"}', "https://a:2", ""),
        ("http://u:p%40@a:3", "http://a:3", "u"),
        ("http://u:p@a:3/https", "https://a:3", "u"),
    ],
)
def test_the_connection_is_read_from_its_variable(text: str, url: str, user: str) -> None:
    api = AirflowApi.from_environment({"AIRFLOW_CONN_AIRFLOW_API": text})
    assert api is not None
    assert (api.base_url, api.user) == (url, user)
    assert "p@" not in repr(api)


def test_a_connection_that_cannot_be_read_is_named() -> None:
    assert AirflowApi.from_environment({}) is None
    for text in ("{", '{"conn_type": "http"}', "http://"):
        with pytest.raises(ConfigurationError, match="AIRFLOW_CONN_AIRFLOW_API"):
            AirflowApi.from_environment({"AIRFLOW_CONN_AIRFLOW_API": text})


@pytest.mark.parametrize(
    ("given", "audited"),
    [
        (None, ["trading_db"]),
        ("", ["trading_db"]),
        ("trading_db, airflow_db_audit,", ["trading_db", "airflow_db_audit"]),
    ],
)
def test_what_is_audited_is_named_in_the_environment(given: str | None, audited: list[str]) -> None:
    environment = {} if given is None else {"KRAKEN_RECON_AUDITED_CONNECTIONS": given}
    assert audited_connections(environment) == audited
