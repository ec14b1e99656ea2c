"""The doctor at one healthy desk, where each fault is planted for real: in database, simulator, Airflow."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
import sqlalchemy as sa
from airflow.utils.session import create_session

from desks.logins import PASSWORD, as_writer
from desks.pgbouncer import pgbouncer
from kraken_recon.alerts.silence_rules import SILENCE_MAX, Job
from kraken_recon.cli.main import main
from kraken_recon.doctor import examining, machine
from kraken_recon.kraken.client import READ_PERMISSIONS
from kraken_recon.wiring import utc_now
from local_stack.databases import postgres_connection

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import psycopg

    from desks.airflow import AirflowDesk

ACCOUNT = "desk1"
OTHER = "desk2"
AUDIT = f"recon_doctor_{os.getpid()}"
pytestmark = pytest.mark.usefixtures("api", "components")
COMPONENTS = ("SchedulerJob", "TriggererJob", "DagProcessorJob")


@dataclass
class Patient:
    """A desk that the doctor looks at."""

    desk: AirflowDesk
    audit_url: str
    patch: pytest.MonkeyPatch
    place: Path
    capsys: pytest.CaptureFixture[str]

    def examined(self) -> dict[str, Any]:
        status = main(["doctor", "--json"])
        printed = self.capsys.readouterr()
        # The API server of this process writes its log to the same place.
        view = json.loads(printed.out[printed.out.index("{\n") : printed.out.rindex("}\n") + 1])
        assert status == view["exit_status"] == (0 if view["healthy"] else 1)
        self.shows_no_secret(printed.out + printed.err)
        return view

    def shows_no_secret(self, printed: str) -> None:
        secrets = [*self.desk.secrets.values(), *(f"key-of-{name}" for name in self.desk.secrets)]
        assert [secret for secret in [*secrets, "s3cret-password"] if secret in printed] == []

    def told(self, check: str, health: str) -> str:
        """Say what the doctor says of something, with what it means and what to do."""
        view = self.examined()
        found = [one for one in view["checks"] if (one["check"], one["health"]) == (check, health)]
        assert found, json.dumps(view, indent=2)
        assert all(all(one.values()) for one in found)
        return " ".join(f"{one['what']} {one['meaning']} {one['remedy']}" for one in found)

    def key(self, *permissions: str, account: str = ACCOUNT, **changes: Any) -> None:
        rights = {"permissions": sorted(permissions)} if permissions else {}
        self.desk.simulator.control.patch(f"accounts/{account}", rights | changes)

    def use(self, url: str) -> None:
        """Change how commands sign in to the trading database."""
        self.patch.setenv("KRAKEN_RECON_DSN", url)

    @property
    def url(self) -> str:
        return as_writer(self.desk.database_url)


def in_airflow(statement: str, **values: object) -> None:
    """Change Airflow's own tables."""
    with create_session() as session:
        session.execute(sa.text(statement), values)


@pytest.fixture(scope="module")
def components() -> Iterator[None]:
    """Let Airflow's components seem alive, and its DAGs and pools be as they should."""
    for kind in COMPONENTS:
        in_airflow("insert into job (job_type, state) values (:kind, 'running')", kind=kind)
    everything_is_well()
    yield
    in_airflow("delete from job")
    in_airflow("update dag set is_paused = true")


def everything_is_well() -> None:
    in_airflow("update job set latest_heartbeat = :soon", soon=utc_now() + timedelta(hours=1))
    in_airflow("update dag set is_paused = false, is_stale = false, has_import_errors = false")
    in_airflow("delete from import_error")
    for name, slots in (("kraken_api", 8), ("desk_books", 4)):
        in_airflow("delete from slot_pool where pool = :name", name=name)
        in_airflow(
            "insert into slot_pool (pool, slots, include_deferred) values (:name, :slots, false)",
            name=name,
            slots=slots,
        )


