"""What another session holds costs the account that it is about, and no other; a table costs one wait."""

from __future__ import annotations

import time
from contextlib import contextmanager
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from desks.fake_exchange import Desk
from desks.orders import TradingDesk
from kraken_recon.accounts.store import AccountStore
from kraken_recon.alerts.kinds import AlertKind
from kraken_recon.alerts.run_coverage import RunOfDag
from kraken_recon.alerts.store import AlertStore
from kraken_recon.alerts.telling import prepare_notifications, watch_freshness
from kraken_recon.database.unit_of_work import SessionLimits, UnitOfWork, create_engine
from kraken_recon.errors import AccountsLeftError, LockTimeoutError
from kraken_recon.ledger.entries import HoldingKey
from kraken_recon.orders.deciding import accept_decisions
from kraken_recon.reconciliation.rules.policy import Mode, Policy
from kraken_recon.reconciliation.run import SyncRequest
from kraken_recon.reconciliation.sync import sync_accounts
from kraken_recon.values.intervals import RUN_INTERVAL, Interval
from kraken_recon.verification.rules.judge import Overall
from kraken_recon.verification.run import VerifyingPorts, VerifyingRules
from kraken_recon.verification.verifying import claim_orders, new_token, verify_claimed
from kraken_recon.wiring import utc_now

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Simulator

BTC = HoldingKey("BTC", "spot")
NAMES = ("ann", "bob", "cid")
# Of a session of the desk; the open transactions of these tests hold what they hold until the test lets go.
LIMIT_SECONDS = 1


@pytest.fixture
def desk(database_url: str) -> Desk:
    """Accounts that were opened by a first sync."""
    desk = Desk(database_url)
    desk.engine = create_engine(
        database_url,
        application_name="test desk",
        limits=SessionLimits(lock_timeout_seconds=LIMIT_SECONDS),
    )
    for name in NAMES:
        desk.account(name).add("BTC", "1", entry_type="deposit")
    desk.sync()
    return desk


@pytest.fixture
def trading_desk(simulator: Simulator, database_url: str) -> Iterator[TradingDesk]:
    """Two accounts whose orders go to the simulator."""
    desk = TradingDesk(simulator, database_url)
    desk.engine = create_engine(database_url, limits=SessionLimits(lock_timeout_seconds=LIMIT_SECONDS))
    for name in ("ann", "bob"):
        desk.account(name)
    yield desk
    desk.close()


@contextmanager
def held(desk: Desk | TradingDesk, statement: str, **values: object) -> Iterator[None]:
    """Keep what a statement locks in an open transaction of a person, who changes nothing in the end."""
    url = desk.url if isinstance(desk, Desk) else desk.database_url
    with create_engine(url, application_name="colleague").connect() as person:
        person.execute(sa.text(statement), values)
        yield
        person.rollback()


def deposit(desk: Desk) -> None:
    for books in desk.books.values():
        books.add("BTC", "0.25", entry_type="deposit")


def statuses(desk: Desk) -> dict[str, str]:
    return {name: desk.run(name)["status"] for name in desk.books}


def alerts(desk: Desk) -> set[tuple[str, str]]:
    return {
        (row["name"], row["kind"])
        for row in desk.rows(
            "select name, kind from trading.alerts join trading.accounts using (account_id)"
            " where status <> 'resolved'"
        )
    }


def test_alert_row_that_a_person_holds_keeps_no_account_waiting_and_loses_no_alert(desk: Desk) -> None:
    change = "update trading.positions set quantity = quantity + 1 where account_id = :account"
    desk.execute(change, account=desk.account_id("ann"))
    desk.sync()
    assert alerts(desk) == {("ann", "database_drift")}
    deposit(desk)
    desk.execute(change.replace("+ 1", "+ 2"), account=desk.account_id("ann"))
    started = time.monotonic()
    with held(desk, "update trading.alerts set note = 'looking' where kind = 'database_drift'"):
        desk.sync()
    assert time.monotonic() - started < LIMIT_SECONDS
    assert set(statuses(desk).values()) == {"succeeded"}
    assert all(desk.positions(name)[BTC] == Decimal("1.25") for name in NAMES if name != "ann")
    seen = desk.rows("select occurrences from trading.alerts where kind = 'database_drift'")
    assert seen == [{"occurrences": 1}]
    assert desk.rows("select kind from trading.alerts_put_off") == [{"kind": "database_drift"}]
    watch_freshness(lambda: UnitOfWork(desk.engine), utc_now())
    assert desk.rows("select kind from trading.alerts_put_off") == []
    seen = desk.rows("select message from trading.alerts where kind = 'database_drift'")
    assert "recorded 3" in seen[0]["message"]


