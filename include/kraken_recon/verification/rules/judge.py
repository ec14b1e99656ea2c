"""Judge whether an order that ended is in every book as it should be.

Invariants:
1. Books that are not there yet are waited for: what lags is ``inconclusive``, never a ``mismatch``. Something
   missing is a mismatch only where other rows of the same trade prove that it will not come.
2. Every level says what was expected and what was seen, whatever its verdict.
3. Amounts are compared exactly; the only allowances are what Kraken itself rounds away or cuts off.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from kraken_recon.ledger.entries import is_same_line
from kraken_recon.orders.rules.order import ENDED_AT_EXCHANGE, Fill, Order, Side
from kraken_recon.values.money import ZERO, exact_arithmetic, format_amount
from kraken_recon.verification.rules.desk_level import desk_level
from kraken_recon.verification.rules.levels import (
    OF_EVERY_ORDER,
    Level,
    LevelFindings,
    LevelResult,
    Verdict,
    amounts_told,
)
from kraken_recon.verification.rules.trade_legs import Legs, legs_of, moved_by, unit_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from kraken_recon.desk_books.rules.orders import OrderInBook
    from kraken_recon.ledger.entries import LedgerEntry
    from kraken_recon.orders.rules.reports import ReportedOrder


class Overall(StrEnum):
    """What an order came to; the first two are final."""

    VERIFIED = "verified"
    MISMATCH = "mismatch"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True, slots=True)
class Tolerances:
    """Shares of the executed volume and of the expected price that are left alone."""

    direction: Decimal = Decimal("0.05")
    slippage: Decimal = Decimal("0.01")


@dataclass(frozen=True, slots=True)
class OrderEvidence:
    """All that is known of one order: our rows, and what Kraken's books show.

    ``entries`` are the account's ledger entries around the trades as Kraken shows them, of every asset;
    ``recorded_entries`` and ``movements`` are ours, by ledger id: the entry, and what its event moved the
    position by. ``booked_trades`` have entries in our recorded ledger; ``elsewhere`` names the account in
    whose books a trade was found instead.
    """

    order: Order
    recorded_fills: Mapping[str, Fill] = field(default_factory=dict)
    reported: ReportedOrder | None = None
    trades: Mapping[str, Fill] = field(default_factory=dict)
    entries: tuple[LedgerEntry, ...] = ()
    recorded_entries: Mapping[str, LedgerEntry] = field(default_factory=dict)
    movements: Mapping[str, Decimal] = field(default_factory=dict)
    booked_trades: frozenset[str] = frozenset()
    elsewhere: Mapping[str, str] = field(default_factory=dict)
    is_past_deadline: bool = False
    desk_rows: tuple[OrderInBook, ...] = ()

    @property
    def was_filled(self) -> bool:
        """Say whether anything was executed, as far as anybody tells."""
        return bool(
            self.order.volume_executed
            or self.recorded_fills
            or (self.reported and (self.reported.volume_executed or self.reported.trade_ids))
        )

    @property
    def has_ended_at_kraken(self) -> bool:
        """Say whether Kraken shows the order and nothing about it can change any more."""
        return self.reported is not None and self.reported.status in ENDED_AT_EXCHANGE

    @property
    def missing_trades(self) -> list[str]:
        """Name the trades that Kraken's order lists and its trade history does not show."""
        return [t for t in self.reported.trade_ids if t not in self.trades] if self.reported else []


@dataclass(frozen=True, slots=True)
class Verification:
    """The verdict of one order, and how each level came to it."""

    verdict: Overall
    levels: tuple[LevelResult, ...]

    @property
    def failed_levels(self) -> tuple[Level, ...]:
        """Name the levels that do not agree."""
        return tuple(result.level for result in self.levels if result.verdict is Verdict.MISMATCH)

    @property
    def awaits_kraken(self) -> bool:
        """Say whether looking at Kraken again may bring it further."""
        return self.verdict is Overall.INCONCLUSIVE and any(result.awaits_kraken for result in self.levels)

    @property
    def awaits_us(self) -> bool:
        """Say whether Kraken's books show something that ours lack."""
        return self.verdict is Overall.INCONCLUSIVE and any(result.awaits_us for result in self.levels)

    @property
    def message(self) -> str:
        """Say in one line what is wrong or missing."""
        decisive = Verdict.MISMATCH if self.failed_levels else Verdict.INCONCLUSIVE
        told = [f"{r.level}: {r.message}" for r in self.levels if r.verdict is decisive]
        return "; ".join(told) or "every book agrees"


