"""What an account's holdings cost: weighted average per asset, in the account's quote currency.

Invariants:
1. Known plus unknown plus moving quantity is the asset's quantity over all its wallets; sums are exact.
2. Nothing is priced at zero for want of a price: what came in without one is counted as of unknown cost.
3. Division happens in ``_portion`` alone, rounded half to even at 18 decimals; what is rounded off one part
   stays with the other, so that nothing is lost.
4. The same entries and openings give the same figures, in whatever order they are handed over, and whether at
   once or cut into stretches that follow each other in time.
"""

from __future__ import annotations

import decimal
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from kraken_recon.ledger.entry_kinds import MOVES
from kraken_recon.ledger.operations import EntryGroup, moved_elsewhere
from kraken_recon.values.money import INTEGER_DIGITS_MAX, SCALE_MAX, ZERO, exact_arithmetic

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime
    from decimal import Decimal


ONE: Final = decimal.Decimal(1)
SMALLEST: Final = ONE.scaleb(-SCALE_MAX)
DIVISION: Final = decimal.Context(
    prec=120,
    rounding=decimal.ROUND_HALF_EVEN,
    traps=[decimal.InvalidOperation, decimal.DivisionByZero, decimal.Overflow, decimal.FloatOperation],
)


def _portion(whole: Decimal, part: Decimal, of: Decimal) -> Decimal:
    """Divide ``whole`` in the ratio ``part : of``, rounded half to even at 18 decimals."""
    return DIVISION.quantize(DIVISION.divide(DIVISION.multiply(whole, part), of), SMALLEST)


@dataclass(frozen=True, slots=True)
class AssetCost:
    """What one asset of an account cost, over all its wallets; money in the account's quote currency.

    ``quantity_moving`` is what has left one wallet and not reached the other (negative) or the reverse; it is
    counted in the known and unknown quantities. ``as_of`` is the time of the newest entry counted.
    """

    quantity_known: Decimal = ZERO
    quantity_unknown: Decimal = ZERO
    quantity_moving: Decimal = ZERO
    cost: Decimal = ZERO
    realised: Decimal = ZERO
    as_of: datetime | None = None

    @property
    def average(self) -> Decimal | None:
        """The cost of a unit of the known part; None when nothing is known, or when it fits no column."""
        if self.quantity_known <= ZERO:
            return None
        quotient = _portion(self.cost, ONE, self.quantity_known)
        return quotient if quotient.adjusted() < INTEGER_DIGITS_MAX else None


@dataclass(frozen=True, slots=True)
class RealisedResult:
    """What one sale brought: ``result`` is the known part's share of ``proceeds``, less its ``cost``.

    ``quantity`` includes a fee taken in the asset, ``proceeds`` are after a fee taken in the quote currency.
    ``result`` is None where nothing of what was sold has a known cost.
    """

    refid: str
    asset: str
    quantity: Decimal
    proceeds: Decimal
    cost: Decimal
    result: Decimal | None
    unknown_share: Decimal
    effective_at: datetime


@dataclass(frozen=True, slots=True)
class _Taken:
    known: Decimal
    unknown: Decimal
    cost: Decimal


class _Holding:
    """One asset over all its wallets, as groups change it."""

    def __init__(self) -> None:
        self.known = self.unknown = self.moving = self.cost = self.realised = ZERO
        self.as_of: datetime | None = None

    def receive(self, known: Decimal, unknown: Decimal, cost: Decimal) -> None:
        """Add; below zero the hole is filled first, and what fills it takes its cost with it."""
        hole = max(ZERO, -(self.known + self.unknown))
        filling = min(hole, known + unknown)
        if filling:
            gone = _proportional(known, unknown, cost, filling)
            self.unknown += filling
            known, unknown, cost = known - gone.known, unknown - gone.unknown, cost - gone.cost
        self.known += known
        self.unknown += unknown
        self.cost += cost

    def give(self, quantity: Decimal) -> _Taken:
        """Take from known and unknown in proportion; what is given beyond the holding is of unknown cost."""
        held = max(ZERO, self.known + self.unknown)
        taken = _proportional(self.known, self.unknown, self.cost, min(held, quantity))
        beyond = max(ZERO, quantity - held)
        self.known -= taken.known
        self.unknown -= taken.unknown + beyond
        self.cost -= taken.cost
        return _Taken(taken.known, taken.unknown + beyond, taken.cost)

    def snapshot(self) -> AssetCost:
        return AssetCost(self.known, self.unknown, self.moving, self.cost, self.realised, self.as_of)

    def resume(self, cost: AssetCost) -> None:
        self.known, self.unknown, self.moving = (
            cost.quantity_known,
            cost.quantity_unknown,
            cost.quantity_moving,
        )
        self.cost, self.realised, self.as_of = cost.cost, cost.realised, cost.as_of