@pytest.fixture
def audit_login(database_url: str, postgres_admin: psycopg.Connection) -> Iterator[str]:
    """A role as docs/how-to/grant-the-audit.md makes it."""
    postgres_admin.execute(f"create role {AUDIT} login password '{PASSWORD}' in role pg_read_all_stats")
    parts = urlsplit(database_url)
    yield parts._replace(netloc=f"{AUDIT}:{PASSWORD}@{parts.netloc.rpartition('@')[2]}").geturl()
    postgres_admin.execute(f"drop role {AUDIT}")


@pytest.fixture
def patient(
    desk: AirflowDesk,
    audit_login: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Patient:
    """A desk with two accounts, everything of which works."""
    for name in (ACCOUNT, OTHER):
        desk.account(name, ZUSD="1000")
    (tmp_path / "logs").mkdir()
    monkeypatch.setenv("AIRFLOW__LOGGING__BASE_LOG_FOLDER", str(tmp_path / "logs"))
    monkeypatch.setenv("KRAKEN_RECON_DESK_BOOKS", str(tmp_path / "desk_books"))
    monkeypatch.setenv("KRAKEN_RECON_DSN", as_writer(desk.database_url))
    monkeypatch.setenv("AIRFLOW_CONN_TRADING_DB_AUDIT", postgres_connection(audit_login))
    monkeypatch.setenv("KRAKEN_RECON_AUDITED_CONNECTIONS", "trading_db_audit")
    for job in Job:
        beat(desk, job, age=timedelta(seconds=5))
    return Patient(desk, audit_login, monkeypatch, tmp_path, capsys)


def beat(desk: AirflowDesk, job: Job, age: timedelta) -> None:
    minutes = SILENCE_MAX[job] // timedelta(minutes=1)
    desk.execute(
        "insert into trading.heartbeats (job, beat_at, limit_minutes) values (%s, %s, %s)"
        " on conflict (job) do update set beat_at = excluded.beat_at",
        str(job),
        utc_now() - age,
        minutes,
    )


def test_a_healthy_desk_is_told_so(patient: Patient) -> None:
    view = patient.examined()
    assert view["healthy"], json.dumps(view, indent=2)
    assert view["counts"] == {"wrong": 0, "warning": 0, "not checked": 0, "ok": len(view["checks"])}
    assert len(view["checks"]) > 20
    main(["doctor"])
    printed = patient.capsys.readouterr().out
    assert "Healthy: " in printed
    patient.shows_no_secret(printed)


# ---- what is wrong with the trading database


def no_database(patient: Patient) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    patient.use(f"postgresql://reader:s3cret-password@127.0.0.1:{port}/trading")


def no_such_database(patient: Patient) -> None:
    patient.use(urlsplit(patient.url)._replace(path="/nowhere").geturl())


def wrong_password(patient: Patient) -> None:
    patient.use(patient.url.replace(PASSWORD, "s3cret-password"))


def no_dsn(patient: Patient) -> None:
    patient.patch.delenv("KRAKEN_RECON_DSN")
    patient.patch.delenv("AIRFLOW_CONN_TRADING_DB")


def lacks_a_right(patient: Patient) -> None:
    patient.desk.execute("revoke insert on trading.position_events from kraken_recon_writer")


def no_writer(patient: Patient) -> None:
    patient.use(patient.audit_url)


def audit_sees_little(patient: Patient) -> None:
    patient.patch.setenv("AIRFLOW_CONN_TRADING_DB_AUDIT", postgres_connection(patient.url))


def audit_ends_blindly(patient: Patient) -> None:
    patient.desk.execute(f"revoke pg_read_all_stats from {AUDIT}")
    patient.desk.execute(f"grant pg_signal_backend to {AUDIT}")


def older_schema(patient: Patient) -> None:
    patient.desk.execute("update trading.alembic_version set version_num = '0000'")


def newer_schema(patient: Patient) -> None:
    patient.desk.execute("update trading.alembic_version set version_num = '9999'")


def no_schema(patient: Patient) -> None:
    patient.desk.execute("drop schema trading cascade")


def takes_no_writes(patient: Patient) -> None:
    patient.desk.execute(
        "do $$ begin execute format('alter database %%I set default_transaction_read_only = on',"
        " current_database()); end $$"
    )


def silent_watch(patient: Patient) -> None:
    beat(patient.desk, Job.WATCH, age=timedelta(minutes=6))


def silent_sync(patient: Patient) -> None:
    beat(patient.desk, Job.POSITION_SYNC, age=timedelta(minutes=46))


# ---- what is wrong with Kraken and with keys


def wrong_private_key(patient: Patient) -> None:
    patient.key(api_secret="b3RoZXItc2VjcmV0LW9mLXRoZS10ZXN0")


def unknown_key(patient: Patient) -> None:
    patient.key(api_key="key-of-nobody")


def no_ledger_right(patient: Patient) -> None:
    patient.key(*(READ_PERMISSIONS - {"query-ledger"}))


def no_funds_right(patient: Patient) -> None:
    patient.key(*(READ_PERMISSIONS - {"query-funds"}))


def no_order_right(patient: Patient) -> None:
    patient.key(*(READ_PERMISSIONS - {"query-open-trades"}))


def cannot_trade(patient: Patient) -> None:
    patient.desk.execute(
        "insert into trading.orders (account_id, source, pair, base, quote, side, order_type, volume)"
        " select account_id, 'manual', 'BTC/USD', 'BTC', 'USD', 'buy', 'market', 1 from trading.accounts"
        " where name = %s",
        ACCOUNT,
    )


def may_withdraw(patient: Patient) -> None:
    patient.key(*READ_PERMISSIONS, "withdraw-funds")


def sees_a_window(patient: Patient) -> None:
    patient.key(query_from=1_700_000_000)


def expires_soon(patient: Patient) -> None:
    patient.key(valid_until=int(utc_now().timestamp()) + 86_400)


def clock_ahead(patient: Patient) -> None:
    patient.desk.simulator.control.post(
        "clock", {"mode": "virtual", "now": str(int(utc_now().timestamp()) - 60)}
    )


def clock_behind(patient: Patient) -> None:
    patient.desk.simulator.control.post(
        "clock", {"mode": "virtual", "now": str(int(utc_now().timestamp()) + 5)}
    )


def maintenance(patient: Patient) -> None:
    patient.desk.simulator.control.post("system", {"status": "maintenance"})


def connect_account(patient: Patient, **changes: Any) -> None:
    variable = f"AIRFLOW_CONN_KRAKEN_{ACCOUNT.upper()}"
    patient.patch.setenv(variable, json.dumps(json.loads(os.environ[variable]) | changes))


def unreachable_kraken(patient: Patient) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        connect_account(patient, host=f"http://127.0.0.1:{taken.getsockname()[1]}")


def missing_connection(patient: Patient) -> None:
    patient.patch.delenv(f"AIRFLOW_CONN_KRAKEN_{ACCOUNT.upper()}")


def refused_host(patient: Patient) -> None:
    connect_account(patient, host="https://kraken.example")


def shared_key(patient: Patient) -> None:
    other = os.environ[f"AIRFLOW_CONN_KRAKEN_{OTHER.upper()}"]
    patient.patch.setenv(f"AIRFLOW_CONN_KRAKEN_{ACCOUNT.upper()}", other)


# ---- what is wrong with Airflow


def no_pool(_: Patient) -> None:
    in_airflow("delete from slot_pool where pool = 'kraken_api'")


def no_slots(_: Patient) -> None:
    in_airflow("update slot_pool set slots = 0 where pool = 'kraken_api'")


def no_desk_pool(patient: Patient) -> None:
    declare_book(patient, "sqlite:///" + str(patient.place / "arena.db"))
    in_airflow("delete from slot_pool where pool = 'desk_books'")


def paused_sync(_: Patient) -> None:
    in_airflow("update dag set is_paused = true where dag_id = 'position_sync'")


def paused_maintenance(_: Patient) -> None:
    in_airflow("update dag set is_paused = true where dag_id = 'maintenance'")


def missing_dag(_: Patient) -> None:
    in_airflow("update dag set is_stale = true where dag_id = 'order_execution'")


def broken_file(_: Patient) -> None:
    in_airflow("update dag set has_import_errors = true where dag_id = 'repair_approval'")


def import_error(_: Patient) -> None:
    trace = "Traceback (most recent call last):\nImportError: no module named kraken_airflow"
    in_airflow(
        "insert into import_error (timestamp, filename, bundle_name, stacktrace)"
        " values (:now, 'position_sync.py', 'dags-folder', :trace)",
        now=utc_now(),
        trace=trace,
    )


def silent_scheduler(_: Patient) -> None:
    past = utc_now() - timedelta(minutes=5)
    in_airflow("update job set latest_heartbeat = :past where job_type = 'SchedulerJob'", past=past)


def no_api_server(patient: Patient) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"http://127.0.0.1:{taken.getsockname()[1]}"
    patient.patch.setenv("AIRFLOW_CONN_AIRFLOW_API", json.dumps({"conn_type": "http", "host": address}))


# ---- what is wrong with desks, and with the machine


def declare_book(patient: Patient, connection: str = "") -> None:
    folder = patient.place / "desk_books"
    folder.mkdir()
    (folder / "arena.yaml").write_text(
        "name: arena\nconnection: arena_db\n"
        f"accounts: {{{ACCOUNT}: bot}}\n"
        "positions: {table: positions, account: account, quantity: quantity, asset: {column: symbol}}\n"
    )
    if connection:
        patient.patch.setenv("AIRFLOW_CONN_ARENA_DB", connection)


def book_without_connection(patient: Patient) -> None:
    declare_book(patient)


def book_without_table(patient: Patient) -> None:
    file = patient.place / "arena.db"
    file.touch()
    declare_book(patient, f"sqlite:///{file}")


def broken_declaration(patient: Patient) -> None:
    declare_book(patient)
    (patient.place / "desk_books/arena.yaml").write_text("name: arena\nconection: arena_db\n")


def no_log_folder(patient: Patient) -> None:
    (patient.place / "logs").rmdir()
    (patient.place / "logs").touch()


def unsupported(patient: Patient, name: str, version: str) -> None:
    """Install nothing, and say that it is installed: what a distribution's metadata are."""
    metadata = patient.place / f"packages/{name.replace('-', '_')}-{version}.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    patient.patch.syspath_prepend(patient.place / "packages")


def old_sqlalchemy(patient: Patient) -> None:
    unsupported(patient, "sqlalchemy", "1.4.54")


def old_airflow(patient: Patient) -> None:
    unsupported(patient, "apache-airflow", "2.11.0")


def second_plugin(patient: Patient) -> None:
    (patient.place / "plugins/kraken_airflow").mkdir(parents=True)
    (patient.place / "plugins/kraken_airflow/__init__.py").touch()
    patient.patch.setenv("AIRFLOW__CORE__PLUGINS_FOLDER", str(patient.place / "plugins"))


def clear_text_connections(patient: Patient) -> None:
    patient.patch.setenv("AIRFLOW__CORE__FERNET_KEY", "")


def guessed_secret(patient: Patient) -> None:
    patient.patch.setenv("AIRFLOW__API_AUTH__JWT_SECRET", "airflow")


KEY, CONNECTION = f"key of {ACCOUNT}", f"connection of {ACCOUNT}"
FAULTS: list[tuple[Callable[[Patient], None], str, str, str]] = [
    (no_database, "database", "wrong", "refused"),
    (no_such_database, "database", "wrong", "nowhere"),
    (wrong_password, "database", "wrong", "password"),
    (no_dsn, "database", "wrong", "set KRAKEN_RECON_DSN"),
    (lacks_a_right, "role", "wrong", "insert on table trading.position_events"),
    (no_writer, "role", "wrong", "grant kraken_recon_writer to"),
    (audit_sees_little, "session audit trading_db_audit", "warning", "grant pg_read_all_stats"),
    (audit_ends_blindly, "session audit trading_db_audit", "wrong", "grant pg_read_all_stats"),
    (takes_no_writes, "database", "wrong", "takes no writes"),
    (no_schema, "schema", "wrong", "migrate"),
    (older_schema, "schema", "wrong", "revision 0000"),
    (newer_schema, "schema", "wrong", "revision 9999"),
    (silent_watch, "watch", "wrong", "Nobody is told"),
    (silent_sync, "job position_sync", "wrong", "longer ago than 45 minutes"),
    (wrong_private_key, KEY, "wrong", "Invalid signature"),
    (unknown_key, KEY, "wrong", "Invalid key"),
    (no_ledger_right, KEY, "wrong", "add query-ledger"),
    (no_funds_right, KEY, "wrong", "add query-funds"),
    (no_order_right, KEY, "wrong", "add query-open-trades"),
    (cannot_trade, KEY, "wrong", "modify-trades"),
    (may_withdraw, KEY, "wrong", "take away withdraw-funds"),
    (sees_a_window, KEY, "wrong", "query start and end dates"),
    (expires_soon, KEY, "warning", "expires"),
    (clock_ahead, "clock", "wrong", "ahead of Kraken's"),
    (clock_behind, "clock", "warning", "behind Kraken's"),
    (maintenance, "kraken", "wrong", "maintenance"),
    (unreachable_kraken, "kraken", "wrong", "status.kraken.com"),
    (missing_connection, CONNECTION, "wrong", "AIRFLOW_CONN_KRAKEN_DESK1"),
    (refused_host, CONNECTION, "wrong", "not allowed"),
    (shared_key, "keys", "wrong", "desk1, desk2 use one key"),
    (no_pool, "pool kraken_api", "wrong", "airflow pools set kraken_api 8"),
    (no_slots, "pool kraken_api", "wrong", "no slots"),
    (no_desk_pool, "pool desk_books", "wrong", "airflow pools set desk_books 4"),
    (paused_sync, "dag position_sync", "wrong", "airflow dags unpause position_sync"),
    (paused_maintenance, "dag maintenance", "warning", "airflow dags unpause maintenance"),
    (missing_dag, "dag order_execution", "wrong", "does not have it"),
    (broken_file, "dag repair_approval", "wrong", "list-import-errors"),
    (import_error, "import errors", "wrong", "no module named kraken_airflow"),
    (silent_scheduler, "airflow scheduler", "wrong", "unhealthy"),
    (no_api_server, "airflow", "wrong", "does not answer"),
    (book_without_connection, "desk book arena", "wrong", "AIRFLOW_CONN_ARENA_DB"),
    (book_without_table, "desk book arena", "wrong", "no table positions"),
    (broken_declaration, "desk book arena", "wrong", "conection"),
    (no_log_folder, "folder of Airflow's logs", "wrong", "cannot be written"),
    (old_sqlalchemy, "versions", "wrong", "sqlalchemy 1.4.54"),
    (old_airflow, "versions", "wrong", "apache-airflow 2.11.0"),
    (second_plugin, "copies", "wrong", "Remove the second"),
    (clear_text_connections, "secrets", "wrong", "is empty"),
    (guessed_secret, "secrets", "wrong", "fewer than 16 characters"),
]


def test_a_pooler_that_lends_sessions_needs_a_way_past_it(patient: Patient, postgres_url: str) -> None:
    direct = patient.url
    with pgbouncer(postgres_url, "transaction") as pooled:
        place = urlsplit(pooled).netloc.rpartition("@")[2]
        parts = urlsplit(patient.url)
        patient.use(parts._replace(netloc=f"{parts.netloc.rpartition('@')[0]}@{place}").geturl())
        assert "trading_db_direct" in patient.told("pooler", "wrong")
        patient.patch.setenv("AIRFLOW_CONN_TRADING_DB_DIRECT", postgres_connection(direct))
        view = patient.examined()
    assert view["healthy"], json.dumps(view, indent=2)
    [pooler] = [one["what"] for one in view["checks"] if one["check"] == "pooler"]
    assert "pools by transaction" in pooler


def test_an_old_server_is_named(patient: Patient) -> None:
    """Between this server and us somebody makes it say that it is PostgreSQL 14."""
    parts = urlsplit(patient.url)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=older_server, args=(listening, parts.port), daemon=True).start()
        login, port = parts.netloc.rpartition("@")[0], listening.getsockname()[1]
        patient.use(parts._replace(netloc=f"{login}@127.0.0.1:{port}").geturl())
        assert "PostgreSQL 14" in patient.told("database", "wrong")


