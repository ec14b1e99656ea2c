"""Margin positions: opened, rolled over, closed in parts, settled, liquidated; and ``OpenPositions``.

Invariants:
1. A position is what its opening trade made of it, less what later trades closed of it, at any moment.
2. It never moves the asset that it is about, unless it is settled: the ledger shows fees and results only.
3. Every change of a position has a ledger row, under the refid of the trade that made it; a rollover's row
   carries the refid of the opening trade.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from kraken_sim.account import events
from kraken_sim.account.ledger import Posting
from kraken_sim.account.margin_position import FEE_PERCENT, Closing, MarginPosition
from kraken_sim.account.order import HUNDRED, NO_POSITION
from kraken_sim.amounts import ZERO, fixed, half_up
from kraken_sim.errors import ApiError, ControlError
from kraken_sim.market import trading

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from kraken_sim.account.account import Account
    from kraken_sim.account.order import Order, Trade
    from kraken_sim.control.models import EventBody
    from kraken_sim.endpoints.call import Call


def open_positions(call: Call) -> Any:  # noqa: ANN401 - a map, or a list when consolidated
    """Answer ``OpenPositions``: a map by position, or with ``consolidation=market`` a list by market."""
    seen, reference = call.seen_until("trades"), call.account.reference
    wanted = {text.strip() for text in call.parameters.get("txid", "").split(",") if text.strip()}
    consolidation = call.parameters.get("consolidation", "")
    if consolidation not in {"", "market"}:
        raise ApiError("EGeneral:Invalid arguments:consolidation")
    shown = [
        position
        for position in call.account.positions.values()
        if position.is_open(seen) and (not wanted or position.position_id in wanted)
    ]
    counted = call.flag("docalcs")
    rows = {
        position.position_id: position.wire(
            seen, reference.prices.get(position.pair.pair_id) if counted else None
        )
        for position in shown
    }
    return _by_market(shown, rows) if consolidation else rows


def _by_market(shown: Sequence[MarginPosition], rows: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Add positions of one market, side and leverage up; the list has no ids."""
    grouped: dict[tuple[str, str, int], list[MarginPosition]] = {}
    for position in shown:
        key = (position.pair.pair_id, position.order.side, position.leverage)
        grouped.setdefault(key, []).append(position)
    return [
        {
            "pair": pair,
            "positions": str(len(positions)),
            "type": side,
            "leverage": f"{leverage:.8f}",
            **{
                name: _total([rows[position.position_id] for position in positions], name)
                for name in ("cost", "fee", "vol", "vol_closed", "margin", "value", "net")
                if name in rows[positions[0].position_id]
            },
        }
        for (pair, side, leverage), positions in grouped.items()
    ]


def _total(rows: Sequence[dict[str, Any]], name: str) -> str:
    total = sum((Decimal(row[name]) for row in rows), ZERO)
    return f"+{total:.8f}" if name == "net" and total >= ZERO else f"{total:.8f}"


def totals(
    account: Account, moment: Decimal, in_quote: Callable[[str, Decimal], Decimal]
) -> dict[str, Decimal]:
    """Sum what ``TradeBalance`` says of open positions: margin used, result, cost and value."""
    sums = dict.fromkeys(("m", "n", "c", "v"), ZERO)
    for position in account.positions.values():
        if not position.is_open(moment):
            continue
        left = position.volume - position.closed(moment)
        price = account.reference.prices.get(position.pair.pair_id, position.price)
        share = left / position.volume
        for name, amount in (
            ("m", position.cost / position.leverage * share),
            ("n", position.result(left, price)),
            ("c", position.cost * share),
            ("v", left * price),
        ):
            sums[name] += in_quote(position.pair.quote, amount)
    return sums


def opened(account: Account, event: EventBody, request: trading.OrderRequest) -> dict[str, Any]:
    """Open a position: an order, its trade, and a margin row of nothing but the fee."""
    order = _order(account, event, request)
    fill = trading.Execution(
        volume=request.volume,
        price=request.price,
        fee_percent=event.fee_percent or FEE_PERCENT,
        profit=ZERO,
        collateral=event.to_asset,
    )
    trade = trading.execute(account, order, fill, event.at)
    trade.body |= {
        "misc": "initiated",
        "margin": fixed(trade.cost / event.leverage, request.pair.cost_decimals),
    }
    trade.body |= {"leverage": str(event.leverage), "posstatus": "open"}
    account.positions[trade.trade_id] = MarginPosition(
        trade.trade_id, order, request.pair, trade.time, trade.volume, trade.cost, trade.fee, event.leverage
    )
    return _told(trade)


