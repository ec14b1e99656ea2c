"""Orders and their fills as values, and the states an order goes through.

Invariants:
1. An order is sent only from ``submitting``: its client id and deadline are on record, committed, before the
   request leaves. It gets there again only after Kraken said that the request before was not executed.
2. ``unknown`` is left only by what Kraken's books say, or a person who knows, never by sending again.
3. An ended order stays ended, with two ways out: ``not_placed`` to what Kraken shows late, or to ``unknown``
   where its books then speak of it; and an external order that turns out to be one of ours is ``merged``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from decimal import Decimal


class Source(StrEnum):
    """Who decided on an order; the last two are found at Kraken, and nobody here placed them."""

    AI = "ai"
    MATCHING = "matching"
    MANUAL = "manual"
    EXTERNAL = "external"
    DESK = "desk"  # it stands in a table of the desk's own, and is only verified


FOUND_AT_KRAKEN: Final = frozenset({Source.EXTERNAL, Source.DESK})


class Side(StrEnum):
    """Whether the base asset is bought or sold."""

    BUY = "buy"
    SELL = "sell"


class OrderType(StrEnum):
    """Kraken's ``ordertype``, as far as it is placed from here; any other is ``other``."""

    MARKET = "market"
    LIMIT = "limit"
    STOP_LOSS = "stop-loss"
    TAKE_PROFIT = "take-profit"
    OTHER = "other"  # only of one found at Kraken


class TimeInForce(StrEnum):
    """How long an order may rest."""

    GOOD_TILL_CANCELED = "GTC"
    IMMEDIATE_OR_CANCEL = "IOC"
    FILL_OR_KILL = "FOK"
    GOOD_TILL_DATE = "GTD"


AT_ONCE: Final = frozenset({TimeInForce.IMMEDIATE_OR_CANCEL, TimeInForce.FILL_OR_KILL})
"""What never rests: what does not fill at once is cancelled."""


class OrderStatus(StrEnum):
    """Where an order stands."""

    DECIDED = "decided"  # nobody has taken it up yet
    REFUSED = "refused"  # by us, before it left
    SUBMITTING = "submitting"  # the intent is committed; the request may have left
    UNKNOWN = "unknown"  # the request left, and its answer does not say what came of it
    VALIDATED = "validated"  # a dry run: Kraken checked it and placed nothing
    REJECTED = "rejected"  # by Kraken, before it existed
    NOT_PLACED = "not_placed"  # proved after its deadline: Kraken's books do not have it
    OPEN = "open"
    CLOSED = "closed"  # filled whole
    CANCELED = "canceled"  # perhaps filled in part
    EXPIRED = "expired"  # perhaps filled in part
    MERGED = "merged"  # taken for somebody else's; it is another row's order, which has its fills


ENDED_AT_EXCHANGE: Final = frozenset({OrderStatus.CLOSED, OrderStatus.CANCELED, OrderStatus.EXPIRED})
"""States of an order that lived at Kraken and no longer does; each such order is verified."""
ENDED: Final = ENDED_AT_EXCHANGE | {
    OrderStatus.REFUSED,
    OrderStatus.VALIDATED,
    OrderStatus.REJECTED,
    OrderStatus.NOT_PLACED,
    OrderStatus.MERGED,
}
IN_DOUBT: Final = frozenset({OrderStatus.SUBMITTING, OrderStatus.UNKNOWN})
"""States of an order that was sent, or may have been, without an answer."""

_AT_EXCHANGE: Final = ENDED_AT_EXCHANGE | {OrderStatus.OPEN}
_NEXT: Final[Mapping[OrderStatus, frozenset[OrderStatus]]] = MappingProxyType(
    {
        # Kraken may know it although it was never sent: the database was restored to before it was.
        OrderStatus.DECIDED: frozenset({OrderStatus.REFUSED, OrderStatus.SUBMITTING, OrderStatus.OPEN}),
        OrderStatus.SUBMITTING: _AT_EXCHANGE
        | {OrderStatus.UNKNOWN, OrderStatus.VALIDATED, OrderStatus.REJECTED, OrderStatus.NOT_PLACED}
        # Kraken said that the request came too late and was not executed.
        | {OrderStatus.DECIDED},
        OrderStatus.UNKNOWN: _AT_EXCHANGE | {OrderStatus.NOT_PLACED},
        OrderStatus.NOT_PLACED: _AT_EXCHANGE | {OrderStatus.UNKNOWN},
        OrderStatus.OPEN: ENDED_AT_EXCHANGE | {OrderStatus.MERGED},
        **dict.fromkeys(ENDED_AT_EXCHANGE, frozenset({OrderStatus.MERGED})),
    }
)


def may_become(status: OrderStatus, following: OrderStatus) -> bool:
    """Say whether an order may go from one state to another."""
    return following in _NEXT.get(status, frozenset())


@dataclass(frozen=True, slots=True)
class Order:
    """One row of ``orders``: what was decided, what was sent, and what Kraken says became of it.

    Volumes are in units of ``base``, prices and costs in ``quote`` (our normalised codes); ``pair`` is
    ``BASE/QUOTE``. Exactly one of ``volume`` and ``portion`` (of what is available, above 0 up to 1) was
    decided; ``volume`` is filled in when a portion is sized. ``answered_at`` is when Kraken told that the
    order exists, ``absent_since`` when its books were first found without it, ``settled_at`` when its fills
    and their ledger entries were complete here. ``reserved`` is what the order may take: of the base asset
    for a SELL, of the quote for a BUY. After ``valid_until`` a decided order is not sent any more.
    """

    order_id: int
    account_id: int
    source: Source
    pair: str
    base: str
    quote: str
    side: Side
    order_type: OrderType
    volume: Decimal | None
    portion: Decimal | None
    limit_price: Decimal | None
    trigger_price: Decimal | None
    expected_price: Decimal | None
    time_in_force: TimeInForce
    expires_at: datetime | None
    is_post_only: bool
    is_dry_run: bool
    cl_ord_id: str | None
    kraken_txid: str | None
    status: OrderStatus
    deadline: datetime | None
    decided_at: datetime
    submitted_at: datetime | None
    ended_at: datetime | None
    volume_executed: Decimal
    cost_executed: Decimal
    fee_reported: Decimal
    status_reason: str | None = None
    answered_at: datetime | None = None
    absent_since: datetime | None = None
    settled_at: datetime | None = None

    def ended(self, status: OrderStatus, reason: str, at: datetime) -> Order:
        """Write it as ended with nothing at Kraken that could still fill."""
        return replace(self, status=status, status_reason=reason, ended_at=at, settled_at=at)

    reserved: Decimal | None = None
    valid_until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Fill:
    """One execution of an order (Kraken: trade).

    ``fee`` is Kraken's estimate in the quote currency; what was really taken, and on which leg, only the
    ledger says (Kraken support 115000302707).
    """

    trade_id: str
    kraken_txid: str
    pair: str
    side: Side
    trade_time: datetime
    price: Decimal
    volume: Decimal
    cost: Decimal
    fee: Decimal
    is_maker: bool | None = None


@dataclass(frozen=True, slots=True)
class NewDecision:
    """A decision that nobody has judged yet: JSON as it came, under which key, which way, and when."""

    decision_id: int
    payload: str
    key: str | None
    via: str
    received_at: datetime
