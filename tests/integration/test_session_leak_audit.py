"""The session audit on a real server: what it writes down, what it may do, and what it never does."""

from __future__ import annotations

import base64
import json
import os
import secrets
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
import pytest
import sqlalchemy as sa
from psycopg.rows import dict_row

from kraken_recon.database import session_registry
from kraken_recon.database.unit_of_work import UnitOfWork, create_engine
from kraken_recon.errors import ConfigurationError, RunStoppedError
from kraken_recon.sessions.airflow_api import NoAirflow
from kraken_recon.sessions.auditing import AuditRequest, audit
from kraken_recon.sessions.rules.leaks import DEFAULT_ACTIONS, ActionPolicy, Thresholds
from kraken_recon.sessions.rules.records import AuditAction, AuditRule, Progress, TaskState, TaskStates
from kraken_recon.sessions.store import ServerSessions
from kraken_recon.values.task_identity import TaskIdentity
from kraken_recon.wiring import Wiring, source_of
from local_stack.processes import poll_until

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

IMPATIENT = Thresholds(hold_seconds=0, idle_seconds=0, settle_seconds=0, wait_seconds=0, lock_seconds=0)
ACTING = ActionPolicy(is_dry_run=False)


class Told:
    """An Airflow that says the same of every try."""

    def __init__(self, state: TaskState) -> None:
        self.state = state

    def task_states(self, tries: Collection[TaskIdentity]) -> TaskStates:
        return TaskStates({one.task_instance_id: self.state for one in tries}, 0)


ENDED = Told(TaskState("failed", Progress.ENDED, 3600))
AT_WORK = Told(TaskState("running", Progress.AT_WORK))


