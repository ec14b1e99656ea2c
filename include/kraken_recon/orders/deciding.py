"""Take decisions in: check each as a whole, and make an order of it or keep why not.

Invariants:
1. A decision becomes one order or none, in one transaction; the same decision twice is one order.
2. Whatever came under a key before decides what comes under it again, whichever way either came.
3. What is refused stays as it came, with every reason, and is told; nothing of it is guessed or mended.
4. The id under which an order is sent follows from its decision: where the database was restored to before
   that, the same decision finds the order that it became at Kraken, and makes no other.
"""

from __future__ import annotations

import json
import logging
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC
from math import isfinite
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID, uuid5

from kraken_recon.accounts.store import AccountStore
from kraken_recon.alerts.alert import Alert
from kraken_recon.alerts.kinds import AlertKind
from kraken_recon.alerts.store import AlertStore
from kraken_recon.errors import ConfigurationError, ExchangeError, StoreError, StoreUnreachableError
from kraken_recon.orders.clocks import check_clock
from kraken_recon.orders.decisions import (
    OrderDecision,
    differing,
    key_in,
    nearest,
    payload_of,
    read_decision,
)
from kraken_recon.orders.exchange import DEFAULTS
from kraken_recon.orders.incarnation_store import IncarnationStore
from kraken_recon.orders.refusing import CLOCK_DOUBT, too_old
from kraken_recon.orders.rules.order import OrderStatus
from kraken_recon.orders.store import OrderStore
from kraken_recon.plain_text import can_be_kept, visible

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from kraken_recon.accounts.account import Account
    from kraken_recon.database.unit_of_work import UnitOfWork
    from kraken_recon.orders.exchange import OrderPorts, OrderSettings
    from kraken_recon.orders.rules.order import NewDecision
    from kraken_recon.orders.rules.sizing import Markets

log = logging.getLogger(__name__)

DECISIONS_PER_READ: Final = 200
_SHOWN_CHARACTERS_MAX: Final = 200
_TOLD_CHARACTERS_MAX: Final = 1_000
_TOLD: Final = ("reason", "ai_model", "ai_prompt_sha256", "ai_answer")
FOUND_AGAIN: Final = "its decision came again: it was placed before this database was restored"
FOUND_ANOTHER: Final = (
    "Kraken has an order under this decision's key, placed before this database was restored, that differs "
    "(our id {}); decide under another key if this one is wanted as well"
)
# Any constant: it must never change, or no order would be found again by its decision.
_ORDER_IDS: Final = UUID("5d4c5a0e-8c0c-4c39-9d35-6a1a8f2f7a51")


def submit_decision(
    values: Mapping[str, Any],
    ports: OrderPorts,
    *,
    key: str | None,
    via: str,
    decided_at: datetime | None = None,
) -> int:
    """Keep a decision for the next execution, whatever it holds; return its id.

    Args:
        values: its fields.
        ports: the outside world.
        key: under which it is known, unless the fields name a ``decision_key``: what came under it before and
            means the same is this decision, and its id is returned.
        via: which way it came.
        decided_at: from when on its age counts; None for now.
    """
    payload = json.dumps(_kept(dict(values)), default=str)
    key = key_in(payload) or _kept(key)
    with ports.open_unit_of_work() as unit:
        first = OrderStore(unit).first_of_key(key) if key else None
        if first is not None and not differing(payload, first.payload, None):
            return first.decision_id
        received_at = min(decided_at or ports.clock(), ports.clock())
        decision_id = OrderStore(unit).add_decision(payload, key=key, via=via, received_at=received_at)
        unit.commit()
    return decision_id


