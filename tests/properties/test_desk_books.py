"""Desk books: the mistake that a bot made is always among the answers, and alone where it alone fits."""

from __future__ import annotations

import decimal
from collections import defaultdict
from dataclasses import dataclass, replace
from decimal import Decimal
from itertools import combinations
from typing import TYPE_CHECKING, NamedTuple

from hypothesis import assume, given
from hypothesis import strategies as st

from desks.fakes import FakeBooks
from kraken_recon.desk_books.declaration import AssetColumn, Holds
from kraken_recon.desk_books.rules.compare import (
    ROUNDINGS,
    Terms,
    agrees,
    as_held,
    compare,
    quantity_of,
    rounded,
)
from kraken_recon.desk_books.rules.explain import ALTERNATIVES_MAX, ROUNDED_EACH, DifferenceEvidence, explain
from kraken_recon.desk_books.rules.names import Names
from kraken_recon.desk_books.rules.records import ComparedAsset, DeskRow, Explanation
from kraken_recon.values.money import exact_arithmetic, format_amount

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from kraken_recon.ledger.entries import LedgerEntry

ZERO = Decimal(0)
PER_ENTRY = (*ROUNDINGS, decimal.ROUND_FLOOR)

Fit = tuple[Explanation, frozenset[str]]


class Happening(NamedTuple):
    units: int
    scale: int
    fee: int
    wallet: str
    joins: bool
    order: int


happenings = st.lists(
    st.builds(
        Happening,
        st.integers(-400, 400).filter(bool),
        st.sampled_from((2, 4, 4, 6)),
        st.sampled_from((0, 0, 1, 3)),
        st.sampled_from(("spot", "spot", "spot", "S", "F")),
        st.booleans(),
        st.integers(0, 3),
    ),
    min_size=1,
    max_size=7,
)


@dataclass(frozen=True)
class Ledger:
    """What happened to one asset, and what can have been booked of it."""

    entries: Sequence[LedgerEntry]
    opening: Decimal
    orders: dict[str, str]

    @property
    def proven(self) -> Decimal:
        return self.opening + sum((e.change for e in self.entries), ZERO)

    @property
    def operations(self) -> list[list[LedgerEntry]]:
        found: dict[str, list[LedgerEntry]] = defaultdict(list)
        for entry in self.entries:
            found[entry.refid].append(entry)
        return list(found.values())

    @property
    def of_orders(self) -> list[list[LedgerEntry]]:
        found: dict[str, list[LedgerEntry]] = defaultdict(list)
        for entry in self.entries:
            found[self.orders.get(entry.refid, entry.refid)].append(entry)
        return list(found.values())

    @property
    def wallets(self) -> dict[str, Decimal]:
        held: dict[str, Decimal] = defaultdict(lambda: ZERO)
        for entry in self.entries:
            held[entry.wallet] += entry.change
        held["spot"] += self.opening
        return dict(held)


@exact_arithmetic()
def happened(things: list[Happening], opening: Decimal) -> Ledger:
    books = FakeBooks()
    entries: list[LedgerEntry] = []
    orders = {}
    for thing in things:
        amount = format_amount(Decimal(thing.units).scaleb(-thing.scale))
        entry = books.add(
            "BTC", amount, fee=format_amount(Decimal(thing.fee).scaleb(-thing.scale)), wallet=thing.wallet
        )
        if thing.joins and entries:
            entry = replace(entry, refid=entries[-1].refid)
        elif thing.order:
            orders[entry.refid] = f"O{thing.order}"
        entries.append(entry)
    return Ledger(entries, opening, orders)


def total(entries: Iterable[LedgerEntry]) -> Decimal:
    return sum((e.change for e in entries), ZERO)


def fees(entries: Iterable[LedgerEntry]) -> Decimal:
    return sum((e.fee for e in entries), ZERO)


def named(entries: Iterable[LedgerEntry]) -> frozenset[str]:
    return frozenset(e.ledger_id for e in entries)


def charged(entries: Iterable[LedgerEntry]) -> frozenset[str]:
    return named(e for e in entries if e.fee)


def joined(groups: Iterable[Sequence[LedgerEntry]]) -> list[LedgerEntry]:
    return [entry for group in groups for entry in group]


def subsets(ledger: Ledger) -> list[list[LedgerEntry]]:
    operations = ledger.operations
    several = [*combinations(operations, 1), *combinations(operations, 2), *combinations(operations, 3)]
    runs = [operations[a:b] for a in range(len(operations)) for b in range(a + 1, len(operations) + 1)]
    return [joined(groups) for groups in (*several, *runs)]


