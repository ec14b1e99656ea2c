"""Completeness of a ledger, judged against a search through every possible order."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from itertools import pairwise, permutations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from desks.fakes import START
from kraken_recon.ledger.chain import by_holding, prove_chain
from kraken_recon.ledger.entries import HoldingKey, LedgerEntry

KEY = HoldingKey("BTC", "spot")
ZERO = Decimal(0)

# Few different changes and many equal times, so that balances return and instants are crowded.
changes = st.sampled_from(tuple(map(Decimal, ("1", "-1", "2", "-2", "0.5"))))
books_of = st.lists(st.tuples(changes, st.booleans(), st.sampled_from((ZERO, Decimal("0.25")))), min_size=1)


def ledger(moves: list[tuple[Decimal, bool, Decimal]], opening: Decimal = ZERO) -> list[LedgerEntry]:
    """Write a correct ledger; a true flag puts an entry at the time of the one before it."""
    entries: list[LedgerEntry] = []
    time, balance = START, opening
    for number, (amount, together, fee) in enumerate(moves):
        time += timedelta(0) if together else timedelta(seconds=1)
        balance += amount - fee
        # Names without order: Kraken's ids are random.
        name = f"L{(number * 7919) % 1009:04}"
        entries.append(LedgerEntry(name, name, time, "trade", "", *KEY, amount, fee, balance))
    return entries


def connects(entries: list[LedgerEntry], known: Decimal | None) -> bool:
    starts_well = known is None or entries[0].balance_before == known
    return starts_well and all(a.balance == b.balance_before for a, b in pairwise(entries))


def some_order_connects(entries: list[LedgerEntry], known: Decimal | None) -> bool:
    return any(
        connects(list(order), known)
        for order in permutations(entries)
        if all(a.entry_time <= b.entry_time for a, b in pairwise(order))
    )


@given(st.data(), books_of.filter(lambda m: len(m) <= 40), st.sampled_from((None, Decimal(3))))
def test_any_shuffled_ledger_is_put_in_an_order_that_connects(
    data: st.DataObject, moves: list[tuple[Decimal, bool, Decimal]], known: Decimal | None
) -> None:
    opening = Decimal(3)
    entries = ledger(moves, opening)
    shuffled = data.draw(st.permutations(entries))
    chain = prove_chain(KEY, shuffled, known_balance=known)
    assert chain.gaps == ()
    assert sorted(e.ledger_id for e in chain.entries) == sorted(e.ledger_id for e in entries)
    assert connects(list(chain.entries), known)
    assert [e.entry_time for e in chain.entries] == [e.entry_time for e in entries]
    assert chain.entries[-1].balance == chain.opening + sum((e.change for e in entries), ZERO)
    assert chain == prove_chain(KEY, entries, known_balance=known)


@given(st.data(), st.sampled_from((None, ZERO)))
def test_gap_is_named_exactly_when_no_order_connects(data: st.DataObject, known: Decimal | None) -> None:
    entries = ledger(
        data.draw(st.lists(st.tuples(changes, st.booleans(), st.just(ZERO)), min_size=2, max_size=6))
    )
    damage = data.draw(st.sampled_from(("none", "delete", "duplicate", "amount", "fee", "balance", "swap")))
    place = data.draw(st.integers(0, len(entries) - 1))
    entry = entries[place]
    match damage:
        case "delete":
            del entries[place]
        case "duplicate":
            entries.append(replace(entry, ledger_id="LCOPY"))
        case "amount":
            entries[place] = replace(entry, amount=entry.amount + 1)
        case "fee":
            entries[place] = replace(entry, fee=Decimal("0.5"))
        case "balance":
            entries[place] = replace(entry, balance=entry.balance - 1)
        case "swap":
            other = entries[0]
            entries[0] = replace(other, entry_time=entry.entry_time)
            entries[place] = replace(entry, entry_time=other.entry_time)
    chain = prove_chain(KEY, entries, known_balance=known)
    assert (chain.gaps == ()) == some_order_connects(entries, known)


@given(st.data(), books_of.filter(lambda m: 3 <= len(m) <= 20))
def test_row_that_is_missing_is_named_by_its_neighbours(
    data: st.DataObject, moves: list[tuple[Decimal, bool, Decimal]]
) -> None:
    entries = ledger([(amount, False, fee) for amount, _, fee in moves])
    place = data.draw(st.integers(1, len(entries) - 2))
    missing = entries[place]
    assume(missing.change)
    gaps = prove_chain(KEY, [e for e in entries if e is not missing], known_balance=ZERO).gaps
    assert len(gaps) == 1
    assert (gaps[0].after, gaps[0].before) == (entries[place - 1], entries[place + 1])
    assert gaps[0].missing == missing.change
    assert entries[place - 1].ledger_id in str(gaps[0])
    assert entries[place + 1].ledger_id in str(gaps[0])


@pytest.mark.parametrize("part", ["amount", "fee", "balance"])
@given(st.data(), books_of.filter(lambda m: 3 <= len(m) <= 20))
def test_altered_row_is_found_where_it_is(
    part: str, data: st.DataObject, moves: list[tuple[Decimal, bool, Decimal]]
) -> None:
    entries = ledger([(amount, False, fee) for amount, _, fee in moves])
    place = data.draw(st.integers(0, len(entries) - 1))
    altered = replace(entries[place], **{part: getattr(entries[place], part) + Decimal("0.125")})
    gaps = prove_chain(KEY, [*entries[:place], altered, *entries[place + 1 :]], known_balance=ZERO).gaps
    assert gaps
    for gap in gaps:
        assert altered in {gap.after, gap.before}
        assert abs(gap.missing) == Decimal("0.125")


def test_first_row_missing_is_found_only_against_what_is_known() -> None:
    entries = ledger([(Decimal(1), False, ZERO), (Decimal(2), False, ZERO)])[1:]
    gap = prove_chain(KEY, entries, known_balance=ZERO).gaps[0]
    assert (gap.after, gap.missing) == (None, 1)
    assert "the entries already known" in str(gap)
    assert prove_chain(KEY, entries, known_balance=None).opening == 1


def test_instant_that_leads_back_to_its_start_is_opened_where_the_next_goes_on() -> None:
    moves = [(Decimal(1), False, ZERO), (Decimal(-1), True, ZERO), (Decimal(2), False, ZERO)]
    for opening in (ZERO, Decimal(5)):
        chain = prove_chain(KEY, ledger(moves, opening), known_balance=None)
        assert (chain.opening, chain.gaps) == (opening, ())


def test_account_that_may_have_begun_at_zero_did() -> None:
    entries = ledger([(Decimal(-1), False, ZERO), (Decimal(1), True, ZERO)], Decimal(1))
    assert prove_chain(KEY, entries, known_balance=None).opening == 0


def test_no_entries_prove_nothing() -> None:
    with pytest.raises(ValueError, match="expected entries of BTC"):
        prove_chain(KEY, [], known_balance=ZERO)


def test_entries_are_grouped_by_holding() -> None:
    spot, staked = ledger([(Decimal(1), False, ZERO), (Decimal(1), False, ZERO)])
    staked = replace(staked, wallet="S")
    assert by_holding([staked, spot]) == {HoldingKey("BTC", "S"): [staked], KEY: [spot]}
