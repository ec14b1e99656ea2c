"""Everything that the product does, through a real PgBouncer that pools by session and by transaction."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
import sqlalchemy as sa

from conftest import with_database
from desks.orders import SECRET, TradingDesk
from desks.pgbouncer import pgbouncer
from kraken_recon.cli.main import main
from kraken_recon.database import poolers
from kraken_recon.database.addresses import connection_parameters
from kraken_recon.database.poolers import PoolerMode, look_for_pooler, own_session_address, pooler_mode
from kraken_recon.database.unit_of_work import SessionLimits, UnitOfWork, create_engine
from kraken_recon.errors import (
    ConfigurationError,
    DirectConnectionNeededError,
    LockTimeoutError,
    LockUnavailableError,
    StoreError,
)
from kraken_recon.kraken.call_slots import PostgresCallSlots
from kraken_recon.kraken.credentials import KrakenCredentials
from kraken_recon.kraken.slot_sessions import SlotSessions
from kraken_recon.orders.deciding import submit_decision
from kraken_recon.orders.executing import execute_orders
from kraken_recon.sessions.airflow_api import NoAirflow
from kraken_recon.sessions.auditing import AuditRequest, audit
from kraken_recon.sessions.rules.leaks import ActionPolicy, Thresholds
from kraken_recon.verification.ended_orders_store import listen_for_ended_orders
from kraken_recon.wiring import Wiring, source_of
from local_stack.processes import poll_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import NewDatabase, Simulator

SHORT = SessionLimits(statement_timeout_seconds=1, lock_timeout_seconds=0.2)
IMPATIENT = Thresholds(hold_seconds=0, idle_seconds=0, settle_seconds=0, wait_seconds=0, lock_seconds=0)
COUNT = sa.text("select count(*) from trading.accounts")
SETTINGS = (
    "statement_timeout",
    "lock_timeout",
    "idle_in_transaction_session_timeout",
    "idle_session_timeout",
    "jit",
)


@pytest.fixture(autouse=True)
def _nothing_found_yet() -> Iterator[None]:
    """Begin as a process does that has looked at no database."""
    poolers.found_before.clear()
    yield
    poolers.found_before.clear()


@pytest.fixture(scope="module", params=["session", "transaction"])
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def pooler_url(postgres_url: str, mode: str) -> Iterator[str]:
    """Any database of the server, through the pooler."""
    with pgbouncer(postgres_url, mode) as url:
        yield url


@pytest.fixture
def pooled(pooler_url: str, database_url: str) -> str:
    """The test's database, through the pooler."""
    return with_database(pooler_url, database_url.rpartition("/")[2])


@pytest.fixture
def direct(mode: str, database_url: str) -> Callable[[], str | None]:
    """The way past the pooler, where one is needed."""
    return lambda: database_url if mode == "transaction" else None


def what_the_next_client_finds(pooled: str) -> list[tuple[str, str]]:
    """Read what sessions of the pool have set that no client of its own has set."""
    with psycopg.connect(pooled, autocommit=True, application_name="the next") as session:
        found = session.execute(
            "select name, setting from pg_settings where name = any(%s) and source = 'session'",
            [list(SETTINGS)],
        ).fetchall()
        prepared = session.execute("select name, statement from pg_prepared_statements").fetchall()
        locks = session.execute(
            "select 'lock', mode from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()"
        ).fetchall()
    return found + prepared + locks


# --- what is found


def test_a_pooler_and_its_mode_are_recognised(pooled: str, database_url: str, mode: str) -> None:
    assert pooler_mode(database_url) is PoolerMode.NONE
    assert pooler_mode(pooled) is PoolerMode(mode)
    # Others are at work through the same pooler meanwhile.
    with psycopg.connect(pooled) as one, psycopg.connect(pooled) as other:
        one.execute("select 1")
        other.execute("select 1")
        other.commit()
        assert look_for_pooler(pooled) is PoolerMode(mode)
    assert what_the_next_client_finds(pooled) == []


def test_what_a_unit_of_work_shows_in_passing_is_remembered(pooled: str, database_url: str) -> None:
    for url in (database_url, pooled):
        with UnitOfWork(create_engine(url)) as unit:
            unit.connection.execute(COUNT)
    assert list(poolers.found_before.values()) == [PoolerMode.NONE]


