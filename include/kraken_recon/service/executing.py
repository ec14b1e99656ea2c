"""Execute orders: judge new decisions, place what is decided, follow what was placed.

Invariants:
1. Work is claimed from the tables: running this twice, or twice at once, does nothing twice.
2. A failure of one account is told and alerted for that account, and stops no other.
3. Nothing here reads what a verification said.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from kraken_recon.domain.alert_kinds import AlertKind
from kraken_recon.domain.orders import ENDED, OrderStatus
from kraken_recon.domain.records import Alert
from kraken_recon.errors import ConfigurationError, KrakenReconError, RequestRefusedError, RunStoppedError
from kraken_recon.service.clocks import check_clock
from kraken_recon.service.deciding import accept_decisions
from kraken_recon.service.finding_orders import OrderFinder
from kraken_recon.service.lock_patience import LockPatience
from kraken_recon.service.order_books import OrderBookkeeper
from kraken_recon.service.order_ports import DEFAULTS
from kraken_recon.service.placing import Placer
from kraken_recon.service.refusing import refuse_expired
from kraken_recon.service.side_by_side import side_by_side

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from decimal import Decimal

    from kraken_recon.domain.orders import Order
    from kraken_recon.domain.records import Account
    from kraken_recon.service.order_ports import OrderPorts, OrderSettings, TradingExchange

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Executed:
    """What an execution did: requests sent, external orders adopted, and why accounts failed, by name."""

    accounts: int
    sent: int
    adopted: int
    failures: Mapping[str, str]


def execute_orders(ports: OrderPorts, settings: OrderSettings = DEFAULTS) -> Executed:
    """Do everything that there is to do on orders now, for every account.

    Raises:
        StoreError: the database cannot be used at all.
    """
    ports = replace(ports, open_unit_of_work=LockPatience(ports.open_unit_of_work).open)
    failures = accept_decisions(ports, settings)
    refuse_expired(ports)
    with ports.open_unit_of_work() as unit:
        accounts = unit.orders.accounts_at_work()
    sent = sum(
        _account_by_account(
            accounts, lambda account: _work(account, ports, settings), failures, ports, settings
        )
    )
    # Whoever's orders cannot be looked through has no order at stake here; its sync says what is wrong.
    adopted = adopt_external_orders(None, ports, settings)
    _tell(failures, ports)
    return Executed(len(accounts), sent, adopted, failures)


def adopt_external_orders(
    names: Sequence[str] | None,
    ports: OrderPorts,
    settings: OrderSettings = DEFAULTS,
) -> int:
    """Adopt orders that nobody here placed, for the accounts that are due; return how many.

    An account that cannot be looked through is logged, and is due again later.

    Args:
        names: accounts to look through; None for all.
        ports: the outside world.
        settings: how often an account is looked through.
    """
    now = ports.clock()
    with ports.open_unit_of_work() as unit:
        due = unit.orders.take_looks(names, now=now, due_before=now - settings.look_every)
        unit.commit()
        accounts = [a for a in unit.sync.find_accounts(names) if a.account_id in due]

    def adopt(account: Account) -> int:
        with ports.open_exchange(account) as exchange:
            try:
                finder = OrderFinder(account, exchange, ports, settings)
                return finder.adopt_external(due[account.account_id])
            finally:
                OrderBookkeeper(account, exchange, ports, settings).follow()

    failures: dict[str, str] = {}
    adopted = sum(_account_by_account(accounts, adopt, failures, ports, settings))
    for name, reason in sorted(failures.items()):
        log.warning("account %s: its orders at Kraken could not be looked through: %s", name, reason)
    return adopted


def wait_for_end(
    order_id: int, ports: OrderPorts, settings: OrderSettings = DEFAULTS, *, seconds: float
) -> Order:
    """Work on one order's account until the order has ended and its fills are here, and return it.

    A resting order is waited for at most ``seconds``; one of unknown outcome until Kraken's books settle it.

    Raises:
        KrakenReconError: the account's orders could not be worked on.
    """
    with ports.open_unit_of_work() as unit:
        account = unit.orders.account_of(order_id)
    started = ports.clock()
    with ports.open_exchange(account) as exchange:
        while True:
            work_account(account, exchange, ports, settings)
            with ports.open_unit_of_work() as unit:
                order = unit.orders.orders([order_id])[0]
            waited = (ports.clock() - started).total_seconds()
            is_unknown = order.status in {OrderStatus.SUBMITTING, OrderStatus.UNKNOWN}
            if (order.status in ENDED and order.settled_at) or (waited >= seconds and not is_unknown):
                return order
            ports.pause(settings.wait_seconds)


def work_account(
    account: Account, exchange: TradingExchange, ports: OrderPorts, settings: OrderSettings
) -> tuple[int, int]:
    """Place one account's decided orders, look for those without an answer, and follow what was placed.

    Whatever keeps one of these steps from being done, the others are: orders at Kraken are looked after.
    Returns how many requests left, and how many ended orders lack fills.

    Raises:
        KrakenReconError: what kept the first of the steps that failed from being done.
    """
    failed: list[KrakenReconError] = []

    def step(work: Callable[[], int | None]) -> int:
        try:
            return work() or 0
        except RunStoppedError:
            raise
        except KrakenReconError as error:
            log.warning("account %s: %s", account.name, error)
            failed.append(error)
        return 0

    sent = step(Placer(account, exchange, ports, settings).place_all)
    step(OrderFinder(account, exchange, ports, settings).resolve)
    lacking = step(OrderBookkeeper(account, exchange, ports, settings).follow)
    if failed:
        raise failed[0]
    return sent, lacking


def _work(account: Account, ports: OrderPorts, settings: OrderSettings) -> int:
    with ports.open_exchange(account) as exchange:
        sent, lacking = work_account(account, exchange, ports, settings)
        bookkeeper = OrderBookkeeper(account, exchange, ports, settings)
        for _ in range(settings.follow_passes):
            if not lacking:
                break
            ports.pause(settings.wait_seconds)
            lacking = bookkeeper.follow()
    return sent


def cancel_order(order_id: int, ports: OrderPorts) -> Order:
    """Cancel an order: take it back before it left, or ask Kraken to cancel the rest of it.

    Raises:
        ConfigurationError: it has ended, or its outcome is not known yet.
        ExchangeError: Kraken refused, or did not answer: the order is followed either way.
    """
    with ports.open_unit_of_work() as unit:
        account = unit.orders.account_of(order_id)
        order = unit.orders.lock_orders([order_id])[0]
        if order.status is OrderStatus.DECIDED:
            now = ports.clock()
            taken_back = replace(
                order, status=OrderStatus.REFUSED, status_reason="taken back", ended_at=now, settled_at=now
            )
            unit.orders.save(order, taken_back, "taken back before it was sent", by=ports.worker)
            unit.commit()
            return taken_back
        txid = _open_txid(order)
        unit.orders.add_event(order_id, order.status, order.status, "cancellation asked for", by=ports.worker)
        unit.commit()
    return _change(account, order_id, lambda exchange: exchange.cancel_order(txid), ports, DEFAULTS)


def amend_order(  # noqa: PLR0913 - all but three by name
    order_id: int,
    ports: OrderPorts,
    settings: OrderSettings = DEFAULTS,
    *,
    volume: Decimal | None = None,
    limit_price: Decimal | None = None,
    trigger_price: Decimal | None = None,
) -> Order:
    """Change an open order's volume or price in place; its new terms are what Kraken then reports.

    Raises:
        ConfigurationError: it is not open, or nothing is to be changed.
        ExchangeError: Kraken refused, or did not answer: the order is followed either way.
    """
    changes = {"volume": volume, "limit_price": limit_price, "trigger_price": trigger_price}
    asked: dict[str, Any] = {name: value for name, value in changes.items() if value is not None}
    if not asked:
        raise ConfigurationError("say what to change: a volume, a limit price or a trigger price")
    with ports.open_unit_of_work() as unit:
        account = unit.orders.account_of(order_id)
        order = unit.orders.lock_orders([order_id])[0]
        txid = _open_txid(order)
        unit.orders.add_event(
            order_id, order.status, order.status, "amendment asked for", by=ports.worker, detail=asked
        )
        unit.commit()

    def amend(exchange: TradingExchange) -> None:
        check_clock(exchange, ports, settings)
        exchange.amend_order(txid, **changes, deadline=ports.clock() + settings.deadline)

    return _change(account, order_id, amend, ports, settings)


def _change(
    account: Account,
    order_id: int,
    change: Callable[[TradingExchange], None],
    ports: OrderPorts,
    settings: OrderSettings,
) -> Order:
    """Send a change of an order once, and return what Kraken then says of the order.

    Raises:
        RequestRefusedError: Kraken refused it, unless it was too late: then the order's end is the answer.
    """
    refusal: RequestRefusedError | None = None
    with ports.open_exchange(account) as exchange:
        try:
            change(exchange)
        except RequestRefusedError as error:
            refusal = error
        finally:
            OrderBookkeeper(account, exchange, ports, settings).follow()
    with ports.open_unit_of_work() as unit:
        order = unit.orders.orders([order_id])[0]
    if refusal is not None and order.status not in ENDED:
        raise refusal
    return order


def _open_txid(order: Order) -> str:
    if order.status is not OrderStatus.OPEN or order.kraken_txid is None:
        raise ConfigurationError(f"expected order {order.order_id} to be open, was {order.status.value}")
    return order.kraken_txid


def _account_by_account(
    accounts: Sequence[Account],
    step: Callable[[Account], int],
    failures: dict[str, str],
    ports: OrderPorts,
    settings: OrderSettings,
) -> list[int]:
    """Run a step for every account; what fails is told by account."""

    def guarded(account: Account) -> int:
        try:
            return step(account)
        except KrakenReconError as error:
            failures[account.name] = f"{type(error).__name__}: {error}"
        except Exception as error:
            # A defect met on one account must not cost the others their orders; it is logged in full.
            log.exception("account %s: unexpected failure", account.name)
            failures[account.name] = f"unexpected {type(error).__name__}, see the task's log"
        return 0

    return side_by_side(accounts, guarded, concurrency=settings.concurrency, stop=ports.stop)


def _tell(failures: Mapping[str, str], ports: OrderPorts) -> None:
    """Keep the alerts of failing accounts open, and resolve those of all others."""
    with ports.open_unit_of_work() as unit:
        known = {a.name: a for a in unit.sync.find_accounts(None)}
        unit.sync.raise_alerts(
            [
                Alert(
                    AlertKind.ORDER_EXECUTION_FAILURE, known[name].account_id, None, None, f"{name}: {reason}"
                )
                for name, reason in sorted(failures.items())
                if name in known
            ]
        )
        unit.sync.resolve_alerts(
            [a.account_id for a in known.values() if a.name not in failures],
            AlertKind.ORDER_EXECUTION_FAILURE,
            ended_by="a pass over the account's orders that worked",
        )
        unit.commit()