def _kept(value: Any) -> Any:  # noqa: ANN401 - whatever JSON holds
    """Show what no database keeps as an escape, so that a decision with it is refused, and not lost."""
    if isinstance(value, dict):
        return {_kept(name): _kept(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_kept(inner) for inner in value]
    if isinstance(value, str):
        return value if can_be_kept(value) else visible(value)
    return str(value) if isinstance(value, float) and not isfinite(value) else value


def take_back(decision_id: int, reason: str, ports: OrderPorts) -> bool:
    """Refuse a decision that nobody has judged yet; False when somebody has, or is at it."""
    with ports.open_unit_of_work() as unit:
        if not OrderStore(unit).lock_decision(decision_id):
            return False
        OrderStore(unit).judge_decision(decision_id, order_id=None, refusal=f"taken back: {reason}")
        unit.commit()
    return True


def accept_decisions(ports: OrderPorts, settings: OrderSettings = DEFAULTS) -> dict[str, str]:
    """Judge every new decision; return, by account, why its decisions could not be judged.

    Those stay new: the exchange could not tell which markets there are, or this machine's clock is off.
    """
    catalogue = _Catalogue(ports, settings)
    after: int | None = None
    while True:
        with ports.open_unit_of_work() as unit:
            waiting = OrderStore(unit).new_decisions(after=after, limit=DECISIONS_PER_READ)
        if not waiting:
            return catalogue.failures
        judged = []
        for given in waiting:
            after = given.decision_id
            try:
                judged.append(_judge(given, catalogue))
            except _MarketsUnknownError:
                continue
        _write_all(judged, ports, catalogue.failures)


def _write_all(judged: Sequence[_Judged], ports: OrderPorts, failures: dict[str, str]) -> None:
    """Write what became of decisions, in one session while all goes well; one that cannot be stays new."""
    left = deque(judged)
    while left:
        try:
            with ports.open_unit_of_work() as unit:
                while left:
                    _write(unit, left[0], by=ports.worker)
                    left.popleft()
        except StoreUnreachableError:
            raise
        except StoreError as error:
            failing = left.popleft()
            decision_id, account = failing.given.decision_id, failing.account
            failures[account.name if account else f"decision {decision_id}"] = (
                f"decision {decision_id} could not be written: {type(error).__name__}: {error}"
            )


class _MarketsUnknownError(Exception):
    """The account's exchange could not tell which markets there are, or not be asked in time."""


@dataclass(slots=True)
class _Catalogue:
    """The accounts that are named, and the markets that they can trade on."""

    ports: OrderPorts
    settings: OrderSettings
    failures: dict[str, str] = field(default_factory=dict)
    _accounts: dict[str, Account] | None = None
    _markets: dict[str, Markets] = field(default_factory=dict)
    _asked: set[tuple[str, str]] = field(default_factory=set)

    def account(self, name: str) -> Account:
        """Find an active account (``ValueError`` for an unknown one)."""
        if self._accounts is None:
            with self.ports.open_unit_of_work() as unit:
                self._accounts = {a.name: a for a in AccountStore(unit).find_accounts(None)}
        if name not in self._accounts:
            shown = name[:_SHOWN_CHARACTERS_MAX]
            raise ValueError(f"no active account is named {shown}{nearest(name, self._accounts)}")
        return self._accounts[name]

    def read_markets(self, account: Account | None) -> Markets | None:
        """Return an account's markets if they have been read."""
        return self._markets.get(account.name) if account else None

    def markets(self, account: Account, name: str) -> Markets:
        """Read an account's markets, once, and once more for each market that they lack."""
        known = self._markets.get(account.name)
        is_enough = known is not None and (known.find(name) or (account.name, name) in self._asked)
        if not is_enough and account.name not in self.failures:
            self._asked.add((account.name, name))
            try:
                with self.ports.open_exchange(account) as exchange:
                    # Ages are judged by it.
                    check_clock(exchange, self.ports, self.settings)
                    self._markets[account.name] = exchange.markets(name)
            except (ExchangeError, ConfigurationError) as error:
                self.failures[account.name] = f"{type(error).__name__}: {error}"
        if account.name in self.failures:
            raise _MarketsUnknownError
        return self._markets[account.name]


@dataclass(frozen=True, slots=True)
class _Judged:
    """What one decision comes to by itself: the columns of an order, or why it cannot be one."""

    given: NewDecision
    key: str | None
    account: Account | None
    markets: Markets | None
    values: Mapping[str, Any]
    refusal: str | None


def _judge(given: NewDecision, catalogue: _Catalogue) -> _Judged:
    values: Mapping[str, Any] = {}
    key, refusal = None, None
    try:
        key = _key_of(given)
        values = _order_values(read_decision(given.payload), given, catalogue)
    except ValueError as error:
        refusal = str(error)
    account = _account_in(given.payload, catalogue)
    return _Judged(given, key, account, catalogue.read_markets(account), values, refusal)


def _key_of(given: NewDecision) -> str | None:
    named = key_in(given.payload)
    if given.key is None:
        return named
    key = given.key.strip()
    if not key:
        raise ValueError("decision_key: is empty; the same empty key would be given for every decision")
    if named is not None and named != key:
        raise ValueError("decision_key: its column and its payload differ; give it once")
    return key


def _account_in(payload: str, catalogue: _Catalogue) -> Account | None:
    """Find the account of a decision that may not be readable."""
    try:
        given = payload_of(payload)
        return catalogue.account(str(given["account"]).strip())
    except (KeyError, TypeError, ValueError):
        return None


def _write(unit: UnitOfWork, judged: _Judged, *, by: str) -> None:
    """Write what became of one decision, in a transaction of its own."""
    decision_id = judged.given.decision_id
    if not OrderStore(unit).lock_decision(decision_id):
        return
    first = OrderStore(unit).first_of_key(judged.key, judging=decision_id) if judged.key else None
    refusal = _refusal_after(first, judged) if first else judged.refusal
    order_id, is_found = None, False
    if first is None and refusal is None:
        values = {**judged.values, "cl_ord_id": _client_order_id(judged)}
        order_id = OrderStore(unit).insert_order(values)
        if order_id is None:
            order_id, is_found = IncarnationStore(unit).give_decision(values), True
            refusal = FOUND_ANOTHER.format(values["cl_ord_id"]) if order_id is None else None
    OrderStore(unit).judge_decision(
        decision_id,
        key=judged.key,
        order_id=order_id,
        refusal=refusal,
        first=first.decision_id if first else None,
    )
    if order_id is not None:
        detail = {"decision_id": decision_id, "reason": judged.values["reason"]}
        [order] = OrderStore(unit).orders([order_id])
        before, what = (order.status, FOUND_AGAIN) if is_found else (None, "decided")
        OrderStore(unit).add_event(order_id, before, order.status, what, by=by, detail=detail)
    elif refusal is not None:
        AlertStore(unit).raise_alerts([_refused(judged, refusal)])
        log.warning("decision %d is refused: %s", decision_id, refusal[:_SHOWN_CHARACTERS_MAX])
    unit.commit()


def _client_order_id(judged: _Judged) -> str:
    """Name the order of a decision: by its key, or by what it says and when it came."""
    given, account_id = judged.given, judged.values["account_id"]
    named = judged.key or [given.decision_id, given.received_at.astimezone(UTC).isoformat(), given.payload]
    return str(uuid5(_ORDER_IDS, json.dumps([account_id, named])))


def _refusal_after(first: NewDecision, judged: _Judged) -> str | None:
    """Say why a decision may not come under a key that stands for another; None where it is the same."""
    differences = differing(judged.given.payload, first.payload, judged.markets)
    if not differences:
        return None
    clash = (
        f"decision_key {judged.key} stands for decision {first.decision_id}, which differs in "
        f"{', '.join(differences)}; another decision needs a key of its own"
    )
    return f"{clash}; {judged.refusal}" if judged.refusal else clash


def _refused(judged: _Judged, refusal: str) -> Alert:
    given, account = judged.given, judged.account
    whose = f" of {account.name}" if account else ""
    return Alert(
        AlertKind.ORDER_REFUSED,
        account.account_id if account else None,
        None,
        f"decision {given.decision_id}",
        f"decision {given.decision_id}{whose} is refused: {refusal[:_TOLD_CHARACTERS_MAX]}",
        evidence={"decision_id": str(given.decision_id), "received_via": given.via},
    )


def _order_values(decision: OrderDecision, given: NewDecision, catalogue: _Catalogue) -> dict[str, Any]:
    """Write a decision as the columns of an order (``ValueError`` where it cannot be one)."""
    account = catalogue.account(decision.account)
    # Whatever clock it came by: it is not younger than it was when it was first seen.
    decided_at = min(given.received_at, catalogue.ports.clock())
    valid_until = catalogue.ports.bounds.valid_until(
        decision.kind,
        decision.time_in_force,
        decided_at,
        minutes=decision.valid_minutes,
        expires_at=decision.expires_at,
    )
    if valid_until <= catalogue.ports.clock() - CLOCK_DOUBT:
        raise ValueError(too_old(decided_at, valid_until))
    markets = catalogue.markets(account, decision.pair)
    if valid_until <= catalogue.ports.clock():
        raise ValueError(too_old(decided_at, valid_until))
    market = markets.find(decision.pair)
    if market is None:
        raise ValueError(markets.why_not(decision.pair))
    values = decision.model_dump(
        include={"source", "volume", "portion", "limit_price", "trigger_price", "expected_price", *_TOLD}
    )
    return {
        **values,
        "account_id": account.account_id,
        "pair": market.name,
        "base": market.base,
        "quote": market.quote,
        "side": decision.side.value,
        "order_type": decision.kind.value,
        "time_in_force": decision.time_in_force.value,
        "expires_at": decision.expires_at.astimezone(UTC) if decision.expires_at else None,
        "is_post_only": decision.post_only,
        "is_dry_run": decision.dry_run,
        "status": OrderStatus.DECIDED.value,
        "decided_at": decided_at,
        "valid_until": valid_until.astimezone(UTC),
    }
