"""Read what Kraken says of orders that have no answer: orders, trades, ledger entries, balances.

The balances of the account less its recorded positions moved by exactly what those orders did, if nothing
else is on its way. Which of them explain that movement is inferred exactly
(``orders/rules/which_were_filled.py``); what all of it means is said in ``orders/rules/absence.py``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import TYPE_CHECKING, Any, Final

from kraken_recon.ledger.entry_kinds import TRADE
from kraken_recon.orders.rules.absence import AbsenceEvidence, may_be, unexplained_holds
from kraken_recon.orders.rules.order import FOUND_AT_KRAKEN, Side
from kraken_recon.orders.rules.sizing import TRADABLE_WALLETS
from kraken_recon.orders.rules.which_were_filled import (
    Ambiguous,
    Candidate,
    Impossible,
    Inference,
    TooMany,
    Unique,
    infer,
    smallest_units,
)
from kraken_recon.orders.store import OrderStore
from kraken_recon.values.money import ZERO, exact_arithmetic, format_amount

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from datetime import datetime

    from kraken_recon.accounts.account import Account
    from kraken_recon.ledger.entries import Balance, HoldingKey
    from kraken_recon.orders.exchange import OrderPorts, OrderRecords
    from kraken_recon.orders.rules.order import Order
    from kraken_recon.orders.rules.reports import ReportedOrder

# Finer than any asset's smallest unit (Kraken: at most ten decimals).
DECIMALS: Final = 10
PRICE_SLACK: Final = Decimal("0.05")
FEE_PERCENT_MAX: Final = Decimal(1)
COST_MAX: Final = Decimal(10) ** 19
# A trade is written a moment before its ledger entries.
TRADE_LEAD: Final = timedelta(minutes=1)
ENTRIES_WITHIN: Final = timedelta(hours=2)


@dataclass(frozen=True, slots=True)
class OrderSearch:
    """Reads what one account's books show of orders that have no answer."""

    account: Account
    books: OrderRecords
    ports: OrderPorts

    def all_orders(self, since: datetime) -> dict[str, ReportedOrder]:
        """Read every open order, and every order opened or closed since a moment."""
        # The open ones first: an order that ends between the two readings is then in one of them.
        still_open = self.books.open_orders()
        return {**still_open, **self.books.closed_orders(after=since)}

    def look(self, orders: Sequence[Order], since: datetime) -> AbsenceEvidence:
        """Read every order and trade since a moment; ask again for those that may be one of these orders."""
        reports = self.all_orders(since)
        strays = {
            fill.kraken_txid: fill
            for fill in self.books.trades(after=since).values()
            if fill.kraken_txid not in reports
        }
        with self.ports.open_unit_of_work() as unit:
            known = OrderStore(unit).known_at_kraken(
                self.account.account_id, txids={*strays, *reports}, cl_ord_ids=()
            )
        ours = {order.kraken_txid for order in known if order.source not in FOUND_AT_KRAKEN}
        for order in known:
            strays.pop(order.kraken_txid or "", None)
        nameless = {
            txid
            for txid, report in reports.items()
            if txid not in ours and any(may_be(order, report) for order in orders)
        }
        if strays or nameless:
            reports |= self.books.query_orders({*strays, *nameless})
        return AbsenceEvidence(
            {txid: r for txid, r in reports.items() if r.cl_ord_id is not None or txid not in ours},
            strays=[fill for txid, fill in strays.items() if txid not in reports],
        )

    def weigh(self, orders: Sequence[Order], seen: AbsenceEvidence, since: datetime) -> AbsenceEvidence:
        """Add what balances and ledger say of orders that Kraken's orders do not show."""
        assets = sorted({asset for order in orders for asset in (order.base, order.quote)})
        reported = self.books.balances()
        open_now = self.books.open_orders()
        # What comes of a request comes soon after it; what rests is held, and seen by that.
        until = min(self.ports.clock(), since + ENTRIES_WITHIN)
        entries = self.books.ledger_between(since, until)
        trades = self.books.trades(after=since - TRADE_LEAD)
        of_trades = {e.refid: e for e in entries if e.entry_type == TRADE and e.refid not in trades}
        before = min(order.submitted_at for order in orders if order.submitted_at)
        with self.ports.open_unit_of_work() as unit:
            recorded = OrderStore(unit).recorded_holdings(self.account.account_id, assets, before=before)
            known = OrderStore(unit).recorded_trades(self.account.account_id, of_trades)
        drifts = _drifts(assets, recorded, reported)
        return replace(
            seen,
            strange_entries=[e for e in entries if e.refid in of_trades.keys() - known],
            drifts=drifts,
            is_open=bool(recorded),
            inference=inferred(orders, drifts),
            holds=unexplained_holds(_held(assets, reported), open_now),
        )