NOTHING_EXECUTED: Final = "nothing was executed"


@exact_arithmetic()
def judge_order(evidence: OrderEvidence, tolerances: Tolerances) -> Verification:
    """Judge one ended order by all that is known of it."""
    legs = legs_of(
        evidence.order, evidence.trades, evidence.entries, is_past_deadline=evidence.is_past_deadline
    )
    checks: tuple[Callable[[], LevelResult], ...] = (
        lambda: _state(evidence),
        lambda: _fills(evidence),
        lambda: _direction(evidence, legs, tolerances.direction),
        lambda: _ledger(evidence, legs),
        lambda: _position(evidence, legs),
        lambda: _slippage(evidence, tolerances.slippage),
    )
    results = tuple(check() for check in checks)
    if evidence.desk_rows:
        results = (*results, _desk(evidence, legs, results))
    verdicts = {result.verdict for result in results}
    if Verdict.MISMATCH in verdicts:
        return Verification(Overall.MISMATCH, results)
    if Verdict.INCONCLUSIVE in verdicts:
        return Verification(Overall.INCONCLUSIVE, results)
    return Verification(Overall.VERIFIED, results)


def unasked(message: str, *, may_pass: bool) -> Verification:
    """Say of an order whose books could not be read why, and whether asking again soon may help."""
    return Verification(
        Overall.INCONCLUSIVE,
        tuple(
            LevelResult(level, Verdict.INCONCLUSIVE, {}, {}, message, awaits_kraken=may_pass)
            for level in OF_EVERY_ORDER
        ),
    )


def _state(evidence: OrderEvidence) -> LevelResult:
    """Compare our order with Kraken's.

    Kraken cuts the totals of an order off after a few decimals, per fill (1.106664 is shown as 1.1066): a
    unit of the last digit for every fill is allowed.
    """
    result, order, reported = LevelFindings(Level.STATE), evidence.order, evidence.reported
    if reported is None:
        result.awaited("Kraken does not show the order yet")
        return result.end("")
    result.expected |= {"status": str(order.status), "side": str(order.side), "pair": order.pair}
    result.observed |= {"status": str(reported.status), "side": str(reported.side), "pair": reported.pair}
    if not evidence.has_ended_at_kraken:
        result.awaited(f"Kraken still shows the order as {reported.status}")
        return result.end("")
    for name in result.expected:
        if result.expected[name] != result.observed[name]:
            result.wrong(f"expected {name} {result.expected[name]}, was {result.observed[name]}")
    count = max(1, len(reported.trade_ids))
    result.compare("volume", order.volume_executed, reported.volume_executed)
    result.compare("cost", order.cost_executed, reported.cost, allowance=count * unit_of(reported.cost))
    result.compare("fee", order.fee_reported, reported.fee, allowance=count * unit_of(reported.fee))
    return result.end("Kraken's order agrees with ours")


def _fills(evidence: OrderEvidence) -> LevelResult:
    """Compare the trades with their order, and with the fills that are recorded here."""
    result, reported, trades = LevelFindings(Level.FILLS), evidence.reported, evidence.trades
    if not evidence.was_filled:
        return result.not_applicable(NOTHING_EXECUTED)
    if reported is None or not evidence.has_ended_at_kraken:
        result.awaited("Kraken's order does not list its fills for good yet")
        return result.end("")
    for trade_id in evidence.missing_trades:
        if account := evidence.elsewhere.get(trade_id):
            result.wrong(f"trade {trade_id} is in the books of account {account}")
        elif evidence.is_past_deadline and trade_id in evidence.booked_trades:
            result.wrong(f"trade {trade_id} has ledger entries, but the trade history does not show it")
        else:
            result.awaited(f"Kraken does not show trade {trade_id} yet")
    for trade in trades.values():
        _compare_trade(result, evidence.order, trade)
    if not evidence.missing_trades:
        count = len(trades)
        made = trades.values()
        sums = {
            "volume": sum((t.volume for t in made), ZERO),
            "cost": sum((t.cost for t in made), ZERO),
            "fee": sum((t.fee for t in made), ZERO),
        }
        result.compare("volume", reported.volume_executed, sums["volume"])
        result.compare("cost", reported.cost, sums["cost"], allowance=count * unit_of(reported.cost))
        result.compare("fee", reported.fee, sums["fee"], allowance=count * unit_of(reported.fee))
    _compare_recorded(result, evidence, reported)
    return result.end(f"{len(trades)} fills add up to the order and are recorded here")


