"""Match the trades of an order with their entries in Kraken's ledger.

A spot trade moves the base asset by its volume and the quote asset by its cost, each rounded half-up to the
decimals of its asset. Its fee is told in the quote asset, but may be taken from the base asset, from the
quote asset, from both, or in fee credits: the ledger says which (Kraken support 115000302707).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from kraken_recon.ledger.chain import prove_chain
from kraken_recon.ledger.entries import SPOT, HoldingKey
from kraken_recon.ledger.entry_kinds import MARGIN_TYPES
from kraken_recon.orders.rules.order import Side
from kraken_recon.values.money import ZERO, format_amount

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from kraken_recon.ledger.entries import LedgerEntry
    from kraken_recon.orders.rules.order import Fill, Order

FEE_CREDITS: Final = "KFEE"
# A leg that rounds to zero is left out of the ledger; no asset of Kraken has fewer decimals where it matters.
NEGLIGIBLE: Final = Decimal("0.00005")
# A trade's entries are at most some hundred milliseconds later than the trade.
ENTRIES_FOLLOW_WITHIN: Final = timedelta(seconds=2)


def unit_of(amount: Decimal) -> Decimal:
    """Say what one unit of an amount's last written decimal is; zero for an amount without decimals."""
    exponent = amount.as_tuple().exponent
    return Decimal(1).scaleb(exponent) if isinstance(exponent, int) and exponent < 0 else ZERO


@dataclass(frozen=True, slots=True)
class Legs:
    """The ledger entries of an order's trades, and how they compare.

    ``awaited`` names the trades and assets whose entry is not there and may still come; ``figures`` are the
    expected and the seen amount by what they are of; ``problems`` say what can only be wrong.
    """

    rows: tuple[LedgerEntry, ...]
    awaited: tuple[tuple[str, str], ...]
    figures: Mapping[str, tuple[Decimal, Decimal]]
    problems: tuple[str, ...]
    are_of_margin: bool

    def rows_of(self, asset: str) -> tuple[LedgerEntry, ...]:
        """List the entries of one asset."""
        return tuple(row for row in self.rows if row.asset == asset)


@dataclass(frozen=True, slots=True)
class Moved:
    """How one holding moved between two running balances, by these entries and by others between them."""

    before: Decimal
    after: Decimal
    others: Decimal

    @property
    def own(self) -> Decimal:
        """What is left when the others are taken out."""
        return self.after - self.before - self.others


def legs_of(
    order: Order,
    trades: Mapping[str, Fill],
    entries: Sequence[LedgerEntry],
    *,
    is_past_deadline: bool,
) -> Legs:
    """Match trades with their entries."""
    by_trade: dict[str, list[LedgerEntry]] = {trade_id: [] for trade_id in trades}
    for entry in entries:
        if entry.refid in by_trade:
            by_trade[entry.refid].append(entry)
    rows = tuple(row for listed in by_trade.values() for row in listed)
    if any(row.entry_type in MARGIN_TYPES for row in rows):
        return Legs(rows, (), {}, (), are_of_margin=True)
    awaited: list[tuple[str, str]] = []
    problems: list[str] = []
    totals: dict[str, tuple[Decimal, Decimal]] = {}
    for trade_id, trade in trades.items():
        matching = _Matching(order, trade, by_trade[trade_id], entries, is_past_deadline)
        matching.run()
        awaited += [(trade_id, asset) for asset in matching.awaited]
        problems += matching.problems
        for name, (expected, observed) in matching.figures.items():
            before = totals.get(name, (ZERO, ZERO))
            totals[name] = (before[0] + expected, before[1] + observed)
    return Legs(rows, tuple(awaited), totals, tuple(problems), are_of_margin=False)


