"""The rules that decide what a reading means, on anything that a reading may hold."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from desks.fakes import START
from kraken_recon.accounts.tolerance import Tolerance
from kraken_recon.books.events import Cause, Reason, RecordedPosition
from kraken_recon.ledger.entries import Balance, HoldingKey, LedgerEntry
from kraken_recon.reconciliation.rules.assess import Action, Assessment, Discrepancy, assess
from kraken_recon.reconciliation.rules.evidence import Evidence, Observation
from kraken_recon.reconciliation.rules.families import folded_balances, missing_holdings, unfolded
from kraken_recon.reconciliation.rules.policy import Guard, Policy
from kraken_recon.values.intervals import RUN_INTERVAL

if TYPE_CHECKING:
    from collections.abc import Mapping

ZERO = Decimal(0)
BTC, BTC_EARN, ETH, USD = (
    HoldingKey("BTC", "spot"),
    HoldingKey("BTC", "F"),
    HoldingKey("ETH", "spot"),
    HoldingKey("USD", "spot"),
)
KEYS = (BTC, BTC_EARN, ETH, USD)
PRICES = {"BTC": Decimal(40000), "ETH": Decimal(3000), "USD": Decimal(1)}
LONG_AGO = START - 2 * RUN_INTERVAL
OPEN_GUARD = Guard(Decimal(100), Decimal(10) ** 9)
EAGER = Policy(Tolerance(ZERO), guard=OPEN_GUARD)
REPAIRS = {Action.UPDATE, Action.ADD, Action.REMOVE}

quantities = st.sampled_from(tuple(map(Decimal, ("0", "1", "-1", "2.5", "0.0005", "-0.25", "100"))))
changes = quantities.filter(bool)


def balance(quantity: Decimal | int | str) -> Balance:
    return Balance(Decimal(quantity), ZERO, ZERO, ZERO)


def entry(key: HoldingKey, change: Decimal, number: int) -> LedgerEntry:
    time = START - timedelta(minutes=10) + timedelta(seconds=number)
    return LedgerEntry(f"L{number}", "R", time, "trade", "", *key, change, ZERO, ZERO)


def evidence(
    recorded: Mapping[HoldingKey, RecordedPosition],
    reported: Mapping[HoldingKey, Decimal],
    **more: object,
) -> Evidence:
    defaults: dict[str, object] = {
        "ingested": {},
        "coherent": True,
        "as_of": START,
        "observations": {},
        "all_positions": 10,
        "prices": PRICES,
    }
    return Evidence(
        recorded=recorded,
        balances={key: balance(quantity) for key, quantity in reported.items()},
        **(defaults | more),  # type: ignore[arg-type]
    )


def held(quantity: Decimal | int | str) -> RecordedPosition:
    """A position that agrees with its own history."""
    amount = Decimal(quantity)
    return RecordedPosition(amount, amount, amount, ZERO)


@st.composite
def any_evidence(draw: st.DrawFn) -> Evidence:
    keys = draw(st.lists(st.sampled_from(KEYS), min_size=1, unique=True))
    recorded = {
        key: RecordedPosition(draw(quantities), draw(quantities), draw(quantities), draw(quantities))
        if draw(st.booleans())
        else held(draw(quantities))
        for key in keys
    }
    changed = [(key, draw(st.lists(changes, max_size=3))) for key in keys]
    ingested = {
        key: [entry(key, change, 10 * place + n) for n, change in enumerate(listed)]
        for place, (key, listed) in enumerate(changed)
        if listed
    }
    observations = {
        key: Observation(draw(quantities), draw(st.sampled_from((START, LONG_AGO))), draw(st.integers(1, 5)))
        for key in draw(st.sets(st.sampled_from(keys)))
    }
    return evidence(
        recorded,
        draw(st.dictionaries(st.sampled_from(KEYS), quantities)),
        ingested=ingested,
        coherent=draw(st.booleans()),
        observations=observations,
        all_positions=draw(st.integers(0, 6)),
        prices=draw(st.sampled_from((PRICES, {}, {"BTC": Decimal(40000)}))),
    )


policies = st.sampled_from(
    (Policy(), EAGER, Policy(guard=Guard(ZERO, ZERO)), Policy(overrides={"BTC": Tolerance(Decimal(3))}))
)


def by_key(assessment: Assessment) -> dict[HoldingKey, Discrepancy]:
    return {finding.key: finding for finding in assessment.findings}


def ends(assessed: Evidence, assessment: Assessment) -> dict[HoldingKey, Decimal]:
    """Say where the steps leave every position."""
    return {key: row.quantity for key, row in assessed.recorded.items()} | {
        step.key: step.after for step in assessment.steps
    }


@given(st.dictionaries(st.sampled_from(KEYS), quantities), policies)
def test_books_that_agree_have_no_findings(books: dict[HoldingKey, Decimal], policy: Policy) -> None:
    agreed = evidence({key: held(quantity) for key, quantity in books.items()}, books)
    assert assess(agreed, policy) == Assessment((), (), {}, ())


@given(any_evidence(), policies)
def test_parts_of_every_finding_add_up(judged: Evidence, policy: Policy) -> None:
    shown = unfolded(judged.balances, folded_balances(judged)[0])
    for finding in assess(judged, policy).findings:
        reported = shown.get(finding.key, balance(0)).balance
        assert (finding.recorded, finding.reported) == (judged.recorded[finding.key].quantity, reported)
        assert finding.drift == finding.explained + finding.database_drift + finding.residual


@given(any_evidence())
def test_unfolding_changes_no_sum_over_the_wallets_of_an_asset(judged: Evidence) -> None:
    shown = unfolded(judged.balances, folded_balances(judged)[0])
    for asset in {key.asset for key in shown}:
        assert sum(b.balance for k, b in shown.items() if k.asset == asset) == sum(
            b.balance for k, b in judged.balances.items() if k.asset == asset
        )


@given(any_evidence(), policies)
def test_steps_connect_from_the_events_to_the_position(judged: Evidence, policy: Policy) -> None:
    steps = assess(judged, policy).steps
    for key, recorded in judged.recorded.items():
        own = [step for step in steps if step.key == key]
        if not own:
            assert recorded.quantity == recorded.event_total
            continue
        assert own[0].before == recorded.event_total
        assert all(a.after == b.before for a, b in pairwise(own))
        assert all((step.cause is Cause.LEDGER) == (step.ledger_id is not None) for step in own)
        assert all((step.cause is Cause.ADJUSTMENT) == (step.reason is not None) for step in own)


@given(any_evidence(), policies)
def test_every_new_entry_is_applied_once_and_in_order(judged: Evidence, policy: Policy) -> None:
    steps = assess(judged, policy).steps
    for key in judged.recorded:
        applied = [(s.ledger_id, s.after - s.before) for s in steps if s.key == key and s.ledger_id]
        assert applied == [(e.ledger_id, e.change) for e in judged.ingested.get(key, ())]


@given(any_evidence(), policies)
def test_every_holding_that_differs_is_found_exactly_once(judged: Evidence, policy: Policy) -> None:
    assessment = assess(judged, policy)
    assert len(by_key(assessment)) == len(assessment.findings)
    for key, recorded in judged.recorded.items():
        reported = judged.balances.get(key, balance(0)).balance
        if recorded.quantity != reported or recorded.quantity != recorded.expected:
            assert key in by_key(assessment)
        if key in judged.ingested:
            assert key in by_key(assessment)


@given(any_evidence(), policies)
def test_position_ends_where_its_history_or_the_exchange_says(judged: Evidence, policy: Policy) -> None:
    assessment = assess(judged, policy)
    for key, end in ends(judged, assessment).items():
        recorded = judged.recorded[key]
        history = recorded.ledger_total + sum((e.change for e in judged.ingested.get(key, ())), ZERO)
        reported = judged.balances.get(key, balance(0)).balance
        assert end in {history, history + recorded.adjustment_total, reported}
        if end not in {history, history + recorded.adjustment_total} and not recorded.adjustment_total:
            assert by_key(assessment)[key].action in REPAIRS


@given(any_evidence(), policies)
def test_incoherent_reading_decides_nothing_beyond_its_entries(judged: Evidence, policy: Policy) -> None:
    judged = replace(judged, coherent=False)
    assessment = assess(judged, policy)
    assert {step.reason for step in assessment.steps} <= {None, Reason.FOUND_CHANGED, Reason.DRIFT_REPAIRED}
    assert (assessment.observed, assessment.cleared) == ({}, ())


@given(any_evidence(), policies, st.data())
def test_order_of_the_inputs_does_not_matter(judged: Evidence, policy: Policy, data: st.DataObject) -> None:
    def shuffled(mapping: Mapping[HoldingKey, Any]) -> dict[HoldingKey, Any]:
        return dict(data.draw(st.permutations(list(mapping.items()))))

    again = replace(
        judged,
        recorded=shuffled(judged.recorded),
        ingested=shuffled(judged.ingested),
        balances=shuffled(judged.balances),
        observations=shuffled(judged.observations),
    )
    assert assess(again, policy) == assess(judged, policy)


@given(any_evidence())
def test_judging_again_what_was_decided_decides_nothing_more(judged: Evidence) -> None:
    """Once everything is written, the same reading finds nothing but residuals that are not its to repair."""
    assume(judged.coherent)
    first = assess(judged, EAGER)
    residual_reasons = {Reason.RESIDUAL_REPAIRED, Reason.RESIDUAL_REVERSED}
    adjusted: dict[HoldingKey, Decimal] = {}
    for step in first.steps:
        if step.reason in residual_reasons:
            adjusted[step.key] = adjusted.get(step.key, ZERO) + step.after - step.before
    recorded = {}
    for key, row in judged.recorded.items():
        end = ends(judged, first)[key]
        ledger_total = row.ledger_total + sum((e.change for e in judged.ingested.get(key, ())), ZERO)
        recorded[key] = RecordedPosition(
            end, end, ledger_total, row.adjustment_total + adjusted.get(key, ZERO)
        )
    second = assess(replace(judged, recorded=recorded, ingested={}, observations=dict(first.observed)), EAGER)
    assert not [s for s in second.steps if s.reason is not Reason.RESIDUAL_REPAIRED]
    assert {f.key for f in second.findings} <= set(first.observed)


# --- residuals, case by case -----------------------------------------------------------------------------


def residual_of(
    residual: str, policy: Policy, *, seen: Observation | None, prices: Mapping[str, Decimal] = PRICES
) -> Assessment:
    books = {ETH: held(100), USD: held(10**6)}
    reported = {ETH: Decimal(100) + Decimal(residual), USD: Decimal(10**6)}
    observations = {ETH: seen} if seen else {}
    return assess(evidence(books, reported, observations=observations, prices=prices), policy)


def action(assessment: Assessment) -> Action:
    return by_key(assessment)[ETH].action


def test_residual_waits_until_it_stayed_the_same_for_an_interval() -> None:
    new = residual_of("-1", Policy(), seen=None)
    assert (action(new), new.observed) == (
        Action.AWAITING_CONFIRMATION,
        {ETH: Observation(Decimal(-1), START)},
    )
    young = Observation(Decimal(-1), START - RUN_INTERVAL + timedelta(seconds=1))
    other = Observation(Decimal("-1.1"), LONG_AGO)
    assert action(residual_of("-1", Policy(), seen=young)) is Action.AWAITING_CONFIRMATION
    assert action(residual_of("-1", Policy(), seen=other)) is Action.AWAITING_CONFIRMATION
    assert residual_of("-1", Policy(), seen=other).observed[ETH].first_seen_at == START
    old = Observation(Decimal(-1), START - RUN_INTERVAL, 3)
    repaired = residual_of("-1", Policy(), seen=old)
    assert action(repaired) is Action.UPDATE
    assert (repaired.steps[-1].reason, repaired.steps[-1].after) == (Reason.RESIDUAL_REPAIRED, 99)
    assert (repaired.observed, repaired.cleared) == ({}, (ETH,))


@pytest.mark.parametrize(
    ("residual", "policy", "expected"),
    [
        ("0.001", Policy(), Action.WITHIN_TOLERANCE),
        ("-0.001", Policy(), Action.WITHIN_TOLERANCE),
        ("0.001000000000000001", Policy(), Action.UPDATE),
        ("0.5", Policy(overrides={"ETH": Tolerance(Decimal(1))}), Action.WITHIN_TOLERANCE),
        ("0.5", Policy(overrides={"BTC": Tolerance(Decimal(1))}), Action.UPDATE),
        ("0.5", Policy(Tolerance(ZERO, value=Decimal(1500))), Action.WITHIN_TOLERANCE),
        ("0.5", Policy(Tolerance(ZERO, value=Decimal(1499))), Action.UPDATE),
    ],
)
def test_tolerance_decides_by_quantity_or_value(residual: str, policy: Policy, expected: Action) -> None:
    seen = Observation(Decimal(residual), LONG_AGO)
    assessment = residual_of(residual, policy, seen=seen)
    assert action(assessment) is expected
    assert bool(assessment.steps) == (expected is Action.UPDATE)
    assert (ETH in assessment.observed) == (expected is Action.WITHIN_TOLERANCE)


def test_value_tolerance_needs_a_price_and_so_does_a_repair() -> None:
    policy = Policy(Tolerance(ZERO, value=Decimal(10**6)))
    assessment = residual_of("0.5", policy, seen=Observation(Decimal("0.5"), LONG_AGO), prices={})
    assert action(assessment) is Action.HELD
    assert assessment.steps == ()


@pytest.mark.parametrize(
    ("guard", "expected"),
    [
        (Guard(), Action.UPDATE),
        (Guard(value_share=Decimal("0.002")), Action.HELD),
        (Guard(positions_share=ZERO), Action.UPDATE),
    ],
)
def test_guard_holds_what_is_worth_too_much(guard: Guard, expected: Action) -> None:
    assessment = residual_of("-1", Policy(guard=guard), seen=Observation(Decimal(-1), LONG_AGO))
    assert action(assessment) is expected


@given(st.integers(1, 20), st.integers(1, 30))
def test_guard_holds_all_where_too_many_positions_are_to_be_repaired(repaired: int, positions: int) -> None:
    assume(repaired <= positions)
    keys = [HoldingKey(f"A{n}", "spot") for n in range(repaired)]
    judged = evidence(
        {key: held(10) for key in keys},
        {key: Decimal(9) for key in keys} | {USD: Decimal(10**6)},
        observations={key: Observation(Decimal(-1), LONG_AGO) for key in keys},
        all_positions=positions,
        prices=PRICES | {key.asset: Decimal(1) for key in keys},
    )
    allowed = repaired <= max(1, Decimal("0.25") * positions)
    expected = Action.UPDATE if allowed else Action.HELD
    assessment = assess(judged, Policy())
    assert {finding.action for finding in assessment.findings} == {expected}
    assert len(assessment.steps) == (repaired if allowed else 0)


def test_account_that_is_empty_at_once_is_always_held() -> None:
    judged = evidence(
        {ETH: held(1)}, {ETH: ZERO}, observations={ETH: Observation(Decimal(-1), LONG_AGO)}, all_positions=1
    )
    assert action(assess(judged, EAGER)) is Action.HELD


@pytest.mark.parametrize(
    ("recorded", "reported", "expected"), [(0, 1, Action.ADD), (1, 0, Action.REMOVE), (1, 2, Action.UPDATE)]
)
def test_repair_says_who_knew_the_position(recorded: int, reported: int, expected: Action) -> None:
    judged = evidence(
        {ETH: held(recorded)},
        {ETH: Decimal(reported), USD: Decimal(10**6)},
        observations={ETH: Observation(Decimal(reported - recorded), LONG_AGO)},
    )
    assert action(assess(judged, Policy())) is expected


@given(changes, st.booleans())
def test_what_shows_in_another_wallet_of_the_asset_is_no_difference(
    moved: Decimal,
    is_old: bool,  # noqa: FBT001 - hypothesis passes it
) -> None:
    judged = evidence(
        {BTC: held(200), BTC_EARN: held(0)},
        {BTC: 200 - moved, BTC_EARN: moved},
        observations={BTC: Observation(-moved, LONG_AGO), BTC_EARN: Observation(moved, LONG_AGO)}
        if is_old
        else {},
        prices={},
        all_positions=1,
    )
    assessment = assess(judged, Policy(Tolerance(ZERO), guard=Guard(ZERO, ZERO)))
    assert assessment == Assessment((), (), {}, (), folded={BTC: -moved, BTC_EARN: moved})


def test_only_what_a_folded_balance_leaves_over_is_a_difference() -> None:
    """The earning wallet is gone from the reply and shows in the plain code; a withdrawal is on its way."""
    judged = evidence(
        {BTC: held("0.4"), BTC_EARN: held("0.6")},
        {BTC: Decimal("0.9")},
        observations={BTC: Observation(Decimal("-0.1"), LONG_AGO)},
    )
    assessment = assess(judged, EAGER)
    assert ends(judged, assessment) == {BTC: Decimal("0.3"), BTC_EARN: Decimal("0.6")}
    assert {finding.key: finding.residual for finding in assessment.findings} == {BTC: Decimal("-0.1")}


def test_a_wallet_that_is_gone_while_the_plain_code_agrees_is_gone() -> None:
    judged = evidence(
        {BTC: held("0.4"), BTC_EARN: held("0.6")},
        {BTC: Decimal("0.4")},
        observations={BTC_EARN: Observation(Decimal("-0.6"), LONG_AGO)},
    )
    assert by_key(assess(judged, EAGER))[BTC_EARN].residual == Decimal("-0.6")


def test_repair_is_taken_back_when_its_ledger_line_turns_up() -> None:
    line = entry(ETH, Decimal("-0.1"), 1)
    recorded = RecordedPosition(Decimal("1.9"), Decimal("1.9"), Decimal(2), Decimal("-0.1"))
    assessment = assess(evidence({ETH: recorded}, {ETH: Decimal("1.9")}, ingested={ETH: [line]}), Policy())
    assert [step.reason for step in assessment.steps] == [None, Reason.RESIDUAL_REVERSED]
    assert assessment.steps[-1].after == Decimal("1.9")
    finding = by_key(assessment)[ETH]
    assert finding.drift == finding.explained


@pytest.mark.parametrize(
    ("reported", "after"),
    [("1.9", "1.9"), ("1.94", "1.94"), ("2", "2"), ("2.3", "2"), ("1.85", "1.9"), ("0", "1.9")],
)
def test_repair_is_taken_back_as_far_as_the_exchange_no_longer_shows_it(reported: str, after: str) -> None:
    recorded = RecordedPosition(Decimal("1.9"), Decimal("1.9"), Decimal(2), Decimal("-0.1"))
    judged = evidence({ETH: recorded}, {ETH: Decimal(reported)})
    assert ends(judged, assess(judged, Policy()))[ETH] == Decimal(after)


def test_reading_older_than_a_repair_takes_nothing_back() -> None:
    recorded = RecordedPosition(
        Decimal("1.9"), Decimal("1.9"), Decimal(2), Decimal("-0.1"), START + timedelta(seconds=1)
    )
    assessment = assess(evidence({ETH: recorded}, {ETH: Decimal(2)}), Policy())
    assert (assessment.steps, action(assessment)) == ((), Action.AWAITING_CONFIRMATION)


@given(any_evidence(), policies)
def test_no_residual_moves_a_position_away_from_the_exchange(judged: Evidence, policy: Policy) -> None:
    for step in assess(judged, policy).steps:
        if step.reason in {Reason.RESIDUAL_REPAIRED, Reason.RESIDUAL_REVERSED}:
            reported = judged.balances.get(step.key, balance(0)).balance
            assert abs(reported - step.after) < abs(reported - step.before)


# --- replies that leave something out --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("recorded", "reported", "missing"),
    [
        ({BTC: held(1)}, {}, ("BTC",)),
        ({BTC: held(1)}, {BTC: ZERO}, ()),
        ({BTC: held(0)}, {}, ()),
        ({BTC: held(1), BTC_EARN: held(-1)}, {}, ()),
        ({BTC: held(1)}, {BTC_EARN: Decimal(1)}, ()),
        ({BTC: held(1), ETH: held(2)}, {BTC: Decimal(1)}, ("ETH",)),
        ({BTC: RecordedPosition(quantity=Decimal(5))}, {}, ()),
    ],
)
def test_asset_may_be_left_out_only_where_the_ledger_ends_in_zero(
    recorded: dict[HoldingKey, RecordedPosition],
    reported: dict[HoldingKey, Decimal],
    missing: tuple[str, ...],
) -> None:
    assert missing_holdings(evidence(recorded, reported)) == missing


def test_an_asset_under_a_new_code_is_not_left_out_but_waits_for_a_person() -> None:
    old, new = HoldingKey("LUNA", "spot"), HoldingKey("LUNC", "spot")
    renamed = evidence({old: held(7), new: held(0)}, {new: Decimal(7), BTC: Decimal(2)})
    assert missing_holdings(renamed) == ()
    assert {f.key: f.action for f in assess(renamed, EAGER).findings} == dict.fromkeys(
        (old, new), Action.AWAITING_CONFIRMATION
    )
    other = evidence({old: held(7), new: held(0)}, {new: Decimal(6)})
    assert missing_holdings(other) == ("LUNA",)
    both = evidence({old: held(7), ETH: held(7), new: held(0)}, {new: Decimal(7)})
    assert missing_holdings(both) == ("LUNA",)
    known = evidence({old: held(7), new: held(7)}, {new: Decimal(7)})
    assert missing_holdings(known) == ("LUNA",)


def test_new_entries_count_for_what_may_be_left_out() -> None:
    sold = evidence({BTC: held(1)}, {}, ingested={BTC: [entry(BTC, Decimal(-1), 1)]})
    bought = evidence({BTC: held(0)}, {}, ingested={BTC: [entry(BTC, Decimal(1), 1)]})
    assert (missing_holdings(sold), missing_holdings(bought)) == ((), ("BTC",))
