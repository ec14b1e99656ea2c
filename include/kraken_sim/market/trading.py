"""Orders and fills: validation with Kraken's texts, two ledger legs per fill; ``matching`` says when.

Invariants:
1. A refused order leaves no trace but the engine counter.
2. Each leg is the trade's volume or cost rounded half-up to its own asset's decimals.
3. The base leg is written before the quote leg, both 5 to 165 ms after the trade.
4. A fill that closes a margin position has no legs: one row tells profit or loss, and the fee.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, Literal

from kraken_sim.account.account import Account, reserve
from kraken_sim.account.ledger import Posting
from kraken_sim.account.order import HUNDRED, NO_POSITION, Order, Trade
from kraken_sim.amounts import ZERO, decimals_of, fixed, half_up
from kraken_sim.errors import ApiError, ControlError
from kraken_sim.faults.wrong_bookings import file_trade, wrong_rows
from kraken_sim.market.order_types import ORDER_TYPES

if TYPE_CHECKING:
    from kraken_sim.market.order_types import OrderType
    from kraken_sim.market.reference import Pair, Reference

FeeMode = Literal["quote", "base", "both", "kfee"]

#: No recording shows this refusal; kept in one place so that it is easy to correct.
DUPLICATE_CLIENT_ID: Final = "EGeneral:Invalid arguments:cl_ord_id"
KFEE_PER_USD: Final = 100
#: Of every simulated margin position.
LEVERAGE: Final = 2


@dataclass(frozen=True, slots=True)
class OrderRequest:
    """An order as asked for, already read."""

    pair: Pair
    side: Literal["buy", "sell"]
    order_type: str
    volume: Decimal
    price: Decimal
    flags: tuple[str, ...] = ()
    userref: int | None = None
    client_id: str | None = None
    time_in_force: str = "GTC"
    expires: Decimal = ZERO
    price2: Decimal = ZERO

    @property
    def kind(self) -> OrderType:
        """What its ``ordertype`` means."""
        return ORDER_TYPES[self.order_type]

    @property
    def prices(self) -> tuple[Decimal, ...]:
        """The prices that it names: trigger, limit, both or none."""
        named = (self.price, self.price2)
        return named[: bool(self.kind.trigger) + self.kind.is_limited]


@dataclass(frozen=True, slots=True)
class Execution:
    """One fill to be booked."""

    volume: Decimal
    price: Decimal
    is_maker: bool = False
    fee_mode: FeeMode = "quote"
    base_fee: Decimal | None = None
    fee_percent: Decimal | None = None
    profit: Decimal | None = None  # set when the fill closes a margin position
    position: str = NO_POSITION
    collateral: str | None = None  # the currency that a margin fee and loss are taken in, if not the quote


def validate(account: Account, reference: Reference, request: OrderRequest) -> None:
    """Refuse what Kraken would refuse.

    Raises:
        ApiError: with the text of the first rule that is broken.
    """
    pair = request.pair
    _validate_market_state(request)
    if request.volume <= ZERO or decimals_of(request.volume) > pair.lot_decimals:
        raise ApiError("EGeneral:Invalid arguments:volume")
    for price in request.prices:
        validate_price(pair, price)
    if request.volume < pair.minimum_volume:
        raise ApiError("EOrder:Order minimum not met")
    market = reference.prices.get(pair.pair_id)
    if market is None and request.order_type != "limit":
        raise ApiError("EService:Unavailable")
    price = request.prices[-1] if request.prices else market or ZERO
    if request.volume * price < pair.minimum_cost:
        raise ApiError("EOrder:Cost minimum not met")
    open_orders = account.open_orders()
    if sum(order.pair is pair for order in open_orders) >= account.budget.tier.open_orders_per_pair:
        raise ApiError("EOrder:Orders limit exceeded")
    if request.client_id and any(order.client_id == request.client_id for order in open_orders):
        raise ApiError(DUPLICATE_CLIENT_ID)
    asset, amount = reserve(pair, request.side, request.volume, price)
    if account.available(asset) < half_up(amount, reference.decimals(asset)):
        raise ApiError("EOrder:Insufficient funds")


def _validate_market_state(request: OrderRequest) -> None:
    match request.pair.status:
        case "cancel_only":
            raise ApiError("EService:Market in cancel_only mode")
        case "post_only" if "post" not in request.flags:
            raise ApiError("EService:Market in post_only mode")
        case "limit_only" if not request.kind.is_limited:
            raise ApiError("EService:Market in limit_only mode")
        case "reduce_only":
            raise ApiError("EOrder:Reduce only:No position exists")


def validate_price(pair: Pair, price: Decimal) -> None:
    """Refuse a price that the market does not know.

    Raises:
        ApiError: with Kraken's text.
    """
    if price <= ZERO:
        raise ApiError("EGeneral:Invalid arguments:price")
    if decimals_of(price) > pair.price_decimals:
        raise ApiError(
            f"EOrder:Invalid price:{pair.pair_id} price can only be "
            f"specified up to {pair.price_decimals} decimals."
        )
    if price % pair.tick_size:
        raise ApiError("EOrder:Tick size check failed")


def draft(account: Account, request: OrderRequest, at: Decimal | None = None) -> Order:
    """Make the order that a request describes, without an id and on no book."""
    preferred = tuple(flag for flag in request.flags if flag in {"fciq", "fcib"}) or ("fciq",)
    return Order(
        order_id="",
        opened=account.next_moment(at),
        pair=request.pair,
        side=request.side,
        order_type=request.order_type,
        price=request.price if request.prices else ZERO,
        price2=request.price2,
        volume=request.volume,
        flags=",".join([*(flag for flag in request.flags if flag not in preferred), *preferred]),
        userref=request.userref,
        client_id=request.client_id,
        expires=request.expires,
        totals=account.order_totals,
    )


def close(account: Account, order: Order, moment: Decimal, reason: str) -> None:
    """Cancel what is left of an order."""
    newest = order.trades[-1].time if order.trades else order.opened
    order.closed, order.ending, order.reason = max(moment, newest), "canceled", reason
    account.clock.reach(order.closed)


def execute(account: Account, order: Order, fill: Execution, at: Decimal | None = None) -> Trade:
    """Book one fill: a trade, and its ledger legs.

    Raises:
        ControlError: when the order cannot fill by that much.
    """
    pair = order.pair
    if pair is None or not order.is_open or not ZERO < fill.volume <= order.remaining:
        raise ControlError(f"expected an open order with {fill.volume} left, was {order.order_id}")
    moment = account.next_moment(at)
    cost = half_up(fill.volume * fill.price, pair.cost_decimals)
    percent = fill.fee_percent
    if percent is None:
        percent = pair.maker_percent if fill.is_maker else pair.taker_percent
    fee = _fee(cost, percent, pair)
    trade = Trade(
        account.identifiers.trade(), order.order_id, pair.pair_id, moment, fill.volume, cost, fee, body={}
    )
    book = _book_legs if fill.profit is None else _book_profit
    trade.ledger_ids = book(account, order, pair, trade, fill)
    trade.body = _describe(order, pair, trade, fill) | {"trade_id": len(account.trades) + 1}
    order.trades.append(trade)
    file_trade(account, order, pair, trade)
    if not order.remaining:
        order.closed = moment
    if at is None:
        account.clock.reach(account.ledger.last_time)
    return trade


def _describe(order: Order, pair: Pair, trade: Trade, fill: Execution) -> dict[str, Any]:
    """Shape a trade as Kraken does."""
    is_closing = fill.profit is not None
    remarks = ["closing"] * is_closing + ["liquidated"] * order.is_liquidation
    return {
        "ordertxid": order.order_id,
        "postxid": fill.position,
        "pair": pair.pair_id,
        "time": trade.time,
        "type": order.side,
        "ordertype": order.kind.trade_words or order.order_type,
        "price": fixed(fill.price, pair.price_decimals),
        "cost": fixed(trade.cost, pair.cost_decimals),
        "fee": fixed(trade.fee, pair.cost_decimals),
        "vol": fixed(fill.volume, pair.lot_decimals),
        "margin": fixed(trade.cost / LEVERAGE if is_closing else ZERO, pair.cost_decimals),
        "leverage": str(LEVERAGE) if is_closing else "0",
        "misc": ",".join(remarks),
        "maker": fill.is_maker,
    }


def liquidate(account: Account, request: OrderRequest, fill: Execution, at: Decimal | None = None) -> Trade:
    """Close a margin position by force: an order of the exchange's own, its trade, and one margin row."""
    order = draft(account, request, at)
    order.order_id, order.source = account.identifiers.order(), "exchange"
    order.is_liquidation, order.leverage = True, f"{LEVERAGE}:1"
    account.orders[order.order_id] = order
    return execute(account, order, fill, at)


