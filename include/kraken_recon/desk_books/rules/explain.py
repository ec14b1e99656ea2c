"""Why a desk's quantity is not the proven one: what fits exactly, and nothing that merely comes near.

Invariants:
1. An answer is a mistake that leads from the proven quantity to the desk's, to the smallest unit that the
   desk's column can hold, however the desk rounds.
2. The first word of ``Explanation`` with an answer is the explanation. All other answers, of it and of later
   words, are alternatives; of more than fit, each word keeps at least one.
3. The result does not depend on the order in which the entries come.
"""

from __future__ import annotations

import decimal
from dataclasses import dataclass, field
from heapq import merge
from itertools import chain, islice
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from kraken_recon.desk_books.rules.candidates import (
    Operation,
    World,
    answer,
    behind,
    by_order,
    doubled,
    fees_left_out,
    missed_one,
    missed_several,
    operations_in,
    wrong_way,
)
from kraken_recon.desk_books.rules.compare import ROUNDINGS, agrees, rounded
from kraken_recon.desk_books.rules.records import Answer, Explained, Explanation
from kraken_recon.ledger.chain import by_holding, prove_chain
from kraken_recon.ledger.entries import TRADED
from kraken_recon.values.money import ZERO, exact_arithmetic

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
    from decimal import Decimal

    from kraken_recon.desk_books.rules.records import ComparedAsset
    from kraken_recon.ledger.entries import LedgerEntry

OPERATIONS_MAX: Final = 2_000
"""Of more operations since an asset last agreed, too many combinations would fit by chance."""
ALTERNATIVES_MAX: Final = 10
TOO_MANY: Final = f"more than {OPERATIONS_MAX:,} operations since the asset last agreed"
ROUNDED_EACH: Final = "each entry was rounded to the desk's digits as well"
BOOKED_LATER: Final = "what was written for the bot was booked by the bot as well; late_by may be too short"
_PER_ENTRY: Final = (*ROUNDINGS, decimal.ROUND_FLOOR)


@dataclass(frozen=True, slots=True)
class DifferenceEvidence:
    """What one asset of one account is explained from.

    Attributes:
        compared: what is proven, and what the desk says.
        decimals: the digits that the desk's column can hold.
        entries: of the wallets that count, since the asset last agreed in this book or was written by us, in
            any order; all entries of the asset where it never did.
        has_agreed: whether it ever agreed.
        agreed: the desk's quantity when it last agreed, where that is on record.
        was_ever_held: whether the account ever had an entry or a position of the asset.
        wallets: the proven quantity of each wallet that counts.
        orders: the order of each trade, by the refid of its entries.
        booked_for_it: entries that our last write to the asset was made of (``behind`` or ``missed``).
    """

    compared: ComparedAsset
    decimals: int
    entries: Sequence[LedgerEntry]
    has_agreed: bool
    agreed: Decimal | None = None
    was_ever_held: bool = True
    wallets: Mapping[str, Decimal] = field(default_factory=lambda: MappingProxyType({}))
    orders: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    booked_for_it: Sequence[LedgerEntry] = ()


@exact_arithmetic()
def explain(evidence: DifferenceEvidence) -> Explained:
    """Find what led to an asset's difference; ``unexplained`` where nothing does."""
    entries = _in_order(evidence.entries)
    world = _exact_world(evidence, entries)
    operations = operations_in(world)
    if evidence.has_agreed and len(operations) > OPERATIONS_MAX:
        return Explained(Answer(Explanation.UNEXPLAINED), remark=TOO_MANY)
    booked_again = _booked_again(evidence)
    answers = [*booked_again, *_answers(evidence, world, operations)]
    if answers:
        return _chosen(answers, [*entries, *evidence.booked_for_it], BOOKED_LATER if booked_again else "")
    for other in _rounding_worlds(evidence, entries):
        answers += _bookings(evidence, other, operations_in(other))
    if answers:
        return _chosen(answers, entries, ROUNDED_EACH)
    return Explained(Answer(Explanation.UNEXPLAINED))


