"""Average cost, rule by rule, with figures worked out by hand."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal, FloatOperation
from typing import TYPE_CHECKING

import pytest

from desks.cost_books import costed, happen
from desks.fakes import START, FakeBooks
from kraken_recon.costs.average_cost import AssetCost, CostBook, RealisedResult
from kraken_recon.ledger.conversions import unpaired_legs
from kraken_recon.ledger.operations import lying_elsewhere
from kraken_recon.ledger.sequence import grouped

if TYPE_CHECKING:
    from kraken_recon.costs.average_cost import CostBook as Book

D = Decimal


@pytest.fixture
def books() -> FakeBooks:
    return FakeBooks()


def figures(book: Book, asset: str) -> tuple[str, str, str, str | None, str]:
    """Known, unknown, cost, average and realised, as numbers in text."""
    cost = book.costs[asset]
    values = (cost.quantity_known, cost.quantity_unknown, cost.cost, cost.average, cost.realised)
    return tuple(None if value is None else f"{value.normalize() + 0:f}" for value in values)  # type: ignore[return-value]


def only_result(book: Book) -> RealisedResult:
    (result,) = book.results
    return result


def test_fee_in_the_quote_currency_is_part_of_the_cost(books: FakeBooks) -> None:
    happen(books, ("BTC", "2"), ("USD", "-100", "1"))
    assert figures(costed(books.entries), "BTC") == ("2", "0", "101", "50.5", "0")


def test_partial_sale_keeps_the_average_and_realises_the_rest(books: FakeBooks) -> None:
    happen(books, ("BTC", "2"), ("USD", "-100", "1"))
    (sold, _) = happen(books, ("BTC", "-0.5"), ("USD", "40", "0.4"))
    book = costed(books.entries)
    assert figures(book, "BTC") == ("1.5", "0", "75.75", "50.5", "14.35")
    assert only_result(book) == RealisedResult(
        sold.refid, "BTC", D("0.5"), D("39.6"), D("25.25"), D("14.35"), D(0), sold.entry_time
    )


def test_two_purchases_are_averaged_by_quantity(books: FakeBooks) -> None:
    happen(books, ("BTC", "1"), ("USD", "-100"))
    happen(books, ("BTC", "3"), ("USD", "-500"))
    assert figures(costed(books.entries), "BTC") == ("4", "0", "600", "150", "0")


def test_fee_in_the_base_asset_leaves_less_of_it_for_the_same_cost(books: FakeBooks) -> None:
    happen(books, ("BTC", "2", "0.4"), ("USD", "-100"))
    assert figures(costed(books.entries), "BTC") == ("1.6", "0", "100", "62.5", "0")


def test_fee_in_the_base_asset_is_sold_with_it(books: FakeBooks) -> None:
    happen(books, ("BTC", "2"), ("USD", "-100"))
    happen(books, ("BTC", "-0.9", "0.1"), ("USD", "80"))
    book = costed(books.entries)
    assert figures(book, "BTC") == ("1", "0", "50", "50", "30")
    assert only_result(book).quantity == 1


def test_fees_on_both_legs(books: FakeBooks) -> None:
    happen(books, ("DOT", "54", "4"), ("USD", "-690", "10"))
    assert figures(costed(books.entries), "DOT") == ("50", "0", "700", "14", "0")


def test_fee_credits_of_unknown_cost_change_nothing_else(books: FakeBooks) -> None:
    happen(books, ("KFEE", "100"), kind="deposit")
    happen(books, ("BTC", "2"), ("USD", "-100"), ("KFEE", "0", "30"))
    book = costed(books.entries)
    assert figures(book, "BTC") == ("2", "0", "100", "50", "0")
    assert figures(book, "KFEE") == ("0", "70", "0", None, "0")
    assert book.results == []


def test_fee_in_a_third_asset_is_a_loss_of_what_it_cost(books: FakeBooks) -> None:
    happen(books, ("KFEE", "100"), ("USD", "-10"))
    happen(books, ("BTC", "2"), ("USD", "-100"), ("KFEE", "0", "30"))
    book = costed(books.entries)
    assert figures(book, "KFEE") == ("70", "0", "7", "0.1", "-3")
    assert figures(book, "BTC") == ("2", "0", "100", "50", "0")


def test_nothing_left_costs_nothing_and_the_next_purchase_starts_afresh(books: FakeBooks) -> None:
    happen(books, ("BTC", "3"), ("USD", "-100"))
    happen(books, ("BTC", "-3"), ("USD", "130"))
    assert figures(costed(books.entries), "BTC") == ("0", "0", "0", None, "30")
    happen(books, ("BTC", "1"), ("USD", "-7"))
    assert figures(costed(books.entries), "BTC") == ("1", "0", "7", "7", "30")


def test_sale_below_zero_is_of_unknown_cost_and_the_hole_is_filled_first(books: FakeBooks) -> None:
    happen(books, ("BTC", "2"), ("USD", "-100"))
    happen(books, ("BTC", "-3"), ("USD", "300"))
    book = costed(books.entries)
    assert figures(book, "BTC") == ("0", "-1", "0", None, "100")
    assert only_result(book).unknown_share == D("0.333333333333333333")
    happen(books, ("BTC", "0.5"), ("USD", "-40"))
    assert figures(costed(books.entries), "BTC") == ("0", "-0.5", "0", None, "100")
    happen(books, ("BTC", "4"), ("USD", "-400"))
    assert figures(costed(books.entries), "BTC") == ("3.5", "0", "350", "100", "100")


@pytest.mark.parametrize(
    ("kind", "subtype"),
    [
        ("deposit", ""),
        ("staking", ""),
        ("earn", "reward"),
        ("transfer", "airdrop"),
        ("receive", ""),
        ("trade", ""),
        ("something new", ""),
    ],
)
def test_what_comes_in_without_a_price_is_unknown_and_sold_in_proportion(
    books: FakeBooks, kind: str, subtype: str
) -> None:
    happen(books, ("BTC", "1"), ("USD", "-100"))
    happen(books, ("BTC", "3"), kind=kind, subtype=subtype)
    assert figures(costed(books.entries), "BTC") == ("1", "3", "100", "100", "0")
    happen(books, ("BTC", "-2"), ("USD", "500"))
    book = costed(books.entries)
    assert figures(book, "BTC") == ("0.5", "1.5", "50", "100", "75")
    assert (only_result(book).cost, only_result(book).unknown_share) == (D(50), D("0.75"))


def test_sale_of_what_is_all_unknown_has_no_result(books: FakeBooks) -> None:
    happen(books, ("BTC", "1"), kind="deposit")
    happen(books, ("BTC", "-1"), ("USD", "500"))
    book = costed(books.entries)
    assert figures(book, "BTC") == ("0", "0", "0", None, "0")
    assert (only_result(book).result, only_result(book).proceeds) == (None, D(500))


def test_spend_and_receive_are_one_purchase(books: FakeBooks) -> None:
    (spent,) = happen(books, ("USD", "-100", "1"), kind="spend")
    happen(books, ("BTC", "2"), kind="receive", refid=spent.refid)
    assert figures(costed(books.entries), "BTC") == ("2", "0", "101", "50.5", "0")


def test_cost_is_carried_over_and_its_unknown_part_stays_unknown(books: FakeBooks) -> None:
    happen(books, ("BTC", "1"), ("USD", "-100"))
    happen(books, ("BTC", "1"), kind="deposit")
    happen(books, ("ETH", "10"), ("BTC", "-0.9", "0.1"))
    book = costed(books.entries)
    assert figures(book, "BTC") == ("0.5", "0.5", "50", "100", "0")
    assert figures(book, "ETH") == ("5", "5", "50", "10", "0")
    assert book.results == []


def test_legs_of_a_move_are_neutral_in_either_order_and_between(books: FakeBooks) -> None:
    happen(books, ("DOT", "10"), ("USD", "-50"))
    happen(books, ("DOT", "-4"), kind="transfer", subtype="spottostaking")
    assert costed(books.entries).costs["DOT"].quantity_moving == -4
    assert figures(costed(books.entries), "DOT") == ("10", "0", "50", "5", "0")
    happen(books, ("DOT", "4", "0", "S"), kind="transfer", subtype="stakingfromspot")
    happen(books, ("DOT", "3", "0", "F"), kind="earn", subtype="autoallocation")
    happen(books, ("DOT", "-3"), kind="earn", subtype="autoallocation")
    book = costed(books.entries)
    assert book.costs["DOT"].quantity_moving == 0
    assert figures(book, "DOT") == ("10", "0", "50", "5", "0")


def test_legs_of_one_asset_under_one_refid_are_neutral_whatever_their_type(books: FakeBooks) -> None:
    happen(books, ("DOT", "10"), ("USD", "-50"))
    happen(books, ("DOT", "-4", "1"), ("DOT", "4", "0", "S"), kind="something new")
    assert figures(costed(books.entries), "DOT") == ("9", "0", "45", "5", "0")


def test_withdrawal_leaves_at_its_cost_and_its_reversal_takes_it_back(books: FakeBooks) -> None:
    happen(books, ("BTC", "2"), ("USD", "-100"))
    (left,) = happen(books, ("BTC", "-0.9", "0.1"), kind="withdrawal")
    book = costed(books.entries)
    assert figures(book, "BTC") == ("1", "0", "50", "50", "0")
    assert book.results == []
    happen(books, ("BTC", "0.9", "-0.1"), kind="withdrawal", refid=left.refid)
    assert figures(costed(books.entries), "BTC") == ("2", "0", "100", "50", "0")


def test_opening_is_of_unknown_cost_but_money_costs_itself(books: FakeBooks) -> None:
    happen(books, ("BTC", "1"), ("USD", "-100"))
    book = costed(books.entries, {"BTC": D(3), "USD": D(1000), "ETH": D(-1)})
    assert figures(book, "BTC") == ("1", "3", "100", "100", "0")
    assert figures(book, "USD") == ("900", "0", "900", "1", "0")
    assert figures(book, "ETH") == ("0", "-1", "0", None, "0")


def test_several_assets_sold_at_once_share_the_proceeds_by_cost(books: FakeBooks) -> None:
    happen(books, ("AAA", "1"), ("USD", "-10"))
    happen(books, ("BBB", "1"), ("USD", "-30"))
    (swept, _) = happen(books, ("AAA", "-1"), ("BBB", "-1"), kind="spend", subtype="dustsweeping")
    happen(books, ("USD", "60"), kind="receive", subtype="dustsweeping", refid=swept.refid)
    results = {result.asset: (result.proceeds, result.result) for result in costed(books.entries).results}
    assert results == {"AAA": (D(15), D(5)), "BBB": (D(45), D(15))}


@pytest.mark.parametrize("target", ["USD", "ETH"])
def test_several_assets_given_at_once_with_an_unknown_part_are_not_priced(
    books: FakeBooks, target: str
) -> None:
    happen(books, ("AAA", "1"), ("USD", "-10"))
    happen(books, ("BBB", "1"), kind="deposit")
    happen(books, ("AAA", "-1"), ("BBB", "-1"), (target, "60"), kind="spend")
    book = costed(books.entries)
    assert book.results == []
    assert figures(book, "AAA") == figures(book, "BBB") == ("0", "0", "0", None, "0")
    assert book.costs[target] == (
        AssetCost(D(50), D(0), D(0), D(50), D(0), books.now)
        if target == "USD"
        else AssetCost(D(0), D(60), D(0), D(0), D(0), books.now)
    )


def test_known_cost_of_several_assets_is_carried_over_together(books: FakeBooks) -> None:
    happen(books, ("AAA", "1"), ("USD", "-10"))
    happen(books, ("BBB", "1"), ("USD", "-30"))
    happen(books, ("AAA", "-1"), ("BBB", "-1"), ("USD", "-5"), ("ETH", "9"), kind="spend")
    assert figures(costed(books.entries), "ETH") == ("9", "0", "45", "5", "0")


def test_rounding_of_one_part_stays_with_the_rest(books: FakeBooks) -> None:
    happen(books, ("BTC", "3"), ("USD", "-100"))
    for _ in range(3):
        happen(books, ("BTC", "-1"), ("USD", "40"))
    book = costed(books.entries)
    assert [r.cost for r in book.results] == [
        D("33.333333333333333333"),
        D("33.333333333333333334"),  # half of 66.666...667, which lies between two of the last digit: to even
        D("33.333333333333333333"),
    ]
    assert figures(book, "BTC") == ("0", "0", "0", None, "20")


def test_average_that_fits_no_column_is_unknown() -> None:
    assert AssetCost(quantity_known=D("1E-18"), cost=D(100)).average is None
    assert AssetCost(quantity_known=D("1E-18"), cost=D("99")).average == D(99).scaleb(18)


def test_balances_decide_the_order_within_one_instant(books: FakeBooks) -> None:
    happen(books, ("BTC", "1"), ("USD", "-100"), refid="Z", at=START)
    happen(books, ("BTC", "-1"), ("USD", "150"), refid="A", at=START)
    happen(books, ("BTC", "2"), ("USD", "-80"), refid="M", at=START)
    shuffled = list(books.entries)
    shuffled = shuffled[::2] + shuffled[1::2]
    assert shuffled != books.entries
    assert [group.refid for group in grouped(shuffled, "USD")] == ["Z", "A", "M"]
    assert figures(costed(shuffled), "BTC") == ("2", "0", "80", "40", "50")


def test_groups_of_one_instant_that_contradict_each_other_keep_a_stable_order(books: FakeBooks) -> None:
    happen(books, ("AAA", "1"), refid="Y", at=START)
    happen(books, ("AAA", "2"), ("BBB", "1"), refid="X", at=START)
    happen(books, ("BBB", "2"), refid="Y", at=START)
    assert [group.refid for group in grouped(books.entries, "USD")] == ["X", "Y"]


def test_entries_without_a_refid_are_groups_of_their_own(books: FakeBooks) -> None:
    happen(books, ("BTC", "1"))
    happen(books, ("USD", "-100"))
    nameless = [replace(entry, refid="") for entry in books.entries]
    assert figures(costed(nameless), "BTC") == ("0", "1", "0", None, "0")


def test_float_is_refused() -> None:
    with pytest.raises((FloatOperation, TypeError)):
        CostBook("USD", {"BTC": 0.5})  # type: ignore[dict-item]


def convert(books: FakeBooks, *legs: tuple[str, str, int]) -> CostBook:
    """Write legs of a refid each, some seconds after the start."""
    for asset, amount, seconds in legs:
        happen(books, (asset, amount), kind="adjustment", at=START + timedelta(hours=1, seconds=seconds))
    return costed(books.entries)


def test_conversion_legs_belong_together_within_a_minute_and_not_beyond(books: FakeBooks) -> None:
    happen(books, ("AAA", "4"), ("USD", "-10"))
    happen(books, ("BBB", "4"), ("USD", "-30"))
    book = convert(books, ("AAA", "-4", 0), ("CCC", "1", 60), ("BBB", "-4", 200), ("DDD", "1", 261))
    assert figures(book, "CCC") == ("1", "0", "10", "10", "0")
    assert figures(book, "DDD") == ("0", "1", "0", None, "0")


def test_conversion_legs_with_a_second_candidate_are_left_apart(books: FakeBooks) -> None:
    happen(books, ("AAA", "4"), ("USD", "-10"))
    book = convert(books, ("AAA", "-4", 0), ("CCC", "1", 5), ("DDD", "1", 50))
    assert figures(book, "CCC") == figures(book, "DDD") == ("0", "1", "0", None, "0")


def test_a_leg_whose_partner_has_another_candidate_is_left_apart(books: FakeBooks) -> None:
    happen(books, ("AAA", "4"), ("USD", "-10"))
    happen(books, ("BBB", "4"), ("USD", "-10"))
    book = convert(books, ("AAA", "-4", 0), ("CCC", "1", 50), ("BBB", "-4", 100))
    assert figures(book, "CCC") == ("0", "1", "0", None, "0")


def test_old_stakes_of_another_quantity_are_left_apart(books: FakeBooks) -> None:
    happen(books, ("ETH", "4"), ("USD", "-10"))
    happen(books, ("ETH", "-1"), kind="transfer", subtype="spottostaking")
    happen(books, ("ETH2", "2", "0", "S"), kind="transfer", subtype="stakingfromspot")
    book = costed(books.entries)
    assert (book.costs["ETH"].quantity_moving, book.costs["ETH2"].quantity_moving) == (-1, 2)


def rename(books: FakeBooks, *legs: tuple[str, str, int], kind: str = "earn") -> None:
    """Write legs of a delisting under a refid each; a leg is asset, amount and seconds from now."""
    now = START + timedelta(days=100)
    for asset, amount, seconds in legs:
        happen(
            books,
            (asset, amount),
            kind=kind,
            subtype="delistingconversion",
            at=now + timedelta(seconds=seconds),
        )


DAY = 86_400


@pytest.mark.parametrize("days", [0, 1, 29])
def test_a_delisting_in_earning_carries_the_cost_however_long_it_takes(books: FakeBooks, days: int) -> None:
    happen(books, ("MATIC", "200"), ("USD", "-100"))
    rename(books, ("MATIC", "-200", 0), ("POL", "200", days * DAY + 2))
    assert figures(costed(books.entries), "POL") == ("200", "0", "100", "0.5", "0")


def test_the_successor_is_known_whatever_the_rate_and_in_however_many_rows(books: FakeBooks) -> None:
    happen(books, ("MKR", "3"), ("USD", "-6000"))
    rename(books, ("MKR", "-1", 0), ("MKR", "-2", DAY), ("SKY", "72000", 2 * DAY))
    assert figures(costed(books.entries), "SKY")[:3] == ("72000", "0", "6000")


def test_two_that_became_the_same_are_not_told_apart_but_by_quantity(books: FakeBooks) -> None:
    happen(books, ("AGIX", "10"), ("USD", "-10"))
    happen(books, ("OCEAN", "20"), ("USD", "-40"))
    rename(books, ("AGIX", "-10", 0), ("OCEAN", "-20", DAY), ("FET", "4.3", 2 * DAY), ("FET", "8.6", 3 * DAY))
    assert figures(costed(books.entries), "FET")[:3] == ("0", "12.9", "0")


def test_equal_quantities_of_two_assets_are_not_told_apart(books: FakeBooks) -> None:
    happen(books, ("ICN", "10"), ("USD", "-10"))
    happen(books, ("BAL", "10"), ("USD", "-90"))
    rename(books, ("ICN", "-10", 0), ("BAL", "-10", DAY), ("XYZ", "10", 2 * DAY))
    assert figures(costed(books.entries), "XYZ")[:3] == ("0", "10", "0")


def test_beyond_a_month_nothing_is_joined_and_it_is_named(books: FakeBooks) -> None:
    happen(books, ("MATIC", "200"), ("USD", "-100"))
    rename(books, ("MATIC", "-200", 0), ("POL", "200", 31 * DAY))
    assert figures(costed(books.entries), "POL")[:3] == ("0", "200", "0")
    assert [leg.asset for leg in unpaired_legs(books.entries)] == ["MATIC", "POL"]


def test_what_came_before_its_counterpart_left_takes_its_cost_at_once(books: FakeBooks) -> None:
    happen(books, ("MATIC", "200"), ("USD", "-100"))
    rename(books, ("POL", "200", 0), ("MATIC", "-200", DAY))
    assert figures(costed(books.entries), "POL")[:3] == ("200", "0", "100")
    assert unpaired_legs(books.entries) == []


@pytest.mark.parametrize(
    "refid",
    ["Unknown", "unknown", " None ", "n/a", "-", "0", "--", "#N/A", "n.a.", "(unknown)", "<NA>", "NaT"],
)
def test_a_placeholder_joins_nothing_but_what_cancels_in_one_second(books: FakeBooks, refid: str) -> None:
    at = START + timedelta(days=1)
    happen(books, ("SOL", "10"), ("USD", "-1000"))
    happen(books, ("SOL", "-10", "0", "S"), ("SOL", "10", "0", "B"), kind="earn", refid=refid, at=at)
    happen(books, ("SOL", "-10"), ("USD", "1200"), at=at + timedelta(days=1))
    happen(books, ("SOL", "1", "0", "B"), kind="earn", refid=refid, at=at + timedelta(days=2))
    book = costed(books.entries)
    assert figures(book, "SOL") == ("0", "1", "0", None, "200")
    assert [result.asset for result in book.results] == ["SOL"]


def test_unnamed_rows_of_one_second_that_do_not_cancel_stay_alone(books: FakeBooks) -> None:
    at = START + timedelta(days=1)
    happen(books, ("SOL", "10"), ("USD", "-1000"))
    for amount, wallet in (("-10", "S"), ("0.5", "B"), ("10", "B")):
        happen(books, ("SOL", amount, "0", wallet), kind="earn", refid="Unknown", at=at)
    assert figures(costed(books.entries), "SOL") == ("10", "0.5", "1000", "100", "0")


def test_own_money_comes_back_from_a_vault_with_its_cost(books: FakeBooks) -> None:
    happen(books, ("USDC", "1000"), ("USD", "-1000"))
    happen(books, ("USDC", "-500", "1"), kind="hybridearnwithdrawal")
    assert figures(costed(books.entries), "USDC")[:3] == ("499", "0", "499")
    assert lying_elsewhere(books.entries) == {("vault", "USDC"): D(500)}
    happen(books, ("USDC", "200"), kind="hybridearndeposit")
    happen(books, ("USDC", "305"), kind="hybridearndeposit")
    assert figures(costed(books.entries), "USDC")[:3] == ("999", "5", "999")
    assert lying_elsewhere(books.entries) == {}
    happen(books, ("USDC", "7"), kind="hybridearndeposit")
    happen(books, ("USDC", "-100"), kind="hybridearnwithdrawal")
    assert lying_elsewhere(books.entries) == {("vault", "USDC"): D(100)}


def test_a_vault_of_the_quote_currency_keeps_money_money(books: FakeBooks) -> None:
    happen(books, ("USD", "1000"), kind="deposit")
    happen(books, ("USD", "-400"), kind="hybridearnwithdrawal")
    happen(books, ("USD", "401"), kind="hybridearndeposit")
    assert figures(costed(books.entries), "USD")[:3] == ("1001", "0", "1001")
