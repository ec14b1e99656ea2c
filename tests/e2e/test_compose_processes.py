"""The deployment of docker-compose.yaml, started without containers: real Redis, two Celery workers."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import subprocess
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import psutil
import psycopg
import pytest

from desks.compose_services import AIRFLOW_SERVICES, Composed
from local_stack import airflow
from local_stack.binaries import find_programs
from local_stack.processes import Services, poll_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from conftest import Simulator

SECRET = "ZGVzay1zZWNyZXQ="
DESKS = [f"desk-{number}" for number in range(1, 7)]
RUN_TIMEOUT_SECONDS = 180
LOGINS = ("airflow", "trading_owner", "trading_writer", "trading_audit", "trading_reader")
CALL_KRAKEN = {"worker-exchange", "triggerer"}


@pytest.fixture
def composed(tmp_path: Path, postgres_url: str, simulator: Simulator) -> Iterator[Composed]:
    """The file, translated, with its databases made as it says and six desks at the exchange."""
    server = urlsplit(postgres_url)
    variables = {"KRAKEN_RECON_ALLOWED_HOSTS": "127.0.0.1", "KRAKEN_RECON_AIRFLOW_DAYS_KEPT": "30"}
    made = Composed(tmp_path, f"{server.hostname}:{server.port}", variables)
    connections = json.loads(made.secret("connections_exchange.json"))
    for number, name in enumerate(DESKS):
        simulator.control.post(
            "accounts",
            {
                "name": name, "api_key": f"{name}-canary", "api_secret": SECRET, "tier": "unlimited",
                "entries": [
                    {
                        "id": f"LAAAAA-00001-{number:06}", "refid": f"QAAAAA-00001-{number:06}",
                        "time": "1767225600", "type": "deposit", "subtype": "", "aclass": "currency",
                        "asset": "ZUSD", "amount": "1000.0000", "fee": "0",
                    }
                ],
            },
        )  # fmt: skip
        connections[name] = {
            "conn_type": "kraken",
            "login": f"{name}-canary",
            "password": SECRET,
            "host": simulator.base_url,
            "extra": {"tier": "unlimited"},
        }
    (made.secrets / "connections_exchange.json").write_text(json.dumps(connections))
    defaults = json.loads(made.secret("connections_default.json"))
    defaults["airflow_db_clean"] = made.secret("airflow_database_url").replace("+psycopg2", "")
    (made.secrets / "connections_default.json").write_text(json.dumps(defaults))
    psql = [str(find_programs() / "psql"), "--set", "ON_ERROR_STOP=1", "--quiet", postgres_url]
    subprocess.run(psql, input=made.roles(), text=True, check=True)
    yield made
    with psycopg.connect(postgres_url, autocommit=True) as session:
        for name in ("airflow", "trading"):
            session.execute(f"drop database {name} with (force)".encode())
        for name in LOGINS:
            session.execute(f"drop role {name}".encode())


@pytest.fixture
def services(composed: Composed, tmp_path: Path) -> Iterator[Services]:
    """Everything that the file starts, healthy."""
    running = Services(tmp_path)
    try:
        running.ensure(composed.redis())
        init = composed.service("init")
        done = subprocess.run(
            init.command, env=dict(init.environment), capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"init failed:\n{done.stdout}\n{done.stderr}"
        for name in AIRFLOW_SERVICES:
            running.ensure(composed.service(name))
        yield running
    finally:
        running.stop(running.names())


def found_in(text: str, composed: Composed) -> set[str]:
    """Name the secrets that a text holds: every password, and every key."""
    given = composed.given("postgres") | composed.given("init") | {"redis": composed.secret("redis_password")}
    canaries = {name: secret.strip() for name, secret in given.items()}
    canaries |= {"key": "-canary", "private key": SECRET}
    return {what for what, secret in canaries.items() if secret in text}


def check_secrets(composed: Composed, services: Services) -> None:
    """No process has a secret in its environment or arguments; keys are only where Kraken is called."""
    seen = 0
    for name in AIRFLOW_SERVICES:
        pid = services.pid_of(f"airflow-{name}")
        assert pid is not None, name
        root = psutil.Process(pid)
        for process in (root, *root.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                told = "\0".join((*process.environ().values(), *process.cmdline()))
                assert found_in(told, composed) == set(), f"{name}: {process.cmdline()}"
                seen += 1
        files = "".join(composed.given(name).values())
        assert (("-canary" in files), (SECRET in files)) == ((name in CALL_KRAKEN),) * 2, name
    assert seen > len(AIRFLOW_SERVICES)


def check_their_health(composed: Composed, services: Services) -> None:
    """Ask every service as its container does, every half a minute for ever: it must cost nearly nothing."""
    heartbeat = composed.state_dir / "homes" / "watch" / "tmp" / "watch.heartbeat"
    assert poll_until(heartbeat.exists, timeout_seconds=30, pause_seconds=0.2)
    for name in AIRFLOW_SERVICES:
        pid = services.pid_of(f"airflow-{name}")
        assert pid is not None, name
        command, environment = composed.health_check(name, pid)
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert done.returncode == 0, f"{name}: {command}\n{done.stdout}\n{done.stderr}"
        spent_seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        assert spent_seconds < 1, f"{name}: {spent_seconds} s"
    command, environment = composed.health_check("worker-default", pid)
    nobody = subprocess.run(command, env={**environment, "HOSTNAME": "nobody"}, check=False)
    assert nobody.returncode == 1


def clean_airflow(composed: Composed, api: airflow.AirflowApi) -> None:
    """Let `maintenance` delete what Airflow recorded long ago, from a task that may not use its database."""
    metadata = composed.secret("airflow_database_url").replace("+psycopg2", "")
    with psycopg.connect(metadata) as session:
        session.execute("insert into log (dttm, event) values ('2020-01-01', 'old'), (now(), 'new')")
    api.unpause("maintenance")
    cleaned = api.trigger("maintenance", {})
    state = api.wait_for_run("maintenance", cleaned, timeout_seconds=90, on_change=lambda _: None)
    assert state == "success", api.failed_tasks("maintenance", cleaned)
    with psycopg.connect(metadata) as session:
        left = session.execute("select event from log where event in ('old', 'new')").fetchall()
    assert left == [("new",)]


@pytest.mark.timeout(360)
def test_a_worker_that_is_killed_loses_nothing(
    composed: Composed, services: Services, simulator: Simulator
) -> None:
    login = airflow.Login(
        f"http://127.0.0.1:{composed.api_port}", "admin", composed.secret("airflow_admin_password")
    )
    api = airflow.AirflowApi(login)
    api.wait_until_healthy(services)
    api.wait_until_parsed("position_sync")
    check_their_health(composed, services)

    def rows(query: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(composed.secret("trading_database_url")) as session:
            return session.execute(query.encode()).fetchall()

    with psycopg.connect(composed.secret("trading_database_url")) as session:
        session.cursor().executemany(
            "insert into trading.accounts (name, kraken_conn_id) values (%s, %s)", [(n, n) for n in DESKS]
        )
    simulator.control.post("faults", {"name": "slow", "endpoint": "BalanceEx", "seconds": 8, "count": 2})
    api.unpause("position_sync")
    check_secrets(composed, services)

    def calls() -> int:
        return len(simulator.control.get("truth")["faults"])

    assert poll_until(lambda: calls() > 0, timeout_seconds=90, pause_seconds=0.2), services.end_of_log(
        "airflow-worker-exchange"
    )
    pid = services.pid_of("airflow-worker-exchange")
    assert pid is not None
    os.killpg(pid, signal.SIGKILL)
    services.ensure(composed.service("worker-exchange"))

    succeeded = "select account_id from trading.reconciliation_runs where status = 'succeeded'"
    assert poll_until(
        lambda: len(rows(succeeded)) == len(DESKS), timeout_seconds=RUN_TIMEOUT_SECONDS, pause_seconds=0.5
    ), services.end_of_log("airflow-scheduler")
    run_id = api.run_under_way("position_sync", patience_seconds=0)
    if run_id is not None:
        ended = api.wait_for_run("position_sync", run_id, timeout_seconds=60, on_change=lambda _: None)
        assert ended == "success"
    assert rows("select distinct asset, quantity from trading.positions") == [("USD", 1000)]
    assert rows("select count(*), count(distinct account_id) from trading.position_events") == [(6, 6)]
    api.unpause("session_leak_audit")
    audited = api.trigger("session_leak_audit", {})
    state = api.wait_for_run("session_leak_audit", audited, timeout_seconds=60, on_change=lambda _: None)
    assert state == "success"
    clean_airflow(composed, api)
    # Only an Airflow that answered says how many sessions its running tasks should have.
    assert rows("select count(*) from trading.session_samples where excess is not null") != [(0,)]
    assert {job for (job,) in rows("select job from trading.heartbeats")} >= {
        "position_sync",
        "session_leak_audit",
        "watch",
    }
    logs = [path for path in composed.state_dir.rglob("*.log") if path.is_file()]
    told = {path: found_in(path.read_text(errors="replace"), composed) for path in logs}
    assert len(logs) > len(AIRFLOW_SERVICES)
    assert {path: found for path, found in told.items() if found} == {}
    # All of it was done by logins that may not rewrite what was recorded.
    with (
        psycopg.connect(composed.secret("trading_database_url")) as session,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        session.execute("update trading.ledger_entries set amount = 0")
    # Where nothing but these can be written, nothing else may be; secrets are mounted.
    homes = composed.state_dir / "homes"
    written = [
        path.relative_to(homes) for path in homes.rglob("*") if path.is_file() and not path.is_symlink()
    ]
    assert [path for path in written if path.parts[1] not in {"tmp", "secrets"}] == []
    assert {path.name for path in written} >= {"airflow.cfg", "watch.heartbeat"}
