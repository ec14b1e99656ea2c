"""The private endpoints: views over the books, and the two that write orders.

Invariant: a view never changes anything but counters; what a key may not see is left out without a word.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, Literal, cast

from kraken_sim import margin, paging, trading
from kraken_sim.account import HUNDRED
from kraken_sim.amounts import ZERO, fixed, number, plain
from kraken_sim.errors import ApiError

if TYPE_CHECKING:
    from collections.abc import Callable

    from kraken_sim.account import Order, Trade
    from kraken_sim.exchange import Call
    from kraken_sim.ledger import Entry

SALES: Final = frozenset({"spend", "receive"})
ORDERS_PER_QUERY: Final = 50
ROWS_PER_QUERY: Final = 20
CLIENT_ID_MAXIMUM: Final = 36
TOKEN_SECONDS: Final = 900


def balance(call: Call) -> dict[str, Any]:
    """Answer ``Balance``: cash, with what open orders hold still in it."""
    return {
        asset: fixed(amount, call.account.reference.decimals(asset))
        for asset, amount in _cash(call, call.seen_until("balance")).items()
    }


def balance_ex(call: Call) -> dict[str, Any]:
    """Answer ``BalanceEx``: cash and what open orders hold of it."""
    seen, decimals = call.seen_until("balance"), call.account.reference.decimals
    cash, held = _cash(call, seen), call.account.holds(seen)
    return {
        asset: {
            "balance": fixed(cash.get(asset, ZERO), decimals(asset)),
            "hold_trade": fixed(held.get(asset, ZERO), decimals(asset)),
        }
        for asset in dict.fromkeys([*cash, *held])
    }


def _cash(call: Call, seen: Decimal) -> dict[str, Decimal]:
    cash = call.account.cash(seen)
    for asset, amount in call.account.residuals.items():
        cash[asset] = cash.get(asset, ZERO) + amount
    return cash


def trade_balance(call: Call) -> dict[str, Any]:
    """Answer ``TradeBalance``; ``ml`` is left out without open positions, as Kraken does then."""
    reference, seen = call.account.reference, call.seen_until("balance")
    quote = reference.asset_id(call.parameters.get("asset", "ZUSD"))
    rate = reference.usd_price(quote)
    if not rate:
        raise ApiError("EQuery:Unknown asset")

    def worth(asset: str, amount: Decimal) -> Decimal:
        return amount * reference.usd_price(asset) / rate

    cash = sum((worth(asset, amount) for asset, amount in _cash(call, seen).items()), ZERO)
    used = margin.totals(call.account, seen, worth)
    equity = cash + used["n"]
    figures = {"eb": cash, "tb": cash, **used, "e": equity, "mf": equity - used["m"]}
    if used["m"]:
        figures["ml"] = equity / used["m"] * HUNDRED
    return {name: fixed(amount, 4) for name, amount in {**figures, "uv": ZERO}.items()}


def ledgers(call: Call) -> dict[str, Any]:
    """Answer ``Ledgers``."""
    paging.disturb(call)
    ledger = call.account.ledger
    visible = ledger.visible(call.seen_until("ledger"))
    lower, upper = paging.window(call, ledger.keys, ledger.positions, visible)
    rows = ledger.entries[lower:upper]
    wanted = _ledger_filter(call)
    page = paging.cut(call, [row for row in rows if wanted(row)] if wanted else rows)
    return paging.answer(call, "ledger", page, lambda row: (row.ledger_id, row.wire()))


def _ledger_filter(call: Call) -> Callable[[Entry], bool] | None:
    """Build the test that a row must pass, or None when every row does."""
    key, reference = call.account.key, call.account.reference
    asset, kind = call.parameters.get("asset", "all"), call.parameters.get("type", "all")
    tests: list[Callable[[Entry], bool]] = []
    if asset != "all":
        ids = {reference.asset_id(name.strip()) for name in asset.split(",")}
        tests.append(lambda row: row.asset in ids)
    if kind != "all":
        kinds = SALES if kind == "sale" else {kind}
        tests.append(lambda row: row.entry_type in kinds)
    if "aclass" in call.parameters and call.parameters["aclass"] != "currency":
        tests.append(lambda row: row.aclass == call.parameters["aclass"])
    if key.query_from or key.query_to:
        tests.append(lambda row: key.sees(row.time))
    return (lambda row: all(test(row) for test in tests)) if tests else None


def query_ledgers(call: Call) -> dict[str, Any]:
    """Answer ``QueryLedgers``; unknown ids are left out."""
    ledger, seen = call.account.ledger, call.seen_until("ledger")
    found = [ledger.entries[ledger.positions[row]] for row in _ids(call, "id") if row in ledger.positions]
    return {
        row.ledger_id: row.wire() for row in found if row.time <= seen and call.account.key.sees(row.time)
    }


def _ids(call: Call, name: str, most: int = ROWS_PER_QUERY) -> list[str]:
    ids = [text.strip() for text in call.parameters.get(name, "").split(",") if text.strip()]
    if not 0 < len(ids) <= most:
        raise ApiError(f"EGeneral:Invalid arguments:{name}" if ids else "EGeneral:Invalid arguments")
    return ids


def trades_history(call: Call) -> dict[str, Any]:
    """Answer ``TradesHistory``."""
    paging.disturb(call)
    trades = sorted(_visible_trades(call), key=lambda trade: trade.time)
    keys = [(trade.time, position) for position, trade in enumerate(trades)]
    lower, upper = paging.window(
        call, keys, {trade.trade_id: position for position, trade in enumerate(trades)}, len(trades)
    )
    page = paging.cut(call, trades[lower:upper])
    return paging.answer(call, "trades", page, lambda trade: (trade.trade_id, _trade(call, trade)))


def query_trades(call: Call) -> dict[str, Any]:
    """Answer ``QueryTrades``; unknown ids are left out."""
    found = {trade.trade_id: trade for trade in _visible_trades(call)}
    return {row: _trade(call, found[row]) for row in _ids(call, "txid") if row in found}


def _visible_trades(call: Call) -> list[Trade]:
    seen, key = call.seen_until("trades"), call.account.key
    return [trade for trade in call.account.trades if trade.time <= seen and key.sees(trade.time)]


def _trade(call: Call, trade: Trade) -> dict[str, Any]:
    return trade.body | {"ledgers": trade.ledger_ids} if call.flag("ledgers") else trade.body


def open_orders(call: Call) -> dict[str, Any]:
    """Answer ``OpenOrders``."""
    seen = call.seen_until("orders")
    rows = [order for order in _orders(call, seen) if order.status(seen) == "open"]
    return {
        "open": {order.order_id: order.wire(seen, with_trades=call.flag("trades")) for order in rows[::-1]}
    }


def closed_orders(call: Call) -> dict[str, Any]:
    """Answer ``ClosedOrders``: newest opened first; an order id cuts at its opening time."""
    paging.disturb(call)
    seen, by = call.seen_until("orders"), call.parameters.get("closetime", "both")
    rows = [order for order in _orders(call, seen) if order.status(seen) not in {"open", "pending"}]
    for name in ("start", "end"):
        text = call.parameters.get(name, "")
        if text in call.account.orders:
            call.parameters[name] = plain(call.account.orders[text].opened)
    lower, upper = _moment(call, "start", Decimal("-Infinity")), _moment(call, "end", Decimal("Infinity"))
    rows = [order for order in rows if any(lower < moment <= upper for moment in _moments(order, by))]
    rows.sort(key=lambda order: order.opened)
    with_trades = call.flag("trades")
    return paging.answer(
        call,
        "closed",
        paging.cut(call, rows),
        lambda order: (order.order_id, order.wire(seen, with_trades=with_trades)),
    )


def _moments(order: Order, by: str) -> list[Decimal]:
    closed = order.closed if order.closed is not None else order.opened
    return {"open": [order.opened], "close": [closed]}.get(by, [order.opened, closed])


def _moment(call: Call, name: str, default: Decimal) -> Decimal:
    text = call.parameters.get(name, "")
    if not text:
        return default
    try:
        return number(text)
    except ValueError as error:
        raise ApiError(f"EGeneral:Invalid arguments:{name}") from error


def query_orders(call: Call) -> dict[str, Any]:
    """Answer ``QueryOrders``; an order that the key does not see yet is simply not there."""
    seen = call.seen_until("orders")
    found = {order.order_id: order for order in _orders(call, seen)}
    wanted = [row for row in _ids(call, "txid", ORDERS_PER_QUERY) if row in found]
    return {row: found[row].wire(seen, with_trades=call.flag("trades")) for row in wanted}


def _orders(call: Call, seen: Decimal) -> list[Order]:
    key, reference, client_id = (
        call.account.key,
        call.parameters.get("userref"),
        call.parameters.get("cl_ord_id"),
    )
    return [
        order
        for order in call.account.orders.values()
        if order.known_from <= seen
        and key.sees(order.opened)
        and (not reference or str(order.userref) == reference)
        and (not client_id or order.client_id == client_id)
    ]


def add_order(call: Call) -> dict[str, Any]:
    """Answer ``AddOrder`` for market and limit orders."""
    account = call.account
    request = _order_request(call)
    now = account.clock.now()
    _check_deadline(call, now)
    account.budget.charge_engine("add", request.pair.pair_id, now)
    trading.validate(account, account.reference, request)
    if call.flag("validate"):
        draft = trading.draft(account, request)
        return {"descr": {"order": draft.describe()}}
    order = trading.place(account, account.reference, request)
    return {"descr": {"order": order.describe()}, "txid": [order.order_id]}


def _order_request(call: Call) -> trading.OrderRequest:
    given = call.parameters
    side, order_type = given.get("type", ""), given.get("ordertype", "")
    if order_type not in {"market", "limit"}:
        raise ApiError("EGeneral:Invalid arguments:ordertype")
    if side not in {"buy", "sell"}:
        raise ApiError("EGeneral:Invalid arguments:type")
    if "pair" not in given:
        raise ApiError("EGeneral:Invalid arguments")
    if given.get("userref") and given.get("cl_ord_id"):
        raise ApiError("EGeneral:Invalid arguments")
    if len(given.get("cl_ord_id", "")) > CLIENT_ID_MAXIMUM:
        raise ApiError("EGeneral:Invalid arguments:cl_ord_id")
    return trading.OrderRequest(
        pair=call.account.reference.pair(given["pair"]),
        side=cast("Literal['buy', 'sell']", side),
        order_type=order_type,
        volume=_amount(given.get("volume", ""), "volume"),
        price=_amount(given.get("price", ""), "price") if order_type == "limit" else ZERO,
        flags=tuple(flag for flag in given.get("oflags", "").split(",") if flag),
        userref=_integer(given.get("userref", ""), "userref"),
        client_id=given.get("cl_ord_id") or None,
        time_in_force=given.get("timeinforce", "GTC").upper(),
        expires=_expiry(given.get("expiretm", "0"), call.account.clock.now()),
    )


def _amount(text: str, name: str) -> Decimal:
    try:
        return number(text)
    except ValueError as error:
        raise ApiError(f"EGeneral:Invalid arguments:{name}") from error


def _expiry(text: str, now: Decimal) -> Decimal:
    """Read ``expiretm``: unix seconds, or ``+`` seconds from now; 0 for never."""
    moment = (now if text.startswith("+") else ZERO) + _amount(text, "expiretm")
    if moment and moment <= now:
        raise ApiError("EGeneral:Invalid arguments:expiretm")
    return moment


def _integer(text: str, name: str) -> int | None:
    try:
        return int(text) if text else None
    except ValueError as error:
        raise ApiError(f"EGeneral:Invalid arguments:{name}") from error


def _check_deadline(call: Call, now: Decimal) -> None:
    """Refuse an order whose ``deadline`` has passed by the time it is looked at."""
    text = call.parameters.get("deadline")
    if not text:
        return
    try:
        deadline = datetime.fromisoformat(text)
    except ValueError as error:
        raise ApiError("EGeneral:Invalid arguments:deadline") from error
    present = datetime.fromtimestamp(0, UTC) + timedelta(microseconds=int(now * 1_000_000))
    if deadline.tzinfo is None:
        deadline = deadline.replace(tzinfo=UTC)
    if deadline < present:
        raise ApiError("EService:Deadline elapsed")
    if deadline > present + timedelta(seconds=60):
        raise ApiError("EGeneral:Invalid arguments:deadline")


def cancel_order(call: Call) -> dict[str, Any]:
    """Answer ``CancelOrder`` by order id, userref or client order id."""
    account, given = call.account, call.parameters
    wanted, client_id = given.get("txid", ""), given.get("cl_ord_id", "")
    if not wanted and not client_id:
        raise ApiError("EGeneral:Invalid arguments")
    found = [
        order
        for order in account.orders.values()
        if order.is_open
        and (order.client_id == client_id if client_id else wanted in {order.order_id, str(order.userref)})
    ]
    if not found:
        raise ApiError("EOrder:Unknown order")
    now = account.clock.now()
    for order in found:
        if order.pair is not None:
            account.budget.charge_engine("cancel", order.pair.pair_id, now, age_seconds=now - order.opened)
        trading.close(account, order, now, reason="User requested")
    return {"count": len(found)}


def get_api_key_info(call: Call) -> dict[str, Any]:
    """Answer ``GetApiKeyInfo``: the truth about the key; times are text here."""
    key = call.account.key
    return {
        "apiKeyName": key.name,
        "apiKey": key.key,
        "nonce": str(key.last_nonce),
        "nonceWindow": key.nonce_window,
        "permissions": list(key.permissions),
        "iban": f"AA{key.key[:2].upper()} N84G SIMU LATE",
        "validUntil": plain(key.valid_until),
        "queryFrom": plain(key.query_from),
        "queryTo": plain(key.query_to),
        "createdTime": plain(key.created),
        "modifiedTime": plain(key.modified),
        "ipAllowlist": list(key.ip_allowlist),
        "lastUsed": plain(key.last_used),
    }


def get_websockets_token(call: Call) -> dict[str, Any]:
    """Answer ``GetWebSocketsToken``, although there is no websocket to use it on."""
    return {"token": call.account.identifiers.funding(), "expires": TOKEN_SECONDS}


ENDPOINTS: Final[dict[str, Callable[[Call], Any]]] = {
    "Balance": balance,
    "BalanceEx": balance_ex,
    "TradeBalance": trade_balance,
    "OpenPositions": margin.open_positions,
    "Ledgers": ledgers,
    "QueryLedgers": query_ledgers,
    "TradesHistory": trades_history,
    "QueryTrades": query_trades,
    "OpenOrders": open_orders,
    "ClosedOrders": closed_orders,
    "QueryOrders": query_orders,
    "AddOrder": add_order,
    "CancelOrder": cancel_order,
    "GetApiKeyInfo": get_api_key_info,
    "GetWebSocketsToken": get_websockets_token,
}
