"""Planted wrongs: a fill whose ledger rows differ from its trade, or whose trade differs from its order.

Invariants:
1. A wrong is planted while a fill is booked, so that every ledger's running balances still add up.
2. The order itself always tells what was really filled.
"""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from kraken_sim.amounts import fixed
from kraken_sim.errors import ControlError
from kraken_sim.faults.named import LEDGER_WRONGS, TRADE_WRONGS

if TYPE_CHECKING:
    from kraken_sim.account.account import Account
    from kraken_sim.account.ledger import Ledger, Posting
    from kraken_sim.account.order import Order, Trade
    from kraken_sim.faults.named import Fault
    from kraken_sim.market.reference import Pair

VOLUME_FACTOR: Final = Decimal("1.1")
FEE_FACTOR: Final = Decimal(2)


def wrong_rows(
    account: Account, order: Order, pair: Pair, postings: list[Posting]
) -> tuple[Ledger, list[Posting]]:
    """Spoil the rows of a fill as far as that is asked for; tell which ledger they belong to."""
    ledger = account.ledger
    for fault in _drawn(account, order, LEDGER_WRONGS):
        match fault.name:
            case "ledger_wrong_volume":
                postings = [
                    replace(row, amount=row.amount * _factor(fault, VOLUME_FACTOR))
                    if row.asset == pair.base
                    else row
                    for row in postings
                ]
            case "ledger_wrong_fee":
                postings = [replace(row, fee=row.fee * _factor(fault, FEE_FACTOR)) for row in postings]
            case "ledger_wrong_side":
                postings = [replace(row, amount=-row.amount) for row in postings]
            case "ledger_missing_leg":
                missing = pair.base if fault.options.get("leg") == "base" else pair.quote
                postings = [row for row in postings if row.asset != missing]
            case _:
                ledger = _other(account, fault).ledger
    return ledger, postings


def file_trade(account: Account, order: Order, pair: Pair, trade: Trade) -> None:
    """Put a trade into the history: its account's and as it happened, unless something else is asked for."""
    book = account.trades
    for fault in _drawn(account, order, TRADE_WRONGS):
        match fault.name:
            case "trade_wrong_volume":
                volume = trade.volume * _factor(fault, VOLUME_FACTOR)
                trade.body["vol"] = fixed(volume, pair.lot_decimals)
            case "trade_wrong_fee":
                trade.body["fee"] = fixed(trade.fee * _factor(fault, FEE_FACTOR), pair.cost_decimals)
            case "trade_wrong_side":
                trade.body["type"] = "sell" if order.side == "buy" else "buy"
            case "trade_missing":
                book = []
            case _:
                book = _other(account, fault).trades
    book.append(trade)


def _drawn(account: Account, order: Order, names: tuple[str, ...]) -> list[Fault]:
    """Draw each kind of wrong once for this fill."""
    now = account.clock.now()
    drawn = [
        account.faults.take((name,), account.name, "", now, about=order.names)
        for name in names
        if account.faults.active
    ]
    return [fault for fault in drawn if fault is not None]


def _factor(fault: Fault, default: Decimal) -> Decimal:
    return Decimal(str(fault.options.get("factor", default)))


def _other(account: Account, fault: Fault) -> Account:
    name = str(fault.options.get("to_account"))
    other = account.neighbours.get(name)
    if other is None:
        raise ControlError(f"expected to_account out of {sorted(account.neighbours)}, was {name!r}")
    return other
