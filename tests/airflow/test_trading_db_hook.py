"""Sessions of the trading database, as the server sees them."""

from __future__ import annotations

import base64
import uuid
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import psycopg
import pytest
import sqlalchemy as sa

from desks.airflow import trading_connection
from kraken_airflow.hooks.session_names import task_session_name
from kraken_airflow.hooks.trading_db import TradingDbHook
from kraken_recon.database.unit_of_work import SessionLimits, UnitOfWork, translated_errors
from kraken_recon.errors import ConfigurationError, LockUnavailableError, StoreError
from kraken_recon.values.usage_meter import Use
from local_stack.ports import free_port
from local_stack.processes import poll_until

if TYPE_CHECKING:
    from collections.abc import Callable

LOCK = sa.text("select name from trading.accounts where name = 'desk' for no key update")
INSERT = sa.text("insert into trading.accounts (name, kraken_conn_id) values ('desk', 'desk')")


@pytest.fixture
def sessions(trading_db: str) -> Callable[[], list[str]]:
    """Return a function that lists the sessions of the test's database, by application name."""

    def listed() -> list[str]:
        with psycopg.connect(trading_db) as connection:
            rows = connection.execute(
                "select application_name from pg_stat_activity "
                "where datname = current_database() and pid <> pg_backend_pid()"
            ).fetchall()
        return [str(row[0]) for row in rows]

    return listed


def count_accounts() -> int:
    with TradingDbHook().unit_of_work() as unit:
        return int(unit.connection.scalar(sa.text("select count(*) from trading.accounts")) or 0)


def fail_in(hook: TradingDbHook) -> None:
    with hook.unit_of_work() as unit:
        unit.connection.execute(INSERT)
        raise ZeroDivisionError


@pytest.mark.usefixtures("trading_db")
def test_work_is_rolled_back_unless_committed() -> None:
    with TradingDbHook().unit_of_work() as unit:
        unit.connection.execute(INSERT)
    assert count_accounts() == 0
    with TradingDbHook().unit_of_work() as unit:
        unit.connection.execute(INSERT)
        unit.commit()
    assert count_accounts() == 1


def test_no_session_outlives_its_block(sessions: Callable[[], list[str]]) -> None:
    hook = TradingDbHook(application_name="the test")
    with hook.unit_of_work() as unit:
        unit.connection.execute(INSERT)
        assert sessions() == ["the test"]
    assert poll_until(lambda: sessions() == [], timeout_seconds=5)
    with pytest.raises(ZeroDivisionError):
        fail_in(hook)
    assert poll_until(lambda: sessions() == [], timeout_seconds=5)
    assert count_accounts() == 0


@pytest.mark.usefixtures("trading_db")
def test_the_limits_are_set_in_the_session() -> None:
    limits = SessionLimits(
        statement_timeout_seconds=7, lock_timeout_seconds=3, idle_in_transaction_timeout_seconds=5
    )
    with TradingDbHook(limits=limits).unit_of_work() as unit:
        found = [
            unit.connection.scalar(sa.text(f"show {name}"))
            for name in ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")
        ]
    assert found == ["7s", "3s", "5s"]


def test_the_server_ends_a_session_that_idles_in_a_transaction(sessions: Callable[[], list[str]]) -> None:
    limits = SessionLimits(idle_in_transaction_timeout_seconds=1)
    with TradingDbHook(limits=limits).unit_of_work() as unit:
        unit.connection.execute(INSERT)
        assert poll_until(lambda: sessions() == [], timeout_seconds=10)
        with pytest.raises(StoreError), translated_errors():
            unit.connection.execute(LOCK)
    assert count_accounts() == 0


@pytest.mark.usefixtures("trading_db")
def test_a_locked_row_keeps_another_task_out_until_the_lock_timeout() -> None:
    with TradingDbHook().unit_of_work() as unit:
        unit.connection.execute(INSERT)
        unit.commit()
    with TradingDbHook().unit_of_work() as first:
        assert first.connection.execute(LOCK).scalar_one() == "desk"
        limits = SessionLimits(lock_timeout_seconds=1)
        # session: allowed - the two are meant to meet
        with pytest.raises(LockUnavailableError), TradingDbHook(limits=limits).unit_of_work() as second:
            second.connection.execute(LOCK)
        wiring = TradingDbHook(limits=limits).wiring()
        # session: allowed - the same
        with pytest.raises(LockUnavailableError), UnitOfWork(wiring.engine()) as third:
            third.connection.execute(LOCK)
        # session: allowed - the same
        with pytest.raises(StoreError), UnitOfWork(wiring.engine()) as third:
            third.connection.execute(sa.text("select cast('none' as bigint)"))
    assert wiring.meter.drain() == Use(locks_refused=1)