def _chosen(answers: Iterable[Answer], entries: Iterable[LedgerEntry], remark: str) -> Explained:
    """Put answers in order, and keep of too many at least one of each word."""
    unique = list(dict.fromkeys(answers))
    unique.sort(key=lambda one: list(Explanation).index(one.explanation))
    first = unique[0]
    best = {one.explanation: one for one in reversed(unique)}
    spoken_for = [one for one in best.values() if one is not first]
    others = [one for one in unique[1:] if one not in spoken_for]
    kept = {*spoken_for, *others[: ALTERNATIVES_MAX - len(spoken_for)]}
    times = {entry.ledger_id: entry.entry_time for entry in entries}
    return Explained(
        first,
        tuple(one for one in unique[1:] if one in kept),
        remark,
        min((times[ledger_id] for ledger_id in first.ledger_ids), default=None),
    )


def _in_order(entries: Sequence[LedgerEntry]) -> list[LedgerEntry]:
    """Put entries in the order in which they happened; within a moment each wallet's balances decide."""
    chains = [prove_chain(key, own, known_balance=None).entries for key, own in by_holding(entries).items()]
    return list(merge(*chains, key=lambda entry: entry.entry_time))


def _answers(evidence: DifferenceEvidence, world: World, operations: Sequence[Operation]) -> list[Answer]:
    answers = _bookings(evidence, world, operations)
    answers += _rounded(evidence, world)
    answers += _wallets_left_out(evidence, world)
    if not evidence.was_ever_held:
        answers.append(Answer(Explanation.UNKNOWN_ROW))
    return answers


def _bookings(evidence: DifferenceEvidence, world: World, operations: Sequence[Operation]) -> list[Answer]:
    """Find what a bot may have booked wrongly; before the asset ever agreed, one operation at most."""
    orders = by_order(world, operations, evidence.orders)
    several = missed_several(world, operations) if evidence.has_agreed else iter(())
    words: tuple[Iterator[Answer], ...] = (
        behind(world),
        _each((missed_one(world, operations), several)),
        _each((doubled(world, operations), doubled(world, orders))),
        fees_left_out(world, orders, of_all=evidence.has_agreed),
        wrong_way(world),
    )
    return [found for word in words for found in islice(word, ALTERNATIVES_MAX + 1)]


def _each(parts: Iterable[Iterator[Answer]]) -> Iterator[Answer]:
    seen: set[Answer] = set()
    for found in chain.from_iterable(parts):
        if found not in seen:
            seen.add(found)
            yield found


def _exact_world(evidence: DifferenceEvidence, entries: Sequence[LedgerEntry]) -> World:
    """Count in the smallest unit of anything that is told; the desk's digits leave room for its rounding."""
    proven, desk, digits = evidence.compared.proven, evidence.compared.desk, evidence.decimals
    amounts = [proven, desk, *(entry.amount for entry in entries), *(entry.fee for entry in entries)]
    scale = max(digits, *map(_digits_of, amounts))
    unit = 10 ** (scale - digits)
    low, high = _rounded_to(_units(desk, scale), unit)
    whole = _units(proven, scale)
    return World(
        entries,
        [_units(entry.change, scale) for entry in entries],
        [_units(entry.fee, scale) for entry in entries],
        low - whole,
        high - whole,
    )


def _digits_of(amount: Decimal) -> int:
    exponent = amount.as_tuple().exponent
    return -exponent if isinstance(exponent, int) else 0


def _units(amount: Decimal, scale: int) -> int:
    return int(amount.scaleb(scale))


def _rounded_to(number: int, unit: int) -> tuple[int, int]:
    """Say from what to what a quantity is rounded to this one: down, half-up or half-even."""
    if number == 0:
        return 1 - unit, unit - 1
    nearest, farthest = unit // 2, unit - 1
    return (number - nearest, number + farthest) if number > 0 else (number - farthest, number + nearest)