def running_sums(ledger: Ledger, digits: int) -> list[Decimal]:
    sums = []
    for base in {rounded(ledger.opening, digits, r) for r in ROUNDINGS}:
        for rounding in PER_ENTRY:
            by_change = by_part = running = base
            for e in ledger.entries:
                by_change += rounded(e.change, digits, rounding)
                by_part += rounded(e.amount, digits, rounding) - rounded(e.fee, digits, rounding)
                running = rounded(running + e.change, digits, rounding)
            sums += [by_change, by_part, running]
    return sums


@exact_arithmetic()
def all_mistakes(ledger: Ledger, digits: int, *, has_agreed: bool) -> list[tuple[Fit, Decimal]]:
    """List every mistake with the exact quantity that it leads to; the newest ``behind`` first."""
    entries, proven = ledger.entries, ledger.proven
    mistakes: list[tuple[Fit, Decimal]] = [
        ((Explanation.BEHIND, named(entries[cut:])), proven - total(entries[cut:]))
        for cut in range(len(entries) - 1, -1, -1)
    ]
    missing = subsets(ledger) if has_agreed else ledger.operations
    mistakes += [((Explanation.MISSED, named(own)), proven - total(own)) for own in missing]
    twice = [*ledger.operations, *ledger.of_orders]
    mistakes += [((Explanation.DOUBLED, named(own)), proven + total(own)) for own in twice]
    free = [*([entries] if has_agreed else []), *ledger.of_orders]
    mistakes += [((Explanation.FEE_LEFT_OUT, charged(own)), proven + fees(own)) for own in free]
    mistakes += [((Explanation.WRONG_WAY, named([e])), proven - 2 * e.change) for e in entries]
    earning = {wallet: held for wallet, held in ledger.wallets.items() if wallet != "spot" and held}
    for wallets in {tuple(earning), *((wallet,) for wallet in earning)} - {()}:
        own = named(e for e in entries if e.wallet in wallets)
        mistakes.append(
            ((Explanation.WALLET_LEFT_OUT, own), proven - sum((earning[w] for w in wallets), ZERO))
        )
    finer = [e for e in entries if rounded(e.amount, digits) != e.amount or rounded(e.fee, digits) != e.fee]
    if finer:
        mistakes += [
            ((Explanation.ROUNDED, named(finer)), quantity) for quantity in running_sums(ledger, digits)
        ]
    return mistakes


@exact_arithmetic()
def fitting(ledger: Ledger, desk: Decimal, digits: int, *, has_agreed: bool) -> set[Fit]:
    fits: set[Fit] = set()
    for fit, quantity in all_mistakes(ledger, digits, has_agreed=has_agreed):
        is_late = fit[0] is Explanation.BEHIND and any(word is Explanation.BEHIND for word, _ in fits)
        is_exact = fit[0] is Explanation.ROUNDED
        if not is_late and (quantity == desk if is_exact else agrees(quantity, desk, digits)):
            fits.add(fit)
    return fits


def evidence(ledger: Ledger, desk: Decimal, digits: int, *, has_agreed: bool) -> DifferenceEvidence:
    compared = ComparedAsset("BTC", ledger.proven, desk, as_held(ledger.proven, digits) - desk)
    return DifferenceEvidence(
        compared, digits, ledger.entries, has_agreed, wallets=ledger.wallets, orders=ledger.orders
    )


@given(
    data=st.data(),
    things=happenings,
    opening=st.integers(0, 500),
    digits=st.sampled_from((2, 4, 6)),
    has_agreed=st.booleans(),
)
def test_the_answers_are_exactly_what_fits(
    data: st.DataObject, things: list[Happening], opening: int, digits: int, *, has_agreed: bool
) -> None:
    ledger = happened(things, Decimal(opening).scaleb(-6))
    mistakes = all_mistakes(ledger, digits, has_agreed=has_agreed)
    (word, ids), quantity = data.draw(st.sampled_from(mistakes), label="mistake")
    desk = rounded(quantity, digits, data.draw(st.sampled_from(ROUNDINGS)))
    assume(not agrees(ledger.proven, desk, digits))
    found = explain(evidence(ledger, desk, digits, has_agreed=has_agreed))
    listed = [found.answer, *found.alternatives]
    given_answers = {(one.explanation, frozenset(one.ledger_ids)) for one in listed}
    fits = fitting(ledger, desk, digits, has_agreed=has_agreed)
    assert len(given_answers) == len(listed) <= ALTERNATIVES_MAX + 1
    assert found.answer.explanation is min((w for w, _ in fits), key=list(Explanation).index)
    if len(fits) <= ALTERNATIVES_MAX + 1:
        assert given_answers == fits
    else:
        assert given_answers <= fits
        assert {w for w, _ in given_answers} == {w for w, _ in fits}
    is_kept = word is not Explanation.BEHIND or (word, ids) in fits
    assert word in {w for w, _ in given_answers}, "the planted mistake is not among the answers"
    assert is_kept or any(w is Explanation.BEHIND for w, _ in given_answers)


