"""Answers that get lost, in every way and every pair of ways: each order is there once, or not placed.

Every order is aimed at by its turn: which two faults strike its sending follows from its number. Workers are
killed as well, before and after every step of a sending. Time passes on the simulator's clock.
"""

from __future__ import annotations

import os
from collections import Counter
from decimal import Decimal
from itertools import combinations
from typing import TYPE_CHECKING, Any

import pytest

from desks.orders import TradingDesk
from kraken_recon.orders.deciding import accept_decisions
from kraken_recon.orders.exchange import OrderSettings
from kraken_recon.orders.executing import adopt_external_orders

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Simulator
    from kraken_recon.orders.rules.order import Order

ORDERS = int(os.environ.get("LOST_ANSWERS_ORDERS", "91"))
ACCOUNTS = 5
FAULTS: dict[str, dict[str, Any]] = {
    "nothing": {},
    "accept_then_504": {"name": "accept_then_fail", "appearance": "504"},
    "accept_then_timeout": {"name": "accept_then_fail", "appearance": "timeout", "seconds": 0.3},
    "accept_then_reset": {"name": "accept_then_fail", "appearance": "reset"},
    "fail_before_accept": {"name": "fail_before_accept", "appearance": "504"},
    "late_accept": {"name": "late_accept", "appearance": "502", "after_seconds": 6},
    "too_late_accept": {"name": "late_accept", "appearance": "504", "after_seconds": 40},
    "hang": {"name": "hang", "seconds": 0.3},
    "reset_mid_answer": {"name": "reset_mid_answer"},
    "truncated_json": {"name": "truncated_json", "endpoint": "AddOrder"},
    "invalid_nonce": {"name": "invalid_nonce", "endpoint": "AddOrder"},
    "killed_before_sending": {},
    "killed_after_sending": {},
}
PAIRS = [(one, one) for one in FAULTS] + list(combinations(FAULTS, 2))
# One account at a time: the faults of one sending must not meet another.
SETTINGS = OrderSettings(follow_passes=1, concurrency=1)


class WorkerKilledError(BaseException):
    """The worker is gone: nothing after this line of its work happens."""


class Saboteur(TradingDesk):
    """A desk whose n-th sending meets the n-th pair of faults."""

    sendings = 0
    is_at_work = True
    met: Counter[str]

    def open_exchange(self, account):
        opened = super().open_exchange(account)
        desk = self

        class Sabotaged:
            def __enter__(self):
                client = opened.__enter__()
                send = client.add_order

                def add_order(order: Order) -> str | None:
                    if not desk.is_at_work:
                        return send(order)
                    chosen = PAIRS[desk.sendings % len(PAIRS)]
                    desk.sendings += 1
                    desk.met.update(set(chosen))
                    desk.simulator.control.delete("faults")
                    for name in set(chosen):
                        if FAULTS[name]:
                            desk.fault(**{"count": 1, "order": order.cl_ord_id, **FAULTS[name]})
                    if "killed_before_sending" in chosen:
                        raise WorkerKilledError
                    txid = send(order)
                    if "killed_after_sending" in chosen:
                        raise WorkerKilledError
                    return txid

                client.add_order = add_order
                return client

            def __exit__(self, *error):
                return opened.__exit__(*error)

        return Sabotaged()


@pytest.fixture
def desk(simulator: Simulator, database_url: str) -> Iterator[Saboteur]:
    desk = Saboteur(simulator, database_url, timeout_seconds=(1.0, 0.15), settings=SETTINGS)
    desk.met = Counter()
    for number in range(ACCOUNTS):
        desk.account(f"desk{number}", XXBT="1000", ZUSD="90000000")
    desk.prices(XBTUSD="50000")
    yield desk
    desk.close()


