"""What the balances say of orders that Kraken's order books do not show: evidence, never a decision.

The balances of the account less its recorded positions moved by exactly what those orders did, if nothing
else is on its way. Which of them explain that movement is inferred exactly (``domain/inference.py``).
"""

from __future__ import annotations

from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import TYPE_CHECKING, Any, Final

from kraken_recon.domain.inference import (
    Ambiguous,
    Candidate,
    Impossible,
    Inference,
    TooMany,
    Unique,
    infer,
    smallest_units,
)
from kraken_recon.domain.markets import TRADABLE_WALLETS
from kraken_recon.domain.money import ZERO, exact_arithmetic, format_amount
from kraken_recon.domain.orders import Side

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kraken_recon.domain.ledger import Balance, HoldingKey
    from kraken_recon.domain.orders import Order
    from kraken_recon.domain.records import Account
    from kraken_recon.service.order_ports import OrderBooks, OrderPorts

# Finer than any asset's smallest unit (Kraken: at most ten decimals).
DECIMALS: Final = 10
PRICE_SLACK: Final = Decimal("0.05")
FEE_PERCENT_MAX: Final = Decimal(1)
COST_MAX: Final = Decimal(10) ** 19


def evidence_of(
    orders: Sequence[Order], account: Account, books: OrderBooks, ports: OrderPorts
) -> dict[str, Any]:
    """Say which of these orders, filled whole, would explain how balances differ from recorded positions."""
    assets = sorted({asset for order in orders for asset in (order.base, order.quote)})
    reported = books.balances()
    with ports.open_unit_of_work() as unit:
        recorded = unit.orders.recorded_holdings(account.account_id, assets)
    return judged(orders, _drifts(assets, reported, recorded))


@exact_arithmetic()
def _drifts(
    assets: Sequence[str], reported: Mapping[HoldingKey, Balance], recorded: Mapping[str, Decimal]
) -> dict[str, Decimal]:
    held = dict.fromkeys(assets, ZERO)
    for key, balance in reported.items():
        if key.asset in held and key.wallet in TRADABLE_WALLETS:
            held[key.asset] += balance.balance
    return {asset: quantity - recorded.get(asset, ZERO) for asset, quantity in held.items()}


@exact_arithmetic()
def judged(orders: Sequence[Order], drifts: Mapping[str, Decimal]) -> dict[str, Any]:
    """Infer which orders explain these drifts, and write the answer for an order's story."""
    assets = sorted(drifts)
    change = tuple(smallest_units(drifts[asset], DECIMALS) for asset in assets)
    inference = infer(change, [_candidate(order, assets) for order in orders])
    return {
        "drift": {asset: format_amount(drifts[asset]) for asset in assets},
        "explained_by": type(inference).__name__.lower(),
        **_listed(inference),
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


def _candidate(order: Order, assets: Sequence[str]) -> Candidate:
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
        tuple(_units(moves.get(asset, nothing)[0], ROUND_FLOOR) for asset in assets),
        tuple(_units(moves.get(asset, nothing)[1], ROUND_CEILING) for asset in assets),
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


def _units(amount: Decimal, rounding: str) -> int:
    return int(amount.scaleb(DECIMALS).to_integral_value(rounding=rounding))