class Bench:
    """One database, its audit, and its sessions."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.airflow: Any = NoAirflow()
        self.look_as = url

    def audit(self, policy: ActionPolicy = ACTING, **changes: Any) -> dict[str, Any]:
        wiring = Wiring(
            self.url, lambda _: pytest.fail("asks no exchange"), application_name="kraken_recon:t"
        )
        looking = create_engine(self.look_as, application_name="kraken_recon:t")
        source = source_of("trading_db", lambda: UnitOfWork(looking))
        request = replace(AuditRequest(policy, IMPATIENT), **changes)
        return audit(request, wiring.audit_ports([source], self.airflow, acted_by="the test"))

    def rows(self, query: str) -> list[dict[str, Any]]:
        with psycopg.connect(self.url, row_factory=dict_row) as connection:
            return connection.execute(query.encode()).fetchall()

    def is_open(self, connection: psycopg.Connection) -> bool:
        pid = connection.info.backend_pid
        return bool(self.rows(f"select from pg_stat_activity where pid = {pid}"))


@pytest.fixture
def bench(database_url: str) -> Bench:
    return Bench(database_url)


@pytest.fixture
def leaked(bench: Bench) -> Iterator[psycopg.Connection]:
    """Yield a session of the project that idles in a transaction."""
    with psycopg.connect(bench.url, application_name="kraken_recon:leak", autocommit=True) as connection:
        connection.execute("begin")
        connection.execute("select 'S3CRET'")
        yield connection
        connection.close()


def task_engine(url: str, **changes: Any) -> sa.Engine:
    fields = {"task_instance_id": uuid4(), "dag_id": "a_dag", "run_id": "manual__1", "task_id": "a_task"}
    task = TaskIdentity(**{**fields, "map_index": 3, "try_number": 2, **changes})
    identity = base64.urlsafe_b64encode(task.task_instance_id.bytes).rstrip(b"=").decode()
    return create_engine(url, application_name=f"af1|{identity}|2|3|a_dag.a_task", task=task)


def test_by_default_nothing_is_done_and_all_is_written_down(bench: Bench, leaked: psycopg.Connection) -> None:
    for _ in range(2):
        view = bench.audit(ActionPolicy())
    assert view["sources"][0]["acted"] == 0
    assert bench.is_open(leaked)
    (finding,) = bench.rows("select * from trading.session_findings")
    assert (finding["rule"], finding["occurrences"]) == ("idle_in_transaction", 2)
    assert finding["last_seen_by"] == "the test"
    assert finding["evidence"]["statement"] == "select ?"
    assert [a["outcome"] for a in bench.rows("select * from trading.session_actions")] == ["dry_run"]
    (alert,) = bench.rows("select * from trading.alerts")
    assert (alert["kind"], alert["status"], alert["account_id"]) == ("session_leak", "open", None)
    assert alert["occurrences"] == 2
    everything = [bench.rows(f"select * from trading.session_{table}") for table in ("samples", "findings")]
    assert "S3CRET" not in str((everything, view, alert))


def test_a_leak_is_ended_once_noted_as_returned_and_its_alert_resolved(
    bench: Bench, leaked: psycopg.Connection
) -> None:
    bench.audit()
    assert poll_until(lambda: not bench.is_open(leaked), timeout_seconds=10)
    (action,) = bench.rows("select * from trading.session_actions")
    assert (action["action"], action["outcome"], action["acted_by"]) == ("terminate", "done", "the test")
    assert bench.audit()["findings"] == []
    (finding,) = bench.rows("select * from trading.session_findings")
    assert finding["returned_at"] is not None
    assert [row["status"] for row in bench.rows("select status from trading.alerts")] == ["resolved"]


def test_what_is_only_reported_is_left_alone(bench: Bench, leaked: psycopg.Connection) -> None:
    with UnitOfWork(create_engine(bench.url)) as unit:
        (judged,) = ServerSessions(unit).sample("trading_db", ["postgres"], is_ours=True).backends
        assert ServerSessions(unit).act(AuditAction.REPORT, judged) == "changed"
    assert bench.is_open(leaked)


def test_what_returns_by_itself_is_noted(bench: Bench, leaked: psycopg.Connection) -> None:
    bench.audit(ActionPolicy())
    leaked.execute("rollback")
    bench.audit(ActionPolicy(), thresholds=Thresholds())
    (finding,) = bench.rows("select * from trading.session_findings")
    assert finding["returned_at"] is not None
    leaked.execute("begin")
    bench.audit(ActionPolicy())
    assert len(bench.rows("select * from trading.session_findings")) == 2


@pytest.mark.parametrize("table", ["positions", "position_events", "ledger_entries"])
@pytest.mark.parametrize(
    "statement", ["delete from trading.{}", "select * from trading.{} for no key update"]
)
def test_a_session_that_may_be_applying_a_repair_is_never_ended(
    bench: Bench, leaked: psycopg.Connection, table: str, statement: str
) -> None:
    leaked.execute(statement.format(table).encode())
    bench.airflow = ENDED
    everything = ActionPolicy(most=dict.fromkeys(AuditRule, AuditAction.TERMINATE), is_dry_run=False)
    for _ in range(2):
        view = bench.audit(everything)
    assert [f["severity"] for f in view["findings"]] == ["critical"]
    assert bench.is_open(leaked)
    assert bench.rows("select * from trading.session_actions") == []


@pytest.mark.parametrize("stirs", ["begins a repair", "works on", "is another session", "has another name"])
@pytest.mark.parametrize("action", [AuditAction.CANCEL, AuditAction.TERMINATE])
def test_a_session_that_stirred_since_the_sample_is_left_alone(
    bench: Bench, leaked: psycopg.Connection, stirs: str, action: AuditAction
) -> None:
    with UnitOfWork(create_engine(bench.url)) as unit:
        (judged,) = ServerSessions(unit).sample("trading_db", ["postgres"], is_ours=True).backends
        if stirs == "begins a repair":
            leaked.execute("delete from trading.positions")
        elif stirs == "works on":
            leaked.execute("select 1")
        elif stirs == "is another session":
            judged = replace(judged, backend_start=judged.backend_start.replace(year=2020))
        else:
            judged = replace(judged, application_name="kraken_recon:another")
        assert ServerSessions(unit).act(action, judged) == "changed"
    assert bench.is_open(leaked)


def test_one_run_ends_few_and_the_next_goes_on(bench: Bench) -> None:
    leaks = [psycopg.connect(bench.url, application_name="kraken_recon:leak") for _ in range(5)]
    for leak in leaks:
        leak.execute("select 1")
    acted = [bench.audit(ActionPolicy(actions_max=2, is_dry_run=False))["sources"][0]["acted"] for _ in "abc"]
    assert acted == [2, 2, 1]
    assert poll_until(lambda: not any(map(bench.is_open, leaks)), timeout_seconds=10)
    for leak in leaks:
        leak.close()


def test_a_session_names_its_task_its_process_and_its_line(bench: Bench) -> None:
    with UnitOfWork(task_engine(bench.url)) as unit:
        unit.connection.execute(sa.text("select 1"))
        bench.airflow = ENDED
        (finding,) = bench.audit(ActionPolicy())["findings"]
    assert (finding["rule"], finding["dag_id"], finding["task_id"]) == ("owner_ended", "a_dag", "a_task")
    assert (finding["run_id"], finding["map_index"], finding["try_number"]) == ("manual__1", 3, 2)
    assert finding["evidence"]["process_id"] == os.getpid()
    assert finding["evidence"]["host"] == os.uname().nodename
    here = "integration/test_session_leak_audit.py:"
    assert finding["evidence"]["call_site"].startswith(here)
    assert "test_a_session_names_its_task" in finding["evidence"]["call_site"]
    assert "a_dag.a_task[3] try 2 of run manual__1" in finding["message"]


def test_a_sample_counts_pools_and_lock_waits_and_says_who_looked(
    bench: Bench, leaked: psycopg.Connection
) -> None:
    leaked.execute("lock table trading.tolerances")
    engine = task_engine(bench.url)
    with (
        psycopg.connect(bench.url, application_name="kraken_recon:waits") as waiter,
        ThreadPoolExecutor(1) as pool,
        UnitOfWork(engine) as unit,
    ):
        unit.connection.execute(sa.text("select 1"))
        waiting = pool.submit(waiter.execute, "lock table trading.tolerances")
        try:
            query = "select from pg_locks where waitstart < clock_timestamp() - interval '0.6 seconds'"
            assert poll_until(lambda: bool(bench.rows(query)), timeout_seconds=10)
            bench.audit(ActionPolicy())
        finally:
            leaked.execute("rollback")
            waiting.result(timeout=10)
    [sample] = bench.rows("select * from trading.session_samples")
    [owner] = bench.rows("select connections_max from trading.session_owners where dag_id is not null")
    assert (sample["waiting"], sample["audited_by"]) == (1, "the test")
    assert sample["longest_wait_seconds"] >= 1
    # Of the three sessions only the task's said how many it may have.
    assert (sample["pool_sessions"], sample["pool_limit"]) == (1, owner["connections_max"])


def test_an_airflow_that_cannot_be_asked_ends_nothing_and_returns_nothing(bench: Bench) -> None:
    with UnitOfWork(task_engine(bench.url)) as unit:
        unit.connection.execute(sa.text("select 1"))
        bench.airflow = ENDED
        assert len(bench.audit(ActionPolicy())["findings"]) == 1
        bench.airflow = NoAirflow()
        assert [f["rule"] for f in bench.audit()["findings"]] == ["owner_ended"]
        unit.connection.execute(sa.text("select 1"))
        bench.airflow = AT_WORK
        assert bench.audit()["findings"] == []


def test_a_place_is_registered_once_however_often_it_opens_sessions(bench: Bench) -> None:
    engine = task_engine(bench.url)
    for _ in range(3):
        with UnitOfWork(engine) as unit:
            first = unit.connection.scalar(sa.text("show application_name"))
    with UnitOfWork(engine) as unit:
        second = unit.connection.scalar(sa.text("show application_name"))
    rows = bench.rows("select *, xmin::text::bigint as changed from trading.session_owners order by changed")
    assert [row["application_name"] for row in rows] == [first, second]
    assert rows[0]["task_instance_id"] == rows[1]["task_instance_id"]


def test_a_task_told_to_end_while_it_registers_leaves_no_session(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The soak found it: such a session stayed until the garbage collector came by."""
    engine = task_engine(bench.url)

    def told_to_end(*_: Any) -> None:
        raise RunStoppedError("the task was told to end")

    def come_to_work() -> str:
        with UnitOfWork(engine) as unit:
            return str(unit.connection.scalar(sa.text("show application_name")))

    monkeypatch.setattr(session_registry, "_register", told_to_end)
    with pytest.raises(RunStoppedError) as stopped:  # its traceback holds on to everything
        come_to_work()
    assert stopped.value.__traceback__ is not None
    mine = "datname = current_database() and application_name like 'af1|%'"
    query = f"select 1 from pg_stat_activity where {mine}"
    assert poll_until(lambda: bench.rows(query) == [], timeout_seconds=5)
    monkeypatch.undo()
    name = come_to_work()
    (row,) = bench.rows("select application_name from trading.session_owners")
    assert row["application_name"] == name


