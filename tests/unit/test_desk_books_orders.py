"""The desk's own orders are found at Kraken; a declaration can be guessed from a desk's tables."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from desks.fakes import START
from kraken_recon.desk_books.declaring import parse_book
from kraken_recon.desk_books.guessing import SeenColumn, SeenTable, guessed_declaration
from kraken_recon.desk_books.rules.orders import (
    DeskOrder,
    MatchedOrder,
    OrderState,
    match_orders,
    side_of,
)
from kraken_recon.orders.rules.order import OrderType, Side
from kraken_recon.orders.rules.reports import ReportedOrder
from kraken_recon.orders.rules.sizing import VENUE_MARK

ZERO = Decimal(0)
LATE = timedelta(minutes=5)
LATER = START + timedelta(hours=1)


def order(number: str, volume: str = "1", **more: Any) -> DeskOrder:
    given = {"created_at": START, "executed": Decimal(volume), **more}
    return DeskOrder(
        number, "BTC/USD", Side.BUY, Decimal(volume), "FILLED", START + timedelta(minutes=1), **given
    )


def report(txid: str, volume: str = "1", *, after_seconds: int = 10, **more: Any) -> ReportedOrder:
    opened = START + timedelta(seconds=after_seconds)
    given: dict[str, Any] = {
        "kraken_txid": txid,
        "cl_ord_id": None,
        "status_reported": "closed",
        "pair": "BTC/USD",
        "side": Side.BUY,
        "order_type": OrderType.LIMIT,
        "volume": Decimal(volume),
        "limit_price": None,
        "trigger_price": None,
        "volume_executed": Decimal(volume),
        "cost": ZERO,
        "fee": ZERO,
        "price_average": ZERO,
        "opened_at": opened,
        "closed_at": opened + timedelta(seconds=5),
        "expires_at": None,
        "reason": None,
        "flags": frozenset(),
    }
    return ReportedOrder(**{**given, **more})


def matched(orders: list[DeskOrder], *reports: ReportedOrder, **more: Any) -> list[tuple[str | None, str]]:
    found = match_orders(orders, reports, **{"late_by": LATE, "now": LATER, **more})
    return [(one.report and one.report.kraken_txid, one.problem) for one in found]


def test_an_id_decides_whatever_else_is_said() -> None:
    by_id, by_client = order("1", "7", kraken_id="OA"), order("2", "7", client_id="c")
    other = report("OB", "3", cl_ord_id="c", side=Side.SELL)
    assert matched([by_id, by_client], report("OA"), other) == [("OA", ""), ("OB", "")]


def test_an_id_that_kraken_does_not_know_is_not_looked_for_by_what_it_is() -> None:
    assert matched([order("1", kraken_id="OX")], report("OA")) == [(None, OrderState.UNMATCHED)]
    twice = [report("OA", cl_ord_id="c"), report("OB", cl_ord_id="c")]
    assert matched([order("1", client_id="c")], *twice) == [(None, OrderState.UNMATCHED)]


def test_without_an_id_the_one_that_fits_is_it() -> None:
    others = [
        report("O1", pair="ETH/USD"),
        report("O2", side=Side.SELL),
        report("O3", "1.1"),
        report("O4", after_seconds=-61),
        report("O5", after_seconds=361),
    ]
    assert matched([order("1")], report("OA"), *others) == [("OA", "")]


@pytest.mark.parametrize(("seconds", "found"), [(-60, "OA"), (-61, None), (355, "OA"), (356, None)])
def test_the_window_of_an_order(seconds: int, found: str | None) -> None:
    assert matched([order("1")], report("OA", after_seconds=seconds))[0][0] == found


def test_several_that_fit_are_listed_and_none_is_chosen() -> None:
    (one,) = match_orders([order("1")], [report("OB"), report("OA")], late_by=LATE, now=LATER)
    assert one == MatchedOrder(order("1"), None, OrderState.AMBIGUOUS, ("OA", "OB"))
    assert matched([order("1"), order("2")], report("OA")) == [(None, OrderState.AMBIGUOUS)] * 2


def test_what_an_id_names_is_no_candidate_for_another() -> None:
    known = order("1", kraken_id="OA")
    assert matched([known, order("2")], report("OA"), report("OB")) == [("OA", ""), ("OB", "")]


@pytest.mark.parametrize(
    ("one", "age", "problem"),
    [
        (order("1"), 300, OrderState.UNMATCHED),
        (order("1"), 299, ""),
        (order("1", executed=ZERO), 300, ""),
        (order("1", executed=Decimal("0.4")), 300, OrderState.UNMATCHED),
        (order("1", executed=None), 300, OrderState.UNMATCHED),
    ],
)
def test_what_was_filled_and_is_not_at_kraken_is_told_once_it_is_late(
    one: DeskOrder, age: int, problem: str
) -> None:
    assert matched([one], now=one.changed_at + timedelta(seconds=age)) == [(None, problem)]


def test_a_volume_is_compared_at_the_desks_digits() -> None:
    assert matched([order("1", "0.12")], report("OA", "0.12345678"), decimals=2) == [("OA", "")]


def test_a_market_of_another_venue_is_the_market() -> None:
    assert matched([order("1")], report("OA", pair=f"BTC/USD{VENUE_MARK}elsewhere")) == [("OA", "")]


def test_what_was_found_before_is_nobody_elses() -> None:
    taken = {"OA": "0"}
    assert matched([order("1")], report("OA"), report("OB"), taken=taken) == [("OB", "")]
    assert matched([order("1", kraken_id="OA")], report("OA"), taken=taken) == [(None, OrderState.AMBIGUOUS)]
    assert matched([order("0", kraken_id="OA")], report("OA"), taken=taken) == [("OA", "")]
    twice = [order("1", kraken_id="OA"), order("2", kraken_id="OA")]
    assert matched(twice, report("OA")) == [(None, OrderState.AMBIGUOUS)] * 2


def test_sides_in_any_case() -> None:
    assert [side_of(text) for text in ("BUY", " sell ", "Hold")] == [Side.BUY, Side.SELL, None]


def columns(*names: str, **types: str) -> tuple[SeenColumn, ...]:
    return tuple(SeenColumn(name, types.get(name, "numeric"), 8, is_required=True) for name in names)


ARENA = SeenTable(
    "positions",
    (
        SeenColumn("id", "integer", is_key=True, is_required=True),
        *columns("account_id", "market", "symbol", "quantity", "available_quantity", "avg_cost", "version"),
        SeenColumn("updated_at", "timestamp", is_required=True),
    ),
)
ORDERS = SeenTable(
    "orders", columns("order_no", "account_id", "symbol", "side", "quantity", "status", "updated_at")
)


def test_a_guess_is_a_declaration_that_can_be_read() -> None:
    text = guessed_declaration("arena", "arena_db", [SeenTable("users", columns("id")), ORDERS, ARENA])
    book, problems = parse_book(text, "arena.yaml")
    assert book is not None, problems
    positions = book.positions
    assert (positions.table, positions.account, positions.asset.column) == (
        "positions",
        "account_id",
        "symbol",
    )
    assert (positions.quantity, positions.available, positions.average_cost) == (
        "quantity",
        "available_quantity",
        "avg_cost",
    )
    for needed in ("#   version: ", "#   updated_at: now", "# orders:", "#   id: order_no"):
        assert needed in text
    before, start, after = text.partition("# orders:")
    uncommented = before + (start + after).replace("# ", "", 1).replace("\n#   ", "\n  ")
    found, problems = parse_book(uncommented, "arena.yaml")
    assert found is not None, problems
    assert found.orders is not None


def test_without_a_table_of_positions_a_query_is_proposed() -> None:
    trades = SeenTable("trades", columns("pair", "amount", amount="float"))
    book, problems = parse_book(guessed_declaration("bot", "bot_db", [trades]), "bot.yaml")
    assert book is not None, problems
    assert book.positions.query is not None


def test_what_a_float_or_a_scaled_number_needs_is_said() -> None:
    floats = SeenTable("positions", (*columns("account", "pair"), SeenColumn("amount", "double precision")))
    text = guessed_declaration("bot", "bot_db", [floats])
    assert "spelled: pair" in text
    assert "decimals: 8" in text
    whole = SeenTable("positions", (*columns("account", "coin"), SeenColumn("amount", "bigint")))
    assert "scaled_by" in guessed_declaration("bot", "bot_db", [whole])
