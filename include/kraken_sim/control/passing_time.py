"""What time brings by itself: late calls arrive, orders expire, the countdown to cancel runs out.

Invariant: nothing runs in the background; whoever looks first lets everything happen that is due by then,
in the order in which it was due.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kraken_sim.endpoints import private
from kraken_sim.endpoints.call import Call
from kraken_sim.errors import ApiError, ControlError
from kraken_sim.market import trading

if TYPE_CHECKING:
    from decimal import Decimal

    from kraken_sim.account.account import Account, LateCall
    from kraken_sim.exchange import Exchange

COUNTDOWN_OVER = "Cancel all orders after"


def catch_up(exchange: Exchange, account: Account) -> None:
    """Let everything happen that is due by the account's clock."""
    now = account.clock.now()
    late = sorted((call for call in account.late if call.due <= now), key=lambda call: call.due)
    account.late = [call for call in account.late if call.due > now]
    for call in late:
        _let_pass(account, call.due)
        _perform(exchange, account, call)
    _let_pass(account, now)


def _let_pass(account: Account, moment: Decimal) -> None:
    account.expire_orders(moment)
    ends = account.cancel_all_at
    if ends is None or ends > moment:
        return
    account.cancel_all_at = None
    for order in account.open_orders():
        trading.close(account, order, ends, reason=COUNTDOWN_OVER)


def _perform(exchange: Exchange, account: Account, late: LateCall) -> None:
    """Do what a late call asks for, and write down what came of it."""
    call = Call(exchange, account, late.endpoint, dict(late.parameters), arrived=late.arrived, due=late.due)
    outcome: dict[str, Any]
    try:
        result = private.ENDPOINTS[late.endpoint](call)
    except (ApiError, ControlError) as error:
        outcome = {"outcome": "refused", "error": str(error)}
    else:
        account.clock.reach(account.ledger.last_time)
        outcome = {"outcome": "accepted", "result": result}
    for record in late.records:
        record.update(outcome)
