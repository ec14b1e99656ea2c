"""A decision as somebody wrote it: its fields, what is wrong with them, and when two mean the same.

Invariants:
1. A decision is read whole or not at all; whatever is wrong with it is told at once, by the field's own name.
2. Two payloads are the same decision if they mean the same, however they are written.
"""

from __future__ import annotations

import difflib
import json
from datetime import datetime  # noqa: TC003 - pydantic reads it
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

from kraken_recon.orders.rules.bounds import MINUTES_MAX
from kraken_recon.orders.rules.order import AT_ONCE, OrderType, Side, TimeInForce
from kraken_recon.values.money import ZERO, parse_amount

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from kraken_recon.orders.rules.sizing import Markets

_TRIGGERED: Final = frozenset({OrderType.STOP_LOSS, OrderType.TAKE_PROFIT})
_SHOWN_CHARACTERS_MAX: Final = 100
_INTEGER_DIGITS_MAX: Final = 40
# Below this two names have too little in common to suggest one for the other.
_LIKENESS_MIN: Final = 0.55
_SLIP_LIKENESS_MIN: Final = 0.8


def _amount(value: object) -> Decimal:
    if isinstance(value, str):
        value = value.strip()
    amount = parse_amount(value)
    if amount <= ZERO:
        raise ValueError(f"expected more than zero, was {value}")
    return amount


def _empty_is_none(value: object) -> object:
    return None if value == "" else value


def _key(value: object) -> object:
    """Refuse an empty key: whoever gives one means to be safe, and would not be."""
    if isinstance(value, str) and not value.strip():
        raise ValueError("is empty; the same empty key would be given for every decision")
    return value


Amount = Annotated[Decimal, BeforeValidator(_amount)]
OptionalAmount = Annotated[Amount | None, BeforeValidator(_empty_is_none)]
OptionalText = Annotated[
    Annotated[str, StringConstraints(max_length=20_000)] | None, BeforeValidator(_empty_is_none)
]
Name = Annotated[str, StringConstraints(min_length=1, max_length=200, strip_whitespace=True)]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Placeable = Literal[OrderType.MARKET, OrderType.LIMIT, OrderType.STOP_LOSS, OrderType.TAKE_PROFIT]


class OrderDecision(BaseModel):
    """What somebody or something decided to trade.

    Amounts are decimal text or whole numbers; a binary fraction is refused. Without a ``type`` it is a limit
    order if there is a limit price, else a market order. A model's decision comes with the model, its
    prompt's hash and its raw answer, unless whoever passes it on says that they are missing.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    decision_key: Annotated[Name | None, BeforeValidator(_key)] = None
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
    valid_minutes: OptionalAmount = None
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
        if self.valid_minutes is not None and self.valid_minutes > MINUTES_MAX:
            problems.append(f"expected valid_minutes of at most {MINUTES_MAX}, was {self.valid_minutes}")
        if self.expires_at is not None and self.expires_at.tzinfo is None:
            problems.append("expires_at needs a time zone")
        if self.time_in_force is not TimeInForce.GOOD_TILL_CANCELED and self.kind is not OrderType.LIMIT:
            problems.append(f"only a limit order can be {self.time_in_force.value}")
        if self.time_in_force in AT_ONCE and self.post_only:
            problems.append(f"a post-only order rests, so it cannot be {self.time_in_force.value}")
        return problems


FIELDS: Final = tuple(field.alias or name for name, field in OrderDecision.model_fields.items())
"""Every field of a decision, by the name under which it is given."""


def read_decision(payload: str) -> OrderDecision:
    """Read a decision from JSON.

    Raises:
        ValueError: with everything that is wrong with it.
    """
    given = payload_of(payload)
    try:
        return OrderDecision.model_validate(given)
    except ValidationError as error:
        problems = error.errors(include_url=False, include_input=False, include_context=False)
        told = [_told(problem["type"], problem["loc"], problem["msg"], given) for problem in problems]
        raise ValueError("; ".join(told)) from error


def _told(kind: str, place: tuple[int | str, ...], message: str, given: Mapping[str, Any]) -> str:
    name = ".".join(map(str, place))[:_SHOWN_CHARACTERS_MAX]
    if kind == "extra_forbidden":
        return f"{name}: there is no such field; {_suggested(name, given)}"
    if kind == "missing":
        return f"{name}: is missing"
    return f"{name}: {message}" if name else message


def _suggested(name: str, given: Collection[str]) -> str:
    """Name the field that was meant: one that is not given yet, unless the name is a slip of one that is."""
    free = [field for field in FIELDS if field not in given]
    near = difflib.get_close_matches(name.lower(), free, n=1, cutoff=_LIKENESS_MIN) or (
        difflib.get_close_matches(name.lower(), FIELDS, n=1, cutoff=_SLIP_LIKENESS_MIN)
    )
    return f"did you mean {near[0]}?" if near else f"it could be one of {', '.join(free)}"


def nearest(name: str, known: Collection[str]) -> str:
    """Suggest the known name that is most like another one; empty where none is."""
    near = difflib.get_close_matches(name, known, n=1, cutoff=_LIKENESS_MIN)
    return f"; did you mean {near[0]}?" if near else ""


def payload_of(payload: str) -> Any:  # noqa: ANN401 - whatever JSON holds
    """Read the JSON of a decision.

    Raises:
        ValueError: it is none, or nested too deeply.
    """
    try:
        return json.loads(payload, parse_float=Decimal, parse_int=_whole)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def _whole(digits: str) -> int | Decimal:
    """Read a whole number; Python refuses to read thousands of digits as an ``int``."""
    return int(digits) if len(digits) <= _INTEGER_DIGITS_MAX else Decimal(digits)


def key_in(payload: str) -> str | None:
    """Find the idempotency key that a payload itself names; what is wrong with one is told elsewhere."""
    try:
        given = payload_of(payload)
    except ValueError:
        return None
    key = given.get("decision_key") if isinstance(given, dict) else None
    return key.strip() or None if isinstance(key, str) else None


def differing(payload: str, other: str, markets: Markets | None) -> list[str]:
    """Name the fields in which two payloads do not mean the same; none where they are one decision.

    Neither the writing of an amount, a time or a pair tells two apart, nor a field that is left out or says
    what holds without it. The key itself does not count.
    """
    mine, theirs = _meaning(payload, markets), _meaning(other, markets)
    return sorted(name for name in mine.keys() | theirs.keys() if mine.get(name) != theirs.get(name))


def _meaning(payload: str, markets: Markets | None) -> dict[str, Any]:
    try:
        decision = read_decision(payload)
    except ValueError:
        # It is refused, and means only itself.
        try:
            given = payload_of(payload)
        except ValueError:
            return {"payload": payload}
        return {
            name: value
            for name, value in (given if isinstance(given, dict) else {"payload": given}).items()
            if value not in ("", None) and name != "decision_key"
        }
    market = markets.find(decision.pair) if markets else None
    values = decision.model_dump(by_alias=True, exclude={"decision_key"})
    return {**values, "type": decision.kind, "pair": market.name if market else decision.pair.upper()}