def older_server(listening: socket.socket, port: int) -> None:
    """Hand everything on, and change the version that the server tells at the start of a session."""

    def hand_on(source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError), source, target:
            while some := source.recv(65_536):
                target.sendall(re.sub(rb"(server_version\x00)\d\d", rb"\g<1>14", some))

    with suppress(OSError):
        while True:
            client, _ = listening.accept()
            server = socket.create_connection(("127.0.0.1", port))
            for ends in ((client, server), (server, client)):
                threading.Thread(target=hand_on, args=ends, daemon=True).start()


def test_a_service_without_keys_says_so(patient: Patient) -> None:
    """What docker-compose.yaml gives worker-default: a file of connections, and no key of Kraken's."""
    for name in (ACCOUNT, OTHER):
        patient.patch.delenv(f"AIRFLOW_CONN_KRAKEN_{name.upper()}")
    file = patient.place / "connections.json"
    file.write_text(json.dumps({"arena_db": {"conn_type": "sqlite", "host": str(file)}}))
    backend = "kraken_airflow.hooks.connections_file.ConnectionsFile"
    patient.patch.setenv("AIRFLOW__SECRETS__BACKEND", backend)
    arguments = json.dumps({"connections_file_path": str(file)})
    patient.patch.setenv("AIRFLOW__SECRETS__BACKEND_KWARGS", arguments)
    view = patient.examined()
    assert view["healthy"]
    told = {one["check"]: one["what"] for one in view["checks"] if one["health"] == "not checked"}
    assert "no key of Kraken's is here" in told["keys"]
    # The same file with a key: what Airflow finds there, the commands find, too.
    account = {"conn_type": "kraken", "login": "k", "password": "cw==", "host": "kraken.example"}
    file.write_text(json.dumps({f"kraken_{ACCOUNT}": account}))
    assert "kraken.example is not allowed" in patient.told(CONNECTION, "wrong")