def test_a_database_that_is_not_migrated_can_still_be_used(bench: Bench) -> None:
    with psycopg.connect(bench.url) as connection:
        connection.execute("drop table trading.session_owners")
    with UnitOfWork(task_engine(bench.url)) as unit:
        assert unit.connection.scalar(sa.text("select 1")) == 1


@pytest.fixture
def auditor(bench: Bench, postgres_admin: psycopg.Connection) -> Iterator[str]:
    """Yield the URL of a role made as docs/how-to/grant-the-audit.md says."""
    name = f"recon_audit_{secrets.token_hex(4)}"
    postgres_admin.execute(f"create role {name} login password 'audit' in role pg_read_all_stats")
    parts = urlsplit(bench.url)
    yield parts._replace(netloc=f"{name}:audit@{parts.hostname}:{parts.port}").geturl()
    postgres_admin.execute(f"drop role {name}")


def test_the_auditor_sees_all_and_ends_nothing_unless_granted(
    bench: Bench, leaked: psycopg.Connection, auditor: str, postgres_admin: psycopg.Connection
) -> None:
    """The application is no superuser here: a superuser's sessions only a superuser may end."""
    app = f"app_{secrets.token_hex(4)}"
    postgres_admin.execute(f"create role {app} login password 'app'")
    leaked.close()
    parts = urlsplit(bench.url)
    owner = parts._replace(netloc=f"{app}:app@{parts.hostname}:{parts.port}").geturl()
    with psycopg.connect(bench.url, autocommit=True) as connection:
        connection.execute(f"grant usage on schema trading to {app}")
        connection.execute(f"grant all on all tables in schema trading to {app}")
    bench.url, bench.look_as = owner, auditor
    leak = psycopg.connect(owner, application_name="kraken_recon:leak")
    try:
        leak.execute("select 1")
        bench.audit()
        actions = "select outcome from trading.session_actions order by action_id"
        assert [row["outcome"] for row in bench.rows(actions)] == ["not_permitted"]
        postgres_admin.execute(f"grant {app} to {urlsplit(auditor).username}")
        bench.audit()
        assert [row["outcome"] for row in bench.rows(actions)] == ["not_permitted", "done"]
        assert poll_until(lambda: not bench.is_open(leak), timeout_seconds=10)
    finally:
        leak.close()
        with psycopg.connect(parts._replace(netloc=parts.netloc).geturl(), autocommit=True) as connection:
            connection.execute(f"drop owned by {app}")
        postgres_admin.execute(f"drop role {app}")