class _Money(_Holding):
    """The quote currency: one unit of it costs one, above zero and below."""

    def receive(self, known: Decimal, unknown: Decimal, cost: Decimal) -> None:
        del cost
        self.known += known + unknown
        self.cost = self.known

    def give(self, quantity: Decimal) -> _Taken:
        self.known -= quantity
        self.cost = self.known
        return _Taken(quantity, ZERO, quantity)


def _proportional(known: Decimal, unknown: Decimal, cost: Decimal, quantity: Decimal) -> _Taken:
    """Part ``quantity`` from known and unknown; the last of the known takes all the cost."""
    held = known + unknown
    if quantity <= ZERO:
        return _Taken(ZERO, ZERO, ZERO)
    if quantity == held:
        return _Taken(known, unknown, cost)
    taken = quantity if not unknown else _portion(known, quantity, held)
    if not taken:
        return _Taken(ZERO, quantity, ZERO)
    return _Taken(taken, quantity - taken, cost if taken == known else _portion(cost, quantity, held))


class CostBook:
    """Average costs and realised results of one account, as groups of entries arrive in order."""

    def __init__(
        self,
        quote: str,
        openings: Mapping[str, Decimal] | None = None,
        costs: Mapping[str, AssetCost] | None = None,
    ) -> None:
        """Begin with openings, or go on from costs that earlier groups have led to."""
        self._quote = quote
        self._holdings: dict[str, _Holding] = {}
        self._elsewhere: dict[tuple[str, str], _Holding] = defaultdict(_Holding)
        self._converting: dict[str, dict[str, _Taken]] = defaultdict(dict)
        self.results: list[RealisedResult] = []
        for asset, cost in (costs or {}).items():
            self._holding(asset).resume(cost)
        with exact_arithmetic():
            for asset, quantity in (openings or {}).items():
                self._change(asset, quantity)

    @property
    def costs(self) -> dict[str, AssetCost]:
        """What each asset cost, by asset."""
        return {asset: holding.snapshot() for asset, holding in sorted(self._holdings.items())}

    @exact_arithmetic()
    def apply(self, groups: Iterable[EntryGroup]) -> None:
        """Go on with groups that are later than those applied before."""
        for group in groups:
            self._apply(group)

    def _holding(self, asset: str) -> _Holding:
        if asset not in self._holdings:
            self._holdings[asset] = _Money() if asset == self._quote else _Holding()
        return self._holdings[asset]

    def _change(self, asset: str, change: Decimal) -> None:
        """Let something come in without a price, or leave without a result."""
        if change > ZERO:
            self._holding(asset).receive(ZERO, change, ZERO)
        elif change < ZERO:
            self._holding(asset).give(-change)
        else:
            self._holding(asset)

    def _apply(self, group: EntryGroup) -> None:
        for entry in group.entries:
            holding = self._holding(entry.asset)
            holding.as_of = (
                entry.entry_time if holding.as_of is None else max(holding.as_of, entry.entry_time)
            )
        moved = moved_elsewhere(group.entries)
        if moved is not None:
            self._move_elsewhere(group, *moved)
        elif group.conversion is not None:
            self._convert(group, group.conversion)
        else:
            self._exchange(group)

    def _move_elsewhere(self, group: EntryGroup, place: str, amounts: Mapping[str, Decimal]) -> None:
        """Let own money keep its cost while it lies elsewhere; what comes back beyond it has none known."""
        for asset, amount in amounts.items():
            there, holding = self._elsewhere[place, asset], self._holding(asset)
            if amount > ZERO:
                taken = holding.give(amount)
                there.receive(taken.known, taken.unknown, taken.cost)
            else:
                own = there.give(min(-amount, there.known + there.unknown))
                holding.receive(own.known, -amount - own.known, own.cost)
        for entry in group.entries:
            self._change(entry.asset, -entry.fee)

    def _convert(self, group: EntryGroup, name: str) -> None:
        """Take what an asset cost to the one that comes in its place, whenever that comes."""
        (entry,) = group.entries
        if entry.change < ZERO:
            given = self._holding(entry.asset).give(-entry.change)
            before = self._converting[name].get(entry.asset, _Taken(ZERO, ZERO, ZERO))
            self._converting[name][entry.asset] = _Taken(
                before.known + given.known, before.unknown + given.unknown, before.cost + given.cost
            )
            return
        taken = self._converting.pop(name, None)
        if taken is None:
            self._change(entry.asset, entry.change)
        elif entry.asset == self._quote:
            self._holding(entry.asset).receive(entry.change, ZERO, entry.change)
            self._realise(group, taken, entry.change)
        else:
            self._carry_over(taken, entry.asset, entry.change)

    def _exchange(self, group: EntryGroup) -> None:
        changes: dict[str, Decimal] = defaultdict(lambda: ZERO)
        traded: set[str] = set()
        # From one asset to another (ETH2 to ETH) it is no move between wallets, whatever it is called.
        is_move = len({e.asset for e in group.entries if e.kind in MOVES}) == 1
        for entry in group.entries:
            if is_move and entry.kind in MOVES:
                self._holding(entry.asset).moving += entry.amount
                changes[entry.asset] -= entry.fee
                continue
            changes[entry.asset] += entry.change
            if entry.amount:
                traded.add(entry.asset)
        given = {asset: -changes[asset] for asset in traded if changes[asset] < ZERO}
        received = {asset: changes[asset] for asset in traded if changes[asset] > ZERO}
        if not given or len(received) != 1:
            for asset, change in changes.items():
                self._change(asset, change)
            return
        for asset in sorted(changes.keys() - traded):
            self._pay_fee(group, asset, changes[asset])
        ((target, quantity),) = received.items()
        taken = {asset: self._holding(asset).give(amount) for asset, amount in given.items()}
        if target == self._quote:
            self._holding(target).receive(quantity, ZERO, quantity)
            self._realise(group, taken, quantity)
        else:
            self._carry_over(taken, target, quantity)

    def _pay_fee(self, group: EntryGroup, asset: str, change: Decimal) -> None:
        """Part with a fee in an asset that is not traded: its known cost is a loss."""
        if change >= ZERO or asset == self._quote:
            self._change(asset, change)
            return
        taken = self._holding(asset).give(-change)
        if taken.known:
            self._record(group, asset, taken, ZERO)

    def _carry_over(self, taken: Mapping[str, _Taken], target: str, quantity: Decimal) -> None:
        """Let the received asset cost what the given ones cost, in as far as that is known."""
        known = _known_of(taken, quantity)
        cost = sum((part.cost for part in taken.values()), ZERO) if known else ZERO
        self._holding(target).receive(known, quantity - known, cost)

    def _realise(self, group: EntryGroup, taken: Mapping[str, _Taken], proceeds: Decimal) -> None:
        """Book what a sale brought; several assets sold at once share the proceeds by what they cost."""
        whole = sum((part.cost for part in taken.values()), ZERO)
        if len(taken) > 1 and (not whole or any(part.unknown for part in taken.values())):
            return
        left = proceeds
        assets = sorted(taken)
        for asset in assets:
            share = left if asset == assets[-1] else _portion(proceeds, taken[asset].cost, whole)
            left -= share
            self._record(group, asset, taken[asset], share)

    def _record(self, group: EntryGroup, asset: str, taken: _Taken, proceeds: Decimal) -> None:
        quantity = taken.known + taken.unknown
        result = None
        if taken.known:
            earned = proceeds if not taken.unknown else _portion(proceeds, taken.known, quantity)
            result = earned - taken.cost
            self._holding(asset).realised += result
        unknown_share = _portion(ONE, taken.unknown, quantity)
        self.results.append(
            RealisedResult(
                group.refid, asset, quantity, proceeds, taken.cost, result, unknown_share, group.effective_at
            )
        )


def _known_of(taken: Mapping[str, _Taken], quantity: Decimal) -> Decimal:
    """Say how much of what was received has a known cost.

    Parts of several assets can't be weighed against each other, so one unknown part makes all of it unknown.
    """
    if not any(part.unknown for part in taken.values()):
        return quantity
    if len(taken) > 1:
        return ZERO
    (part,) = taken.values()
    return _portion(quantity, part.known, part.known + part.unknown)
