"""Placing that is interrupted between any two steps: the order is sent once, or proved not to be there.

Steps are around every transaction, every commit and every call to the exchange. A worker is a fork of the
test that kills itself with SIGKILL; sessions are ended by the server, as by its restart, and their worker
lives on. Then an undisturbed worker goes on.
"""

from __future__ import annotations

import os
import signal
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from desks.logins import as_writer
from desks.orders import TradingDesk
from kraken_recon.database.unit_of_work import UnitOfWork, create_engine
from kraken_recon.errors import StoreError
from kraken_recon.orders.exchange import OrderPorts, OrderSettings
from kraken_recon.orders.executing import execute_orders

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import Simulator
    from kraken_recon.accounts.account import Account
    from kraken_recon.kraken.trading_client import TradingClient

STEPS_MAX = 90
APPLICATION = "a worker to be interrupted"
END_SESSIONS = f"""
select pg_terminate_backend(pid, 5000) from pg_stat_activity
where application_name = '{APPLICATION}' and datname = current_database()
"""
SETTINGS = OrderSettings(concurrency=1, follow_passes=0)


@pytest.fixture
def desk(simulator: Simulator, database_url: str) -> Iterator[TradingDesk]:
    desk = TradingDesk(simulator, database_url)
    desk.account()
    desk.prices(XBTUSD="50000")
    yield desk
    desk.close()


def stepped(desk: TradingDesk, reach: Callable[[str], None]) -> OrderPorts:
    """Wire an execution so that every one of its steps is announced."""
    engine = create_engine(as_writer(desk.database_url), application_name=APPLICATION)

    class Unit:
        def __init__(self, unit: UnitOfWork) -> None:
            self._unit = unit

        def __getattr__(self, name: str) -> Any:
            return getattr(self._unit, name)

        def commit(self) -> None:
            reach("before a commit")
            self._unit.commit()
            reach("after a commit")

    @contextmanager
    def open_unit_of_work() -> Iterator[Any]:
        reach("before a unit of work")
        with UnitOfWork(engine) as unit:
            yield Unit(unit)

    class Exchange:
        def __init__(self, client: TradingClient) -> None:
            self._client = client

        def __getattr__(self, name: str) -> Callable[..., Any]:
            def call(*arguments: Any, **options: Any) -> Any:
                reach(f"before {name}")
                answer = getattr(self._client, name)(*arguments, **options)
                reach(f"after {name}")
                return answer

            return call

    @contextmanager
    def open_exchange(account: Account) -> Iterator[Any]:
        with desk.open_exchange(account) as client:
            yield Exchange(client)

    return replace(desk.ports, open_unit_of_work=open_unit_of_work, open_exchange=open_exchange)


def killed_at(desk: TradingDesk, at: int) -> str | None:
    """Execute in a child that kills itself at a step; return the step, or None if it ended before."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            count = 0

            def reach(name: str) -> None:
                nonlocal count
                count += 1
                if count == at:
                    os.write(writer, name.encode())
                    os.kill(os.getpid(), signal.SIGKILL)

            execute_orders(stepped(desk, reach), SETTINGS)
            status = 0
        finally:
            os._exit(status)
    os.close(writer)
    with os.fdopen(reader) as told:
        step = told.read()
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return step
    assert os.waitstatus_to_exitcode(status) == 0
    return None


def without_sessions_at(desk: TradingDesk, at: int) -> str | None:
    """Execute while the server ends every session at a step; return the step, or None if it ended before."""
    steps: list[str] = []

    def reach(name: str) -> None:
        steps.append(name)
        if len(steps) == at:
            desk.execute(END_SESSIONS)

    with suppress(StoreError):
        execute_orders(stepped(desk, reach), SETTINGS)
    return steps[at - 1] if len(steps) >= at else None


# A worker that lives on meets every kind of step in every third one.
@pytest.mark.parametrize(("interrupted_at", "stride"), [(killed_at, 1), (without_sessions_at, 3)])
def test_interrupted_at_any_step_the_order_is_on_the_exchange_once_or_not_placed(
    desk: TradingDesk, interrupted_at: Callable[[TradingDesk, int], str | None], stride: int
) -> None:
    statuses: dict[str, set[str]] = {}
    for at in range(1, STEPS_MAX + 1, stride):
        decision = desk.decide(volume="0.001")
        step = interrupted_at(desk, at)
        desk.run_until_settled()
        [row] = desk.rows(
            "select o.* from trading.orders o join trading.order_decisions using (order_id)"
            " where decision_id = %s",
            decision,
        )
        at_kraken = [o for o in desk.true_orders() if o["cl_ord_id"] == row["cl_ord_id"]]
        assert len(at_kraken) == (row["status"] == "closed"), (at, step)
        assert row["status"] in {"closed", "not_placed"}
        statuses.setdefault(step or "never", set()).add(row["status"])
        if step is None:
            break
    else:
        pytest.fail(f"an execution has more than {STEPS_MAX} steps: raise STEPS_MAX")
    assert at > 20
    if interrupted_at is killed_at:
        assert statuses["before add_order"] == {"not_placed"}
        assert statuses["after add_order"] == {"closed"}
    assert len(desk.true_orders()) == sum(row["status"] == "closed" for row in desk.orders())
    bought = sum(row["volume_executed"] for row in desk.orders())
    assert desk.positions()["BTC"] == bought