@given(
    things=happenings,
    units=st.integers(-(10**6), 10**6),
    digits=st.sampled_from((2, 4)),
    has_agreed=st.booleans(),
)
def test_what_does_not_fit_exactly_is_no_answer(
    things: list[Happening], units: int, digits: int, *, has_agreed: bool
) -> None:
    ledger = happened(things, ZERO)
    desk = Decimal(units).scaleb(-digits)
    assume(not agrees(ledger.proven, desk, digits))
    found = explain(evidence(ledger, desk, digits, has_agreed=has_agreed))
    fits = fitting(ledger, desk, digits, has_agreed=has_agreed)
    if found.remark != ROUNDED_EACH:
        assert (found.answer.explanation is Explanation.UNEXPLAINED) == (not fits)
    else:
        assert not fits


@given(st.randoms(use_true_random=False), happenings, st.integers(-2000, 2000))
def test_the_order_of_the_entries_does_not_matter(dice: object, things: list[Happening], units: int) -> None:
    ledger = happened(things, ZERO)
    desk = Decimal(units).scaleb(-4)
    assume(not agrees(ledger.proven, desk, 4))
    shuffled = list(ledger.entries)
    dice.shuffle(shuffled)  # type: ignore[attr-defined]
    one = explain(evidence(ledger, desk, 4, has_agreed=True))
    assert explain(evidence(replace(ledger, entries=shuffled), desk, 4, has_agreed=True)) == one


@given(data=st.data(), things=happenings, rounding=st.sampled_from(PER_ENTRY), is_missed=st.booleans())
def test_a_mistake_of_a_bot_that_rounds_each_entry_is_found(
    data: st.DataObject, things: list[Happening], rounding: str, *, is_missed: bool
) -> None:
    ledger, digits = happened(things, ZERO), 2
    operation = data.draw(st.sampled_from(ledger.operations))
    part = sum((rounded(e.change, digits, rounding) for e in operation), ZERO)
    booked = sum((rounded(e.change, digits, rounding) for e in ledger.entries), ZERO)
    desk = booked - part if is_missed else booked + part
    assume(not agrees(ledger.proven, desk, digits))
    found = explain(evidence(ledger, desk, digits, has_agreed=True))
    words = {one.explanation for one in (found.answer, *found.alternatives)}
    planted = Explanation.MISSED if is_missed else Explanation.DOUBLED
    assert planted in words or found.remark != ROUNDED_EACH
    assert Explanation.UNEXPLAINED not in words


quantities = st.builds(
    lambda units, scale: Decimal(units).scaleb(-scale), st.integers(-(10**12), 10**12), st.integers(0, 14)
)


@given(quantities, st.integers(0, 12), st.sampled_from(ROUNDINGS))
def test_a_quantity_rounded_in_any_way_agrees(proven: Decimal, digits: int, rounding: str) -> None:
    desk = rounded(proven, digits, rounding)
    unit = Decimal(1).scaleb(-digits)
    assert agrees(proven, desk, digits)
    assert not agrees(proven, desk + 2 * unit, digits)
    assert abs(as_held(proven, digits)) <= abs(proven)


@given(quantities, quantities, st.integers(0, 12))
def test_to_agree_is_to_be_one_of_three_roundings(one: Decimal, other: Decimal, digits: int) -> None:
    desk = rounded(other, digits)
    assert agrees(one, desk, digits) == (desk in {rounded(one, digits, r) for r in ROUNDINGS})


@given(st.floats(allow_nan=False, allow_infinity=False, min_value=-1e9, max_value=1e9), st.integers(0, 6))
def test_a_binary_fraction_is_the_decimal_that_it_stands_for(value: float, digits: int) -> None:
    written = round(Decimal(repr(value)), digits)
    assert quantity_of(float(written), digits) == written


@given(st.dictionaries(st.sampled_from(("BTC", "ETH", "USD", "SOL")), quantities), st.integers(0, 10))
def test_a_book_written_at_its_own_precision_agrees(proven: dict[str, Decimal], digits: int) -> None:
    terms = Terms("book", Names(AssetColumn(column="symbol"), tuple(proven)), Holds(), digits)
    rows = [DeskRow((n,), asset, as_held(q, digits)) for n, (asset, q) in enumerate(proven.items())]
    seen = compare(rows, proven, terms)
    assert (seen.agreed, seen.differing, seen.problems) == (len(proven), (), ())