def rolled_over(account: Account, event: EventBody, position: MarginPosition) -> list[str]:
    """Charge four hours of a position."""
    percent = position.cost * (position.left / position.volume) * FEE_PERCENT / HUNDRED
    fee = half_up(event.fee or percent, position.pair.cost_decimals)
    position.fee += fee
    return events.margin(
        account,
        kind="rollover",
        asset=position.pair.quote,
        amount=ZERO,
        fee=fee,
        refid=position.position_id,
        at=event.at,
    )


def closed(account: Account, event: EventBody, position: MarginPosition) -> dict[str, Any]:
    """Close a position or part of it by an opposite trade; its result and fee are one margin row."""
    volume, price = _extent(event, position, account)
    request = _opposite(position, volume, price)
    fill = trading.Execution(
        volume=volume,
        price=price,
        fee_percent=event.fee_percent or FEE_PERCENT,
        profit=position.result(volume, price),
        position=position.position_id,
        collateral=event.to_asset,
    )
    if event.kind == "liquidation":
        trade = trading.liquidate(account, request, fill, event.at)
    else:
        trade = trading.execute(account, _order(account, event, request), fill, event.at)
    position.closings.append(Closing(trade.time, volume))
    return _told(trade)


def settled(account: Account, event: EventBody, position: MarginPosition) -> dict[str, Any]:
    """Settle a position in kind: notional against asset, two rows under the settling trade's refid."""
    volume, _ = _extent(event, position, account)
    pair, sign = position.pair, 1 if position.is_long else -1
    moment, refid = account.next_moment(event.at), account.identifiers.trade()
    legs = [
        Posting(pair.quote, -sign * position.price * volume),
        Posting(pair.base, sign * volume, delay_seconds=events.LEG_GAP_SECONDS),
    ]
    ids = events.write(account, refid=refid, entry_type="settled", postings=legs, at=event.at)
    position.closings.append(Closing(moment, volume))
    return {"ledger_ids": ids, "trade": refid}


def collateral_conversion(account: Account, event: EventBody) -> list[str]:
    """Change one currency into another that a margin fee is taken in: two rows under one refid."""
    if not event.asset or not event.to_asset or event.amount is None:
        raise ControlError("expected asset, amount and to_asset for an event of kind collateral_conversion")
    return events.write(
        account,
        refid=event.refid or account.identifiers.trade(),
        entry_type="collateralconversion",
        postings=[
            Posting(event.asset, -event.amount),
            Posting(event.to_asset, event.to_amount or event.amount),
        ],
        at=event.at,
    )


def _order(account: Account, event: EventBody, request: trading.OrderRequest) -> Order:
    order = trading.draft(account, request, event.at)
    order.order_id, order.source = account.identifiers.order(), "website"
    order.leverage = f"{event.leverage}:1"
    account.orders[order.order_id] = order
    return order


def _extent(event: EventBody, position: MarginPosition, account: Account) -> tuple[Decimal, Decimal]:
    volume = event.volume or position.left
    if not ZERO < volume <= position.left:
        raise ControlError(
            f"expected at most {position.left} to close of {position.position_id}, was {volume}"
        )
    price = event.price or account.reference.prices.get(position.pair.pair_id)
    return volume, price or position.price


def _opposite(position: MarginPosition, volume: Decimal, price: Decimal) -> trading.OrderRequest:
    return trading.OrderRequest(
        pair=position.pair,
        side="sell" if position.is_long else "buy",
        order_type="market",
        volume=volume,
        price=price,
    )


def _told(trade: Trade) -> dict[str, Any]:
    return {"ledger_ids": trade.ledger_ids, "trade": trade.trade_id, "order": trade.order_id}


def position_of(account: Account, event: EventBody) -> MarginPosition | None:
    """Find the position that an event is about; None where it is about none on file."""
    return account.positions.get(event.refid or NO_POSITION)
