"""Take decisions in: check each as a whole, and make an order of it or keep why not.

Invariants:
1. A decision becomes one order or none, in one transaction; the same decision twice is one order.
2. What is refused stays as it came, with every reason; nothing of it is guessed or mended.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)

from kraken_recon.domain.money import ZERO, parse_amount
from kraken_recon.domain.orders import OrderStatus, OrderType, Side, TimeInForce
from kraken_recon.errors import ConfigurationError, ExchangeError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kraken_recon.domain.markets import Markets
    from kraken_recon.domain.records import Account
    from kraken_recon.service.order_ports import OrderPorts, OrderUnitOfWork

log = logging.getLogger(__name__)

DECISIONS_PER_READ: Final = 200
_SHOWN_CHARACTERS_MAX: Final = 200
_TOLD: Final = ("reason", "ai_model", "ai_prompt_sha256", "ai_answer")
_TRIGGERED: Final = frozenset({OrderType.STOP_LOSS, OrderType.TAKE_PROFIT})


def _amount(value: object) -> Decimal:
    if isinstance(value, str):
        value = value.strip()
    amount = parse_amount(value)
    if amount <= ZERO:
        raise ValueError(f"expected more than zero, was {value}")
    return amount


def _empty_is_none(value: object) -> object:
    return None if value == "" else value


Amount = Annotated[Decimal, BeforeValidator(_amount)]
OptionalAmount = Annotated[Amount | None, BeforeValidator(_empty_is_none)]
OptionalText = Annotated[
    Annotated[str, StringConstraints(max_length=20_000)] | None, BeforeValidator(_empty_is_none)
]
Name = Annotated[str, StringConstraints(min_length=1, max_length=200, strip_whitespace=True)]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Placeable = Literal[OrderType.MARKET, OrderType.LIMIT, OrderType.STOP_LOSS, OrderType.TAKE_PROFIT]


class Decision(BaseModel):
    """What somebody or something decided to trade.

    Amounts are decimal text or whole numbers; a binary fraction is refused. Without a ``type`` it is a limit
    order if there is a limit price, else a market order. A model's decision comes with the model, its
    prompt's hash and its raw answer, unless whoever passes it on says that they are missing.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    account: Name
    pair: Name
    side: Side
    source: Literal["ai", "matching", "manual"] = "manual"
    order_type: Annotated[Placeable | None, BeforeValidator(_empty_is_none)] = Field(None, alias="type")
    volume: OptionalAmount = None
    portion: OptionalAmount = None
    limit_price: OptionalAmount = None
    trigger_price: OptionalAmount = None
    expected_price: OptionalAmount = None
    time_in_force: TimeInForce = TimeInForce.GOOD_TILL_CANCELED
    expires_at: Annotated[datetime | None, BeforeValidator(_empty_is_none)] = None
    post_only: bool = False
    dry_run: bool = Field(default=False, alias="validate")
    reason: OptionalText = None
    ai_model: OptionalText = None
    ai_prompt_sha256: Annotated[Sha256 | None, BeforeValidator(_empty_is_none)] = None
    ai_answer: OptionalText = None
    ai_details_missing: bool = False

    @property
    def kind(self) -> OrderType:
        """The type that was decided, or that follows from the prices."""
        if self.order_type is not None:
            return self.order_type
        return OrderType.LIMIT if self.limit_price is not None else OrderType.MARKET

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        problems = [*self._size_problems(), *self._price_problems(), *self._time_problems()]
        if self.source == "ai" and not self.ai_details_missing:
            problems += [
                f"a decision of a model needs {name}"
                for name in ("ai_model", "ai_prompt_sha256", "ai_answer")
                if getattr(self, name) is None
            ]
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def _size_problems(self) -> list[str]:
        if (self.volume is None) == (self.portion is None):
            return ["expected either a volume or a portion"]
        if self.portion is not None and self.portion > 1:
            return [f"expected a portion of at most 1, was {self.portion}"]
        return []

    def _price_problems(self) -> list[str]:
        problems = []
        if (self.kind is OrderType.LIMIT) != (self.limit_price is not None):
            problems.append(f"a {self.kind.value} order and limit_price do not go together")
        if (self.kind in _TRIGGERED) != (self.trigger_price is not None):
            problems.append(f"a {self.kind.value} order and trigger_price do not go together")
        if self.post_only and self.kind is not OrderType.LIMIT:
            problems.append("only a limit order can be post-only")
        return problems

    def _time_problems(self) -> list[str]:
        problems = []
        is_dated = self.time_in_force is TimeInForce.GOOD_TILL_DATE
        if is_dated != (self.expires_at is not None):
            problems.append("expires_at goes with time_in_force GTD, and only with it")
        if self.expires_at is not None and self.expires_at.tzinfo is None:
            problems.append("expires_at needs a time zone")
        if self.time_in_force is not TimeInForce.GOOD_TILL_CANCELED and self.kind is not OrderType.LIMIT:
            problems.append(f"only a limit order can be {self.time_in_force.value}")
        if self.time_in_force is TimeInForce.IMMEDIATE_OR_CANCEL and self.post_only:
            problems.append("a post-only order rests, so it cannot be IOC")
        return problems


