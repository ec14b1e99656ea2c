"""What each level of a verification says, with sound books, late books and wrong books."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from itertools import product
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from desks.reported_orders import TradedBooks, ended, evidence, order
from kraken_recon.orders.rules.order import OrderStatus, Side
from kraken_recon.verification.rules.judge import (
    OrderEvidence,
    Overall,
    Tolerances,
    Verification,
    judge_order,
)
from kraken_recon.verification.rules.levels import OF_EVERY_ORDER, Level, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable

    from kraken_recon.ledger.entries import LedgerEntry

VOLUMES = (Decimal("0.51234567"), Decimal("0.1"))
PRICE = Decimal("60123.4")


def case(
    side: Side = Side.BUY,
    *,
    fee_on: str = "quote",
    digits: str = "0.00001",
    others_between: bool = False,
    expected_price: Decimal | None = PRICE,
) -> OrderEvidence:
    """An order filled twice, between other entries of the same assets, where all books agree."""
    books = TradedBooks()
    books.add("BTC", Decimal(3), kind="deposit")
    books.add("USD", Decimal(90), kind="deposit")
    ordered = order(side=side, expected_price=expected_price)
    fills = []
    for volume in VOLUMES:
        fills.append(books.trade(ordered, volume, PRICE, fee_on=fee_on))
        if others_between:
            books.add("BTC", Decimal(-2), kind="withdrawal", fee=Decimal("0.0005"))
    books.now += timedelta(seconds=30)
    books.add("BTC", Decimal("0.5"), kind="deposit")
    books.add("USD", Decimal(7), kind="deposit")
    return evidence(books, *ended(ordered, fills, digits=digits))


def judged(given_evidence: OrderEvidence) -> Verification:
    return judge_order(given_evidence, Tolerances())


def verdicts(verification: Verification) -> dict[Level, Verdict]:
    return {result.level: result.verdict for result in verification.levels}


@pytest.mark.parametrize(
    ("side", "fee_on", "digits", "others_between"),
    list(product(Side, ("quote", "base", "both", "kfee"), ("0.00001", "0.01"), (False, True))),
)
def test_sound_books_are_verified_on_every_level(
    side: Side, fee_on: str, digits: str, *, others_between: bool
) -> None:
    found = judged(case(side, fee_on=fee_on, digits=digits, others_between=others_between))
    assert verdicts(found) == dict.fromkeys(OF_EVERY_ORDER, Verdict.PASSED), found.message
    assert found.verdict is Overall.VERIFIED


def test_an_order_that_ended_without_a_fill_is_verified_by_its_state() -> None:
    found = judged(evidence(TradedBooks(), *ended(order(status=OrderStatus.CANCELED), [])))
    assert found.verdict is Overall.VERIFIED
    assert verdicts(found) == dict.fromkeys(OF_EVERY_ORDER, Verdict.NOT_APPLICABLE) | {
        Level.STATE: Verdict.PASSED
    }


def test_a_canceled_order_is_verified_for_what_was_filled_of_it() -> None:
    books = TradedBooks()
    ordered = order(status=OrderStatus.CANCELED, volume=Decimal(5))
    found = judged(evidence(books, *ended(ordered, [books.trade(ordered, Decimal("0.2"), PRICE)])))
    assert found.verdict is Overall.VERIFIED


def test_a_leg_that_rounds_to_nothing_may_be_left_out() -> None:
    books = TradedBooks()
    ordered = order()
    fill = books.trade(ordered, Decimal("0.0000000004"), Decimal(30000))
    sound = evidence(books, *ended(ordered, [fill]))
    assert judged(replace(sound, entries=sound.entries[:1])).verdict is Overall.VERIFIED


def test_the_other_entries_between_the_balances_are_taken_out() -> None:
    figures = next(
        result for result in judged(case(others_between=True)).levels if result.level is Level.DIRECTION
    )
    assert figures.expected == {"moved": "0.61234567"}
    assert figures.observed == {
        "before": "1003", "after": "1001.61184567", "by_others": "-2.0005", "moved": "0.61234567",
    }  # fmt: skip


def test_a_margin_trade_moves_no_base_asset() -> None:
    sound = case()
    profit = replace(sound.entries[2], entry_type="margin", asset="USD", amount=Decimal(5), fee=Decimal(1))
    ids = {profit.ledger_id: profit}
    found = judged(
        replace(sound, entries=(profit,), recorded_entries=ids, movements={profit.ledger_id: profit.change})
    )
    assert verdicts(found)[Level.DIRECTION] is verdicts(found)[Level.LEDGER] is Verdict.NOT_APPLICABLE
    assert found.verdict is Overall.VERIFIED


# --- wrong books


def with_trade(found: OrderEvidence, **changes: object) -> OrderEvidence:
    first, *_ = found.trades
    wrong = found.trades | {first: replace(found.trades[first], **changes)}  # type: ignore[arg-type]
    return replace(found, trades=wrong, recorded_fills=wrong)


def with_rows(found: OrderEvidence, change: Callable[[LedgerEntry], LedgerEntry | None]) -> OrderEvidence:
    """The exchange booked the first trade wrongly, and its running balances follow."""
    first = next(iter(found.trades))
    books = TradedBooks()
    rows = []
    for entry in found.entries:
        booked = change(entry) if entry.refid == first else entry
        if booked is not None:
            books.now = entry.entry_time - timedelta(milliseconds=7)
            books.add(booked.asset, booked.amount, fee=booked.fee, refid=booked.refid, kind=booked.entry_type)
            rows.append(books.entries[-1])
    ours = {row.ledger_id: row for row in rows}
    return replace(
        found,
        entries=tuple(rows),
        recorded_entries=ours,
        movements={row.ledger_id: row.change for row in rows},
    )


WRONGS: dict[str, tuple[Callable[[OrderEvidence], OrderEvidence], set[Level]]] = {
    "status": (
        lambda e: replace(e, order=replace(e.order, status=OrderStatus.CANCELED)),
        {Level.STATE},
    ),
    "our volume": (
        lambda e: replace(e, order=replace(e.order, volume_executed=Decimal("0.61234568"))),
        {Level.STATE},
    ),
    "our side": (
        lambda e: replace(e, order=replace(e.order, side=Side.SELL)),
        {Level.STATE, Level.FILLS, Level.DIRECTION, Level.LEDGER},
    ),
    "our fee": (
        lambda e: replace(e, order=replace(e.order, fee_reported=e.order.fee_reported + Decimal("0.001"))),
        {Level.STATE},
    ),
    "trade's volume": (
        lambda e: with_trade(e, volume=VOLUMES[0] * Decimal("1.1")),
        {Level.FILLS, Level.DIRECTION, Level.LEDGER},
    ),
    "trade's fee": (lambda e: with_trade(e, fee=Decimal(1)), {Level.FILLS, Level.LEDGER}),
    "trade's side": (lambda e: with_trade(e, side=Side.SELL), {Level.FILLS}),
    "trade's order": (lambda e: with_trade(e, kraken_txid="OTHER"), {Level.FILLS}),
    "our fill": (
        lambda e: replace(
            e, recorded_fills={k: replace(f, price=Decimal(1)) for k, f in e.recorded_fills.items()}
        ),
        {Level.FILLS},
    ),
    "a fill of ours that Kraken's order does not list": (
        lambda e: replace(
            e,
            recorded_fills=dict(e.recorded_fills)
            | {"TX": replace(next(iter(e.trades.values())), trade_id="TX")},
        ),
        {Level.FILLS},
    ),
    "ledger's volume": (
        lambda e: with_rows(e, lambda r: replace(r, amount=r.amount * 2) if r.asset == "BTC" else r),
        {Level.DIRECTION, Level.LEDGER},
    ),
    "ledger's volume by one unit": (
        lambda e: with_rows(
            e, lambda r: replace(r, amount=r.amount + Decimal("1e-10")) if r.asset == "BTC" else r
        ),
        {Level.LEDGER},
    ),
    "ledger's fee": (lambda e: with_rows(e, lambda r: replace(r, fee=r.fee * 2)), {Level.LEDGER}),
    "ledger's side": (
        lambda e: with_rows(e, lambda r: replace(r, amount=-r.amount)),
        {Level.DIRECTION, Level.LEDGER},
    ),
    "ledger's quote leg": (
        lambda e: with_rows(e, lambda r: r if r.asset == "BTC" else None),
        {Level.LEDGER},
    ),
    "ledger's base leg": (
        lambda e: with_rows(e, lambda r: r if r.asset == "USD" else None),
        {Level.DIRECTION, Level.LEDGER},
    ),
    "ledger of another account": (
        lambda e: replace(with_rows(e, lambda _: None), elsewhere={next(iter(e.trades)): "other"}),
        {Level.LEDGER},
    ),
    "trade of another account": (
        lambda e: replace(
            e,
            trades={k: t for k, t in e.trades.items() if k != next(iter(e.trades))},
            elsewhere={next(iter(e.trades)): "other"},
        ),
        {Level.FILLS},
    ),
    "our entry": (
        lambda e: replace(
            e, recorded_entries={k: replace(r, fee=Decimal(9)) for k, r in e.recorded_entries.items()}
        ),
        {Level.POSITION},
    ),
    "our position": (
        lambda e: replace(e, movements={k: m + 1 for k, m in e.movements.items()}),
        {Level.POSITION},
    ),
}


@pytest.mark.parametrize("wrong", WRONGS)
def test_a_wrong_is_found_on_its_level(wrong: str) -> None:
    spoil, levels = WRONGS[wrong]
    found = judged(spoil(case()))
    assert found.verdict is Overall.MISMATCH, found.message
    assert set(found.failed_levels) == levels, found.message
    for result in found.levels:
        if result.verdict is Verdict.MISMATCH:
            assert result.message


@pytest.mark.parametrize(
    ("side", "expected", "verdict"),
    [
        (Side.BUY, "60123.4", Verdict.PASSED),
        (Side.BUY, "59600", Verdict.PASSED),
        (Side.BUY, "59000", Verdict.WARNING),
        (Side.BUY, "70000", Verdict.PASSED),
        (Side.SELL, "61000", Verdict.WARNING),
        (Side.SELL, "50000", Verdict.PASSED),
    ],
)
def test_a_worse_price_than_expected_is_a_warning(side: Side, expected: str, verdict: Verdict) -> None:
    found = judged(case(side, expected_price=Decimal(expected)))
    assert verdicts(found)[Level.SLIPPAGE] is verdict
    assert found.verdict is Overall.VERIFIED


def test_without_an_expected_price_there_is_no_slippage() -> None:
    assert verdicts(judged(case(expected_price=None)))[Level.SLIPPAGE] is Verdict.NOT_APPLICABLE


# --- late books


@given(data=st.data())
def test_books_that_lag_in_any_order_are_never_a_mismatch(data: st.DataObject) -> None:
    sound = case(
        data.draw(st.sampled_from(Side)),
        fee_on=data.draw(st.sampled_from(["quote", "base", "both", "kfee"])),
        others_between=data.draw(st.booleans()),
    )
    assert sound.reported is not None
    still_open = replace(sound.reported, status_reported="open", volume_executed=Decimal(0), trade_ids=())
    late = replace(
        sound,
        reported=data.draw(st.sampled_from([None, still_open, sound.reported])),
        trades={
            k: sound.trades[k] for k in sorted(data.draw(st.sets(st.sampled_from(sorted(sound.trades)))))
        },
        entries=tuple(e for e in sound.entries if data.draw(st.booleans(), label=e.ledger_id)),
    )
    shown = {e.ledger_id for e in late.entries}
    known = {ledger_id for ledger_id in sorted(shown) if data.draw(st.booleans(), label=ledger_id)}
    late = replace(
        late,
        movements={k: m for k, m in sound.movements.items() if k in known},
        recorded_entries={k: e for k, e in sound.recorded_entries.items() if k in known},
        recorded_fills={k: f for k, f in sound.recorded_fills.items() if data.draw(st.booleans(), label=k)},
    )
    found = judged(late)
    assert found.verdict is not Overall.MISMATCH, found.message
    own = {e.ledger_id for e in sound.entries if e.refid in sound.trades}
    complete = (
        late.reported is sound.reported
        and late.trades.keys() == sound.trades.keys()
        and own <= shown & known
        and late.recorded_fills.keys() == sound.recorded_fills.keys()
    )
    if not complete:
        assert found.verdict is Overall.INCONCLUSIVE
        assert found.awaits_kraken or found.awaits_us


def test_what_only_we_lack_does_not_wait_for_kraken() -> None:
    found = judged(replace(case(), movements={}, recorded_entries={}, recorded_fills={}))
    assert found.verdict is Overall.INCONCLUSIVE
    assert (found.awaits_kraken, found.awaits_us) == (False, True)


@pytest.mark.parametrize("missing", ["fills", "entries"])
def test_what_we_still_lack_at_the_deadline_is_a_mismatch(missing: str) -> None:
    late = replace(case(), is_past_deadline=True)
    if missing == "fills":
        late, level = replace(late, recorded_fills={}), Level.FILLS
    else:
        late, level = replace(late, movements={}, recorded_entries={}), Level.POSITION
    assert judged(late).failed_levels == (level,)


def test_books_that_never_come_stay_inconclusive() -> None:
    sound = replace(case(), is_past_deadline=True)
    for late in (
        replace(sound, reported=None),
        replace(sound, entries=(), movements={}, recorded_entries={}),
        replace(sound, entries=(), trades={}),
    ):
        assert judged(late).verdict is Overall.INCONCLUSIVE


def test_a_missing_leg_is_proved_by_balances_that_connect_without_it_or_by_the_deadline() -> None:
    spoiled = with_rows(case(), lambda row: row if row.asset == "BTC" else None)
    until_the_trades = tuple(e for e in spoiled.entries if e.entry_type == "trade" or e.asset == "BTC")
    late = replace(spoiled, entries=tuple(e for e in until_the_trades if e.asset == "BTC"))
    assert judged(spoiled).failed_levels == (Level.LEDGER,)
    assert judged(late).verdict is Overall.INCONCLUSIVE
    assert judged(replace(late, is_past_deadline=True)).failed_levels == (Level.LEDGER,)