def _book_profit(account: Account, order: Order, pair: Pair, trade: Trade, fill: Execution) -> list[str]:
    """Write what a closed margin position made or lost, and its fee."""
    del order
    delay = Decimal(account.identifiers.milliseconds(5, 158))
    profit, asset, converted = fill.profit or ZERO, fill.collateral or pair.quote, []
    due = trade.fee - profit
    if fill.collateral and due > ZERO:
        converted = account.ledger.post(
            moment=trade.time,
            refid=trade.trade_id,
            entry_type="collateralconversion",
            subtype="",
            postings=[Posting(pair.quote, -due, ZERO, delay), Posting(asset, due, ZERO, delay)],
        )
    return converted + account.ledger.post(
        moment=trade.time,
        refid=trade.trade_id,
        entry_type="margin",
        subtype="",
        postings=[Posting(asset, profit, trade.fee, delay)],
    )


def _fee(cost: Decimal, percent: Decimal, pair: Pair) -> Decimal:
    """Charge a percentage of the cost, at least the smallest unit (recorded: 0.00001 on 0.00110)."""
    if not percent or not cost:
        return ZERO
    return max(half_up(cost * percent / HUNDRED, pair.cost_decimals), Decimal(1).scaleb(-pair.cost_decimals))


def _book_legs(account: Account, order: Order, pair: Pair, trade: Trade, fill: Execution) -> list[str]:
    base_fee, quote_fee, credits_used = _split_fee(account, pair, trade, fill)
    sign = 1 if order.side == "buy" else -1
    first = Decimal(account.identifiers.milliseconds(5, 158))
    second = first + Decimal(account.identifiers.milliseconds(1.2, 6.7))
    if order.side == "sell":
        _release_from_earn(account, pair.base, trade.volume + base_fee, trade.time)
    else:
        _release_from_earn(account, pair.quote, trade.cost + quote_fee, trade.time)
    postings = [
        Posting(pair.base, sign * trade.volume, base_fee, first),
        Posting(pair.quote, -sign * trade.cost, quote_fee, second),
    ]
    if credits_used:
        postings.append(Posting("KFEE", ZERO, credits_used, second))
    ledger, postings = wrong_rows(account, order, pair, postings)
    return ledger.post(
        moment=trade.time, refid=trade.trade_id, entry_type="trade", subtype="tradespot", postings=postings
    )


