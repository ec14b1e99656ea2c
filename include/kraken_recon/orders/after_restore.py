"""Hold an account's orders after its database was restored, until what Kraken has of them is known here.

A restored database forgot what it did since it was dumped, and so did a standby that took over without the
last transactions: orders that are decided in it may have been sent. What was sent last shows in Kraken's
books only when its deadline and their lag have passed, so the look that counts is one begun later than that.

Invariant: nothing is sent for an account between finding the database another and the end of that look.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from kraken_recon.orders.incarnation_store import IncarnationStore

if TYPE_CHECKING:
    from kraken_recon.accounts.account import Account
    from kraken_recon.orders.exchange import OrderPorts, OrderSettings
    from kraken_recon.orders.finding import OrderFinder

log = logging.getLogger(__name__)


def is_held_after_restore(
    account: Account, finder: OrderFinder, ports: OrderPorts, settings: OrderSettings
) -> bool:
    """Say whether an account's orders may not be sent yet; look through Kraken's for them if so.

    Raises:
        ExchangeError: Kraken's books could not be read; nothing may be sent.
        OrderStuckError: some orders could not be adopted; nothing may be sent.
    """
    looked_at = ports.clock()
    with ports.open_unit_of_work() as unit:
        held = IncarnationStore(unit).held_since_restore(account.account_id, looked_at)
        unit.commit()
    if held is None:
        return False
    restored_at, known_until = held
    finder.adopt_external(min(known_until - settings.clock_skew, looked_at))
    if looked_at < restored_at + settings.deadline + settings.absence_margin:
        log.warning(
            "account %s: its database was restored, or a standby took over; nothing is sent until the orders "
            "at Kraken are looked through, %d s from then on",
            account.name,
            (settings.deadline + settings.absence_margin).total_seconds(),
        )
        return True
    with ports.open_unit_of_work() as unit:
        IncarnationStore(unit).release_after_restore(account.account_id, restored_at)
        unit.commit()
    return False
