"""What a desk's own row says of an order is read whatever it is, and compared at the desk's digits."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import ROUND_DOWN, ROUND_HALF_EVEN, ROUND_HALF_UP, Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from desks.reported_orders import NOON, ROUNDING, TradedBooks, ended, evidence, order
from kraken_recon.desk_books.rules.order_rows import moment_of
from kraken_recon.desk_books.rules.orders import (
    DeskOrder,
    OrderInBook,
    StatusWord,
    as_said,
    order_said,
    status_word,
)
from kraken_recon.orders.rules.order import OrderStatus, Side
from kraken_recon.verification.rules.judge import (
    OrderEvidence,
    Overall,
    Tolerances,
    Verification,
    judge_order,
)
from kraken_recon.verification.rules.levels import Level, Verdict

VOLUME, PRICE = Decimal("0.5"), Decimal("50000.1")


def traded(*fills: tuple[Decimal, Decimal], fee_on: str = "quote", **changes: Any) -> OrderEvidence:
    books = TradedBooks()
    sent = order(volume=sum(volume for volume, _ in fills), **changes)
    made = [books.trade(sent, volume, price, fee_on=fee_on) for volume, price in fills]
    ours, reported = ended(sent, made)
    average = ROUNDING.divide(reported.cost, reported.volume_executed).quantize(Decimal("0.1"))
    return evidence(books, ours, replace(reported, price_average=average))


def said(of: OrderEvidence, **changes: Any) -> DeskOrder:
    reported = of.reported
    assert reported is not None
    row = DeskOrder(
        "17",
        reported.pair,
        reported.side,
        reported.volume,
        "FILLED",
        NOON,
        executed=reported.volume_executed,
        price=reported.price_average,
        fee=reported.fee,
    )
    return replace(row, **changes)


def judged(of: OrderEvidence, *rows: DeskOrder) -> Verification:
    in_books = tuple(OrderInBook(f"book{number}", row) for number, row in enumerate(rows))
    return judge_order(replace(of, desk_rows=in_books), Tolerances())


def verdict(of: OrderEvidence, *rows: DeskOrder) -> Verdict:
    [level] = [level for level in judged(of, *rows).levels if level.level is Level.DESK]
    return level.verdict


amounts = st.decimals("0.0001", "3", places=8)
prices = st.decimals("10", "70000", places=1)


@given(
    st.lists(st.tuples(amounts, prices), min_size=1, max_size=4),
    st.integers(2, 12),
    st.sampled_from([ROUND_DOWN, ROUND_HALF_UP, ROUND_HALF_EVEN]),
    st.sampled_from(["quote", "base", "both", "kfee"]),
    st.sampled_from(Side),
)
def test_a_row_that_is_right_passes_however_it_is_rounded(
    fills: list[tuple[Decimal, Decimal]], digits: int, rounding: str, fee_on: str, side: Side
) -> None:
    of = traded(*fills, fee_on=fee_on, side=side)
    assert of.reported is not None
    unit = Decimal(1).scaleb(-digits)
    paid = sum((volume * price for volume, price in fills), Decimal(0))
    average = ROUNDING.divide(paid, of.reported.volume_executed)
    row = said(
        of,
        executed=of.reported.volume_executed.quantize(unit, rounding),
        volume=of.reported.volume.quantize(unit, rounding),
        price=average.quantize(unit, rounding, ROUNDING),
        fee=of.reported.fee.quantize(unit, rounding),
    )
    found = judged(of, row)
    assert found.verdict is Overall.VERIFIED, found.message


@given(st.sampled_from(["executed", "price", "fee"]), st.integers(2, 8), st.sampled_from([-1, 1]))
def test_two_units_of_the_last_digit_are_a_mismatch(name: str, digits: int, sign: int) -> None:
    of = traded((VOLUME, PRICE), (VOLUME, PRICE))
    unit = Decimal(1).scaleb(-digits)
    right = getattr(said(of), name)
    wrong = right.quantize(unit, ROUND_DOWN) + sign * max(2 * unit, Decimal("0.001"))
    assert verdict(of, said(of, **{name: wrong})) is Verdict.MISMATCH


def test_the_fee_may_be_what_the_ledger_took_in_the_base_asset() -> None:
    of = traded((VOLUME, PRICE), fee_on="base")
    taken = sum((entry.fee for entry in of.entries if entry.asset == "BTC"), Decimal(0))
    assert verdict(of, said(of, fee=taken)) is Verdict.PASSED
    assert verdict(of, said(of, fee=2 * taken)) is Verdict.MISMATCH


def test_the_price_may_be_the_limit() -> None:
    of = traded((VOLUME, PRICE))
    assert of.reported is not None
    of = replace(of, reported=replace(of.reported, limit_price=Decimal(51000)))
    assert verdict(of, said(of, price=Decimal(51000))) is Verdict.PASSED
    assert verdict(of, said(of, price=Decimal(51001))) is Verdict.MISMATCH


@pytest.mark.parametrize(
    ("word", "status", "part", "expected"),
    [
        ("FILLED", "closed", 1, Verdict.PASSED),
        ("closed", "canceled", 1, Verdict.PASSED),
        ("FILLED", "canceled", 2, Verdict.MISMATCH),
        ("CANCELLED", "canceled", 2, Verdict.PASSED),
        ("EXPIRED", "canceled", 2, Verdict.PASSED),
        ("Partially filled", "canceled", 2, Verdict.PASSED),
        ("CANCELED", "closed", 1, Verdict.MISMATCH),
        ("REJECTED", "closed", 1, Verdict.MISMATCH),
        ("archived", "closed", 1, Verdict.PASSED),
        ("archived", "canceled", 2, Verdict.PASSED),
    ],
)
def test_the_desks_word_for_an_end(word: str, status: str, part: int, expected: Verdict) -> None:
    of = traded((VOLUME, PRICE), status=OrderStatus(status))
    assert of.reported is not None
    of = replace(of, reported=replace(of.reported, volume=part * VOLUME))
    row = said(of, status=word, volume=part * VOLUME)
    assert verdict(of, row) is expected


def test_without_an_executed_volume_a_filled_order_is_compared_by_its_own() -> None:
    of = traded((VOLUME, PRICE))
    assert verdict(of, said(of, executed=None)) is Verdict.PASSED
    assert verdict(of, said(of, executed=None, volume=VOLUME + 1)) is Verdict.MISMATCH


def test_rows_of_two_books_are_told_apart() -> None:
    of = traded((VOLUME, PRICE))
    found = judged(of, said(of), said(of, side=Side.SELL))
    assert found.message == "desk: expected book1: side buy, the desk says sell"


def test_a_row_waits_for_books_that_are_not_there_and_only_until_the_deadline() -> None:
    of = replace(traded((VOLUME, PRICE)), recorded_fills={})
    wrong = said(of, fee=Decimal(0))
    found = judged(of, wrong)
    assert (found.verdict, found.awaits_us, found.awaits_kraken) == (Overall.INCONCLUSIVE, True, False)
    assert "desk" in judged(replace(of, is_past_deadline=True), wrong).failed_levels


def test_what_a_row_says_is_kept_with_its_digits() -> None:
    row = DeskOrder(
        "1", None, Side.SELL, Decimal("1.50000000"), "X", NOON, fee=Decimal("0E-8"), created_at=NOON
    )
    read = order_said("1", NOON, as_said(row))
    assert read == row
    assert (str(read.volume), read.fee is not None and str(read.fee)) == ("1.50000000", "0E-8")


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (1767614400, 1767614400),
        (1767614400.5, 1767614400.5),
        (1767614400123, 1767614400.123),
        (1767614400123456, 1767614400.123456),
        (1767614400123456789, 1767614400.123456),
        (Decimal("1767614400.25"), 1767614400.25),
        ("1767614400", 1767614400),
        ("2026-01-05T12:00:00Z", 1767614400),
        ("2026-01-05 13:00:00+01:00", 1767614400),
        ("2026-01-05 13:00:00.5", 1767614400.5),
        (datetime(2026, 1, 5, 12, tzinfo=UTC), 1767614400),
        (datetime(2026, 1, 5, 13), 1767614400),  # noqa: DTZ001 - as a column without a zone has it
        (date(2026, 1, 5), 1767567600),
        *((value, None) for value in ("yesterday", "", None, True, "nan", float("inf"), 10**40, b"x")),
    ],
)
def test_a_moment_of_any_type(value: Any, seconds: float | None) -> None:
    read = moment_of(value, "Europe/Berlin")
    assert (read and read.timestamp()) == seconds


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("ORDER_FILLED", StatusWord.FILLED),
        ("done", StatusWord.FILLED),
        ("Completed", StatusWord.FILLED),
        ("failed", StatusWord.NOT_FILLED),
        ("", StatusWord.OTHER),
        ("7", StatusWord.OTHER),
    ],
)
def test_words_for_an_end(word: str, meant: StatusWord) -> None:
    assert status_word(word) is meant