def _split_fee(
    account: Account, pair: Pair, trade: Trade, fill: Execution
) -> tuple[Decimal, Decimal, Decimal]:
    """Decide what is charged in base, in quote and in fee credits."""
    price = trade.cost / trade.volume if fill.base_fee is not None else fill.price
    match fill.fee_mode:
        case "quote":
            return ZERO, trade.fee, ZERO
        case "base":
            return trade.fee / price, ZERO, ZERO
        case "both":
            base_fee = fill.base_fee if fill.base_fee is not None else trade.fee / price / 2
            return base_fee, trade.fee - base_fee * price, ZERO
        case "kfee":
            return ZERO, ZERO, trade.fee * account.reference.usd_price(pair.quote) * KFEE_PER_USD


def _release_from_earn(account: Account, asset: str, needed: Decimal, moment: Decimal) -> None:
    """Bring back auto-earning funds when the plain balance does not cover a fill."""
    missing = needed - account.ledger.balance(asset)
    wallet = next((code for code in _earning(account, asset) if account.ledger.balance(code) > ZERO), None)
    if missing <= ZERO or wallet is None:
        return
    moved = min(missing, account.ledger.balance(wallet))
    account.ledger.post(
        moment=moment,
        refid=account.identifiers.reference("E"),
        entry_type="earn",
        subtype="deallocation",
        postings=[Posting(wallet, -moved), Posting(asset, moved)],
    )


def _earning(account: Account, asset: str) -> list[str]:
    codes = account.ledger.balances(account.clock.now())
    return [code for code in codes if code.endswith(".F") and account.reference.family(code) == asset]


def fee_mode(order: Order) -> FeeMode:
    """Tell where an order wants its fee; Kraken calls it a preference."""
    return "base" if "fcib" in order.flags.split(",") else "quote"
