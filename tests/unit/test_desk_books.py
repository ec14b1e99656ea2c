"""Rows of a desk's are understood and compared as the declaration says."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from kraken_recon.desk_books.declaration import (
    AssetColumn,
    DeskBook,
    Holds,
)
from kraken_recon.desk_books.rules.accounts import match_accounts
from kraken_recon.desk_books.rules.compare import (
    ProvenPositions,
    Terms,
    compare,
    quantity_of,
    terms_of_cash,
    terms_of_positions,
)
from kraken_recon.desk_books.rules.names import Meant, Names, known_assets, unknown_in
from kraken_recon.desk_books.rules.records import (
    DeskRow,
)

ZERO = Decimal(0)
KNOWN = known_assets(["XXBT", "XETH", "SOL", "DOT", "DOT.S", "ZUSD", "ZEUR", "AAPLx", "ON", "XTZ", "USDT"])


def names(spelled: str = "plain", **also: str) -> Names:
    return Names(AssetColumn.model_validate({"column": "s", "spelled": spelled, "also": also}), KNOWN)


def terms(spelled: str = "plain", *, holds: object = "all", decimals: int = 8, spot: bool = False) -> Terms:
    return Terms("arena positions", names(spelled), Holds.model_validate(holds), decimals, is_spot_only=spot)


def row(number: int, name: str, quantity: str | None, /, **columns: Any) -> DeskRow:
    return DeskRow((number,), name, None if quantity is None else Decimal(quantity), columns)


def proven(**quantities: str) -> dict[str, Decimal]:
    return {asset: Decimal(quantity) for asset, quantity in quantities.items()}


@pytest.mark.parametrize(
    ("spelled", "name", "asset"),
    [
        ("plain", "BTC", Meant("BTC")),
        ("plain", " btc ", Meant("BTC")),
        ("plain", "XBT", Meant("BTC")),
        ("plain", "XTZ", Meant("XTZ")),
        ("plain", "ON", Meant("ON")),
        ("plain", "AAPLX", Meant("AAPLx")),
        ("plain", "Bitcoin", None),
        ("plain", "", None),
        ("kraken", "XXBT", Meant("BTC")),
        ("kraken", "ZEUR", Meant("EUR")),
        ("kraken", "DOT.S", Meant("DOT", "S")),
        ("kraken", "XXXX", None),
        ("pair", "BTC/USD", Meant("BTC")),
        ("pair", "XBT-EUR", Meant("BTC")),
        ("pair", "SOL_USDT", Meant("SOL")),
        ("pair", "BTC/USDT:USDT", Meant("BTC")),
        ("pair", "XXBTZUSD", Meant("BTC")),
        ("pair", "SOLUSD", Meant("SOL")),
        ("pair", "FOO/USD", None),
        ("pair", "USDFOO", None),
    ],
)
def test_a_name_is_understood_in_one_way_or_not_at_all(spelled: str, name: str, asset: Meant | None) -> None:
    assert names(spelled).read(name) == asset


def test_mapped_names_come_first() -> None:
    assert names(XBT="SOL", Bitcoin="BTC").read("XBT") == Meant("SOL")
    assert names(Bitcoin="BTC").read("Bitcoin") == Meant("BTC")
    assert names("pair", Bitcoin="BTC").read("Bitcoin/USD") == Meant("BTC")
    assert names("pair", **{"BTC-PERP": "BTC"}).read("BTC-PERP") == Meant("BTC")


@pytest.mark.parametrize(("spelled", "written"), [("plain", "BTC"), ("kraken", "XXBT"), ("pair", "BTC/EUR")])
def test_an_asset_is_written_as_the_desk_spells_it(spelled: str, written: str) -> None:
    assert names(spelled).written("BTC", "EUR") == written


@pytest.mark.parametrize(
    ("value", "decimals", "scaled_by", "quantity"),
    [
        (Decimal("1.5"), 8, None, "1.5"),
        (1, 8, None, "1"),
        (0.1 + 0.2, 8, None, "0.3"),
        (1e-8, 8, None, "0.00000001"),
        ("0.30", 2, None, "0.3"),
        (1_500_000, 6, 1_000_000, "1.5"),
        (-1, 6, 1_000_000, "-0.000001"),
        (None, 8, None, None),
        (True, 8, None, None),
        ("abc", 8, None, None),
        (float("nan"), 8, None, None),
        (float("inf"), 8, None, None),
        ("1e999999", 8, None, None),
        (b"1", 8, None, None),
    ],
)
def test_quantities_of_any_type(
    value: object, decimals: int, scaled_by: int | None, quantity: str | None
) -> None:
    expected = None if quantity is None else Decimal(quantity)
    assert quantity_of(value, decimals, scaled_by) == expected


def test_what_agrees_differs_lacks_and_is_too_much() -> None:
    rows = [row(1, "BTC", "1"), row(2, "ETH", "2"), row(3, "DOT", "5"), row(4, "XTZ", "0")]
    seen = compare(rows, proven(BTC="1", ETH="2.5", SOL="3"), terms())
    assert (seen.rows, seen.agreed, seen.problems) == (4, 2, ())
    assert [(c.asset, c.difference, len(c.rows)) for c in seen.differing] == [
        ("DOT", Decimal(-5), 1),
        ("ETH", Decimal("0.5"), 1),
        ("SOL", Decimal(3), 0),
    ]


@pytest.mark.parametrize("desk", ["1.23", "1.24"])
def test_any_rounding_to_the_desks_digits_agrees(desk: str) -> None:
    assert compare([row(1, "BTC", desk)], proven(BTC="1.235"), terms(decimals=2)).agreed == 1


@pytest.mark.parametrize(
    ("rows", "held"),
    [
        ([row(1, "BTC", "1.5"), row(2, "XETH", "2")], proven(BTC="1.5", ETH="2")),
        ([row(1, "BTC", "1.5")], proven(BTC="1.5", ETH="2")),
        ([row(1, "BTC", "1.5")], proven(BTC="1.5", ETH="0.000000001")),
        ([row(1, "BTC", "1.4"), row(2, "ETH", "2")], proven(BTC="1.5", ETH="2")),
        ([row(1, "BTC", "1.5"), row(2, "XBT", "1.5")], proven(BTC="1.5")),
        ([row(1, "BTC", "1.5"), row(2, "ETH", None)], proven(BTC="1.5")),
        ([row(1, "BTC", "0"), row(2, "ETH", "0")], proven()),
        ([row(1, "BTC", "1.5"), row(2, "Bitcoin", "1")], proven(BTC="1.5")),
        ([], proven()),
    ],
)
def test_names_that_were_understood_before_change_nothing(
    rows: list[DeskRow], held: dict[str, Decimal]
) -> None:
    used = terms()
    compare([row(1, name, "1") for name in ("BTC", "XBT", "ETH", "XETH")], {}, used)
    assert compare(rows, held, used) == compare(rows, held, terms())


def test_dust_without_a_row_is_no_difference() -> None:
    assert compare([], proven(BTC="0.001"), terms(decimals=2)).differing == ()


def test_doubled_rows_are_summed_and_told() -> None:
    seen = compare([row(7, "BTC", "1"), row(3, "XBT", "1")], proven(BTC="2"), terms())
    assert (seen.agreed, seen.differing) == (1, ())
    (doubled,) = seen.doubled
    assert [r.key for r in doubled.rows] == [(3,), (7,)]
    assert "2 rows stand for BTC, 2 together: 3, 7" in seen.problems[0].what


def test_pairs_of_one_base_and_wallets_of_one_asset_are_summed_and_not_told() -> None:
    pairs = compare([row(1, "BTC/USD", "1"), row(2, "BTC/EUR", "1")], proven(BTC="2"), terms("pair"))
    wallets = compare([row(1, "DOT", "1"), row(2, "DOT.S", "1")], proven(DOT="2"), terms("kraken"))
    for seen in (pairs, wallets):
        assert (seen.agreed, seen.problems, seen.doubled) == (1, (), ())
    twice = compare([row(1, "BTC/USD", "1"), row(2, "BTC/USD", "1")], proven(BTC="2"), terms("pair"))
    assert len(twice.problems) == 1


def test_unknown_names_and_rows_without_a_number_are_told_and_not_judged() -> None:
    rows = [row(1, "Bitcoin", "1"), row(2, "ETH", None), row(3, "SOL", "1")]
    seen = compare(rows, proven(ETH="2", SOL="1"), terms())
    assert (seen.agreed, seen.differing, seen.has_unknown_names) == (1, (), True)
    assert ["Bitcoin" in seen.problems[0].what, "ETH" in seen.problems[1].what] == [True, True]


@pytest.mark.parametrize(
    ("holds", "differing"),
    [("all", ["BTC", "USD", "USDT"]), ("crypto", ["BTC", "USDT"]), (["USD"], ["USD"])],
)
def test_what_lies_outside_of_what_a_table_holds_is_no_difference(
    holds: object, differing: list[str]
) -> None:
    seen = compare([row(1, "USD", "5")], proven(BTC="1", USD="2", USDT="3"), terms(holds=holds))
    assert [c.asset for c in seen.differing] == differing


def test_wallets_are_summed_or_left_out() -> None:
    held = ProvenPositions(("DOT", "DOT"), ("spot", "S"), (Decimal(1), Decimal(2)))
    assert held.by_asset(is_spot_only=False) == {"DOT": Decimal(3)}
    assert held.by_asset(is_spot_only=True) == {"DOT": Decimal(1)}
    assert held.of("DOT") == {"spot": Decimal(1), "S": Decimal(2)}
    staked = ProvenPositions(("DOT",), ("S",), (Decimal(2),))
    assert staked.by_asset(is_spot_only=True) == {}
    tokenized = ProvenPositions(("AAPLx",), ("T",), (Decimal(3),))
    assert tokenized.by_asset(is_spot_only=True) == {"AAPLx": Decimal(3)}
    rows = [row(1, "DOT", "1"), row(2, "DOT.S", "9")]
    assert compare(rows, proven(DOT="1"), terms("kraken", spot=True)).differing == ()


def book(**more: Any) -> DeskBook:
    positions = {"table": "positions", "account": "account_id", "asset": "symbol", "quantity": "quantity"}
    given = {"name": "arena", "connection": "db", "accounts": {"a": "1", "b": "2"}, "positions": positions}
    return DeskBook.model_validate({**given, **more})


CASH = {"table": "accounts", "account": "id", "currency": "USD", "quantity": "cash"}


def test_cash_has_a_table_of_its_own() -> None:
    declared = book(cash=CASH)
    held = proven(BTC="1", USD="100")
    positions = compare([row(1, "BTC", "1")], held, terms_of_positions(declared, KNOWN, 8))
    assert (positions.agreed, positions.differing) == (1, ())
    cash = compare([row(1, "USD", "90")], held, terms_of_cash(declared, 2))
    assert [(c.asset, c.difference, c.is_cash) for c in cash.differing] == [("USD", Decimal(10), True)]


def test_assets_of_a_declaration_are_checked_against_what_kraken_knows() -> None:
    tolerance = {"assets": {"BTCC": "1"}}
    told = unknown_in(book(cash={**CASH, "currency": "XUSDX"}, tolerance=tolerance), KNOWN)
    assert [one.where for one in told] == ["arena tolerance.assets", "arena cash.currency"]
    assert "did you mean BTC?" in told[0].what


def test_accounts_are_matched_one_by_one() -> None:
    declared = book(accounts={"a": "1", "b": "2", "c": "2", "gone": "4"})
    matched = match_accounts(declared, ["a", "b", "c", "gonf"])
    assert matched.values == {"a": "1"}
    assert "b and c are both 2" in matched.problems["b"].what
    assert "did you mean gonf?" in matched.problems["gone"].what
    by_query = book(accounts={"by": "select id from accounts where name = :account"})
    matched = match_accounts(by_query, ["a", "b", "c"], {"a": [1], "b": [], "c": [3, 4]})
    assert matched.values == {"a": 1}
    assert [matched.problems[name].what[:20] for name in "bc"] == [
        "the query gives 0 va",
        "the query gives 2 va",
    ]
