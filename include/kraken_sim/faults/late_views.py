"""Views that are out of date: of a whole account, or of one order in it.

Invariants:
1. Each view lags on its own.
2. What is seen of the ledger and the balance is always a whole beginning of the books: a row that is held
   back holds back every row after it, so that no running balance ever jumps.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Final, Literal

from kraken_sim.amounts import TENTH_MILLISECOND, ZERO

if TYPE_CHECKING:
    from kraken_sim.account.account import Account
    from kraken_sim.account.order import Order
    from kraken_sim.faults.named import Fault, Faults

View = Literal["balance", "ledger", "trades", "orders"]
DEFAULT_SECONDS: Final = 2


def seen_until(faults: Faults, account: Account, endpoint: str, view: View) -> Decimal:
    """Tell up to which moment a view of an account is up to date."""
    now = account.clock.now()
    lag = faults.take(("lag",), account.name, endpoint, now, view=view)
    seen = now - _seconds(lag) if lag else now
    if view in {"ledger", "balance"}:
        for held in faults.lags_of_orders(account.name, endpoint, view):
            for order in account.orders.values():
                if held.order in order.names and (
                    first := _first_hidden(account, order, now - _seconds(held))
                ):
                    _note_once(faults, account, endpoint, held, order)
                    seen = min(seen, first - TENTH_MILLISECOND)
    return seen


def seen_of(  # noqa: PLR0913 - one order in one view of one account
    faults: Faults, account: Account, endpoint: str, view: View, *, order: Order | None, seen: Decimal
) -> Decimal:
    """Tell up to which moment one order is up to date in a view that is seen up to some moment itself."""
    for held in faults.lags_of_orders(account.name, endpoint, view):
        if order is not None and held.order in order.names:
            _note_once(faults, account, endpoint, held, order)
            seen = min(seen, account.clock.now() - _seconds(held))
    return seen


def _seconds(lag: Fault) -> Decimal:
    return Decimal(str(lag.options.get("seconds", DEFAULT_SECONDS)))


def _first_hidden(account: Account, order: Order, seen: Decimal) -> Decimal:
    """Find the time of the order's first ledger row after a moment; zero when there is none."""
    entries, positions = account.ledger.entries, account.ledger.positions
    times = [
        entries[positions[row]].time for trade in order.trades for row in trade.ledger_ids if row in positions
    ]
    return min((time for time in times if time > seen), default=ZERO)


def _note_once(faults: Faults, account: Account, endpoint: str, held: Fault, order: Order) -> None:
    if not held.fired:
        faults.note(held, account.name, endpoint, account.clock.now(), order.names)
