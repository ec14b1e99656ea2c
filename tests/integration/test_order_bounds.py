"""A decision has an age, a price and a clock: what has outlived them is refused or kept, and told."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest

from desks.orders import READING, TRADING, TradingDesk
from kraken_recon.errors import ClockOffError, ConfigurationError, OrderFollowedError
from kraken_recon.orders.changing import amend_order, cancel_order
from kraken_recon.orders.deciding import accept_decisions
from kraken_recon.orders.ordering import Ordering
from kraken_recon.orders.rules.bounds import DEFAULT_BOUNDS

HOURS = 3600


@pytest.fixture
def desk(simulator, database_url):
    desk = TradingDesk(simulator, database_url)
    desk.account()
    desk.prices(XBTUSD="50000")
    yield desk
    desk.close()


def told(desk):
    return [
        (row["kind"], row["message"])
        for row in desk.rows("select kind, message from trading.alerts where status <> 'resolved' order by 1")
    ]


def outage(desk):
    desk.fault("http_error", status="503")
    assert desk.execute_orders().failures
    desk.pause(6 * HOURS)
    desk.simulator.control.delete("faults")


def paused(desk):
    accept_decisions(desk.ports)
    desk.pause(6 * HOURS)


def unseen(desk):
    desk.pause(6 * HOURS)


def without_rights(desk):
    desk.simulator.control.patch("accounts/desk", {"permissions": list(READING)})
    desk.pause(60)
    assert "may not trade" in desk.execute_orders().failures["desk"]
    desk.pause(301)
    assert "may not trade" in desk.execute_orders().failures["desk"]
    assert desk.order()["status"] == "refused", "told while the key still lacks the right"
    desk.simulator.control.patch("accounts/desk", {"permissions": list(TRADING)})


@pytest.mark.parametrize("delay", [outage, paused, unseen, without_rights])
def test_a_market_order_does_not_outlive_its_minutes(desk, delay):
    desk.decide(volume="0.5")
    delay(desk)
    desk.prices(XBTUSD="80000")
    assert desk.execute_orders().sent == 0
    assert desk.true_orders() == []
    [refusal] = desk.rows(
        "select coalesce(refusal, status_reason) as reason"
        " from trading.order_decisions left join trading.orders using (order_id)"
    )
    assert "too old" in refusal["reason"]
    [(kind, message)] = told(desk)
    assert kind == "order_refused"
    assert refusal["reason"] in message
    # What it would have taken is free.
    desk.decide(side="sell", portion="1")
    desk.execute_orders()
    assert desk.orders()[-1]["status"] == "closed"


@pytest.mark.parametrize(
    ("decided", "minutes", "status"),
    [
        ({}, 4, "closed"),
        ({}, 6, "refused"),
        ({"valid_minutes": "30"}, 29, "closed"),
        ({"valid_minutes": "0.5"}, 1, "refused"),
        ({"type": "stop-loss", "trigger_price": "55000"}, 6, "refused"),
        ({"limit_price": "49000", "time_in_force": "IOC"}, 6, "refused"),
        ({"limit_price": "51000", "time_in_force": "FOK"}, 6, "refused"),
        ({"limit_price": "49000"}, 600, "open"),
        ({"limit_price": "49000"}, 1441, "refused"),
        ({"limit_price": "49000", "valid_minutes": "10"}, 11, "refused"),
        (
            {"limit_price": "49000", "time_in_force": "GTD", "expires_at": "2026-01-05T12:07:00Z"},
            8,
            "refused",
        ),
    ],
    ids=str,
)
def test_each_kind_of_order_has_its_age(desk, decided, minutes, status):
    desk.decide(volume="0.5", **decided)
    accept_decisions(desk.ports)
    desk.pause(60 * minutes)
    desk.execute_orders()
    order = desk.order()
    assert order["status"] == status, order["status_reason"]


def test_an_order_that_may_leave_may_not_be_executed_beyond_its_age(desk):
    desk.decide(volume="0.5")
    accept_decisions(desk.ports)
    desk.pause(294)
    desk.execute_orders()
    order = desk.order()
    assert order["status"] == "closed"
    assert order["deadline"] == order["valid_until"] == order["decided_at"] + timedelta(minutes=5)


def test_an_account_that_is_not_worked_on_keeps_no_old_orders(desk):
    desk.decide(volume="0.5")
    accept_decisions(desk.ports)
    desk.execute("update trading.accounts set is_active = false")
    desk.pause(2 * HOURS)
    desk.execute_orders()
    assert desk.order()["status"] == "refused"
    assert [kind for kind, _ in told(desk)] == ["order_refused"]


@pytest.mark.parametrize(
    ("decided", "expected", "price", "is_sent"),
    [
        ({}, "50000", "52500", True),
        ({}, "50000", "52501", False),
        ({}, "50000", "30000", True),
        ({"side": "sell"}, "50000", "47499", False),
        ({"side": "sell"}, "50000", "80000", True),
        ({"limit_price": "51000"}, "50000", "80000", True),
        ({"limit_price": "53000"}, "50000", "80000", False),
        ({"type": "stop-loss", "side": "sell", "trigger_price": "45000"}, "45000", "50000", True),
        ({"type": "stop-loss", "side": "sell", "trigger_price": "45000"}, "45000", "30000", False),
    ],
    ids=str,
)
def test_the_expected_price_bounds_what_is_paid(desk, decided, expected, price, is_sent):
    desk.decide(volume="0.5", expected_price=expected, **decided)
    desk.prices(XBTUSD=price)
    assert (desk.execute_orders().sent == 1) is is_sent
    if not is_sent:
        assert f"where {expected} was expected" in desk.order()["status_reason"]
        assert [kind for kind, _ in told(desk)] == ["order_refused"]


def test_the_bounds_are_settings(desk):
    desk.bounds = replace(DEFAULT_BOUNDS, market_age=timedelta(minutes=60), deviation_percent=Decimal("0.1"))
    desk.decide(volume="0.5")
    desk.decide(volume="0.5", expected_price="50000")
    desk.pause(59 * 60)
    desk.prices(XBTUSD="50051")
    desk.execute_orders()
    assert [order["status"] for order in desk.orders()] == ["closed", "refused"]


@pytest.mark.parametrize("seconds", [-7200, -180, -11, 11, 45, 180])
def test_a_clock_that_is_off_is_named_and_sends_nothing(desk, seconds):
    desk.decide(volume="0.5")
    desk.decide(volume="0.5")
    accept_decisions(desk.ports)
    desk.decide(volume="0.5", key="not judged yet")
    desk.clock_error = timedelta(seconds=seconds)
    done = desk.execute_orders()
    assert done.sent == 0
    side = "ahead of" if seconds > 0 else "behind"
    assert "ClockOffError: the clock of " in done.failures["desk"]
    assert f"{side} Kraken's" in done.failures["desk"]
    [(kind, message)] = told(desk)
    assert (kind, "the clock of" in message) == ("order_execution_failure", True)
    assert [order["status"] for order in desk.orders()] == ["decided"] * 2
    desk.clock_error = timedelta(0)
    assert desk.execute_orders().sent == 3
    assert told(desk) == []


def test_a_command_orders_nothing_by_a_wrong_clock_and_keeps_what_has_a_key(desk):
    desk.clock_error = timedelta(minutes=-3)
    wish = {"account": "desk", "pair": "BTC/USD", "side": "buy", "volume": "0.5"}
    with pytest.raises(ConfigurationError, match=r"nothing is ordered, .*: the clock of .* behind Kraken's"):
        Ordering(desk.ports).place(wish, seconds=1)
    with pytest.raises(OrderFollowedError, match=r"is kept .*: the clock of .* behind Kraken's"):
        Ordering(desk.ports, key="signal").place(wish, seconds=1)
    desk.clock_error = timedelta(0)
    assert Ordering(desk.ports, key="signal").place(wish, seconds=1).status == "closed"
    assert len(desk.true_orders()) == 1


@pytest.mark.parametrize("seconds", [-7, -1, 0, 1, 8])
def test_a_clock_within_the_deadline_is_good_enough(desk, seconds):
    desk.clock_error = timedelta(seconds=seconds)
    desk.decide(volume="0.5")
    desk.execute_orders()
    assert desk.order()["status"] == "closed"


def test_with_a_wrong_clock_orders_are_cancelled_and_not_amended(desk):
    desk.decide(volume="0.5", limit_price="49000")
    desk.execute_orders()
    desk.clock_error = timedelta(minutes=-3)
    with pytest.raises(ClockOffError, match="180 s behind Kraken's"):
        amend_order(desk.order()["order_id"], desk.ports, volume=Decimal(1))
    assert cancel_order(desk.order()["order_id"], desk.ports).status == "canceled"


@pytest.mark.parametrize("decided", [{"volume": "0.5"}, {"side": "sell", "portion": "0.5"}], ids=str)
def test_a_deadline_that_elapsed_keeps_the_order_for_later(desk, decided):
    desk.fault("api_error", text="EService:Deadline elapsed", endpoint="AddOrder", count=1)
    desk.decide(**decided)
    done = desk.execute_orders()
    assert "Deadline elapsed" in done.failures["desk"]
    order = desk.order()
    assert order["status"] == "decided"
    assert {order[name] for name in ("deadline", "submitted_at", "reserved")} == {None}
    assert desk.execute_orders().sent == 1
    assert desk.order()["status"] == "closed"
    assert len(desk.true_orders()) == 1
    assert told(desk) == []


def test_what_kraken_rejects_is_told(desk):
    desk.simulator.control.post("pairs/XBTUSD", {"status": "cancel_only"})
    desk.decide(volume="0.1")
    desk.execute_orders()
    [(kind, message)] = told(desk)
    assert kind == "order_refused"
    assert "rejected: EService:Market in cancel_only mode" in message