def _compare_trade(result: LevelFindings, order: Order, trade: Fill) -> None:
    for name, expected, observed in (
        ("order", order.kraken_txid, trade.kraken_txid),
        ("side", str(order.side), str(trade.side)),
        ("pair", order.pair, trade.pair),
    ):
        if expected != observed:
            result.expected[name], result.observed[name] = str(expected), str(observed)
            result.wrong(f"expected {name} {expected} of trade {trade.trade_id}, was {observed}")


def _compare_recorded(result: LevelFindings, evidence: OrderEvidence, reported: ReportedOrder) -> None:
    recorded = evidence.recorded_fills
    result.expected["fills"], result.observed["fills"] = str(len(reported.trade_ids)), str(len(recorded))
    for trade_id, trade in evidence.trades.items():
        ours = recorded.get(trade_id)
        if ours is None and evidence.is_past_deadline:
            result.wrong(f"trade {trade_id} is not recorded here")
        elif ours is None:
            result.awaited(f"trade {trade_id} is not recorded here yet", from_kraken=False)
        elif (ours.side, ours.price, ours.volume, ours.cost, ours.fee) != (
            trade.side,
            trade.price,
            trade.volume,
            trade.cost,
            trade.fee,
        ):
            result.wrong(f"trade {trade_id} is recorded here with other figures")
    for trade_id in sorted(recorded.keys() - set(reported.trade_ids)):
        result.wrong(f"fill {trade_id} is recorded here, but Kraken's order does not list it")


def _signed_volume(order: Order, volume: Decimal) -> Decimal:
    return volume if order.side is Side.BUY else -volume


def _await_trades(result: LevelFindings, evidence: OrderEvidence, legs: Legs) -> None:
    """Wait for whatever is not there yet and not proved to stay away."""
    if not evidence.has_ended_at_kraken or evidence.missing_trades:
        result.awaited("Kraken does not show all trades of the order yet")
    for trade_id, asset in legs.awaited:
        result.awaited(f"Kraken does not show the {asset} entry of trade {trade_id} yet")


def _direction(evidence: OrderEvidence, legs: Legs, tolerance: Decimal) -> LevelResult:
    """Compare how the holding of the base asset moved with what was executed.

    The balances before and after are Kraken's own running balances at the trades' entries; what other entries
    between them moved is taken out.
    """
    result, order = LevelFindings(Level.DIRECTION), evidence.order
    if not evidence.was_filled:
        return result.not_applicable(NOTHING_EXECUTED)
    if legs.are_of_margin:
        return result.not_applicable("a margin trade does not move the base asset")
    base = [asset for _, asset in legs.awaited if asset == order.base]
    if base or not evidence.trades or evidence.missing_trades:
        _await_trades(result, evidence, legs)
        return result.end("")
    volume = sum((trade.volume for trade in evidence.trades.values()), ZERO)
    expected = _signed_volume(order, volume)
    moved = moved_by(legs.rows_of(order.base), evidence.entries)
    if moved is None:
        result.awaited("Kraken does not show every entry between the balances yet")
        return result.end("")
    result.expected |= amounts_told(moved=expected)
    result.observed |= amounts_told(
        before=moved.before, after=moved.after, by_others=moved.others, moved=moved.own
    )
    if abs(moved.own - expected) > tolerance * volume:
        result.wrong(
            f"expected {order.base} to move by {format_amount(expected)}, moved by {format_amount(moved.own)}"
        )
    verb = "rose" if moved.own >= ZERO else "fell"
    return result.end(f"{order.base} {verb} by {format_amount(abs(moved.own))}")