def read_decision(payload: str) -> Decision:
    """Read a decision from JSON.

    Raises:
        ValueError: with everything that is wrong with it.
    """
    try:
        return Decision.model_validate(json.loads(payload, parse_float=Decimal))
    except ValidationError as error:
        told = [
            f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}" if problem["loc"] else problem["msg"]
            for problem in error.errors(include_url=False, include_input=False, include_context=False)
        ]
        raise ValueError("; ".join(told)) from error


def submit_decision(values: Mapping[str, Any], ports: OrderPorts, *, key: str | None, via: str) -> int:
    """Keep a decision for the next execution, whatever it holds; return its id."""
    with ports.open_unit_of_work() as unit:
        decision_id = unit.orders.add_decision(json.dumps(dict(values), default=str), key=key, via=via)
        unit.commit()
    return decision_id


def take_back(decision_id: int, reason: str, ports: OrderPorts) -> bool:
    """Refuse a decision that nobody has judged yet; False when somebody has, or is at it."""
    with ports.open_unit_of_work() as unit:
        if not unit.orders.lock_decision(decision_id):
            return False
        unit.orders.judge_decision(decision_id, order_id=None, refusal=f"taken back: {reason}")
        unit.commit()
    return True


def accept_decisions(ports: OrderPorts) -> dict[str, str]:
    """Judge every new decision; return, by account, why its decisions could not be judged.

    Those stay new: the exchange could not tell which markets there are.
    """
    catalogue = _Catalogue(ports)
    after: int | None = None
    while True:
        with ports.open_unit_of_work() as unit:
            waiting = unit.orders.new_decisions(after=after, limit=DECISIONS_PER_READ)
        if not waiting:
            return catalogue.failures
        judged = []
        for decision_id, payload in waiting:
            after = decision_id
            try:
                judged.append((decision_id, *_order_values(read_decision(payload), catalogue, ports.clock())))
            except ValueError as error:
                judged.append((decision_id, {}, str(error)))
            except _MarketsUnknownError:
                continue
        with ports.open_unit_of_work() as unit:
            for decision_id, values, refusal in judged:
                _write(unit, decision_id, values, refusal, by=ports.worker)


class _MarketsUnknownError(Exception):
    """The account's exchange could not tell which markets there are."""


@dataclass(slots=True)
class _Catalogue:
    """The accounts that are named, and the markets that they can trade on."""

    ports: OrderPorts
    failures: dict[str, str] = field(default_factory=dict)
    _accounts: dict[str, Account] | None = None
    _markets: dict[str, Markets] = field(default_factory=dict)

    def account(self, name: str) -> Account:
        """Find an active account (``ValueError`` for an unknown one)."""
        if self._accounts is None:
            with self.ports.open_unit_of_work() as unit:
                self._accounts = {a.name: a for a in unit.sync.find_accounts(None)}
        if name not in self._accounts:
            raise ValueError(f"no active account is named {name}")
        return self._accounts[name]

    def markets(self, account: Account) -> Markets:
        """Read an account's markets, once."""
        if account.name not in self._markets and account.name not in self.failures:
            try:
                with self.ports.open_exchange(account) as exchange:
                    self._markets[account.name] = exchange.markets()
            except (ExchangeError, ConfigurationError) as error:
                self.failures[account.name] = f"{type(error).__name__}: {error}"
        if account.name in self.failures:
            raise _MarketsUnknownError
        return self._markets[account.name]


def _write(
    unit: OrderUnitOfWork, decision_id: int, values: Mapping[str, Any], refusal: str | None, *, by: str
) -> None:
    """Write one decision's order or refusal, in a transaction of its own."""
    if not unit.orders.lock_decision(decision_id):
        return
    order_id = unit.orders.insert_order(values) if refusal is None else None
    unit.orders.judge_decision(decision_id, order_id=order_id, refusal=refusal)
    if order_id is not None:
        detail = {"decision_id": decision_id, "reason": values["reason"]}
        unit.orders.add_event(order_id, None, OrderStatus.DECIDED, "decided", by=by, detail=detail)
    unit.commit()
    if refusal is not None:
        log.warning("decision %d is refused: %s", decision_id, refusal[:_SHOWN_CHARACTERS_MAX])


def _order_values(
    decision: Decision, catalogue: _Catalogue, now: datetime
) -> tuple[dict[str, Any], str | None]:
    """Write a decision as the columns of an order, or say why it cannot be one."""
    account = catalogue.account(decision.account)
    markets = catalogue.markets(account)
    market = markets.find(decision.pair)
    if market is None:
        return {}, markets.why_not(decision.pair)
    if decision.expires_at is not None and decision.expires_at <= now:
        return {}, f"expires_at is over: {decision.expires_at.isoformat()}"
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
        "decided_at": now,
    }, None
