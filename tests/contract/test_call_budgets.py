"""The two call budgets, exactly, by virtual time."""

from __future__ import annotations

from decimal import Decimal

import pytest

from kraken_sim.http.call_budgets import TIERS, Budget, engine_cost

OVER = ["EAPI:Rate limit exceeded"]


@pytest.mark.parametrize(
    ("tier", "burst", "seconds_for_one"),
    [("starter", 15, "3.04"), ("intermediate", 20, "2"), ("pro", 20, "1")],
)
def test_burst_and_decay_of_each_tier(exchange, tier, burst, seconds_for_one):
    desk = exchange.open(tier=tier)
    for _ in range(burst):
        desk.call("Balance")
    desk.advance(seconds_for_one)
    desk.call("Balance")
    assert desk.refusal("Balance") == OVER


@pytest.mark.parametrize(("cost", "pages"), [(2, 10), (4, 5)])
@pytest.mark.parametrize(
    ("endpoint", "parameters"),
    [
        ("Ledgers", {}),
        ("TradesHistory", {}),
        ("ClosedOrders", {}),
        ("QueryLedgers", {"id": "L"}),
        ("QueryTrades", {"txid": "T"}),
    ],
)
def test_history_costs_two_or_four(exchange, cost, pages, endpoint, parameters):
    desk = exchange.open(history_cost=cost, tier="intermediate")
    for _ in range(pages):
        desk.call(endpoint, **parameters)
    assert desk.refusal(endpoint, **parameters) == OVER


def test_the_price_of_history_may_change_while_in_use(exchange):
    desk = exchange.open(history_cost=4, tier="intermediate")
    for _ in range(3):
        desk.call("Ledgers")
    desk.change(history_cost=2)
    for _ in range(4):
        desk.call("Ledgers")
    assert desk.refusal("Ledgers") == OVER


def test_who_keeps_calling_stays_limited(exchange):
    desk = exchange.open(tier="pro")
    for _ in range(20):
        desk.call("Balance")
    for _ in range(8):
        assert desk.refusal("Balance") == OVER
    desk.advance(3)
    assert desk.refusal("Balance") == OVER
    desk.advance(10)
    assert desk.call("BalanceEx") == {}


@pytest.mark.parametrize(("tier", "pause"), [("starter", 3), ("intermediate", 2), ("pro", 1)])
def test_calling_as_fast_as_the_counter_falls_never_ends_the_limit(exchange, tier, pause):
    desk = exchange.open(tier=tier)
    while not desk.api.query_private("Balance", {}, timeout=10)["error"]:
        pass
    for _ in range(6):
        desk.refusal("Balance")
    for _ in range(40):
        desk.advance(pause)
        assert desk.refusal("Balance") == OVER
    desk.advance(pause * 7)
    assert desk.call("BalanceEx") == {}


def test_orders_do_not_count(exchange):
    desk = exchange.open(tier="starter", opening={"ZUSD": "100000"})
    order = {"pair": "XBTUSD", "type": "buy", "ordertype": "limit", "volume": "0.001", "price": "1000"}
    for _ in range(15):
        desk.call("AddOrder", **order)
    desk.call("Balance")


def test_engine_counter_stops_fast_churn(exchange):
    desk = exchange.open(tier="starter", opening={"ZUSD": "100000"})
    order = {"pair": "XBTUSD", "type": "buy", "ordertype": "limit", "volume": "0.001", "price": "1000"}
    for _ in range(7):  # each pair of calls costs 1 + 8
        desk.call("CancelOrder", txid=desk.call("AddOrder", **order)["txid"][0])
    assert desk.refusal("AddOrder", **order) == ["EOrder:Rate limit exceeded"]
    desk.call("AddOrder", **(order | {"pair": "ETHUSD", "volume": "0.1", "price": "100"}))
    desk.advance(10)
    desk.call("AddOrder", **order)


def test_too_many_open_orders_on_one_pair(exchange):
    desk = exchange.open(tier="starter", opening={"ZUSD": "100000"})
    order = {"pair": "XBTUSD", "type": "buy", "ordertype": "limit", "volume": "0.001", "price": "1000"}
    for _ in range(60):
        desk.call("AddOrder", **order)
        desk.advance(2)
    assert desk.refusal("AddOrder", **order) == ["EOrder:Orders limit exceeded"]


def test_the_worked_example_of_the_documentation_costs_eight():
    """Add, amend after 7 s, cancel 36 s later: 1 + (1 + 2) + 4."""
    costs = [
        engine_cost("add", Decimal(0)),
        engine_cost("amend", Decimal(7)),
        engine_cost("cancel", Decimal(36)),
    ]
    assert costs == [1, 3, 4]
    assert sum(costs) == 8


def test_engine_counter_decays_between_transactions():
    budget = Budget(TIERS["intermediate"], 2)
    budget.charge_engine("add", "XXBTZUSD", Decimal(100))
    budget.charge_engine("cancel", "XXBTZUSD", Decimal(101), age_seconds=Decimal(1))
    assert budget.engine["XXBTZUSD"].value == 8
    budget.charge_engine("add", "XXBTZUSD", Decimal(102))
    assert budget.engine["XXBTZUSD"].value == Decimal("6.66")