def _ledger(evidence: OrderEvidence, legs: Legs) -> LevelResult:
    """Compare each trade with its entries in Kraken's ledger, to the last unit."""
    result = LevelFindings(Level.LEDGER)
    if not evidence.was_filled:
        return result.not_applicable(NOTHING_EXECUTED)
    if legs.are_of_margin:
        return result.not_applicable("a margin trade has one entry, for its profit and fee")
    booked = {entry.refid for entry in evidence.entries} if evidence.elsewhere else set()
    for trade_id, account in evidence.elsewhere.items():
        if trade_id in booked:
            continue
        result.wrong(f"the entries of trade {trade_id} are in the books of account {account}")
    for name, (expected, observed) in legs.figures.items():
        result.expected |= amounts_told(**{name: expected})
        result.observed |= amounts_told(**{name: observed})
    for problem in legs.problems:
        result.wrong(problem)
    _await_trades(result, evidence, legs)
    return result.end(f"{len(legs.rows)} entries agree with {len(evidence.trades)} trades")


def _position(evidence: OrderEvidence, legs: Legs) -> LevelResult:
    """Compare what our positions moved by with what Kraken's ledger says."""
    result = LevelFindings(Level.POSITION)
    if not evidence.was_filled:
        return result.not_applicable(NOTHING_EXECUTED)
    expected: dict[str, Decimal] = {}
    observed: dict[str, Decimal] = {}
    for entry in legs.rows:
        name = str(entry.key)
        ours, moved = evidence.recorded_entries.get(entry.ledger_id), evidence.movements.get(entry.ledger_id)
        expected[name] = expected.get(name, ZERO) + entry.change
        observed[name] = observed.get(name, ZERO) + (moved or ZERO)
        if ours is not None and not is_same_line(ours, entry):
            result.wrong(f"entry {entry.ledger_id} is recorded here with other figures")
        elif moved is not None and moved != entry.change:
            result.wrong(
                f"entry {entry.ledger_id} changes {name} by {format_amount(entry.change)}, "
                f"but moved our position by {format_amount(moved)}"
            )
        elif moved is None and evidence.is_past_deadline:
            result.wrong(f"entry {entry.ledger_id} has not moved our position")
        elif moved is None:
            result.awaited(f"entry {entry.ledger_id} has not moved our position yet", from_kraken=False)
    result.expected |= amounts_told(**expected)
    result.observed |= amounts_told(**observed)
    if not legs.rows:
        result.awaited("Kraken's ledger does not show the trades yet")
    elif not legs.are_of_margin:
        _await_trades(result, evidence, legs)
    return result.end("our positions moved as Kraken's ledger says")


def _slippage(evidence: OrderEvidence, tolerance: Decimal) -> LevelResult:
    """Compare the average price with the one expected when the order was decided; only worse ones matter."""
    result, order = LevelFindings(Level.SLIPPAGE), evidence.order
    if not evidence.was_filled:
        return result.not_applicable(NOTHING_EXECUTED)
    expected = order.expected_price
    if not expected:
        return result.not_applicable("no price was expected when the order was decided")
    volume = sum((trade.volume for trade in evidence.trades.values()), ZERO)
    if evidence.missing_trades or not volume:
        result.awaited("Kraken does not show all trades of the order yet")
        return result.end("")
    cost = sum((trade.cost for trade in evidence.trades.values()), ZERO)
    worse = cost - expected * volume if order.side is Side.BUY else expected * volume - cost
    result.expected |= amounts_told(price=expected, cost=expected * volume)
    result.observed |= amounts_told(cost=cost, volume=volume, worse_by=worse)
    if worse > tolerance * expected * volume:
        return result.warning(
            f"{format_amount(worse)} {order.quote} worse than expected, "
            f"beyond {format_amount(100 * tolerance)} %"
        )
    return result.end("within what was expected")


def _desk(evidence: OrderEvidence, legs: Legs, others: Sequence[LevelResult]) -> LevelResult:
    """Compare what the desk's own books say of the order with what Kraken says, at the desk's digits.

    It waits for all other levels: what the desk says wrong must not keep our own books from being completed.
    """
    findings = LevelFindings(Level.DESK)
    waiting = [other for other in others if other.verdict is Verdict.INCONCLUSIVE]
    if evidence.reported is None or (waiting and not evidence.is_past_deadline):
        from_kraken = any(other.awaits_kraken for other in waiting)
        findings.awaited("the other books are not there yet", from_kraken=from_kraken)
        return findings.end("")
    return desk_level(findings, evidence.desk_rows, evidence.reported, evidence.trades, legs.rows)
