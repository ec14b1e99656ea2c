"""Let a person settle an order of unknown outcome that Kraken's books do not settle.

Invariants:
1. Kraken's books come first: what they settle by themselves is not a person's to say.
2. What a person says must fit what Kraken shows, and is kept with who said it and why.
3. It can be taken back: an order said not to be placed may still be named, or be found, later.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from kraken_recon.alerts.store import AlertStore
from kraken_recon.errors import ConfigurationError, OrderStuckError
from kraken_recon.orders.absence_evidence import OrderSearch, told
from kraken_recon.orders.adopting import SETTLED_BY_ADOPTION, adopt, lock_with_twins
from kraken_recon.orders.alerts import subject_of
from kraken_recon.orders.exchange import DEFAULTS
from kraken_recon.orders.finding import OrderFinder
from kraken_recon.orders.following import OrderFollower
from kraken_recon.orders.rules.absence import SKEW, doubts
from kraken_recon.orders.rules.order import IN_DOUBT, OrderStatus
from kraken_recon.orders.store import OrderStore

if TYPE_CHECKING:
    from kraken_recon.orders.exchange import OrderPorts, OrderSettings, TradingExchange
    from kraken_recon.orders.rules.order import Order
    from kraken_recon.orders.rules.reports import ReportedOrder


@dataclass(frozen=True, slots=True)
class Settlement:
    """What a person says of an order: its id at Kraken, or None for not placed; who says so, and why."""

    kraken_txid: str | None
    by: str
    reason: str
    despite_evidence: bool = False


def settle_order(
    order_id: int, said: Settlement, ports: OrderPorts, settings: OrderSettings = DEFAULTS
) -> Order:
    """Settle an order as a person says, unless Kraken's books settle it by themselves now.

    Raises:
        ConfigurationError: it is not in doubt, it is too early, or Kraken's books contradict what is said.
    """
    with ports.open_unit_of_work() as unit:
        account = OrderStore(unit).account_of(order_id)
        [order] = OrderStore(unit).orders([order_id])
    _check(order, said, ports, settings)
    with ports.open_exchange(account) as exchange:
        with suppress(OrderStuckError):
            # What keeps other orders from being settled is theirs.
            OrderFinder(account, exchange, ports, settings).resolve()
        with ports.open_unit_of_work() as unit:
            [order] = OrderStore(unit).orders([order_id])
        if said.kraken_txid is None and order.status in IN_DOUBT:
            _say_not_placed(order, said, OrderSearch(account, exchange, ports), ports, settings)
        elif said.kraken_txid is not None and order.status in {*IN_DOUBT, OrderStatus.NOT_PLACED}:
            _say_placed(order, said.kraken_txid, said, exchange, ports)
        OrderFollower(account, exchange, ports, settings).follow()
    with ports.open_unit_of_work() as unit:
        return OrderStore(unit).orders([order_id])[0]


def _check(order: Order, said: Settlement, ports: OrderPorts, settings: OrderSettings) -> None:
    if not (said.by.strip() and said.reason.strip()):
        raise ConfigurationError("say who settles it and why: --by NAME --reason TEXT")
    is_named_late = said.kraken_txid is not None and order.status is OrderStatus.NOT_PLACED
    if order.status not in IN_DOUBT and not is_named_late:
        raise ConfigurationError(
            f"expected order {order.order_id} to be of unknown outcome, was {order.status.value}"
        )
    early_until = order.deadline + settings.absence_margin if order.deadline else None
    if early_until is None or ports.clock() < early_until:
        raise ConfigurationError(
            f"order {order.order_id} is still looked up; it cannot be settled by hand before {early_until}"
        )


def _say_placed(
    order: Order, kraken_txid: str, said: Settlement, exchange: TradingExchange, ports: OrderPorts
) -> None:
    report = exchange.query_orders([kraken_txid]).get(kraken_txid)
    if report is None:
        raise ConfigurationError(f"Kraken shows no order {kraken_txid}")
    if differing := _differences(order, report):
        raise ConfigurationError(
            f"{kraken_txid} is not order {order.order_id}: it differs in {', '.join(differing)}"
        )
    what = f"settled by {said.by}: it is {kraken_txid} at Kraken; {said.reason}"
    with ports.open_unit_of_work() as unit:
        now, twins = lock_with_twins(OrderStore(unit), order, kraken_txid)
        if now.status is order.status:
            adopt(unit, now, report, twins=twins, what=what, by=ports.worker, now=ports.clock())
            unit.commit()


def _differences(order: Order, report: ReportedOrder) -> list[str]:
    """Name what keeps an order of Kraken's from being this one."""
    found = [
        name
        for name in ("pair", "side", "order_type", "volume")
        if getattr(order, name) != getattr(report, name)
    ]
    if report.cl_ord_id not in {None, order.cl_ord_id}:
        found.append("its client id")
    if order.submitted_at is not None and report.opened_at < order.submitted_at - SKEW:
        found.append("its time: it was there before this one was sent")
    return found


def _say_not_placed(
    order: Order, said: Settlement, search: OrderSearch, ports: OrderPorts, settings: OrderSettings
) -> None:
    assert order.submitted_at is not None  # noqa: S101 - for the type checker
    since = order.submitted_at - settings.clock_skew
    seen = search.weigh([order], search.look([order], since), since)
    doubted = doubts(order, seen)
    if doubted and not said.despite_evidence:
        raise ConfigurationError(
            f"Kraken's books speak of order {order.order_id}: {'; '.join(doubted)}. If you know that it was "
            "not placed all the same, say so with --despite-evidence; if one of its orders is this one, name "
            "it with --at-kraken"
        )
    now = ports.clock()
    what = f"settled by {said.by}: not placed; {said.reason}"
    with ports.open_unit_of_work() as unit:
        [locked] = OrderStore(unit).lock_orders([order.order_id])
        if locked.status not in IN_DOUBT:
            return
        # Without a look on record it is not looked for as if Kraken's books had proved it absent.
        ended = replace(locked.ended(OrderStatus.NOT_PLACED, what, now), absent_since=None)
        detail = {"doubts": doubted, **told(seen)}
        OrderStore(unit).save(locked, ended, what, by=ports.worker, detail=detail)
        AlertStore(unit).resolve_about(order.account_id, subject_of(order.order_id), SETTLED_BY_ADOPTION)
        unit.commit()