@exact_arithmetic()
def _drifts(
    assets: Iterable[str], recorded: Mapping[str, Decimal], reported: Mapping[HoldingKey, Balance]
) -> dict[str, Decimal]:
    held = _summed(assets, reported, lambda balance: balance.balance)
    return {asset: quantity - recorded.get(asset, ZERO) for asset, quantity in held.items()}


def _held(assets: Iterable[str], reported: Mapping[HoldingKey, Balance]) -> dict[str, Decimal]:
    return _summed(assets, reported, lambda balance: balance.hold_trade)


@exact_arithmetic()
def _summed(
    assets: Iterable[str],
    reported: Mapping[HoldingKey, Balance],
    amount_of: Callable[[Balance], Decimal],
) -> dict[str, Decimal]:
    """Sum over the wallets that trading draws on."""
    totals = dict.fromkeys(assets, ZERO)
    for key, balance in reported.items():
        if key.asset in totals and key.wallet in TRADABLE_WALLETS:
            totals[key.asset] += amount_of(balance)
    return totals


def inferred(orders: Sequence[Order], drifts: Mapping[str, Decimal]) -> Inference:
    """Infer which orders, filled whole, explain how balances differ from what is recorded."""
    assets = sorted(drifts)
    decimals = max(DECIMALS, *(_decimals(drift) for drift in drifts.values()))
    change = tuple(smallest_units(drifts[asset], decimals) for asset in assets)
    return infer(change, [_candidate(order, assets, decimals) for order in orders])


def told(seen: AbsenceEvidence) -> dict[str, Any]:
    """Write what the balances say of orders for an order's story."""
    if seen.inference is None:
        return {}
    return {
        "drift": {asset: format_amount(drift) for asset, drift in sorted(seen.drifts.items())},
        "explained_by": type(seen.inference).__name__.lower(),
        **_listed(seen.inference),
    }


def _listed(inference: Inference) -> dict[str, Any]:
    match inference:
        case Unique(filled):
            return {"orders": sorted(filled)}
        case Ambiguous(sets):
            return {"sets": [sorted(one) for one in sets]}
        case TooMany(reason):
            return {"reason": reason}
        case Impossible(residual):
            return {"residual_units": list(residual)}


@exact_arithmetic()
def _candidate(order: Order, assets: Sequence[str], decimals: int) -> Candidate:
    """Say what an order would have moved, filled whole: base exactly, quote within prices and fees."""
    volume = order.volume or ZERO
    cheapest, dearest = _cost_range(order, volume)
    fee = dearest * FEE_PERCENT_MAX / 100
    if order.side is Side.BUY:
        moves = {order.base: (volume, volume), order.quote: (-dearest - fee, -cheapest)}
    else:
        moves = {order.base: (-volume, -volume), order.quote: (cheapest - fee, dearest)}
    nothing = (ZERO, ZERO)
    return Candidate(
        str(order.order_id),
        tuple(_units(moves.get(asset, nothing)[0], decimals, ROUND_FLOOR) for asset in assets),
        tuple(_units(moves.get(asset, nothing)[1], decimals, ROUND_CEILING) for asset in assets),
    )


def _cost_range(order: Order, volume: Decimal) -> tuple[Decimal, Decimal]:
    """Bound what an order cost: a limit is never exceeded, an expected price about right."""
    if order.limit_price is not None:
        limit = volume * order.limit_price
        return (ZERO, limit) if order.side is Side.BUY else (limit, COST_MAX)
    if order.expected_price is not None:
        expected = volume * order.expected_price
        return expected * (1 - PRICE_SLACK), expected * (1 + PRICE_SLACK)
    return ZERO, COST_MAX


def _units(amount: Decimal, decimals: int, rounding: str) -> int:
    return int(amount.scaleb(decimals).to_integral_value(rounding=rounding))


def _decimals(amount: Decimal) -> int:
    exponent = amount.normalize().as_tuple().exponent
    return -exponent if isinstance(exponent, int) else 0