class _Matching:
    """One trade and its entries."""

    def __init__(
        self,
        order: Order,
        trade: Fill,
        rows: Sequence[LedgerEntry],
        entries: Sequence[LedgerEntry],
        is_past_deadline: bool,  # noqa: FBT001 - private
    ) -> None:
        self._order = order
        self._trade = trade
        self._rows = rows
        self._entries = entries
        self._is_past_deadline = is_past_deadline
        self.awaited: list[str] = []
        self.problems: list[str] = []
        self.figures: dict[str, tuple[Decimal, Decimal]] = {}

    def run(self) -> None:
        """Compare both legs, then the fee."""
        order, trade = self._order, self._trade
        sign = 1 if order.side is Side.BUY else -1
        self._leg(order.base, sign * trade.volume)
        self._leg(order.quote, -sign * trade.cost)
        for row in self._rows:
            if row.asset not in {order.base, order.quote, FEE_CREDITS}:
                self.problems.append(f"trade {trade.trade_id} has an entry in {row.key}")
        if not self.awaited and not self.problems:
            self._fee()

    def _leg(self, asset: str, expected: Decimal) -> None:
        own = [row for row in self._rows if row.asset == asset]
        observed = sum((row.amount for row in own), ZERO)
        if not own:
            self._missing(asset, expected)
            return
        self.figures[asset] = (expected, observed)
        allowance = max((unit_of(row.amount) for row in own), default=ZERO) / 2
        if abs(observed - expected) > allowance:
            self.problems.append(
                f"expected trade {self._trade.trade_id} to change {asset} by {format_amount(expected)}, "
                f"the ledger says {format_amount(observed)}"
            )

    def _missing(self, asset: str, expected: Decimal) -> None:
        if not self._rows:
            self.awaited.append(asset)
        elif abs(expected) < NEGLIGIBLE:
            self.figures[asset] = (ZERO, ZERO)
        elif self._is_past_deadline or _connects_across(self._trade, asset, self._entries):
            self.figures[asset] = (expected, ZERO)
            self.problems.append(
                f"the {asset} entry of trade {self._trade.trade_id} is missing from the ledger"
            )
        else:
            self.awaited.append(asset)

    def _fee(self) -> None:
        """Compare the fee, valued at the trade's price, with the trade's own estimate.

        Everything is multiplied by the volume, so that nothing is divided and rounded.
        """
        order, trade = self._order, self._trade
        base = [row for row in self._rows if row.asset == order.base]
        quote = [row for row in self._rows if row.asset == order.quote]
        if any(row.asset == FEE_CREDITS for row in self._rows):
            return
        base_fee = sum((row.fee for row in base), ZERO)
        quote_fee = sum((row.fee for row in quote), ZERO)
        allowance = unit_of(trade.fee) + unit_of(trade.cost)
        allowance += max((unit_of(row.fee) for row in quote), default=ZERO) / 2
        times_volume = allowance * trade.volume
        times_volume += max((unit_of(row.fee) for row in base), default=ZERO) / 2 * trade.cost
        difference = quote_fee * trade.volume + base_fee * trade.cost - trade.fee * trade.volume
        self.figures[f"fee in {order.quote}"] = (trade.fee, quote_fee)
        if base_fee:
            self.figures[f"fee in {order.base}"] = (ZERO, base_fee)
        if abs(difference) <= times_volume:
            return
        if not base_fee and not quote_fee and not self._is_past_deadline:
            self.awaited.append(f"{order.quote} or {FEE_CREDITS} fee")
            return
        self.problems.append(
            f"expected a fee worth {format_amount(trade.fee)} {order.quote} of trade {trade.trade_id}, the "
            f"ledger took {format_amount(quote_fee)} {order.quote} and {format_amount(base_fee)} {order.base}"
        )


def _connects_across(trade: Fill, asset: str, entries: Iterable[LedgerEntry]) -> bool:
    """Say whether an asset's running balances connect across the trade without an entry of it."""
    key = HoldingKey(asset, SPOT)
    own = [entry for entry in entries if entry.key == key]
    if not own:
        return False
    chain = prove_chain(key, own, known_balance=None).entries
    before = [i for i, entry in enumerate(chain) if entry.entry_time < trade.trade_time]
    after = [i for i, e in enumerate(chain) if e.entry_time > trade.trade_time + ENTRIES_FOLLOW_WITHIN]
    if not before or not after:
        return False
    stretch = chain[before[-1] : after[0] + 1]
    return all(one.balance == other.balance_before for one, other in pairwise(stretch))


def moved_by(own: Sequence[LedgerEntry], entries: Iterable[LedgerEntry]) -> Moved | None:
    """Say how a holding moved from before these entries to after them; None where entries are missing.

    Entries of several wallets are taken wallet by wallet and added up.
    """
    ids = {entry.ledger_id for entry in own}
    total = Moved(ZERO, ZERO, ZERO)
    for key in sorted({entry.key for entry in own}):
        times = [entry.entry_time for entry in own if entry.key == key]
        window = [e for e in entries if e.key == key and min(times) <= e.entry_time <= max(times)]
        chain = prove_chain(key, window, known_balance=None).entries
        places = [i for i, entry in enumerate(chain) if entry.ledger_id in ids]
        stretch = chain[places[0] : places[-1] + 1]
        if any(one.balance != other.balance_before for one, other in pairwise(stretch)):
            return None
        others = sum((entry.change for entry in stretch if entry.ledger_id not in ids), ZERO)
        total = Moved(
            total.before + stretch[0].balance_before,
            total.after + stretch[-1].balance,
            total.others + others,
        )
    return total
