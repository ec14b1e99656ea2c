"""From the control API's event names to what they write."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeVar

from kraken_sim.account import events, funding, margin
from kraken_sim.account.ledger import Posting
from kraken_sim.account.order import NO_POSITION
from kraken_sim.amounts import ZERO
from kraken_sim.errors import ApiError, ControlError
from kraken_sim.market import matching, trading

if TYPE_CHECKING:
    from collections.abc import Callable
    from decimal import Decimal

    from kraken_sim.account.account import Account
    from kraken_sim.control.models import EventBody

Value = TypeVar("Value")


def happen(account: Account, event: EventBody) -> dict[str, Any]:
    """Write the rows of an event; return their ids, and the order and trade if there are any.

    Raises:
        ControlError: for a kind that does not exist, or a field that it needs and lacks.
    """
    if telling := _TELLING.get(event.kind):
        return telling(account, event)
    make = _KINDS.get(event.kind)
    if make is None:
        raise ControlError(f"expected a kind out of {sorted([*_KINDS, *_TELLING])}, was {event.kind!r}")
    return {"ledger_ids": make(account, event)}


def _need(value: Value | None, name: str, event: EventBody) -> Value:
    if value is None:
        raise ControlError(f"expected {name} for an event of kind {event.kind}")
    return value


def _coin(event: EventBody) -> tuple[str, Decimal]:
    return _need(event.asset, "asset", event), _need(event.amount, "amount", event)


def _target(event: EventBody) -> tuple[str, Decimal]:
    return _need(event.to_asset, "to_asset", event), _need(event.to_amount, "to_amount", event)


def _request(account: Account, event: EventBody) -> trading.OrderRequest:
    try:
        pair = account.reference.pair(_need(event.pair, "pair", event))
    except ApiError as error:
        raise ControlError(str(error)) from error
    price = event.price or account.reference.prices.get(pair.pair_id)
    return trading.OrderRequest(
        pair=pair,
        side=event.side,
        order_type=event.ordertype,
        volume=_need(event.volume, "volume", event),
        price=_need(price, "price", event),
    )


def _trade(account: Account, event: EventBody) -> dict[str, Any]:
    """Fill an order that came from nowhere near the API, whatever the market or the funds say."""
    request = _request(account, event)
    order = trading.draft(account, request, event.at)
    order.order_id, order.source = account.identifiers.order(), "website"
    account.orders[order.order_id] = order
    fill = trading.Execution(
        volume=request.volume,
        price=request.price,
        fee_mode=event.fee_mode,
        base_fee=event.base_fee,
        fee_percent=event.fee_percent,
    )
    trade = trading.execute(account, order, fill, event.at)
    return {"ledger_ids": trade.ledger_ids, "trade": trade.trade_id, "order": order.order_id}


def _manual_order(account: Account, event: EventBody) -> dict[str, Any]:
    """Place an order on the website: same book, no userref and no client order id."""
    request = _request(account, event)
    try:
        trading.validate(account, account.reference, request)
    except ApiError as error:
        raise ControlError(str(error)) from error
    order = matching.place(account, account.reference, request, source="website")
    return {
        "ledger_ids": [row for trade in order.trades for row in trade.ledger_ids],
        "trade": order.trades[0].trade_id if order.trades else None,
        "order": order.order_id,
    }


def _liquidation(account: Account, event: EventBody) -> dict[str, Any]:
    """Close a margin position by force: one on file, or one of which ``amount`` is what it made."""
    if position := margin.position_of(account, event):
        return margin.closed(account, event, position)
    request = _request(account, event)
    fill = trading.Execution(
        volume=request.volume,
        price=request.price,
        fee_percent=event.fee_percent,
        profit=_need(event.amount, "amount", event),
        position=event.refid or NO_POSITION,
    )
    trade = trading.liquidate(account, request, fill, event.at)
    return {"ledger_ids": trade.ledger_ids, "trade": trade.trade_id, "order": trade.order_id}


def _withdrawal_pending(account: Account, event: EventBody) -> dict[str, Any]:
    asset, amount = _coin(event)
    transfer = funding.request(
        account, kind="withdrawal", asset=asset, amount=amount, fee=event.fee, at=event.at
    )
    ids = funding.book(account, transfer, event.at) if event.ledger_row == "at_request" else []
    return {"ledger_ids": ids, "refid": transfer.refid}


def _deposit_pending(account: Account, event: EventBody) -> dict[str, Any]:
    asset, amount = _coin(event)
    transfer = funding.request(
        account, kind="deposit", asset=asset, amount=amount, fee=event.fee, at=event.at
    )
    return {"ledger_ids": [], "refid": transfer.refid}


def _withdrawal_done(account: Account, event: EventBody) -> list[str]:
    return funding.finish(account, "withdrawal", _need(event.refid, "refid", event), event.at)


def _deposit_done(account: Account, event: EventBody) -> list[str]:
    return funding.finish(account, "deposit", _need(event.refid, "refid", event), event.at)


def _withdrawal_reversed(account: Account, event: EventBody) -> list[str]:
    if event.refid:
        return funding.reverse(account, event.refid, event.at)
    return events.withdrawal_reversed(account, *_coin(event), event.fee, event.at)


def _transfer_held(account: Account, event: EventBody) -> list[str]:
    return funding.hold(account, _need(event.refid, "refid", event))


def _instant_buy(account: Account, event: EventBody) -> list[str]:
    return events.instant_buy(account, spend=_coin(event), receive=_target(event), fee=event.fee, at=event.at)


def _dust_sweep(account: Account, event: EventBody) -> list[str]:
    return events.dust_sweep(account, event.assets, _target(event), event.at)


def _earn_move(account: Account, event: EventBody) -> list[str]:
    source, amount = _coin(event)
    target, subtype = _need(event.to_asset, "to_asset", event), event.kind.removeprefix("earn_")
    return events.earn_move(
        account, source=source, target=target, amount=amount, subtype=subtype, at=event.at
    )


def _legacy_stake(account: Account, event: EventBody) -> list[str]:
    source, amount = _coin(event)
    target = _need(event.to_asset, "to_asset", event)
    return events.legacy_stake(account, source=source, target=target, amount=amount, at=event.at)


def _adjustment(account: Account, event: EventBody) -> list[str]:
    asset, amount = _coin(event)
    postings = [Posting(asset, amount, event.fee)]
    if event.to_asset:
        postings.append(Posting(*_target(event)))
    return events.adjustment(account, postings, event.at)


def _withdrawal_failed(account: Account, event: EventBody) -> list[str]:
    return funding.fail(account, _need(event.refid, "refid", event), event.at)


def _margin_open(account: Account, event: EventBody) -> dict[str, Any]:
    if event.pair is None:
        return {"ledger_ids": _margin(account, event)}
    return margin.opened(account, event, _request(account, event))


def _margin_close(account: Account, event: EventBody) -> dict[str, Any]:
    if position := margin.position_of(account, event):
        return margin.closed(account, event, position)
    return {"ledger_ids": _margin(account, event)}


def _settled(account: Account, event: EventBody) -> dict[str, Any]:
    position = _need(margin.position_of(account, event), "the refid of an open position", event)
    return margin.settled(account, event, position)


def _rollover(account: Account, event: EventBody) -> list[str]:
    if position := margin.position_of(account, event):
        return margin.rolled_over(account, event, position)
    return _margin(account, event)


def _margin(account: Account, event: EventBody) -> list[str]:
    """Write a margin row alone, of a position that is not on file."""
    return events.margin(
        account,
        kind=event.kind,
        asset=_need(event.asset, "asset", event),
        amount=event.amount if event.amount is not None and event.kind == "margin_close" else ZERO,
        fee=event.fee,
        refid=event.refid,
        at=event.at,
    )


_KINDS: Final[dict[str, Callable[[Account, EventBody], list[str]]]] = {
    "deposit": lambda account, event: events.deposit(account, *_coin(event), event.fee, event.at),
    "withdrawal": lambda account, event: events.withdrawal(account, *_coin(event), event.fee, event.at),
    "withdrawal_done": _withdrawal_done,
    "withdrawal_reversed": _withdrawal_reversed,
    "deposit_done": _deposit_done,
    "transfer_held": _transfer_held,
    "instant_buy": _instant_buy,
    "dust_sweep": _dust_sweep,
    "staking_reward": lambda account, event: events.staking_reward(
        account, *_coin(event), event.fee, event.at
    ),
    "legacy_stake": _legacy_stake,
    "earn_reward": lambda account, event: events.earn_reward(account, *_coin(event), event.fee, event.at),
    "earn_allocation": _earn_move,
    "earn_autoallocation": _earn_move,
    "earn_deallocation": _earn_move,
    "airdrop": lambda account, event: events.airdrop(account, *_coin(event), event.at),
    "adjustment": _adjustment,
    "rollover": _rollover,
    "collateral_conversion": margin.collateral_conversion,
    "withdrawal_failed": _withdrawal_failed,
}
#: Those that tell more than their ledger rows.
_TELLING: Final[dict[str, Callable[[Account, EventBody], dict[str, Any]]]] = {
    "trade": _trade,
    "manual_order": _manual_order,
    "liquidation": _liquidation,
    "margin_open": _margin_open,
    "margin_close": _margin_close,
    "settled": _settled,
    "withdrawal_pending": _withdrawal_pending,
    "deposit_pending": _deposit_pending,
}