def test_a_source_that_cannot_be_seen_is_named_and_stops_no_other(
    bench: Bench, leaked: psycopg.Connection
) -> None:
    wiring = Wiring(bench.url, lambda _: pytest.fail("asks no exchange"))
    gone = create_engine(f"{bench.url}_gone")

    def missing() -> UnitOfWork:
        raise ConfigurationError("connection airflow_db_audit does not exist")

    sources = [
        source_of("airflow_db_audit", missing, is_ours=False),
        source_of("metadata", lambda: UnitOfWork(gone), is_ours=False),
        source_of("trading_db", lambda: UnitOfWork(wiring.engine())),
    ]
    ports = wiring.audit_ports(sources, NoAirflow(), acted_by="the test")
    view = audit(AuditRequest(thresholds=IMPATIENT), ports)
    assert [name.split(":")[0] for name in view["failed"]] == ["airflow_db_audit", "metadata"]
    assert [f["rule"] for f in view["findings"]] == ["idle_in_transaction"]
    assert bench.is_open(leaked)


def test_what_is_old_is_forgotten(bench: Bench, leaked: psycopg.Connection) -> None:
    bench.audit()
    bench.audit()
    with psycopg.connect(bench.url) as connection:
        for table, column in (
            ("samples", "taken_at"),
            ("findings", "returned_at"),
            ("owners", "last_seen_at"),
        ):
            connection.execute(
                f"update trading.session_{table} set {column} = {column} - interval '15 days'".encode()
            )
    leaked.close()
    bench.audit()
    assert len(bench.rows("select * from trading.session_samples")) == 1
    assert bench.rows("select * from trading.session_findings") == []
    assert bench.rows("select * from trading.session_actions") == []
    kept = bench.rows(
        "select application_name from trading.session_owners where last_seen_at < now() - interval '3 days'"
    )
    assert kept == []