@pytest.mark.parametrize(
    "settings", [{"pool_size": 1}, {"more": "server_round_robin = 1"}, {"pool_size": 2}], ids=str
)
def test_every_pool_by_transaction_is_recognised(database_url: str, settings: dict[str, Any]) -> None:
    with pgbouncer(database_url, "transaction", **settings) as url:
        assert look_for_pooler(url) is PoolerMode.TRANSACTION


def test_a_pool_is_recognised_although_others_part_the_two_clients(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask, asked, parted = poolers._ask, [], 5  # noqa: SLF001 - between two of its questions

    with (
        pgbouncer(database_url, "transaction") as url,
        psycopg.connect(url, prepare_threshold=None) as one,
        psycopg.connect(url, prepare_threshold=None) as another,
    ):

        def ask_apart(connection: psycopg.Connection, statement: bytes) -> int:
            """Let others take the session of the first client, and leave it where that one gets it again."""
            if not statement.startswith(b"begin") or asked.count("begin") > parted:
                asked.append(str(ask(connection, statement)))
                return int(asked[-1])
            asked.append("begin")
            taken = {str(o.execute("select pg_backend_pid()").fetchone()[0]): o for o in (one, another)}
            number = ask(connection, statement)
            for _, other in sorted(taken.items(), key=lambda held: held[0] == asked[0]):
                other.commit()
            return number

        monkeypatch.setattr(poolers, "_ask", ask_apart)
        assert look_for_pooler(url) is PoolerMode.TRANSACTION


def test_a_pool_that_is_used_up_is_told_and_not_waited_for(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(poolers, "ANSWER_SECONDS", 0.3)
    with (
        pgbouncer(database_url, "session", pool_size=1) as url,
        pytest.raises(StoreError, match="default_pool_size"),
    ):
        look_for_pooler(url)


def test_a_pool_by_statement_is_refused_with_what_to_do(database_url: str) -> None:
    with pgbouncer(database_url, "statement") as url:
        assert look_for_pooler(url) is PoolerMode.STATEMENT
        with (
            pytest.raises(ConfigurationError, match="pool_mode to transaction or session"),
            UnitOfWork(create_engine(url)) as unit,
        ):
            unit.connection.execute(COUNT)


def test_options_at_the_start_are_refused_with_what_to_do(pooled: str) -> None:
    engine = create_engine(f"{pooled}?options=-c%20statement_timeout%3D0")
    with pytest.raises(ConfigurationError, match="leave `options` out"), UnitOfWork(engine):
        pass


# --- limits


def test_limits_hold_and_nothing_stays_behind(pooled: str, database_url: str) -> None:
    with psycopg.connect(database_url) as colleague:
        colleague.execute("lock table trading.accounts")
        with pytest.raises(LockTimeoutError), UnitOfWork(create_engine(pooled, limits=SHORT)) as unit:
            unit.connection.execute(COUNT)
    with (
        UnitOfWork(create_engine(pooled, limits=SHORT)) as unit,
        pytest.raises(sa.exc.DBAPIError, match="statement timeout"),
    ):
        unit.connection.execute(sa.text("select pg_sleep(5)"))
    idle = replace(SHORT, idle_in_transaction_timeout_seconds=1)
    with UnitOfWork(create_engine(pooled, limits=idle)) as unit:
        unit.connection.execute(COUNT)
        shown = {name: unit.connection.scalar(sa.text(f"show {name}")) for name in SETTINGS}
        assert shown == {
            "statement_timeout": "1s",
            "lock_timeout": "200ms",
            "idle_in_transaction_session_timeout": "1s",
            "idle_session_timeout": "0",
            "jit": "off",
        }
        unit.commit()
        # Each transaction of a unit has them, not only the first.
        assert unit.connection.scalar(sa.text("show lock_timeout")) == "200ms"
        unit.wait_briefly()
        assert unit.connection.scalar(sa.text("show lock_timeout")) == "20ms"
        unit.commit()
        assert unit.connection.scalar(sa.text("show lock_timeout")) == "20ms"
        for _ in range(8):  # often enough for a driver that prepares
            unit.connection.execute(COUNT)
    assert what_the_next_client_finds(pooled) == []


# --- what needs a session of its own


def test_without_a_way_past_it_only_a_pool_by_session_will_do(
    pooled: str, mode: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wiring = Wiring(pooled, lambda _: pytest.fail("asks no exchange"))
    if mode == "session":
        assert wiring.own_session_dsn() == pooled
        return
    for refused in (wiring.sync_ports, wiring.order_ports, wiring.verifying_ports, wiring.open_own_session):
        with pytest.raises(DirectConnectionNeededError, match="trading_db_direct"):
            refused()
    with (
        PostgresCallSlots(SlotSessions(pooled), api_key="key", tier="pro") as slots,
        pytest.raises(DirectConnectionNeededError),
    ):
        slots.needs_check(timedelta(hours=1))
    monkeypatch.setenv("KRAKEN_RECON_DSN", pooled)
    assert main(["sync", "--account", "desk"]) != 0
    assert "KRAKEN_RECON_DIRECT_DSN" in capsys.readouterr().err
    assert what_the_next_client_finds(pooled) == []


def test_a_direct_connection_that_is_none_is_refused(
    pooled: str, mode: str, database_url: str, new_database: NewDatabase
) -> None:
    with new_database() as elsewhere, pytest.raises(ConfigurationError, match="another server or database"):
        own_session_address(pooled, lambda: elsewhere)
    if mode == "transaction":
        with pytest.raises(DirectConnectionNeededError, match="pools by transaction as well"):
            own_session_address(pooled, lambda: pooled)
    assert own_session_address(pooled, lambda: database_url) == database_url
    assert own_session_address(database_url, lambda: pytest.fail("needs no way past")) == database_url


def test_a_lock_in_a_session_that_was_lent_is_noticed(pooled: str, mode: str) -> None:
    """Someone set the pooler to another mode after this process had looked."""
    if mode == "session":
        pytest.skip("sessions are not lent")
    poolers.found_before[poolers.place_of(connection_parameters(pooled))] = PoolerMode.SESSION
    with PostgresCallSlots(SlotSessions(pooled), api_key="key", tier="pro") as slots:
        slots.needs_check(timedelta(hours=1))
        with psycopg.connect(pooled) as other:
            other.execute("select 1")
            with pytest.raises(LockUnavailableError), slots.take(1):
                pytest.fail("two may hold this lock")
        with pytest.raises(DirectConnectionNeededError), slots.take(1):
            pytest.fail("the pooler is known now")
    with psycopg.connect(pooled) as session:
        assert not session.execute("select from pg_locks where locktype = 'advisory' and granted").fetchall()


# --- the product at work


def test_the_schema_is_made_through_it(
    pooler_url: str, postgres_admin: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    postgres_admin.execute("create database behind_a_pooler")
    try:
        monkeypatch.setenv("KRAKEN_RECON_DSN", with_database(pooler_url, "behind_a_pooler"))
        assert (main(["migrate"]), main(["migrate"])) == (0, 0)
    finally:
        postgres_admin.execute("drop database behind_a_pooler with (force)")


@contextmanager
def four_workers(
    url: str, direct_url: str, simulator_url: str, environment: dict[str, str]
) -> Iterator[list[Any]]:
    """Sync four accounts that share one key, each in a process of its own."""
    key = {
        "conn_type": "kraken",
        "login": "key-of-desk",
        "password": SECRET,
        "host": simulator_url,
        "extra": {"tier": "unlimited"},
    }
    variables = {
        "KRAKEN_RECON_DSN": url,
        "KRAKEN_RECON_DIRECT_DSN": direct_url,
        "KRAKEN_RECON_ALLOWED_HOSTS": "127.0.0.1",
        **{f"AIRFLOW_CONN_DESK{number}": json.dumps(key) for number in range(4)},
    }
    workers = [
        subprocess.Popen(
            [sys.executable, "-m", "kraken_recon", "sync", "--account", f"desk{number}"],
            env={**environment, **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(4)
    ]
    try:
        yield workers
    finally:
        for worker in workers:
            worker.kill()
            worker.communicate()


def test_four_workers_share_one_key(
    pooled: str,
    mode: str,
    database_url: str,
    simulator: Simulator,
    project_environment: dict[str, str],
) -> None:
    """In a pool by transaction they would hang for ever on each other's lock."""
    desk = TradingDesk(simulator, database_url)
    desk.account()
    simulator.control.post("clock", {"mode": "real"})
    for number in range(4):
        desk.execute(
            "insert into trading.accounts (name, kraken_conn_id) values (%s, %s)",
            f"desk{number}",
            f"desk{number}",
        )
    way_past = database_url if mode == "transaction" else ""
    with four_workers(pooled, way_past, simulator.base_url, project_environment) as workers:
        told = [worker.communicate(timeout=60) for worker in workers]
        assert [worker.returncode for worker in workers] == [0] * 4, told
    runs = desk.rows("select status, error from trading.reconciliation_runs")
    assert runs == [{"status": "succeeded", "error": None}] * 4
    owners = desk.rows(
        "select distinct is_direct from trading.session_owners"
        " where application_name like 'kraken_recon:cli:%%'"
    )
    assert {row["is_direct"] for row in owners} == ({False, True} if mode == "transaction" else {False})
    assert what_the_next_client_finds(pooled) == []


def test_an_order_is_placed_and_its_end_wakes_the_verification(
    pooled: str, direct: Callable[[], str | None], database_url: str, simulator: Simulator
) -> None:
    desk = TradingDesk(simulator, database_url)
    desk.account()
    wiring = Wiring(
        pooled,
        lambda _: KrakenCredentials("key-of-desk", SECRET, simulator.base_url, "unlimited"),
        direct_dsn=direct,
        clock=desk.now,
    )
    ports = replace(wiring.order_ports(), pause=desk.pause)
    heard: list[bool] = []
    is_listening = threading.Event()

    async def listen() -> None:
        async with listen_for_ended_orders(wiring.own_session_dsn()) as listener:
            is_listening.set()
            heard.append(await listener.is_notified(within_seconds=30))

    listening = threading.Thread(target=lambda: asyncio.run(listen()))
    listening.start()
    assert is_listening.wait(20)
    given = {"account": "desk", "pair": "BTC/USD", "side": "buy", "type": "market", "volume": "0.1"}
    submit_decision(given, ports, key="one", via="row")
    for _ in range(10):
        execute_orders(ports, desk.settings)
        desk.pause(20)
    listening.join(timeout=40)
    assert heard == [True]
    assert desk.order()["status"] == "closed"
    assert what_the_next_client_finds(pooled) == []


def test_the_audit_tells_a_pool_s_sessions_from_leaks(
    pooled: str, mode: str, database_url: str, postgres_admin: psycopg.Connection
) -> None:
    wiring = Wiring(pooled, lambda _: pytest.fail("asks no exchange"), application_name="kraken_recon:t")
    engine = wiring.engine()
    with UnitOfWork(engine) as unit:
        unit.connection.execute(COUNT)
    # What the pool keeps has the name of whoever used it last, and is nobody's.
    with psycopg.connect(database_url) as session:
        kept = session.execute(
            "select count(*) from pg_stat_activity"
            " where application_name like 'kraken_recon:t#%' and state = 'idle'"
        ).fetchone()
        owner = session.execute("select bool_or(is_direct) from trading.session_owners").fetchone()
        own = [session.info.backend_pid]
    assert (kept == (1,), owner) == (mode == "transaction", (False,))
    # A session that was closed may be shown for a moment longer, without a name.
    gone = "select count(*) = 0 from pg_stat_activity where pid = %s"
    assert poll_until(lambda: postgres_admin.execute(gone, own).fetchone() == (True,), timeout_seconds=10)
    looking = source_of("trading_db", wiring.units_of_work())
    request = AuditRequest(ActionPolicy(), IMPATIENT)
    found = audit(request, wiring.audit_ports([looking], NoAirflow(), acted_by="the test"))
    assert (found["findings"], found["failed"]) == ([], [])
    # One in a transaction is its task's by that name, pool or none.
    limits = SessionLimits(idle_in_transaction_timeout_seconds=0)
    with UnitOfWork(create_engine(pooled, application_name="kraken_recon:held", limits=limits)) as holding:
        holding.connection.execute(COUNT)
        found = audit(request, wiring.audit_ports([looking], NoAirflow(), acted_by="the test"))
    with psycopg.connect(database_url) as session:
        named = session.execute("select application_name from trading.session_findings").fetchall()
    assert [name.partition("#")[0] for (name,) in named] == ["kraken_recon:held"]
