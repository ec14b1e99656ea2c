"""Prove fills with NautilusTrader, in an environment of its own: ``python nautilus.py FILLS.json``.

It is what its live engine does with a venue's report at start: `adjust_fills_for_partial_window`.
"""

from __future__ import annotations

import json
import sys
import time
from collections import defaultdict
from decimal import Decimal
from pathlib import Path

from nautilus_trader.core.uuid import UUID4  # type: ignore[import-not-found]
from nautilus_trader.execution.reports import (  # type: ignore[import-not-found]
    ExecutionMassStatus,
    FillReport,
    OrderStatusReport,
    PositionStatusReport,
)
from nautilus_trader.live.reconciliation import (  # type: ignore[import-not-found]
    adjust_fills_for_partial_window,
    register_currency,
)
from nautilus_trader.model.currencies import USD  # type: ignore[import-not-found]
from nautilus_trader.model.enums import (  # type: ignore[import-not-found]
    CurrencyType,
    LiquiditySide,
    OrderSide,
    OrderStatus,
    OrderType,
    PositionSide,
    TimeInForce,
)
from nautilus_trader.model.identifiers import (  # type: ignore[import-not-found]
    AccountId,
    ClientId,
    InstrumentId,
    Symbol,
    TradeId,
    Venue,
    VenueOrderId,
)
from nautilus_trader.model.instruments import CurrencyPair  # type: ignore[import-not-found]
from nautilus_trader.model.objects import Currency, Money, Price, Quantity  # type: ignore[import-not-found]

ACCOUNT = AccountId("KRAKEN-001")
VENUE = Venue("KRAKEN")
SIDES = {"buy": OrderSide.BUY, "sell": OrderSide.SELL}
NANOSECONDS = 1_000_000_000


def instrument(coin: str) -> CurrencyPair:
    """Make the market of a coin against dollars, quantities with three decimals."""
    currency = Currency(coin, 8, 0, coin, CurrencyType.CRYPTO)
    Currency.register(currency)
    register_currency(currency)  # in the part that is written in Rust
    symbol = Symbol(f"{coin}/USD")
    return CurrencyPair(
        instrument_id=InstrumentId(symbol, VENUE),
        raw_symbol=symbol,
        base_currency=currency,
        quote_currency=USD,
        price_precision=2,
        size_precision=3,
        price_increment=Price.from_str("0.01"),
        size_increment=Quantity.from_str("0.001"),
        ts_event=0,
        ts_init=0,
    )


def reports(fill: dict[str, str], market: CurrencyPair) -> tuple[OrderStatusReport, FillReport]:
    """Write a fill as the order that it filled, and as itself."""
    at = int(Decimal(fill["seconds"]) * NANOSECONDS)
    order_id, quantity = VenueOrderId(f"O{fill['trade']}"), Quantity.from_str(fill["quantity"])
    order = OrderStatusReport(
        account_id=ACCOUNT,
        instrument_id=market.id,
        venue_order_id=order_id,
        order_side=SIDES[fill["side"]],
        order_type=OrderType.MARKET,
        time_in_force=TimeInForce.GTC,
        order_status=OrderStatus.FILLED,
        quantity=quantity,
        filled_qty=quantity,
        report_id=UUID4(),
        ts_accepted=at,
        ts_last=at,
        ts_init=at,
        avg_px=Decimal(fill["price"]),
    )
    report = FillReport(
        account_id=ACCOUNT,
        instrument_id=market.id,
        venue_order_id=order_id,
        trade_id=TradeId(fill["trade"]),
        order_side=SIDES[fill["side"]],
        last_qty=quantity,
        last_px=Price.from_str(fill["price"]),
        commission=Money(Decimal(fill["fee"]), USD),
        liquidity_side=LiquiditySide.TAKER,
        report_id=UUID4(),
        ts_event=at,
        ts_init=at,
    )
    return order, report


def position(market: CurrencyPair, quantity: Decimal) -> PositionStatusReport:
    """Write what the venue says that the account holds."""
    return PositionStatusReport(
        account_id=ACCOUNT,
        instrument_id=market.id,
        position_side=PositionSide.LONG if quantity else PositionSide.FLAT,
        quantity=Quantity(quantity, 3),
        report_id=UUID4(),
        ts_last=0,
        ts_init=0,
    )


def main() -> None:
    """Measure, and print one line of JSON."""
    told = json.loads(Path(sys.argv[1]).read_text())
    fills = [dict(zip(told["fields"], fill, strict=True)) for fill in told["fills"]]
    began = time.process_time()
    markets = {coin: instrument(coin) for coin in told["closing"] if coin != "USD"}
    status = ExecutionMassStatus(ClientId("KRAKEN"), ACCOUNT, VENUE, UUID4(), 0)
    written = [reports(fill, markets[fill["coin"]]) for fill in fills]
    status.add_order_reports([order for order, _ in written])
    status.add_fill_reports([report for _, report in written])
    status.add_position_reports([position(m, Decimal(told["closing"][coin])) for coin, m in markets.items()])
    ready = time.process_time()
    adjusted = adjust_fills_for_partial_window(status, list(markets.values()))
    done = time.process_time()
    given, kept, invented = {fill["trade"] for fill in fills}, set(), 0
    held: dict[str, Decimal] = defaultdict(Decimal)
    for coin, market in markets.items():
        for report in (r for listed in adjusted[market.id][1].values() for r in listed):
            sign = 1 if report.order_side == OrderSide.BUY else -1
            held[coin] += sign * report.last_qty.as_decimal()
            if report.trade_id.value in given:
                kept.add(report.trade_id.value)
            else:
                invented += 1
    residual = [coin for coin in markets if held[coin] != Decimal(told["closing"][coin])]
    figures = {
        "seconds": done - ready,
        "prepare_seconds": ready - began,
        "dropped": len(given - kept),
        "invented": invented,
        "residual_holdings": len(residual),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
