"""Kraken's markets, orders and trades into domain values, as strictly as ``wire``."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, cast

from kraken_recon.kraken.parse_account import ABSENT, Reader, pair_by_pair, parse_pair
from kraken_recon.orders.rules.bounds import MarketPrice
from kraken_recon.orders.rules.order import ENDED_AT_EXCHANGE, Fill, OrderType, Side
from kraken_recon.orders.rules.reports import REPORTED_STATUSES, ReportedOrder
from kraken_recon.orders.rules.sizing import Market, Markets
from kraken_recon.plain_text import LINE_CHARACTERS_MAX, one_line
from kraken_recon.values.money import ZERO

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

_PLACED_TYPES: Final = frozenset(OrderType) - {OrderType.OTHER}
SIDES: Final = frozenset(side.value for side in Side)
_TRIGGERED: Final = frozenset({OrderType.STOP_LOSS, OrderType.TAKE_PROFIT})


def parse_markets(result: object, *, account: str = "") -> Markets:
    """Read the result of ``AssetPairs``: markets of every venue, without dark pools (``.d``); never none."""
    read = Reader(account, "AssetPairs")
    markets, odd = pair_by_pair(read, result, _parse_market)
    if not markets:
        read.refuse("result", "at least one market", result)
    rows = cast("Mapping[str, Mapping[str, object]]", result)
    aliases = {
        name: pair_id
        for pair_id in sorted(markets, reverse=True)
        if markets[pair_id].is_international and isinstance(name := rows[pair_id].get("wsname"), str)
    }
    named = {
        name: reason for pair_id, reason in odd.items() for name in (pair_id, *_names_told(rows.get(pair_id)))
    }
    return Markets(markets.values(), aliases, named)


def _names_told(fields: object) -> Iterator[str]:
    """Find the other names of a market that cannot be read."""
    if isinstance(fields, dict):
        yield from (name for key in ("altname", "wsname") if isinstance(name := fields.get(key), str))


def _parse_market(read: Reader, pair_id: str, fields: dict[str, Any]) -> Market:
    field = f"result.{pair_id}"
    pair = parse_pair(read, pair_id, fields)
    price_decimals = _whole(read, fields.get("pair_decimals", ABSENT), f"{field}.pair_decimals")
    step = Decimal(1).scaleb(-price_decimals)
    return Market(
        pair_id=pair_id,
        altname=read.name(fields.get("altname", ABSENT), f"{field}.altname"),
        base=pair.base,
        quote=pair.quote,
        venue=pair.venue,
        status=read.text(fields.get("status", "online"), f"{field}.status"),
        lot_decimals=_whole(read, fields.get("lot_decimals", ABSENT), f"{field}.lot_decimals"),
        price_decimals=price_decimals,
        # Older replies leave the minimums out.
        order_minimum=read.amount(fields.get("ordermin", "0"), f"{field}.ordermin"),
        cost_minimum=read.amount(fields.get("costmin", "0"), f"{field}.costmin"),
        tick_size=read.amount(fields.get("tick_size", format(step, "f")), f"{field}.tick_size") or step,
        fee_percent=_first_fee(read, fields.get("fees"), f"{field}.fees"),
    )


def _first_fee(read: Reader, value: object, field: str) -> Decimal:
    """Read the taker fee without any discount: the most that an order may be charged, in percent."""
    if not isinstance(value, list) or not value:
        return ZERO
    step = value[0]
    if not isinstance(step, list) or len(step) != 2 or isinstance(step[1], bool):  # noqa: PLR2004 - a pair
        read.refuse(field, "a list of volume and percent", step)
    if not isinstance(step[1], (int, Decimal)):
        read.refuse(field, "a percentage", step[1])
    return Decimal(step[1])


def _whole(read: Reader, value: object, field: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 18:  # noqa: PLR2004 - digits
        read.refuse(field, "a number of digits", value)
    return value


def parse_orders(
    result: object, *, markets: Markets, account: str, endpoint: str, field: str = "result"
) -> dict[str, ReportedOrder]:
    """Read a map of order ids to orders."""
    read = Reader(account, endpoint)
    return {
        txid: _parse_order(read, read.name(txid, "an order id"), row, f"{field}.{txid}", markets)
        for txid, row in read.mapping(result, field).items()
    }


def _parse_order(read: Reader, txid: str, value: object, field: str, markets: Markets) -> ReportedOrder:
    row = read.mapping(value, field)
    description = read.mapping(row.get("descr", ABSENT), f"{field}.descr")
    status = read.choice(
        row.get("status", ABSENT), f"{field}.status", REPORTED_STATUSES, "a state of an order"
    )
    order_type = _order_type(read.text(description.get("ordertype", ABSENT), f"{field}.descr.ordertype"))
    price = read.amount(description.get("price", "0"), f"{field}.descr.price") or None
    trades = read.listing(row.get("trades") or [], f"{field}.trades", "a list of trade ids")
    volume, executed = (read.amount(row.get(name, ABSENT), f"{field}.{name}") for name in ("vol", "vol_exec"))
    flags = frozenset(filter(None, read.text(row.get("oflags") or "", f"{field}.oflags").split(",")))
    # A volume in the quote currency is what was to be spent, and prices round.
    if executed < ZERO or (executed > volume and "viqc" not in flags):
        read.refuse(f"{field}.vol_exec", f"a part of {volume}", str(executed))
    cost = read.amount(row.get("cost", ABSENT), f"{field}.cost")
    price_average = read.amount(row.get("price", "0"), f"{field}.price")
    # What is executed of dust may cost nothing, and still has its price.
    is_paid = cost > ZERO or (executed > ZERO and price_average > ZERO)
    if is_paid != (executed > ZERO):
        read.refuse(f"{field}.vol_exec", f"what was executed for {cost}", str(executed))
    order = ReportedOrder(
        kraken_txid=txid,
        cl_ord_id=read.text(row["cl_ord_id"], f"{field}.cl_ord_id") if row.get("cl_ord_id") else None,
        status_reported=status,
        pair=markets.name_of(read.name(description.get("pair", ABSENT), f"{field}.descr.pair")),
        side=_side(read, description.get("type", ABSENT), f"{field}.descr.type"),
        order_type=order_type,
        volume=volume,
        limit_price=price if order_type is OrderType.LIMIT else None,
        trigger_price=price if order_type in _TRIGGERED else None,
        volume_executed=executed,
        cost=cost,
        fee=read.amount(row.get("fee", ABSENT), f"{field}.fee"),
        price_average=price_average,
        opened_at=read.time(row.get("opentm", ABSENT), f"{field}.opentm"),
        closed_at=_moment_or_none(read, row.get("closetm"), f"{field}.closetm"),
        expires_at=_moment_or_none(read, row.get("expiretm"), f"{field}.expiretm"),
        reason=_free_text(read, row.get("reason"), f"{field}.reason"),
        flags=flags,
        trade_ids=tuple(read.name(trade, f"{field}.trades") for trade in trades),
    )
    # In every recording an order that has ended says when, and no other does.
    if (order.closed_at is not None) != (order.status in ENDED_AT_EXCHANGE):
        wanted = "no time" if order.closed_at else "a time"
        read.refuse(f"{field}.closetm", f"{wanted} with the status {status}", row.get("closetm"))
    return order


def _free_text(read: Reader, value: object, field: str) -> str | None:
    """Read words for people on one line; a recorded one was broken over two."""
    if value is not None and not isinstance(value, str):
        read.refuse(field, "text", value)
    return one_line(" ".join(value[:LINE_CHARACTERS_MAX].split())) if value else None


def _order_type(text: str) -> OrderType:
    return OrderType(text) if text in _PLACED_TYPES else OrderType.OTHER


def _side(read: Reader, value: object, field: str) -> Side:
    return Side(read.choice(value, field, SIDES, "buy or sell"))


def _moment_or_none(read: Reader, value: object, field: str) -> datetime | None:
    return read.time(value, field) if value else None


def parse_trades(
    result: object, *, markets: Markets, account: str, endpoint: str, field: str = "result"
) -> dict[str, Fill]:
    """Read a map of trade ids to trades."""
    read = Reader(account, endpoint)
    return {
        trade_id: _parse_trade(read, read.name(trade_id, "a trade id"), row, f"{field}.{trade_id}", markets)
        for trade_id, row in read.mapping(result, field).items()
    }


def _parse_trade(read: Reader, trade_id: str, value: object, field: str, markets: Markets) -> Fill:
    row = read.mapping(value, field)
    maker = row.get("maker")
    return Fill(
        trade_id=trade_id,
        kraken_txid=read.name(row.get("ordertxid", ABSENT), f"{field}.ordertxid"),
        pair=markets.name_of(read.name(row.get("pair", ABSENT), f"{field}.pair")),
        side=_side(read, row.get("type", ABSENT), f"{field}.type"),
        trade_time=read.time(row.get("time", ABSENT), f"{field}.time"),
        price=read.amount(row.get("price", ABSENT), f"{field}.price"),
        volume=read.amount(row.get("vol", ABSENT), f"{field}.vol"),
        cost=read.amount(row.get("cost", ABSENT), f"{field}.cost"),
        fee=read.amount(row.get("fee", ABSENT), f"{field}.fee"),
        is_maker=maker if isinstance(maker, bool) else None,
    )


def parse_market_prices(result: object, *, account: str = "") -> dict[str, MarketPrice]:
    """Read the result of ``Ticker`` by pair id; a side without an offer has the last price."""
    return pair_by_pair(Reader(account, "Ticker"), result, _parse_market_price)[0]


def _parse_market_price(read: Reader, pair_id: str, fields: dict[str, Any]) -> MarketPrice:
    def first(name: str) -> Decimal:
        field, expected = f"result.{pair_id}.{name}", "a list that begins with a price"
        values = read.listing(fields.get(name, ABSENT), field, expected)
        if not values:
            read.refuse(field, expected, values)
        return read.amount(values[0], field)

    last = first("c")
    return MarketPrice(last, first("a") or last, first("b") or last)


def parse_placed(result: object, *, account: str) -> str | None:
    """Read the result of ``AddOrder``: the order's id; None for a dry run, which has none."""
    read = Reader(account, "AddOrder")
    fields = read.mapping(result, "result")
    read.mapping(fields.get("descr", ABSENT), "result.descr")
    txids = fields.get("txid")
    if txids is None:
        return None
    if not isinstance(txids, list) or len(txids) != 1:
        read.refuse("result.txid", "a list of one order id", txids)
    return read.name(txids[0], "result.txid")


def parse_members(result: object, name: str, *, account: str, endpoint: str) -> object:
    """Take one member out of a result."""
    return Reader(account, endpoint).mapping(result, "result").get(name, ABSENT)
