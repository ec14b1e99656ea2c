"""The DAG, its sensor and its triggers, on a real trading database and a simulated Kraken."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from desks.dag_runs import read_dags, run_dag
from kraken_airflow.dashboard.pages.orders import judge_of
from kraken_airflow.hooks.trading_db import TradingDbHook
from kraken_airflow.sensors import order_verification
from kraken_airflow.sensors.order_verification import OrderVerificationSensor
from kraken_airflow.triggers.order_verification import RULES, OrderVerificationTrigger
from kraken_airflow.triggers.orders_ended import OrdersEndedTrigger
from kraken_recon.verification.ended_orders_store import CHANNEL
from kraken_recon.verification.verifying import claim_orders
from local_stack.processes import poll_until

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from airflow.sdk import DAG

    from desks.airflow import AirflowDesk

ORDER = """
insert into trading.orders (
  account_id, source, pair, base, quote, side, order_type, volume, kraken_txid, status, ended_at,
  volume_executed, cost_executed, fee_reported
)
select account_id, 'external', 'BTC/USD', 'BTC', 'USD', 'buy', 'market', %(volume)s, %(txid)s, 'closed',
now(), %(volume)s, %(cost)s, %(fee)s from trading.accounts where name = 'desk'
"""
WAIT_SECONDS = 20


@pytest.fixture
def traded(desk: AirflowDesk) -> AirflowDesk:
    """A desk with one order that Kraken filled, and that ended here."""
    desk.account("desk", ZUSD="100000")
    desk.simulator.control.patch("accounts/desk", {"tier": "unlimited"})
    desk.simulator.control.post("prices", {"XBTUSD": "50000"})
    fill_order(desk)
    return desk


def fill_order(desk: AirflowDesk, volume: str = "0.1") -> None:
    event = {"kind": "manual_order", "pair": "XBTUSD", "side": "buy", "volume": volume, "ordertype": "market"}
    made = desk.simulator.control.post("accounts/desk/events", event)
    ledger = desk.simulator.control.get("accounts/desk/statement")["ledger"]
    [paid] = [row for row in ledger if row["refid"] == made["trade"] and row["asset"] == "ZUSD"]
    values = {"volume": volume, "txid": made["order"], "cost": paid["amount"].lstrip("-"), "fee": paid["fee"]}
    with psycopg.connect(desk.database_url) as session:
        session.execute(ORDER, values)


@pytest.fixture
def dag() -> DAG:
    return read_dags().dags["order_verification"]


def verdicts(desk: AirflowDesk) -> list[Any]:
    rows = desk.rows("select verdict from trading.order_verifications order by order_id")
    return [row["verdict"] for row in rows]


def test_a_run_verifies_what_ended_and_publishes_the_rates(dag: DAG, traded: AirflowDesk) -> None:
    run = run_dag(dag)
    assert run.state == "success"
    assert verdicts(traded) == ["verified"]
    [judged] = traded.rows("select judged_by from trading.order_verifications")
    assert judge_of(judged["judged_by"])["dag_run_id"] == run.run_id
    assert (
        traded.rows("select verified, source from trading.verification_rates")
        == [{"verified": 1, "source": "external"}] * 2
    )


def test_a_run_without_work_ends_at_once(dag: DAG, desk: AirflowDesk) -> None:
    desk.account("desk", ZUSD="1")
    assert run_dag(dag).state == "success"


def test_books_that_lag_defer_the_task_and_are_verified_when_they_come(dag: DAG, traded: AirflowDesk) -> None:
    traded.simulator.control.post("faults", {"name": "lag", "view": "ledger", "seconds": 4})
    run = run_dag(dag)
    assert run.state == "success"
    assert verdicts(traded) == ["verified"]
    [row] = traded.rows("select judged_at - enlisted_at as took from trading.order_verifications")
    assert row["took"] > timedelta(seconds=2)


@pytest.mark.parametrize("mode", ["poke", "reschedule"])
def test_the_same_sensor_waits_without_deferring(traded: AirflowDesk, mode: str) -> None:
    sensor = OrderVerificationSensor(
        task_id="verify_orders", deferrable=False, mode=mode, poke_interval=0.1, watch_seconds=0
    )
    assert sensor.poke(context_of()) is True
    assert verdicts(traded) == ["verified"]


def test_a_poke_goes_on_while_each_look_brings_verdicts(
    traded: AirflowDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    control = traded.simulator.control
    pauses = []

    def pass_by(seconds: float) -> None:
        pauses.append(seconds)
        control.post("clock", {"advance_seconds": "2"})

    control.post("clock", {"mode": "virtual"})
    for _ in range(2):
        control.post("clock", {"advance_seconds": "2"})
        fill_order(traded)
    control.post("faults", {"name": "lag", "view": "ledger", "seconds": 60})
    control.post("clock", {"advance_seconds": "57"})  # the first of the three is there, the second soon
    monkeypatch.setattr(order_verification, "time", SimpleNamespace(sleep=pass_by))
    sensor = OrderVerificationSensor(task_id="verify_orders")
    assert sensor.poke(context_of()) is True
    assert verdicts(traded) == ["verified"] * 3
    assert len(pauses) == 2


def test_what_does_not_come_in_time_is_let_go_as_inconclusive(traded: AirflowDesk) -> None:
    traded.simulator.control.post("faults", {"name": "lag", "view": "orders", "seconds": 1000})
    sensor = OrderVerificationSensor(task_id="verify_orders", watch_seconds=0)
    assert sensor.poke(context_of()) is True
    assert verdicts(traded) == ["inconclusive"]
    assert traded.rows("select claimed_by from trading.order_verifications") == [{"claimed_by": None}]


def context_of() -> Any:
    class Run:
        start_date = datetime.now(UTC)

    class Task:
        dag_id, run_id, task_id, try_number = "dag", "run", "verify_orders", 1

    return {"dag_run": Run, "ti": Task}


def within(work: Awaitable[Any]) -> Any:
    async def bounded() -> Any:
        return await asyncio.wait_for(work, WAIT_SECONDS)

    return asyncio.run(bounded())


async def next_event(trigger: Any) -> Any:
    async with aclosing(trigger.run()) as events:
        return await anext(events)


def books_trigger(watch: timedelta = timedelta(minutes=1)) -> OrderVerificationTrigger:
    return OrderVerificationTrigger(
        token="test", watch_until=(datetime.now(UTC) + watch).isoformat(), first_pause_seconds=0.1
    )


def test_the_trigger_fires_when_the_books_of_an_order_are_there(traded: AirflowDesk) -> None:
    claim_orders(TradingDbHook().wiring().verifying_ports(), RULES, "test")
    event = within(next_event(books_trigger()))
    assert event.payload == {"token": "test", "ready": [1]}
    assert verdicts(traded) == [None], "the trigger only looks"
    assert traded.rows("select * from trading.fills") == []


def test_the_trigger_fires_for_orders_that_nobody_took(traded: AirflowDesk) -> None:
    traded.simulator.control.post("faults", {"name": "lag", "view": "orders", "seconds": 1000})
    claim_orders(TradingDbHook().wiring().verifying_ports(), RULES, "test")
    fill_order(traded)
    started = datetime.now(UTC)
    within(next_event(books_trigger()))
    assert datetime.now(UTC) - started < timedelta(seconds=WAIT_SECONDS)


def test_the_trigger_fires_at_its_end_and_keeps_the_loop_free(traded: AirflowDesk) -> None:
    traded.simulator.control.post("faults", {"name": "lag", "view": "orders", "seconds": 1000})
    traded.simulator.control.post("faults", {"name": "slow", "seconds": 0.5, "account": "desk"})
    claim_orders(TradingDbHook().wiring().verifying_ports(), RULES, "test")
    longest = 0.0

    async def watched() -> None:
        nonlocal longest
        loop = asyncio.get_running_loop()
        task = asyncio.ensure_future(next_event(books_trigger(timedelta(seconds=2))))
        while not task.done():
            before = loop.time()
            await asyncio.sleep(0.01)
            longest = max(longest, loop.time() - before)
        await task

    within(watched())
    assert longest < 0.4, "a look of half a second held up the event loop"


def test_a_cancelled_trigger_leaves_no_session(traded: AirflowDesk) -> None:
    traded.simulator.control.post("faults", {"name": "lag", "view": "orders", "seconds": 1000})
    claim_orders(TradingDbHook().wiring().verifying_ports(), RULES, "test")

    async def cancelled() -> None:
        tasks = [
            asyncio.ensure_future(next_event(trigger))
            for trigger in (books_trigger(), OrdersEndedTrigger(sweep_seconds=30))
        ]
        await asyncio.sleep(1.5)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    within(cancelled())
    # The server ends a session a moment after its client closed it.
    assert poll_until(
        lambda: (
            not traded.rows(
                "select from pg_stat_activity where datname = current_database()"
                " and application_name like %s",
                "kraken_recon:%",
            )
        ),
        timeout_seconds=5,
    )


def test_a_killed_task_gives_its_batch_up(traded: AirflowDesk) -> None:
    claim_orders(TradingDbHook().wiring().verifying_ports(), RULES, "test")
    within(books_trigger().on_kill())
    assert traded.rows("select claimed_by from trading.order_verifications") == [{"claimed_by": None}]


@pytest.mark.usefixtures("traded")
def test_the_event_trigger_fires_for_waiting_orders_and_again_while_they_wait() -> None:
    async def two_events() -> list[Any]:
        trigger = OrdersEndedTrigger(sweep_seconds=0.2, gap_seconds=0.1)
        async with aclosing(trigger.run()) as events:
            return [await anext(events), await anext(events)]

    assert len(within(two_events())) == 2


def test_the_event_trigger_is_silent_until_it_is_notified(traded: AirflowDesk) -> None:
    claim_orders(TradingDbHook().wiring().verifying_ports(), RULES, "somebody")

    async def woken() -> Any:
        trigger = OrdersEndedTrigger(sweep_seconds=1000, debounce_seconds=0.05)
        async with aclosing(trigger.run()) as events:
            task = asyncio.ensure_future(anext(events))
            await asyncio.sleep(1)
            assert not task.done(), "every order is being worked on"
            fill_order(traded)
            await asyncio.sleep(0.5)
            assert not task.done(), "without a notification it looks again only after a sweep"
            traded.execute(f"notify {CHANNEL}")
            return await task

    assert "at" in within(woken()).payload


def test_both_triggers_can_be_made_again_from_what_they_tell_of_themselves() -> None:
    for trigger in (books_trigger(), OrdersEndedTrigger(sweep_seconds=7)):
        path, arguments = trigger.serialize()
        assert path == f"{type(trigger).__module__}.{type(trigger).__qualname__}"
        assert type(trigger)(**arguments).serialize() == (path, arguments)
