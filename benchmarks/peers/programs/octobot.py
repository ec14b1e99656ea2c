"""Explain fills with OctoBot-Trading, in an environment of its own: ``python octobot.py FILLS.json``.

It is what it does after an order: `get_portfolio_filled_orders_deltas` on the balances before and after.
Orders need an exchange for fees, names and the time; the stand-in answers these.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from octobot_trading import enums  # type: ignore[import-not-found]
from octobot_trading.personal_data import (  # type: ignore[import-not-found]
    BuyLimitOrder,
    Order,
    SellLimitOrder,
    get_portfolio_filled_orders_deltas,
)

FEE_SHARE = Decimal("0.001")
FEES = enums.FeePropertyColumns
ORDERS = {"buy": BuyLimitOrder, "sell": SellLimitOrder}


def stand_in() -> SimpleNamespace:
    """Make what an order asks of its trader and exchange."""

    def trade_fee(
        symbol: str, _order_type: object, quantity: Decimal, price: Decimal, _role: str
    ) -> dict[str, Any]:
        cost = quantity * price * FEE_SHARE
        return {
            FEES.CURRENCY.value: symbol.split("/")[1],
            FEES.COST.value: cost,
            FEES.IS_FROM_EXCHANGE.value: False,
        }

    exchange = SimpleNamespace(
        LOCAL_FEES_CURRENCIES=[],
        get_exchange_current_time=lambda: 0.0,
        get_trade_fee=trade_fee,
        get_uniformized_timestamp=lambda timestamp: timestamp,
        get_pair_from_exchange=lambda symbol: symbol,
    )
    manager = SimpleNamespace(
        exchange=exchange,
        exchange_name="kraken",
        id="kraken",
        is_future=False,
        is_margin=False,
        is_backtesting=True,
        get_exchange_quote_and_base=lambda symbol: tuple(symbol.split("/")),
    )
    return SimpleNamespace(exchange_manager=manager, simulate=True, parse_order_id=lambda given: given)


def order_of(fill: dict[str, str], trader: SimpleNamespace) -> Order:
    """Write a fill as the order that it filled, with the fee that the exchange told."""
    order = ORDERS[fill["side"]](trader)
    order.update(
        symbol=f"{fill['coin']}/USD",
        exchange_order_id=fill["trade"],
        status=enums.OrderStatus.FILLED,
        quantity=Decimal(fill["quantity"]),
        price=Decimal(fill["price"]),
        quantity_filled=Decimal(fill["quantity"]),
        filled_price=Decimal(fill["price"]),
        total_cost=Decimal(fill["cost"]),
        fee={
            FEES.CURRENCY.value: "USD",
            FEES.COST.value: Decimal(fill["fee"]),
            FEES.IS_FROM_EXCHANGE.value: True,
        },
    )
    return order


def portfolio(held: dict[str, str]) -> dict[str, dict[str, Decimal]]:
    """Write balances as a portfolio, all of it available."""
    return {asset: {"available": Decimal(amount), "total": Decimal(amount)} for asset, amount in held.items()}


async def main(told: dict[str, Any]) -> None:
    """Measure, and print one line of JSON."""
    fills = [dict(zip(told["fields"], fill)) for fill in told["fills"]]  # noqa: B905 - Python 3.10 has no strict
    began = time.process_time()
    trader = stand_in()
    orders = [order_of(fill, trader) for fill in fills]
    ready = time.process_time()
    before, after = portfolio(told["opening"]), portfolio(told["closing"])
    found = await get_portfolio_filled_orders_deltas(
        before, after, orders, [], {}, randomize_secondary_checks=False, timeout=None
    )
    done = time.process_time()
    # It says how much of a balance's change the orders explain, and names no fill.
    altered = portfolio({**told["closing"], "C00": str(missing_a_part(told))})
    tolerant = await get_portfolio_filled_orders_deltas(
        before, altered, orders, [], {}, randomize_secondary_checks=False, timeout=None
    )
    moved = {asset for asset in before if before[asset] != after[asset]}
    figures = {
        "seconds": done - ready,
        "prepare_seconds": ready - began,
        "dropped": None,
        "invented": None,
        "residual_holdings": len(moved - found.explained_orders_deltas.keys()),
        "misses_four_percent": "C00" in tolerant.explained_orders_deltas,
    }
    print(json.dumps(figures))


def missing_a_part(told: dict[str, Any]) -> Decimal:
    """Say what would be left of the first coin if 4 % of its change had gone astray."""
    opening, closing = Decimal(told["opening"]["C00"]), Decimal(told["closing"]["C00"])
    return closing - (closing - opening) * Decimal("0.04")


if __name__ == "__main__":
    asyncio.run(main(json.loads(Path(sys.argv[1]).read_text())))