def test_a_full_disk_is_named(tmp_path: Path, project_environment: dict[str, str]) -> None:
    """A file system of its own, in name spaces that end with the process."""
    logs = tmp_path / "logs"
    logs.mkdir()
    mounted = f"mount -t tmpfs -o size=1m none {logs} && head -c 1030000 /dev/zero > {logs}/filler"
    doctor = f"{mounted} && exec {sys.executable} -m kraken_recon doctor --json"
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", doctor],
        env=project_environment | {"AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(logs)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if "unshare" in done.stderr or "mount" in done.stderr:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    checks = {one["check"]: one for one in json.loads(done.stdout)["checks"]}
    assert checks["disk of Airflow's logs"]["health"] == "wrong"
    assert str(logs) in checks["disk of Airflow's logs"]["remedy"]


def test_a_host_that_swallows_what_is_sent_keeps_nobody_waiting(patient: Patient) -> None:
    for seconds in ("DATABASE_SECONDS", "KEYS_SECONDS", "AIRFLOW_SECONDS"):
        patient.patch.setattr(examining, seconds, 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        patient.use(f"postgresql://reader:s3cret-password@127.0.0.1:{port}/trading")
        began = time.monotonic()
        assert "no answer within" in patient.told("database", "wrong")
        assert time.monotonic() - began < 5


def test_a_check_that_breaks_stops_no_other(patient: Patient) -> None:
    def broken(*_: object) -> None:
        raise LookupError("s3cret-password")

    patient.patch.setattr(machine, "look_at_packages", broken)
    view = patient.examined()
    assert view["healthy"]
    [one] = [one for one in view["checks"] if one["health"] == "not checked"]
    assert (one["check"], "LookupError" in one["what"]) == ("versions", True)


@pytest.fixture
def as_before() -> Iterator[None]:
    """Leave Airflow's own tables as they were."""
    yield
    everything_is_well()


@pytest.mark.usefixtures("as_before")
@pytest.mark.parametrize(
    ("plant", "check", "health", "words"), FAULTS, ids=[plant.__name__ for plant, *_ in FAULTS]
)
def test_a_planted_fault_is_named(
    patient: Patient, plant: Callable[[Patient], None], check: str, health: str, words: str
) -> None:
    plant(patient)
    assert words in patient.told(check, health)