def _finer(evidence: DifferenceEvidence, entries: Iterable[LedgerEntry]) -> list[LedgerEntry]:
    """Pick the entries that have more digits than the desk's column."""
    digits = evidence.decimals
    return [e for e in entries if e.amount != rounded(e.amount, digits) or e.fee != rounded(e.fee, digits)]


def _bases(evidence: DifferenceEvidence, entries: Iterable[LedgerEntry]) -> Collection[Decimal]:
    """Say what the desk may have had before the first entry."""
    if evidence.agreed is not None:
        return (evidence.agreed,)
    opening = evidence.compared.proven - sum((entry.change for entry in entries), ZERO)
    return dict.fromkeys(rounded(opening, evidence.decimals, rounding) for rounding in ROUNDINGS)


def _rounding_worlds(evidence: DifferenceEvidence, entries: Sequence[LedgerEntry]) -> Iterator[World]:
    """Count as a bot does that rounds each change before it adds it."""
    if not _finer(evidence, entries):
        return
    digits = evidence.decimals
    desk = _units(evidence.compared.desk, digits)
    for rounding in _PER_ENTRY:
        changes = [_units(rounded(entry.change, digits, rounding), digits) for entry in entries]
        fees = [
            _units(rounded(entry.amount, digits, rounding), digits) - change
            for entry, change in zip(entries, changes, strict=True)
        ]
        for base in _bases(evidence, entries):
            offset = desk - _units(base, digits) - sum(changes)
            yield World(entries, changes, fees, offset, offset)


def _rounded(evidence: DifferenceEvidence, world: World) -> list[Answer]:
    """See whether a bot that rounds each change, or each sum, comes to what the desk shows."""
    finer = _finer(evidence, world.entries)
    sums = (
        total
        for base in _bases(evidence, world.entries)
        for rounding in _PER_ENTRY
        for total in _sums(base, world.entries, evidence.decimals, rounding)
    )
    if finer and evidence.compared.desk in sums:
        return [Answer(Explanation.ROUNDED, tuple(entry.ledger_id for entry in finer))]
    return []


def _sums(
    base: Decimal, entries: Iterable[LedgerEntry], digits: int, rounding: str
) -> tuple[Decimal, Decimal, Decimal]:
    """Add up with each change rounded, with amounts and fees rounded apart, and with each sum rounded."""
    by_change = by_part = running = base
    for entry in entries:
        by_change += rounded(entry.change, digits, rounding)
        by_part += rounded(entry.amount, digits, rounding) - rounded(entry.fee, digits, rounding)
        running = rounded(running + entry.change, digits, rounding)
    return by_change, by_part, running


def _wallets_left_out(evidence: DifferenceEvidence, world: World) -> Iterator[Answer]:
    """See whether the desk shows what is proven without what earns: all of it, or one wallet."""
    earning = {wallet: held for wallet, held in evidence.wallets.items() if wallet not in TRADED and held}
    choices = dict.fromkeys([tuple(sorted(earning)), *((wallet,) for wallet in sorted(earning))])
    for wallets in filter(None, choices):
        if _leads_to(evidence, -sum((earning[wallet] for wallet in wallets), ZERO)):
            places = [p for p, entry in enumerate(world.entries) if entry.wallet in wallets]
            yield answer(world, Explanation.WALLET_LEFT_OUT, places)


def _booked_again(evidence: DifferenceEvidence) -> list[Answer]:
    """See whether the bot booked later what had been written for it."""
    again = sum((entry.change for entry in evidence.booked_for_it), ZERO)
    if not again or not _leads_to(evidence, again):
        return []
    return [Answer(Explanation.DOUBLED, tuple(entry.ledger_id for entry in evidence.booked_for_it))]


def _leads_to(evidence: DifferenceEvidence, offset: Decimal) -> bool:
    compared = evidence.compared
    return agrees(compared.proven + offset, compared.desk, evidence.decimals)