def decide_all(desk: Saboteur) -> None:
    kinds = [
        {"side": "buy"},
        {"side": "sell"},
        {"side": "buy", "type": "limit", "limit_price": "50100"},
        {"side": "sell", "type": "limit", "limit_price": "50100"},
        {"side": "buy", "type": "limit", "limit_price": "49900", "time_in_force": "IOC"},
    ]
    for number in range(ORDERS):
        kind = kinds[(number // len(PAIRS) + number) % len(kinds)]
        desk.decide(f"desk{number % ACCOUNTS}", volume=f"0.{number + 1000}", **kind)


def execute_until_quiet(desk: Saboteur) -> int:
    """Execute, each time with a new worker where one was killed, until every order's outcome is known."""
    killed = 0
    for _ in range(ORDERS + 60):
        try:
            desk.execute_orders()
        except WorkerKilledError:
            killed += 1
            continue
        left = desk.rows(
            "select count(*) as n from trading.orders"
            " where status in ('decided', 'submitting', 'unknown')"
            " or (ended_at is not null and settled_at is null)"
        )[0]["n"]
        if not left:
            return killed
        desk.pause(20)
    raise AssertionError("orders of unknown outcome are left")


def test_every_order_exists_once_or_is_recorded_as_not_placed(desk: Saboteur) -> None:
    decide_all(desk)
    accept_decisions(desk.ports)
    killed = execute_until_quiet(desk)
    assert desk.sendings >= ORDERS
    assert not set(FAULTS) - set(desk.met)
    desk.simulator.control.delete("faults")
    desk.pause(300)
    adopted = adopt_external_orders(None, desk.ports, SETTINGS)
    true_orders = [order for number in range(ACCOUNTS) for order in desk.true_orders(f"desk{number}")]
    at_kraken = {order["cl_ord_id"]: order["txid"] for order in true_orders}
    rows = desk.orders()
    placed = {row["cl_ord_id"]: row["kraken_txid"] for row in rows if row["kraken_txid"]}
    outcomes = Counter(row["status"] for row in rows)
    print(f"{ORDERS} orders, {killed} workers killed, {dict(outcomes)}, {dict(desk.met)}")  # noqa: T201 - the figures
    assert adopted == 0
    assert len(rows) == ORDERS
    assert len(true_orders) == len(at_kraken), "an id is on the exchange twice"
    assert placed == at_kraken
    assert {row["cl_ord_id"] for row in rows if row["status"] == "not_placed"}.isdisjoint(at_kraken)
    assert set(outcomes) <= {"closed", "open", "canceled", "not_placed", "rejected"}
    assert outcomes["not_placed"] > 0
    check_positions(desk)


def check_positions(desk: Saboteur) -> None:
    """Compare what fills moved with what the exchange holds, before any sync had a look."""
    for number in range(ACCOUNTS):
        name = f"desk{number}"
        balances, moved = desk.truth(name)["balances"], desk.positions(name)
        assert Decimal(balances["XXBT"]) == 1000 + moved.get("BTC", 0)
        assert Decimal(balances["ZUSD"]) == 90_000_000 + moved.get("USD", 0)


def test_absence_is_believed_only_twice_and_after_the_deadline(desk: Saboteur) -> None:
    desk.is_at_work = False
    desk.fault("fail_before_accept", appearance="504")
    desk.decide("desk0", volume="0.1")
    desk.execute_orders()
    assert desk.order()["status"] == "unknown"
    sent_at = desk.order()["submitted_at"]
    stories = []
    for _ in range(30):
        desk.pause(10)
        desk.execute_orders()
        stories.append((desk.order()["status"], (desk.now() - sent_at).total_seconds()))
        if desk.order()["status"] == "not_placed":
            break
    proved_after = stories[-1][1]
    assert stories[-1][0] == "not_placed"
    assert 130 <= proved_after < 160
    assert desk.rows("select kind from trading.alerts") == [{"kind": "order_not_placed"}]
    first, last = desk.rows(
        "select what, detail from trading.order_events where detail ? 'explained_by' order by event_id"
    )
    assert (first["what"], last["what"]) == ("not in Kraken's books, first look", "not placed")
    assert first["detail"]["explained_by"] in {"unique", "ambiguous", "impossible"}


def test_an_order_found_after_it_was_declared_not_placed_is_adopted_with_an_alert(desk: Saboteur) -> None:
    desk.is_at_work = False
    desk.fault("accept_then_fail", appearance="504", count=1)
    # Worse than anything seen: every view of the order is four minutes late, what it moved included.
    for view in ("orders", "trades", "ledger", "balance"):
        desk.fault("lag", view=view, seconds="240")
    desk.decide("desk0", volume="0.1")
    desk.execute_orders()
    for _ in range(9):
        desk.pause(20)
        desk.execute_orders()
    assert desk.order()["status"] == "not_placed"
    desk.pause(240)
    desk.run_until_settled()
    order = desk.order()
    assert order["status"] == "closed"
    assert order["source"] == "manual"
    assert len(desk.true_orders("desk0")) == 1
    alerts = {row["kind"]: row["status"] for row in desk.rows("select kind, status from trading.alerts")}
    assert alerts == {"order_not_placed": "resolved", "order_found_late": "open"}


def test_a_trade_whose_order_is_not_shown_keeps_its_absence_from_being_believed(desk: Saboteur) -> None:
    desk.is_at_work = False
    desk.fault("accept_then_fail", appearance="504", count=1)
    desk.fault("lag", view="orders", seconds="400")
    desk.decide("desk0", volume="0.1")
    for _ in range(15):
        desk.execute_orders()
        desk.pause(20)
        assert desk.order()["status"] == "unknown"
    desk.pause(120)
    desk.run_until_settled()
    assert desk.order()["status"] == "closed"
    # A person heard of it while it could not be settled, and it is over.
    assert desk.rows("select kind, status from trading.alerts") == [
        {"kind": "order_unknown", "status": "resolved"}
    ]
