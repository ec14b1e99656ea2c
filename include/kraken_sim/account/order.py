"""An order at the exchange, and its trades."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, Literal

from kraken_sim.amounts import ZERO, fixed, number, truncated
from kraken_sim.market.order_types import ORDER_TYPES, UNKNOWN, OrderType

if TYPE_CHECKING:
    from kraken_sim.market.reference import Pair

#: What Kraken writes as the position of a trade that belongs to none.
NO_POSITION: Final = "TKH2SE-M7IF5-CFI7LT"

HUNDRED: Final = Decimal(100)


@dataclass(slots=True)
class Trade:
    """One fill; ``body`` is what Kraken would send."""

    trade_id: str
    order_id: str
    pair_id: str
    time: Decimal
    volume: Decimal
    cost: Decimal
    fee: Decimal
    body: dict[str, Any]
    ledger_ids: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Order:
    """One order; a recorded one carries its reply and is sent back as it was."""

    order_id: str
    opened: Decimal
    pair: Pair | None = None
    side: Literal["buy", "sell"] = "buy"
    order_type: str = "limit"
    price: Decimal = ZERO
    price2: Decimal = ZERO
    volume: Decimal = ZERO
    flags: str = "fciq"
    leverage: str = "none"
    userref: int | None = None
    client_id: str | None = None
    closed: Decimal | None = None
    ending: Literal["closed", "canceled", "expired"] = "closed"
    expires: Decimal = ZERO
    triggered: Decimal | None = None
    amended: Decimal | None = None
    is_liquidation: bool = False
    reason: str | None = None
    trades: list[Trade] = field(default_factory=list)
    totals: Literal["full", "truncated"] = "full"
    source: Literal["api", "website", "exchange", "recording"] = "api"
    recorded: dict[str, Any] | None = None

    @property
    def kind(self) -> OrderType:
        """What its ``ordertype`` means."""
        return ORDER_TYPES.get(self.order_type, UNKNOWN)

    @property
    def limit_price(self) -> Decimal:
        """The price that it fills at or better; the trigger's for an order without a limit."""
        return self.price2 if self.kind.trigger and self.kind.is_limited else self.price

    @property
    def names(self) -> set[str]:
        """Everything that the order may be called by."""
        return {self.order_id, self.client_id or "", "" if self.userref is None else str(self.userref)} - {""}

    @property
    def executed(self) -> Decimal:
        """Volume filled so far."""
        return sum((trade.volume for trade in self.trades), ZERO)

    @property
    def remaining(self) -> Decimal:
        """Volume still to be filled."""
        return self.volume - self.executed

    def reserved(self, moment: Decimal) -> Decimal:
        """Volume that is held for the order at a moment; a recording tells its own."""
        if self.opened > moment or self.status(moment) != "open":
            return ZERO
        if self.recorded is not None:
            return number(self.recorded["vol"]) - number(self.recorded["vol_exec"])
        return self.volume - sum((trade.volume for trade in self.trades if trade.time <= moment), ZERO)

    @property
    def is_open(self) -> bool:
        """Whether the order may still fill."""
        return self.closed is None and self.recorded is None

    @property
    def known_from(self) -> Decimal:
        """When the order can be shown: a recording only holds its final state."""
        return self.opened if self.recorded is None or self.closed is None else self.closed

    def status(self, moment: Decimal) -> str:
        """Tell the state at a moment."""
        if self.recorded is not None:
            return str(self.recorded["status"])
        if self.closed is None or self.closed > moment:
            return "open"
        return self.ending

    def describe(self) -> str:
        """Write the order as Kraken's one-line description does."""
        if self.pair is None:
            return ""
        volume = fixed(self.volume, self.pair.lot_decimals)
        what = f"{self.side} {volume} {self.pair.altname} @ {self.kind.words or self.order_type}"
        if self.order_type != "market":
            what = f"{what} {fixed(self.price, self.pair.price_decimals)}"
        if self.price2:
            what = f"{what} -> limit {fixed(self.price2, self.pair.price_decimals)}"
        return what if self.leverage == "none" else f"{what} with {self.leverage} leverage"

    def wire(self, moment: Decimal, *, with_trades: bool) -> dict[str, Any]:
        """Shape the order as it is seen at a moment."""
        if self.recorded is not None or self.pair is None:
            body = dict(self.recorded or {})
            if with_trades and self.trades:
                body["trades"] = [trade.trade_id for trade in self.trades]
            return body
        seen = [trade for trade in self.trades if trade.time <= moment]
        status = self.status(moment)
        body = {
            "refid": None,
            "userref": 0 if self.userref is None and self.source == "api" else self.userref,
            "cl_ord_id": self.client_id,
            "status": status,
            "opentm": self.opened,
            "starttm": 0,
            "expiretm": self.expires,
            "descr": self._description(self.pair),
            "vol": fixed(self.volume, self.pair.lot_decimals),
            **self._totals(self.pair, seen),
            **self._trigger(self.pair, moment),
            "misc": self._remarks(status, seen, moment),
            "oflags": self.flags,
        }
        if with_trades and seen:
            body["trades"] = [trade.trade_id for trade in seen]
        if status != "open":
            body |= {"reason": self.reason, "closetm": self.closed}
        return body

    def _is_triggered(self, moment: Decimal) -> bool:
        return self.triggered is not None and self.triggered <= moment

    def _trigger(self, pair: Pair, moment: Decimal) -> dict[str, str]:
        """Tell the trigger's price, and the limit once that was reached."""
        nothing = fixed(ZERO, pair.cost_decimals)
        if not self.kind.trigger:
            return {"stopprice": nothing, "limitprice": nothing}
        limited = self.price2 and self._is_triggered(moment)
        return {
            "stopprice": fixed(self.price, pair.price_decimals),
            "limitprice": fixed(self.price2, pair.price_decimals) if limited else nothing,
            "trigger": "last",
        }

    def _remarks(self, status: str, seen: list[Trade], moment: Decimal) -> str:
        remarks = {
            self.kind.trigger: self._is_triggered(moment),
            "liquidated": self.is_liquidation,
            "partial": status in {"canceled", "expired"} and bool(seen),
            "amended": self.amended is not None and self.amended <= moment,
        }
        return ",".join(remark for remark, applies in remarks.items() if applies)

    def _description(self, pair: Pair) -> dict[str, str]:
        return {
            "pair": pair.altname,
            "type": self.side,
            "ordertype": self.order_type,
            "price": "0" if self.order_type == "market" else fixed(self.price, pair.price_decimals),
            "price2": fixed(self.price2, pair.price_decimals) if self.price2 else "0",
            "leverage": self.leverage,
            "order": self.describe(),
            "close": "",
        }

    def _totals(self, pair: Pair, seen: list[Trade]) -> dict[str, str]:
        volume = sum((trade.volume for trade in seen), ZERO)
        cost = sum((trade.cost for trade in seen), ZERO)
        fee = sum((trade.fee for trade in seen), ZERO)
        average = cost / volume if volume else ZERO
        executed = fixed(volume, pair.lot_decimals)
        if self.totals == "truncated":  # ClosedOrders of 2020 cut off at the price's decimals
            cut = [format(truncated(value, pair.price_decimals), "f") for value in (cost, fee, average)]
            return dict(zip(("vol_exec", "cost", "fee", "price"), (executed, *cut), strict=True))
        decimals = pair.cost_decimals
        return {
            "vol_exec": executed,
            "cost": fixed(cost, decimals),
            "fee": fixed(fee, decimals),
            "price": fixed(average, pair.price_decimals if volume else decimals),
        }