def test_alert_is_opened_anew_if_the_one_who_held_it_resolved_it(desk: Desk) -> None:
    books = desk.exchanges["ann"]
    books.balances = lambda: {}["a defect"]  # type: ignore[method-assign]
    desk.sync()
    engine = create_engine(desk.url, application_name="colleague")
    with engine.begin() as person:
        person.execute(sa.text("update trading.alerts set status = 'resolved', resolved_at = now()"))
        desk.sync()
    assert alerts(desk) == set()
    desk.sync("bob")
    assert alerts(desk) == {("ann", "sync_failure")}


def test_alert_about_a_run_that_a_person_holds_is_raised_by_whoever_raises_next(desk: Desk) -> None:
    def tell(*run_ids: str) -> None:
        with UnitOfWork(desk.engine) as unit:
            for run_id in run_ids:
                run = RunOfDag("position_sync", run_id, "scheduled", utc_now())
                AlertStore(unit).raise_run_alert(AlertKind.RUN_FAILURE, run, f"{run_id} failed", {})
            AlertStore(unit).raise_alerts([])
            unit.commit()

    alerts = "select occurrences, message, evidence ->> 'dag_run_id' as run_id from trading.alerts"
    first = {"occurrences": 1, "message": "first failed", "run_id": "first"}
    tell("first", "first")
    assert desk.rows(alerts) == [first]
    with held(desk, "select from trading.alerts for update"):
        tell("second")
        assert desk.rows(alerts) == [first]
    tell()
    assert desk.rows(alerts) == [{"occurrences": 2, "message": "second failed", "run_id": "second"}]


@pytest.mark.parametrize(
    "statement",
    [
        "select * from trading.positions where account_id = :account for update",
        "update trading.reconciliation_runs set note = 'mine' where account_id = :account",
        "select * from trading.accounts where account_id = :account for no key update",
    ],
)
def test_row_that_a_person_holds_costs_its_account_alone(desk: Desk, statement: str) -> None:
    deposit(desk)
    with held(desk, statement, account=desk.account_id("bob")):
        desk.sync()
    assert {name: desk.positions(name)[BTC] for name in ("ann", "cid")} == {
        "ann": Decimal("1.25"),
        "cid": Decimal("1.25"),
    }
    failed = {name for name, status in statuses(desk).items() if status == "failed"}
    assert failed <= {"bob"}
    assert alerts(desk) == {(name, "sync_failure") for name in failed}
    desk.sync()
    assert desk.positions("bob")[BTC] == Decimal("1.25")
    assert alerts(desk) == set()


def test_account_of_which_not_even_the_failure_can_be_recorded_is_named_and_the_others_are_done(
    desk: Desk,
) -> None:
    deposit(desk)
    with (
        held(desk, "select * from trading.accounts where name = 'bob' for update"),
        pytest.raises(AccountsLeftError, match=r"bob: .*lock timeout") as left,
    ):
        desk.sync()
    assert set(left.value.accounts) == {"bob"}
    assert len(left.value.run_ids) == 2
    assert desk.positions("ann")[BTC] == desk.positions("cid")[BTC] == Decimal("1.25")
    watch_freshness(lambda: UnitOfWork(desk.engine), utc_now())
    assert ("bob", "sync_failure") in alerts(desk)
    desk.sync()
    assert set(statuses(desk).values()) == {"succeeded"}


@pytest.mark.parametrize(
    ("table", "is_recorded"),
    [
        ("positions", True),
        ("discrepancies", True),
        ("reconciliation_runs", False),
        ("alerts", False),
    ],
)
def test_table_that_somebody_locks_is_waited_for_once_and_named(
    desk: Desk, table: str, *, is_recorded: bool
) -> None:
    for name in ("dot", "eve", "fay", "gus", "hal"):
        desk.account(name).add("BTC", "1", entry_type="deposit")
    desk.sync()
    deposit(desk)
    with UnitOfWork(desk.engine) as unit:
        accounts = AccountStore(unit).find_accounts(None)
    interval = Interval(desk.now, desk.now + RUN_INTERVAL)
    request = SyncRequest(interval, Mode.REPAIR, Policy(), concurrency=2)
    started = time.monotonic()
    told = rf"trading.{table}: AccessExclusiveLock is held by session \d+ .*colleague"
    with held(desk, f"lock table trading.{table} in access exclusive mode"):
        if is_recorded:
            sync_accounts(accounts, request, desk.ports)
        else:
            with pytest.raises((AccountsLeftError, LockTimeoutError), match=told):
                sync_accounts(accounts, request, desk.ports)
    assert time.monotonic() - started < 3 * LIMIT_SECONDS
    if is_recorded:
        assert set(statuses(desk).values()) == {"failed"}
        assert told.split(":", maxsplit=1)[0] in desk.run("hal")["error"]
    desk.sync()
    assert {name: desk.positions(name)[BTC] for name in desk.books} == dict.fromkeys(
        desk.books, Decimal("1.25")
    )


