"""Compare this machine's clock with Kraken's before anything is sent that has a deadline."""

from __future__ import annotations

import platform
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from kraken_recon.errors import ClockOffError

if TYPE_CHECKING:
    from datetime import datetime

    from kraken_recon.errors import NotNowError
    from kraken_recon.orders.exchange import OrderPorts, OrderSettings, TradingExchange

LEAD: Final = timedelta(seconds=2)
"""Kraken takes no deadline nearer than this."""
_TOLD_IN: Final = timedelta(seconds=1)
_DEADLINE_ELAPSED: Final = "EService:Deadline elapsed"


def is_deadline_elapsed(error: NotNowError) -> bool:
    """Say whether Kraken did not execute a request because its deadline had passed."""
    return any(code.startswith(_DEADLINE_ELAPSED) for code in error.codes)


def clock_ahead(before: datetime, kraken: datetime, after: datetime) -> timedelta:
    """Say by how much this machine's clock is ahead of Kraken's for certain; below zero, by how much behind.

    Kraken tells whole seconds, some time between question and answer: only what is off for certain counts.
    """
    ahead, behind = before - (kraken + _TOLD_IN), kraken - after
    return max(ahead, timedelta(0)) - max(behind, timedelta(0))


def clock_allowance(settings: OrderSettings) -> timedelta:
    """Say how far the clocks may be apart before an order's deadline means something else to Kraken."""
    return settings.deadline - LEAD


def check_clock(exchange: TradingExchange, ports: OrderPorts, settings: OrderSettings) -> None:
    """Refuse to go on while a deadline by this machine's clock does not mean to Kraken what it should.

    Raises:
        ClockOffError: how far it is off, and what to do.
        ExchangeError: Kraken could not be asked.
    """
    before = ports.clock()
    apart = clock_ahead(before, exchange.server_time(), ports.clock())
    allowed = clock_allowance(settings)
    if abs(apart) <= allowed:
        return
    side = "ahead of" if apart > timedelta(0) else "behind"
    off = f"{abs(apart).total_seconds():.0f} s {side} Kraken's"
    raise ClockOffError(
        f"the clock of {platform.node() or 'this machine'} is {off}, and an order's deadline allows "
        f"{allowed.total_seconds():.0f} s: nothing is sent until the clock is right; what is decided is kept "
        "as long as it is valid"
    )
