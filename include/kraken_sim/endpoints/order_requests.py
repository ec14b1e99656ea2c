"""What may be said about an order, and what Kraken says to the rest; nothing here changes anything."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, Literal, cast

from kraken_sim.amounts import ZERO, number
from kraken_sim.errors import ApiError
from kraken_sim.market.order_types import ORDER_TYPES
from kraken_sim.market.trading import OrderRequest

if TYPE_CHECKING:
    from collections.abc import Mapping
    from decimal import Decimal

    from kraken_sim.account.account import Account

#: A UUID with or without its dashes, or free text of at most eighteen ASCII characters.
CLIENT_ID: Final = re.compile(
    r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}|[0-9a-fA-F]{32}|[\x20-\x7e]{1,18}"
)
TIMES_IN_FORCE: Final = frozenset({"GTC", "IOC", "FOK", "GTD"})
#: Documented, and not simulated: better refused than silently left out.
UNSUPPORTED: Final = (
    "close",
    "close[ordertype]",
    "close[price]",
    "close[price2]",
    "displayvol",
    "leverage",
    "reduce_only",
    "starttm",
)
UNSUPPORTED_TYPES: Final = frozenset({"iceberg", "settle-position", "trailing-stop", "trailing-stop-limit"})
#: How a client writes that it does not want something.
NOTHING: Final = frozenset({"", "0", "false", "none"})
USERREF_LIMIT: Final = 2**31
DEADLINE_LEAST: Final = timedelta(seconds=2)
DEADLINE_MOST: Final = timedelta(seconds=60)
EXPIRY_LEAST_SECONDS: Final = 5
EXPIRY_MOST_SECONDS: Final = 31 * 24 * 3600


def read_order(account: Account, given: Mapping[str, str], now: Decimal) -> OrderRequest:
    """Read the order that a call describes.

    Raises:
        ApiError: for the first argument that cannot be one.
    """
    side, order_type = given.get("type", ""), given.get("ordertype", "")
    kind = ORDER_TYPES.get(order_type)
    if order_type in UNSUPPORTED_TYPES:
        raise ApiError("EAPI:Feature disabled")
    if kind is None:
        raise ApiError("EGeneral:Invalid arguments:ordertype")
    if side not in {"buy", "sell"}:
        raise ApiError("EGeneral:Invalid arguments:type")
    if "pair" not in given:
        raise ApiError("EGeneral:Invalid arguments")
    if any(given.get(name, "").lower() not in NOTHING for name in UNSUPPORTED):
        raise ApiError("EAPI:Feature disabled")
    time_in_force = given.get("timeinforce", "GTC").upper()
    expires = _expiry(given.get("expiretm", "0"), now)
    if time_in_force not in TIMES_IN_FORCE:
        raise ApiError("EGeneral:Invalid arguments:timeinforce")
    if time_in_force == "GTD" and not expires:
        raise ApiError("EGeneral:Invalid arguments:expiretm")
    client_id, userref = _names(given)
    pair = account.reference.pair(given["pair"])
    account.reference.check_venue(pair, given.get("execution_venue"))
    return OrderRequest(
        pair=pair,
        side=cast("Literal['buy', 'sell']", side),
        order_type=order_type,
        volume=amount(given.get("volume", ""), "volume"),
        price=amount(given.get("price", ""), "price") if order_type != "market" else ZERO,
        price2=amount(given.get("price2", ""), "price2") if kind.trigger and kind.is_limited else ZERO,
        flags=tuple(flag for flag in given.get("oflags", "").split(",") if flag),
        userref=userref,
        client_id=client_id,
        time_in_force=time_in_force,
        expires=expires,
    )


def _names(given: Mapping[str, str]) -> tuple[str | None, int | None]:
    """Read what the client calls the order: one of the two, or neither."""
    client_id, userref = given.get("cl_ord_id", ""), given.get("userref", "")
    if client_id and userref:
        raise ApiError("EGeneral:Invalid arguments")
    if client_id and not CLIENT_ID.fullmatch(client_id):
        raise ApiError("EGeneral:Invalid arguments:cl_ord_id")
    try:
        reference = int(userref) if userref else None
    except ValueError as error:
        raise ApiError("EGeneral:Invalid arguments:userref") from error
    if reference is not None and not -USERREF_LIMIT <= reference < USERREF_LIMIT:
        raise ApiError("EGeneral:Invalid arguments:userref")
    return client_id or None, reference


def amount(text: str, name: str) -> Decimal:
    """Read a number, or refuse the argument by its name."""
    try:
        return number(text)
    except ValueError as error:
        raise ApiError(f"EGeneral:Invalid arguments:{name}") from error


def _expiry(text: str, now: Decimal) -> Decimal:
    """Read ``expiretm``: unix seconds, or ``+`` seconds from now; 0 for never."""
    moment = (now if text.startswith("+") else ZERO) + amount(text, "expiretm")
    if moment and not now + EXPIRY_LEAST_SECONDS <= moment <= now + EXPIRY_MOST_SECONDS:
        raise ApiError("EGeneral:Invalid arguments:expiretm")
    return moment


def check_deadline(given: Mapping[str, str], arrived: Decimal, now: Decimal) -> None:
    """Refuse a request that reaches the engine after its ``deadline``.

    How far off a deadline may be is counted from the request's arrival; whether it has passed, from now.
    """
    text = given.get("deadline")
    if not text:
        return
    try:
        deadline = datetime.fromisoformat(text)
    except ValueError as error:
        raise ApiError("EGeneral:Invalid arguments:deadline") from error
    if deadline.tzinfo is None:
        deadline = deadline.replace(tzinfo=UTC)
    if deadline < _moment(now):
        raise ApiError("EService:Deadline elapsed")
    if not DEADLINE_LEAST <= deadline - _moment(arrived) <= DEADLINE_MOST:
        raise ApiError("EGeneral:Invalid arguments:deadline")


def _moment(seconds: Decimal) -> datetime:
    return datetime.fromtimestamp(0, UTC) + timedelta(microseconds=int(seconds * 1_000_000))