def test_the_command_draws_finds_and_ends(
    bench: Bench, leaked: psycopg.Connection, project_environment: dict[str, str], tmp_path: Path
) -> None:
    def command(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "kraken_recon", "audit", *arguments],
            env={**project_environment, "KRAKEN_RECON_DSN": bench.url},
            capture_output=True,
            text=True,
            check=False,
        )

    quiet = command()
    assert (quiet.returncode, "no findings" in quiet.stdout) == (0, True), quiet.stderr
    drawn = command("--plot", str(tmp_path / "sessions.png"))
    assert drawn.returncode == 0, drawn.stderr
    assert (tmp_path / "sessions.png").read_bytes().startswith(b"\x89PNG")
    with psycopg.connect(bench.url) as connection:
        connection.execute(
            "insert into trading.session_owners (application_name, host, process_id, call_site, hold_seconds,"
            " pool_size, connections_max) values ('kraken_recon:leak', 'worker', 7, 'script.py:1 f', 0, 0, 1)"
        )
    found = json.loads(command("--json").stdout)
    assert [(f["rule"], f["outcome"]) for f in found["findings"]] == [("idle_in_transaction", "dry_run")]
    assert "script.py:1 f; process 7 on worker" in found["findings"][0]["message"]
    assert bench.is_open(leaked)
    assert command("--act").returncode == 0
    assert poll_until(lambda: not bench.is_open(leaked), timeout_seconds=10)


def test_every_rule_has_a_policy_or_is_about_the_server() -> None:
    about_the_server = {
        AuditRule.CONNECTIONS_RISING,
        AuditRule.CONNECTIONS_NEAR_LIMIT,
        AuditRule.PREPARED_TRANSACTION,
        AuditRule.SLOT_HOLDS_HORIZON,
    }
    assert set(DEFAULT_ACTIONS) | about_the_server == set(AuditRule)
