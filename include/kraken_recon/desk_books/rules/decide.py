"""What is done about the differences of one account in one book.

Invariants:
1. What is within the tolerance, or may still be on its way into the book, is left alone.
2. A difference that nothing explains is acted on once two runs, far enough apart, saw the same.
3. Nothing is written that ``write_back`` does not allow; what is beyond the guard, stands in several rows, or
   did not last the last time is held for a person.
4. What a person approved is let through while all of it is still exactly what there is to write.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from kraken_recon.desk_books.declaration import WriteBack
from kraken_recon.desk_books.rules.records import (
    WRITES,
    ComparedAsset,
    DeskAction,
    Difference,
    Explained,
    Explanation,
)
from kraken_recon.reconciliation.rules.policy import Guard
from kraken_recon.values.money import ZERO, exact_arithmetic

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from datetime import datetime, timedelta
    from decimal import Decimal

    from kraken_recon.desk_books.declaration import BookTolerance

_LATE: Final = frozenset({Explanation.BEHIND, Explanation.MISSED})


@dataclass(frozen=True, slots=True)
class Seen:
    """A difference that nothing explained, and when a run first saw it."""

    difference: Decimal
    first_seen_at: datetime


@dataclass(frozen=True, slots=True)
class Situation:
    """All that decides about one account's rows in one book, its cash among them.

    Attributes:
        read_at: when the desk's rows were read.
        write_back: what may be written of positions.
        cash_write_back: what may be written of cash, whose rows are only updated.
        late_by: how long a bot may still be writing.
        tolerance: what is left alone.
        rows: how many rows of the account hold something.
        proven: what the book should hold, by asset.
        prices: by asset, in one currency, which itself is 1.
        guard: how much one run may write by itself.
        seen: unexplained differences of earlier runs, by asset.
        last_changes: by asset, what our last writes to it changed, where it has not agreed since.
        undone: by asset, who undid our last write.
        not_writable: by asset, why its rows cannot be written.
        approved: the changes by asset that a person approved.
        has_unknown_names: whether a row has a name that nobody knows.
    """

    read_at: datetime
    write_back: WriteBack
    late_by: timedelta
    tolerance: BookTolerance
    rows: int
    proven: Mapping[str, Decimal]
    prices: Mapping[str, Decimal]
    guard: Guard = field(default_factory=Guard)
    seen: Mapping[str, Seen] = field(default_factory=lambda: MappingProxyType({}))
    last_changes: Mapping[str, Collection[Decimal]] = field(default_factory=lambda: MappingProxyType({}))
    undone: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    not_writable: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    approved: Mapping[str, Decimal] = field(default_factory=lambda: MappingProxyType({}))
    has_unknown_names: bool = False
    cash_write_back: WriteBack = WriteBack.NONE


@dataclass(frozen=True, slots=True)
class Decided:
    """What is done about each difference.

    ``approval_stands`` says that what was approved is still exactly what there is to write.
    """

    differences: tuple[Difference, ...]
    approval_stands: bool = False


@exact_arithmetic()
def decide(found: Sequence[tuple[ComparedAsset, Explained]], situation: Situation) -> Decided:
    """Decide about every difference of an account in one book, those of its cash among them."""
    changes = {compared.asset: compared.difference for compared, _ in found}
    approval_stands = bool(situation.approved) and all(
        changes.get(asset) == change for asset, change in situation.approved.items()
    )
    admitted = situation.approved.keys() if approval_stands else frozenset[str]()
    decided = [_decided(compared, explained, situation, admitted) for compared, explained in found]
    return Decided(tuple(_guarded(decided, situation, admitted)), approval_stands)


def _decided(
    compared: ComparedAsset, explained: Explained, situation: Situation, admitted: Collection[str]
) -> Difference:
    if compared.asset not in admitted:
        if abs(compared.difference) <= situation.tolerance.of(compared.asset):
            return Difference(compared, explained, DeskAction.WITHIN_TOLERANCE)
        if why := _why_wait(compared, explained, situation):
            return Difference(compared, explained, DeskAction.WAITING, why)
    action = _write(compared)
    write_back = situation.cash_write_back if compared.is_cash else situation.write_back
    if action.value not in write_back.allowed:
        return Difference(compared, explained, DeskAction.REPORT)
    if why := _why_hold(compared, action, situation, admitted):
        return Difference(compared, explained, DeskAction.HELD, why)
    return Difference(compared, explained, action)


def _why_wait(compared: ComparedAsset, explained: Explained, situation: Situation) -> str:
    """Say why it is too early to act; empty where it is not."""
    word, oldest = explained.answer.explanation, explained.oldest_at
    if word in _LATE and oldest is not None and situation.read_at - oldest < situation.late_by:
        return "the entries are younger than late_by: the bot may still be writing"
    if word is Explanation.UNEXPLAINED:
        seen = situation.seen.get(compared.asset)
        if seen is None or seen.difference != compared.difference:
            return "no earlier run saw the same difference"
        if situation.read_at - seen.first_seen_at < situation.late_by:
            return "the same difference was first seen less than late_by ago"
    return ""


def _write(compared: ComparedAsset) -> DeskAction:
    if not compared.rows:
        return DeskAction.INSERT
    return DeskAction.UPDATE if compared.proven or compared.is_cash else DeskAction.REMOVE


def _why_hold(
    compared: ComparedAsset, action: DeskAction, situation: Situation, admitted: Collection[str]
) -> str:
    """Say why a person has to decide about this write for itself; empty where none has to."""
    asset, is_insert = compared.asset, action is DeskAction.INSERT
    if asset in situation.not_writable:
        return situation.not_writable[asset]
    did_not_last = compared.difference in situation.last_changes.get(asset, ())
    reasons = (
        (len(compared.rows) > 1, "several rows stand for it; approved, the one with the lowest key changes"),
        (is_insert and situation.has_unknown_names, "a name that nobody knows may be this asset's"),
        (asset in situation.undone, f"the last write was undone by {situation.undone.get(asset)}"),
        (did_not_last, "the same write was made before and did not last"),
    )
    return "" if asset in admitted else next((why for applies, why in reasons if applies), "")


def _guarded(
    decided: Iterable[Difference], situation: Situation, admitted: Collection[str]
) -> list[Difference]:
    """Hold all writes of a run that are, together, too many or worth too much."""
    listed = list(decided)
    writes = [one for one in listed if one.action in WRITES and one.asset not in admitted]
    if not writes or _admits(writes, situation):
        return listed
    unpriced = sorted({one.asset for one in writes if one.asset not in situation.prices})
    why = "it is more than one run may write by itself"
    if unpriced:
        why = f"what {', '.join(unpriced)} is worth is not on record, so that nobody can say if it is much"
    return [replace(one, action=DeskAction.HELD, reason=why) if one in writes else one for one in listed]


def _admits(writes: Sequence[Difference], situation: Situation) -> bool:
    prices = situation.prices
    if any(one.asset not in prices for one in writes) or not any(situation.proven.values()):
        return False
    return situation.guard.admits(
        repaired_positions=len(writes),
        all_positions=situation.rows,
        value=sum((abs(one.compared.difference) * prices[one.asset] for one in writes), ZERO),
        total=sum((held * prices.get(asset, ZERO) for asset, held in situation.proven.items()), ZERO),
    )


def is_emptied(rows_before: int, rows_now: int, proven: Mapping[str, Decimal]) -> bool:
    """Say whether all rows of a book are gone at once, which is no reading to act on."""
    return rows_before > 0 and rows_now == 0 and any(proven.values())
