"""What the control API accepts; amounts and times are text, unknown fields are refused."""

from __future__ import annotations

from decimal import Decimal  # noqa: TC003 - pydantic reads the annotations
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from kraken_sim.http.auth import READ_PERMISSIONS


class Model(BaseModel):
    """A body whose every field is known."""

    model_config = ConfigDict(extra="forbid")


class AccountBody(Model):
    """A new account, with its whole book if there is one."""

    name: str
    api_key: str
    api_secret: str
    permissions: list[str] = Field(default_factory=lambda: list(READ_PERMISSIONS))
    query_from: Decimal = Field(default=0, validate_default=True)
    query_to: Decimal = Field(default=0, validate_default=True)
    valid_until: Decimal = Field(default=0, validate_default=True)
    ip_allowlist: list[str] = Field(default_factory=list)
    nonce_window: int = 0
    lockout_after: int = 10
    tier: str = "intermediate"
    history_cost: Literal[2, 4] = 4
    order_totals: Literal["full", "truncated"] = "full"
    concurrent_limit: int = Field(default=0, ge=0)
    answers_at_once: bool = False
    opening: dict[str, Decimal] = Field(default_factory=dict)
    entries: list[dict[str, Any]] = Field(default_factory=list)


class AccountChange(Model):
    """What may be changed while the account is in use; absent fields stay."""

    api_key: str | None = None
    api_secret: str | None = None
    permissions: list[str] | None = None
    query_from: Decimal | None = None
    query_to: Decimal | None = None
    valid_until: Decimal | None = None
    ip_allowlist: list[str] | None = None
    nonce_window: int | None = None
    lockout_after: int | None = None
    tier: str | None = None
    history_cost: Literal[2, 4] | None = None
    order_totals: Literal["full", "truncated"] | None = None
    concurrent_limit: int | None = Field(default=None, ge=0)
    answers_at_once: bool | None = None
    opening: dict[str, Decimal] | None = None


class ClockBody(Model):
    """Where a clock should stand."""

    account: str | None = None
    mode: Literal["real", "virtual"] | None = None
    now: Decimal | None = None
    advance_seconds: Decimal | None = Field(default=None, ge=0)
    behind_seconds: Decimal | None = Field(default=None, ge=0)


class EventBody(Model):
    """Something that happens to an account; which fields matter depends on the kind."""

    kind: str
    at: Decimal | None = None
    asset: str | None = None
    amount: Decimal | None = None
    fee: Decimal = Field(default=0, validate_default=True)
    to_asset: str | None = None
    to_amount: Decimal | None = None
    assets: list[str] = Field(default_factory=list)
    refid: str | None = None
    pair: str | None = None
    side: Literal["buy", "sell"] = "buy"
    ordertype: Literal["market", "limit"] = "market"
    volume: Decimal | None = None
    price: Decimal | None = None
    fee_mode: Literal["quote", "base", "both", "kfee"] = "quote"
    fee_percent: Decimal | None = None
    base_fee: Decimal | None = None
    ledger_row: Literal["at_request", "when_done"] = "at_request"
    leverage: int = Field(default=2, ge=2, le=10)


class FillBody(Model):
    """A partial or full fill of an open order, at its own price unless told otherwise."""

    txid: str
    volume: Decimal
    price: Decimal | None = None


class ResidualBody(Model):
    """A difference between balance and ledger that nothing explains."""

    asset: str
    amount: Decimal


class FaultBody(BaseModel):
    """A fault; every field that is not named here is one of its options."""

    model_config = ConfigDict(extra="allow")

    name: str
    probability: Decimal = Field(default=1, validate_default=True, ge=0, le=1)
    count: int | None = Field(default=None, ge=1)
    endpoint: str | None = None
    account: str | None = None
    order: str | None = None
    nth: int = Field(default=1, ge=1)


class RebaseBody(Model):
    """How many rebased units of a tokenized asset one base unit is from now on."""

    asset: str
    multiplier: Decimal


class LiquidityBody(Model):
    """How much can be had at a market's price; ``null`` for any amount, as at first."""

    pair: str
    volume: Decimal | None = Field(ge=0)


class PairBody(Model):
    """The state of a market."""

    status: Literal["online", "cancel_only", "post_only", "limit_only", "reduce_only"]


class SystemBody(Model):
    """The state of the exchange, as SystemStatus tells it."""

    status: Literal["online", "maintenance", "cancel_only", "post_only"]


class RecordingsBody(Model):
    """Which recordings to load from where; no names means all that can be."""

    directory: str
    names: list[str] = Field(default_factory=list)