def test_people_are_told_of_all_alerts_but_the_one_that_somebody_holds(desk: Desk) -> None:
    def told(after: timedelta) -> int:
        return prepare_notifications(lambda: UnitOfWork(desk.engine), ["mail"], utc_now() + after)

    watch_freshness(lambda: UnitOfWork(desk.engine), utc_now())
    assert alerts(desk) == {(name, "stale_positions") for name in NAMES}
    started = time.monotonic()
    bobs = "select * from trading.alerts where account_id = :account for update"
    with held(desk, bobs, account=desk.account_id("bob")):
        watch_freshness(lambda: UnitOfWork(desk.engine), utc_now())
        assert told(timedelta()) == 2
    assert time.monotonic() - started < LIMIT_SECONDS
    assert told(timedelta(minutes=1)) == 1


BOBS = "where account_id = (select account_id from trading.accounts where name = 'bob')"


@pytest.mark.parametrize(
    "statement",
    [
        "select * from trading.accounts where name = 'bob' for update",
        f"select * from trading.orders {BOBS} for update",
        f"select * from trading.order_books {BOBS} for update",
        f"select * from trading.alerts {BOBS} for update",
    ],
)
def test_orders_of_others_are_placed_whatever_a_person_holds_of_one_account(
    trading_desk: TradingDesk, statement: str
) -> None:
    for name in ("ann", "bob"):
        trading_desk.decide(name, type="limit", volume="1", limit_price="1000")
    trading_desk.execute_orders()
    trading_desk.execute(
        "insert into trading.alerts (kind, account_id, message)"
        " select 'order_execution_failure', account_id, 'earlier' from trading.accounts where name = 'bob'"
    )
    trading_desk.pause(3600)
    for name in ("bob", "ann"):
        trading_desk.decide(name, type="limit", volume="2", limit_price="1000")
    with held(trading_desk, statement):
        done = trading_desk.execute_orders()
    assert set(done.failures) <= {"bob"}
    assert len(trading_desk.true_orders("ann")) == 2
    trading_desk.execute_orders()
    assert len(trading_desk.true_orders("bob")) == 2
    open_alerts = trading_desk.rows("select kind from trading.alerts where status <> 'resolved'")
    assert open_alerts == []


def test_a_decided_order_that_a_person_holds_is_left_and_the_next_one_is_placed(
    trading_desk: TradingDesk,
) -> None:
    """Whoever holds it is not waited for: it would be asked for again and again, and no other be placed."""
    for volume in ("1", "2"):
        trading_desk.decide("bob", type="limit", volume=volume, limit_price="1000")
    accept_decisions(trading_desk.ports)
    first = "select * from trading.orders where status = 'decided' order by order_id limit 1 for update"
    with held(trading_desk, first):
        done = trading_desk.execute_orders()
    assert (done.sent, done.failures) == (1, {})
    placed = trading_desk.rows("select volume from trading.orders where status = 'open'")
    assert [row["volume"] for row in placed] == [2]
    assert trading_desk.execute_orders().sent == 1


def test_verdicts_of_others_are_written_whatever_a_person_holds_of_one_order(
    trading_desk: TradingDesk,
) -> None:
    for name in ("ann", "bob"):
        trading_desk.sync(name)
        trading_desk.decide(name, volume="1")
    trading_desk.run_until_settled()
    ports = VerifyingPorts(trading_desk.ports.open_unit_of_work, trading_desk.open_exchange, trading_desk.now)
    token = new_token("test")
    assert len(claim_orders(ports, VerifyingRules(), token)) == 2
    mine = f"select * from trading.order_verifications {BOBS} for update"
    with held(trading_desk, mine):
        done = verify_claimed(ports, VerifyingRules(), token)
    assert set(done.failures) == {"bob"}
    assert list(done.verdicts.values()) == [Overall.VERIFIED]
    assert verify_claimed(ports, VerifyingRules(), token).failures == {}
