"""The private endpoints: views over the books; those that write orders are in ``orders.py``.

Invariant: a view never changes anything but counters; what a key may not see is left out without a word.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from kraken_sim.account import margin
from kraken_sim.account.order import HUNDRED
from kraken_sim.amounts import ZERO, fixed, number, plain
from kraken_sim.endpoints import orders as order_endpoints
from kraken_sim.endpoints import units
from kraken_sim.errors import ApiError
from kraken_sim.http import paging
from kraken_sim.market.reference import CURRENCY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from kraken_sim.account.ledger import Entry
    from kraken_sim.account.order import Order, Trade
    from kraken_sim.endpoints.call import Call

SALES: Final = frozenset({"spend", "receive"})
ORDERS_PER_QUERY: Final = 50
ROWS_PER_QUERY: Final = 20
TOKEN_SECONDS: Final = 900


def balance(call: Call) -> dict[str, Any]:
    """Answer ``Balance``: cash, with what open orders hold still in it."""
    reference = call.account.reference
    return {
        reference.balance_code(asset): fixed(
            amount * units.multiplier(call, asset), reference.decimals(asset)
        )
        for asset, amount in _cash(call, call.seen_until("balance")).items()
    }


def balance_ex(call: Call) -> dict[str, Any]:
    """Answer ``BalanceEx``: cash and what open orders hold of it."""
    seen, reference = call.seen_until("balance"), call.account.reference
    cash, held = _cash(call, seen), call.account.holds(seen)
    return {
        reference.balance_code(asset): {
            name: fixed(of.get(asset, ZERO) * units.multiplier(call, asset), reference.decimals(asset))
            for name, of in (("balance", cash), ("hold_trade", held))
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
    return paging.answer(call, "ledger", page, lambda row: (row.ledger_id, units.in_units(call, row).wire()))


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
    aclass = call.parameters.get("aclass", CURRENCY)
    if call.account.ledger.classes - {aclass}:
        tests.append(lambda row: row.aclass == aclass)
    if key.query_from or key.query_to:
        tests.append(lambda row: key.sees(row.time))
    return (lambda row: all(test(row) for test in tests)) if tests else None


def query_ledgers(call: Call) -> dict[str, Any]:
    """Answer ``QueryLedgers``; unknown ids are left out."""
    ledger, seen = call.account.ledger, call.seen_until("ledger")
    found = [ledger.entries[ledger.positions[row]] for row in _ids(call, "id") if row in ledger.positions]
    return {
        row.ledger_id: units.in_units(call, row).wire()
        for row in found
        if row.time <= seen and call.account.key.sees(row.time)
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
    wanted = _ids(call, "txid")
    found = {trade.trade_id: trade for trade in _visible_trades(call, frozenset(wanted))}
    return {row: _trade(call, found[row]) for row in wanted if row in found}


def _visible_trades(call: Call, wanted: frozenset[str] | None = None) -> list[Trade]:
    """List the trades that can be seen: all of them, or those that are wanted."""
    account = call.account
    seen, key, orders = call.seen_until("trades"), account.key, account.orders
    return [
        trade
        for trade in account.trades
        if (wanted is None or trade.trade_id in wanted)
        and trade.time <= call.seen_of("trades", orders.get(trade.order_id), seen)
        and key.sees(trade.time)
    ]


def _trade(call: Call, trade: Trade) -> dict[str, Any]:
    return trade.body | {"ledgers": trade.ledger_ids} if call.flag("ledgers") else trade.body


def open_orders(call: Call) -> dict[str, Any]:
    """Answer ``OpenOrders``."""
    seen = call.seen_until("orders")
    rows = [(order, moment) for order, moment in _orders(call, seen) if order.status(moment) == "open"]
    with_trades = call.flag("trades")
    return {
        "open": {order.order_id: order.wire(moment, with_trades=with_trades) for order, moment in rows[::-1]}
    }


def closed_orders(call: Call) -> dict[str, Any]:
    """Answer ``ClosedOrders``: newest opened first; an order id cuts at its opening time."""
    paging.disturb(call)
    seen, by = call.seen_until("orders"), call.parameters.get("closetime", "both")
    rows = [
        (order, moment)
        for order, moment in _orders(call, seen)
        if order.status(moment) not in {"open", "pending"}
    ]
    for name in ("start", "end"):
        text = call.parameters.get(name, "")
        if text in call.account.orders:
            call.parameters[name] = plain(call.account.orders[text].opened)
    lower, upper = _moment(call, "start", Decimal("-Infinity")), _moment(call, "end", Decimal("Infinity"))
    rows = [row for row in rows if any(lower < moment <= upper for moment in _moments(row[0], by))]
    rows.sort(key=lambda row: row[0].opened)
    with_trades = call.flag("trades")
    return paging.answer(
        call,
        "closed",
        paging.cut(call, rows),
        lambda row: (row[0].order_id, row[0].wire(row[1], with_trades=with_trades)),
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
    wanted = _ids(call, "txid", ORDERS_PER_QUERY)
    call.parameters.pop("cl_ord_id", None)  # the other two know this filter, this one does not
    known = [call.account.orders[row] for row in wanted if row in call.account.orders]
    found = _orders(call, call.seen_until("orders"), known)
    return {order.order_id: order.wire(seen, with_trades=call.flag("trades")) for order, seen in found}


def _orders(call: Call, seen: Decimal, known: Iterable[Order] | None = None) -> list[tuple[Order, Decimal]]:
    """List the orders that can be seen and pass the filters, each with the moment it is seen at."""
    key, userref = call.account.key, call.parameters.get("userref")
    client_id = call.parameters.get("cl_ord_id")
    orders = call.account.orders.values() if known is None else known
    found = [
        (order, call.seen_of("orders", order, seen))
        for order in orders
        if (not client_id or order.client_id == client_id)
        and (not userref or str(order.userref) == userref)
        and key.sees(order.opened)
    ]
    return [(order, moment) for order, moment in found if order.known_from <= moment]


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
    "GetApiKeyInfo": get_api_key_info,
    "GetWebSocketsToken": get_websockets_token,
    **order_endpoints.ENDPOINTS,
}