def task(**changes: Any) -> Any:
    fields = {
        "id": uuid.UUID("01a2035a-3e65-7679-bb0e-a82c2e9fd832"),
        "dag_id": "position_sync",
        "task_id": "reconcile_accounts",
        "map_index": 3,
        "try_number": 2,
    }
    return SimpleNamespace(**(fields | changes))


def test_a_session_names_its_task() -> None:
    name = task_session_name(task())
    version, identity, try_number, map_index, names = name.split("|")
    assert (version, try_number, map_index, names) == ("af1", "2", "3", "position_sync.reconcile_accounts")
    assert uuid.UUID(bytes=base64.urlsafe_b64decode(identity + "==")) == task().id


@pytest.mark.usefixtures("trading_db")
@pytest.mark.parametrize(
    "changes",
    [
        {"task_id": "t" * 250},
        {"dag_id": "Überprüfung" * 20},
        {"map_index": 1023, "try_number": 99},
        {"map_index": None},
    ],
    ids=str,
)
def test_a_session_s_name_always_fits(changes: dict[str, Any]) -> None:
    name = task_session_name(task(**changes))
    with TradingDbHook(application_name=name).unit_of_work() as unit:
        shown = str(unit.connection.scalar(sa.text("show application_name")))
    start, _, call_site = shown.partition("#")
    assert name.startswith(start)
    assert start.startswith(name[:57])
    assert len(call_site) == 5


def test_long_names_stay_apart() -> None:
    first, second = (task_session_name(task(task_id="t" * 100 + end)) for end in "ab")
    assert first != second


def test_limits_hold_whatever_the_connection_s_extra_says(
    trading_db: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    extra = {"options": "-c statement_timeout=0", "sslmode": "disable"}
    monkeypatch.setenv("AIRFLOW_CONN_TRADING_DB", trading_connection(trading_db, extra=extra))
    hook = TradingDbHook(application_name="the test")
    with hook.unit_of_work() as unit:
        assert unit.connection.scalar(sa.text("show statement_timeout")) == "1min"
        assert unit.connection.scalar(sa.text("show application_name")) == "the test"


def test_several_hosts_lead_to_the_one_that_writes(trading_db: str, monkeypatch: pytest.MonkeyPatch) -> None:
    place = urlsplit(trading_db)
    monkeypatch.setenv(
        "AIRFLOW_CONN_TRADING_DB",
        trading_connection(
            trading_db,
            host=f"127.0.0.1:{free_port()},{place.hostname}:{place.port}",
            port=None,
            extra={"target_session_attrs": "read-write"},
        ),
    )
    assert count_accounts() == 0


def test_the_way_past_a_pooler_is_a_connection_of_its_own(
    trading_db: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert TradingDbHook().direct_dsn() is None
    monkeypatch.setenv("AIRFLOW_CONN_TRADING_DB_DIRECT", trading_connection(trading_db, host="past-it"))
    assert "host=past-it" in (TradingDbHook().direct_dsn() or "")
    # Without a pooler it is not asked for.
    monkeypatch.setenv("AIRFLOW_CONN_TRADING_DB_DIRECT", "mysql://user@host/trading")
    assert TradingDbHook().wiring().own_session_dsn() == TradingDbHook().dsn()
    with pytest.raises(ConfigurationError, match="trading_db_direct: expected type postgres, was mysql"):
        TradingDbHook().direct_dsn()


def test_odd_characters_of_a_password_survive(
    trading_db: str, postgres_admin: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    password = "p@ss/w:rd? %41+ü"
    postgres_admin.execute(f"create role odd login superuser password '{password}'")
    try:
        monkeypatch.setenv(
            "AIRFLOW_CONN_TRADING_DB", trading_connection(trading_db, login="odd", password=password)
        )
        with TradingDbHook().unit_of_work() as unit:
            assert unit.connection.scalar(sa.text("select current_user")) == "odd"
        with psycopg.connect(TradingDbHook().dsn()) as connection:
            assert connection.info.user == "odd"
    finally:
        postgres_admin.execute("drop role odd")


def test_a_connection_that_is_none_of_a_database_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match="connection trading_db does not exist"):
        TradingDbHook().unit_of_work()
    monkeypatch.setenv("AIRFLOW_CONN_TRADING_DB", "mysql://user@host/trading")
    with pytest.raises(ConfigurationError, match="expected type postgres, was mysql"):
        TradingDbHook().unit_of_work()
    monkeypatch.setenv("AIRFLOW_CONN_TRADING_DB", "postgres://user@host")
    with pytest.raises(ConfigurationError, match="must be named"):
        TradingDbHook().unit_of_work()
