"""Execute orders: judge new decisions, place what is decided, follow what was placed.

Invariants:
1. Work is claimed from the tables: running this twice, or twice at once, does nothing twice.
2. A failure of one account is told and alerted for that account, and stops no other.
3. Nothing here reads what a verification said.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from kraken_recon.accounts.store import AccountStore
from kraken_recon.alerts.alert import Alert
from kraken_recon.alerts.kinds import AlertKind
from kraken_recon.alerts.store import AlertStore
from kraken_recon.database.lock_patience import LockPatience
from kraken_recon.errors import KrakenReconError, RunStoppedError
from kraken_recon.orders.after_restore import is_held_after_restore
from kraken_recon.orders.deciding import accept_decisions
from kraken_recon.orders.exchange import DEFAULTS
from kraken_recon.orders.finding import OrderFinder
from kraken_recon.orders.following import OrderFollower
from kraken_recon.orders.placing import Placer
from kraken_recon.orders.refusing import refuse_expired
from kraken_recon.orders.store import OrderStore
from kraken_recon.values.threads import side_by_side

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from kraken_recon.accounts.account import Account
    from kraken_recon.orders.exchange import OrderPorts, OrderSettings, TradingExchange
    from kraken_recon.orders.rules.order import Order

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
        accounts = OrderStore(unit).accounts_at_work()
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
        due = OrderStore(unit).take_looks(names, now=now, due_before=now - settings.look_every)
        unit.commit()
        accounts = [a for a in AccountStore(unit).find_accounts(names) if a.account_id in due]

    def adopt(account: Account) -> int:
        with ports.open_exchange(account) as exchange:
            try:
                finder = OrderFinder(account, exchange, ports, settings)
                return finder.adopt_external(due[account.account_id])
            finally:
                OrderFollower(account, exchange, ports, settings).follow()

    failures: dict[str, str] = {}
    adopted = sum(_account_by_account(accounts, adopt, failures, ports, settings))
    for name, reason in sorted(failures.items()):
        log.warning("account %s: its orders at Kraken could not be looked through: %s", name, reason)
    return adopted


def work_account(
    account: Account,
    exchange: TradingExchange,
    ports: OrderPorts,
    settings: OrderSettings,
    *,
    told: Callable[[Order], None] = lambda _: None,
) -> tuple[int, int]:
    """Place one account's decided orders, look for those without an answer, and follow what was placed.

    Whatever keeps one of these steps from being done, the others are: orders at Kraken are looked after.
    ``told`` hears of each order just before it is sent. Returns how many requests left, and how many ended
    orders lack fills.

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

    finder = OrderFinder(account, exchange, ports, settings)

    def place() -> int:
        if is_held_after_restore(account, finder, ports, settings):
            return 0
        return Placer(account, exchange, ports, settings, told=told).place_all()

    sent = step(place)
    step(finder.resolve)
    lacking = step(OrderFollower(account, exchange, ports, settings).follow)
    if failed:
        raise failed[0]
    return sent, lacking


def _work(account: Account, ports: OrderPorts, settings: OrderSettings) -> int:
    with ports.open_exchange(account) as exchange:
        sent, lacking = work_account(account, exchange, ports, settings)
        bookkeeper = OrderFollower(account, exchange, ports, settings)
        for _ in range(settings.follow_passes):
            if not lacking:
                break
            ports.pause(settings.wait_seconds)
            lacking = bookkeeper.follow()
    return sent


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

    return side_by_side(
        accounts, guarded, concurrency=settings.concurrency, stop=ports.stop, keep_open=ports.keep_open
    )


def _tell(failures: Mapping[str, str], ports: OrderPorts) -> None:
    """Keep the alerts of failing accounts open, and resolve those of all others."""
    with ports.open_unit_of_work() as unit:
        known = {a.name: a for a in AccountStore(unit).find_accounts(None)}
        AlertStore(unit).raise_alerts(
            [
                Alert(
                    AlertKind.ORDER_EXECUTION_FAILURE, known[name].account_id, None, None, f"{name}: {reason}"
                )
                for name, reason in sorted(failures.items())
                if name in known
            ]
        )
        AlertStore(unit).resolve_alerts(
            [a.account_id for a in known.values() if a.name not in failures],
            AlertKind.ORDER_EXECUTION_FAILURE,
            ended_by="a pass over the account's orders that worked",
        )
        unit.commit()
