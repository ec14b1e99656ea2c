"""The endpoints that write orders.

Invariants:
1. A refused call changes nothing but the engine counter.
2. A call that reaches the engine late happens at the moment when it does, by whatever holds then.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from kraken_sim.account.account import reserve
from kraken_sim.amounts import ZERO, decimals_of, fixed, half_up
from kraken_sim.endpoints.order_requests import amount, check_deadline, read_order
from kraken_sim.errors import ApiError
from kraken_sim.http.wire import as_text, decode
from kraken_sim.market import matching, trading

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from decimal import Decimal

    from kraken_sim.account.order import Order
    from kraken_sim.endpoints.call import Call

CANCELED: Final = "User requested"
REPLACED: Final = "Order replaced"
BATCH_LEAST: Final = 2
BATCH_MOST: Final = 15
CANCELS_MOST: Final = 50
COUNTDOWN_LIMIT_SECONDS: Final = 86400


def add_order(call: Call) -> dict[str, Any]:
    """Answer ``AddOrder``."""
    request = _admitted(call, call.parameters)
    if call.flag("validate"):
        return {"descr": {"order": trading.draft(call.account, request, call.due).describe()}}
    order = _place(call, request)
    return {"descr": {"order": order.describe()}, "txid": [order.order_id]}


def add_order_batch(call: Call) -> dict[str, Any]:
    """Answer ``AddOrderBatch``: all are read first, then each is accepted or refused on its own."""
    batch = _batch(call.parameters.get("orders", ""))
    if not BATCH_LEAST <= len(batch) <= BATCH_MOST:
        raise ApiError("EGeneral:Invalid arguments:orders")
    shared = {name: call.parameters[name] for name in ("pair", "deadline") if name in call.parameters}
    orders = [fields | shared for fields in batch]
    for fields in orders:
        read_order(call.account, fields, call.now)
    return {"orders": [_one_of_batch(call, fields) for fields in orders]}


def _batch(text: str) -> list[dict[str, str]]:
    try:
        return [as_text(fields) for fields in decode(text)]
    except (ValueError, TypeError, AttributeError) as error:
        raise ApiError("EGeneral:Invalid arguments:orders") from error


def _one_of_batch(call: Call, fields: dict[str, str]) -> dict[str, Any]:
    try:
        request = _admitted(call, fields)
    except ApiError as error:
        return {"error": error.codes[0]}
    if call.flag("validate"):
        return {"descr": {"order": trading.draft(call.account, request, call.due).describe()}}
    order = _place(call, request)
    return {"txid": order.order_id, "descr": {"order": order.describe()}}


def _admitted(call: Call, fields: Mapping[str, str]) -> trading.OrderRequest:
    """Read an order and make sure that it may be placed now."""
    account, now = call.account, call.now
    request = read_order(account, fields, now)
    check_deadline(fields, call.arrived if call.arrived is not None else now, now)
    account.budget.charge_engine("add", request.pair.pair_id, now)
    trading.validate(account, account.reference, request)
    return request


def _place(call: Call, request: trading.OrderRequest) -> Order:
    return matching.place(call.account, call.account.reference, request, at=call.due)


def _named(call: Call) -> Order:
    """Find the one open order that a call names by ``txid`` or ``cl_ord_id``."""
    wanted, client_id = call.parameters.get("txid", ""), call.parameters.get("cl_ord_id", "")
    if bool(wanted) == bool(client_id):
        raise ApiError("EGeneral:Invalid arguments")
    for order in call.account.open_orders():
        if order.client_id == client_id if client_id else order.order_id == wanted:
            return order
    raise ApiError("EOrder:Unknown order")


def amend_order(call: Call) -> dict[str, Any]:
    """Answer ``AmendOrder``: same order, same fills; less than what is filled cancels the rest."""
    account, given, now = call.account, call.parameters, call.now
    order = _named(call)
    pair = order.pair
    if pair is None:
        raise ApiError("EOrder:Unknown order")
    check_deadline(given, call.arrived if call.arrived is not None else now, now)
    volume = amount(given["order_qty"], "order_qty") if "order_qty" in given else order.volume
    price, price2 = _amended_prices(order, given)
    if volume <= ZERO or decimals_of(volume) > pair.lot_decimals:
        raise ApiError("EGeneral:Invalid arguments:order_qty")
    account.budget.charge_engine("amend", pair.pair_id, now, age_seconds=now - order.opened)
    _check_growth(call, order, volume, price2 or price)
    market = account.reference.prices.get(pair.pair_id)
    amended = (order.price, order.price2, order.volume)
    order.price, order.price2, order.volume = price, price2, volume
    may_take = order.kind.is_limited and market is not None and matching.crosses(order, market)
    if may_take and call.flag("post_only"):
        order.price, order.price2, order.volume = amended
        raise ApiError("EOrder:Post only order")
    order.amended = account.next_moment(call.due)
    account.clock.reach(order.amended)
    if order.remaining <= ZERO:
        order.volume = max(order.executed, volume)
        trading.close(account, order, order.amended, reason=CANCELED)
    elif may_take and market is not None and (not order.kind.trigger or order.triggered is not None):
        matching.arrive(account, account.reference, order, market, order.amended, at=call.due)
    return {"amend_id": account.identifiers.trade()}


def _amended_prices(order: Order, given: Mapping[str, str]) -> tuple[Decimal, Decimal]:
    """Read the new trigger and limit; what is not named stays."""
    if order.pair is None:
        raise ApiError("EOrder:Unknown order")
    first, second = ("trigger_price", "limit_price") if order.kind.trigger else ("limit_price", "")
    price = amount(given[first], first) if first in given else order.price
    price2 = amount(given[second], second) if second in given and order.kind.is_limited else order.price2
    for named in (price, price2):
        if named:
            trading.validate_price(order.pair, named)
    return price, price2


def _check_growth(call: Call, order: Order, volume: Decimal, price: Decimal) -> None:
    """Refuse an amendment that the account cannot pay for, counting what the order holds already."""
    account, pair = call.account, order.pair
    left = volume - order.executed
    if pair is None or left <= ZERO:
        return
    asset, needed = reserve(pair, order.side, left, price)
    _, held = reserve(pair, order.side, order.remaining, order.limit_price)
    if account.available(asset) + held < half_up(needed, account.reference.decimals(asset)):
        raise ApiError("EOrder:Insufficient funds")


def edit_order(call: Call) -> dict[str, Any]:
    """Answer ``EditOrder``: the old order ends with its fills, a new one takes its place."""
    account, given = call.account, call.parameters
    old = _named(call)
    pair = old.pair
    if pair is None or old.client_id is not None:
        raise ApiError("EOrder:Invalid order")
    fields = {
        "pair": pair.altname,
        "type": old.side,
        "ordertype": old.order_type,
        "volume": str(old.volume),
        "price": str(old.price),
        "price2": str(old.price2),
        "oflags": old.flags,
    }
    fields |= {name: given[name] for name in given.keys() & {*fields, "deadline", "userref"} - {"type"}}
    request = read_order(account, fields, call.now)
    if request.volume < old.executed or request.pair is not pair:
        raise ApiError("EOrder:Invalid order")
    check_deadline(fields, call.arrived if call.arrived is not None else call.now, call.now)
    account.budget.charge_engine("edit", pair.pair_id, call.now, age_seconds=call.now - old.opened)
    trading.close(account, old, account.next_moment(call.due), reason=REPLACED)
    try:  # what the old order held may pay for the new one
        trading.validate(account, account.reference, request)
    except ApiError:
        account.reopen(old)
        raise
    new = _place(call, request)
    return {
        "status": "ok",
        "txid": new.order_id,
        "originaltxid": old.order_id,
        "volume": fixed(new.volume, pair.lot_decimals),
        "price": fixed(new.price, pair.price_decimals),
        "price2": fixed(new.price2, pair.price_decimals),
        "orders_cancelled": 1,
        "descr": {"order": new.describe()},
    }


def cancel_order(call: Call) -> dict[str, Any]:
    """Answer ``CancelOrder`` by order id, userref or client order id."""
    wanted, client_id = call.parameters.get("txid", ""), call.parameters.get("cl_ord_id", "")
    if not wanted and not client_id:
        raise ApiError("EGeneral:Invalid arguments")
    found = [
        order
        for order in call.account.open_orders()
        if (order.client_id == client_id if client_id else wanted in {order.order_id, str(order.userref)})
    ]
    if not found:
        raise ApiError("EOrder:Unknown order")
    return {"count": _cancel(call, found)}


def cancel_order_batch(call: Call) -> dict[str, Any]:
    """Answer ``CancelOrderBatch``; what is not open is left out of the count."""
    texts = [call.parameters.get(name, "") for name in ("orders", "cl_ord_ids")]
    orders, client_ids = ({name.strip() for name in text.split(",") if name.strip()} for text in texts)
    if not 0 < len(orders) + len(client_ids) <= CANCELS_MOST:
        raise ApiError("EGeneral:Invalid arguments:orders")
    found = [
        order
        for order in call.account.open_orders()
        if not orders.isdisjoint({order.order_id, str(order.userref)}) or order.client_id in client_ids
    ]
    return {"count": _cancel(call, found)}


def cancel_all(call: Call) -> dict[str, Any]:
    """Answer ``CancelAll``."""
    return {"count": _cancel(call, call.account.open_orders())}


def cancel_all_orders_after(call: Call) -> dict[str, Any]:
    """Answer ``CancelAllOrdersAfter``: wind the countdown up, or stop it with zero."""
    text = call.parameters.get("timeout", "")
    if not text.isdigit() or int(text) >= COUNTDOWN_LIMIT_SECONDS:
        raise ApiError("EGeneral:Invalid arguments:timeout")
    call.account.cancel_all_at = call.now + int(text) if int(text) else None
    ends = call.account.cancel_all_at
    return {"currentTime": _rfc3339(call.now), "triggerTime": _rfc3339(ends) if ends else "0"}


def _rfc3339(moment: Decimal) -> str:
    return f"{datetime.fromtimestamp(int(moment), UTC):%Y-%m-%dT%H:%M:%SZ}"


def _cancel(call: Call, orders: list[Order]) -> int:
    account, now = call.account, call.now
    for order in orders:
        if order.pair is not None:
            account.budget.charge_engine("cancel", order.pair.pair_id, now, age_seconds=now - order.opened)
        trading.close(account, order, now, reason=CANCELED)
    return len(orders)


ENDPOINTS: Final[dict[str, Callable[[Call], dict[str, Any]]]] = {
    "AddOrder": add_order,
    "AddOrderBatch": add_order_batch,
    "AmendOrder": amend_order,
    "EditOrder": edit_order,
    "CancelOrder": cancel_order,
    "CancelOrderBatch": cancel_order_batch,
    "CancelAll": cancel_all,
    "CancelAllOrdersAfter": cancel_all_orders_after,
}
