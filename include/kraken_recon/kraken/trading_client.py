"""Place, cancel and amend orders of one account.

Invariants:
1. Every write is sent at most once by a call here: nothing in this module repeats one.
2. What was sent may have happened if the error is ``ExchangeUnavailableError`` or ``PayloadInvalidError``;
   after every other error of this project nothing was executed.
3. An order carries its own id and deadline: Kraken refuses it once the deadline has passed, so that a request
   that hangs somewhere cannot become an order later.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kraken_recon.errors import ConfigurationError, ExchangeUnavailableError
from kraken_recon.kraken import parse_orders
from kraken_recon.kraken.order_reading_client import OrderReadingClient
from kraken_recon.orders.rules.order import OrderType, TimeInForce

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from datetime import datetime
    from decimal import Decimal

    from kraken_recon.kraken.transport import Parameter
    from kraken_recon.orders.rules.order import Order

TRADE_PERMISSIONS: Final = frozenset({"modify-trades", "close-trades"})


def trading_right(permissions: Collection[str]) -> str:
    """Say for people whether a key with these permissions may trade."""
    lacking = sorted(TRADE_PERMISSIONS - set(permissions))
    if not lacking:
        return "may place and cancel orders"
    return "cannot trade" if len(lacking) == len(TRADE_PERMISSIONS) else f"cannot trade (lacks {lacking[0]})"


class TradingClient(OrderReadingClient):
    """A client that also writes orders. Not thread-safe: one object per thread."""

    def check_trading_key(self) -> None:
        """Refuse a key that may not place and cancel orders.

        Raises:
            ConfigurationError: with what to change at Kraken.
        """
        info = self.key_info()
        missing = sorted(TRADE_PERMISSIONS - info.permissions)
        if missing:
            raise ConfigurationError(
                f"account {self._account}: its API key {info.name!r} may not trade; add {', '.join(missing)} "
                "at Kraken, or decide no orders for this account"
            )

    def add_order(self, order: Order) -> str | None:
        """Send an order whose intent is committed, once, and return its id at Kraken; None for a dry run.

        Raises:
            ExchangeUnavailableError, PayloadInvalidError: the outcome is unknown.
            ExchangeError: Kraken refused it; nothing was executed.
            StoreError: it was not sent.
        """
        markets = self.markets(order.pair)
        market = markets.find(order.pair)
        if market is None:
            raise ConfigurationError(markets.why_not(order.pair))
        parameters = add_order_parameters(order, market.altname, venue=market.venue)
        result = self._write("AddOrder", parameters)
        return parse_orders.parse_placed(result, account=self._account)

    def cancel_order(self, txid: str) -> None:
        """Ask for an order's cancellation; cancelling twice does no harm.

        Raises:
            RequestRefusedError: Kraken has no such open order.
        """
        self._write("CancelOrder", {"txid": txid})

    def amend_order(
        self,
        txid: str,
        *,
        volume: Decimal | None,
        limit_price: Decimal | None,
        trigger_price: Decimal | None,
        deadline: datetime,
    ) -> None:
        """Change an open order in place; it keeps its id and its fills."""
        self._write(
            "AmendOrder",
            {
                "txid": txid,
                "order_qty": volume,
                "limit_price": limit_price,
                "trigger_price": trigger_price,
                "deadline": _rfc3339(deadline),
            },
        )

    def _write(self, endpoint: str, parameters: Mapping[str, Parameter]) -> object:
        reply = self._send(endpoint, parameters)
        if not reply.has_result:
            # Kraken answered without an error and without what it did.
            raise ExchangeUnavailableError(
                f"{endpoint}: answered without a result", account=self._account, endpoint=endpoint
            )
        return reply.result


def add_order_parameters(order: Order, pair: str, venue: str | None = None) -> dict[str, Parameter]:
    """Write an order as the parameters of ``AddOrder``; a venue is named where Kraken names it."""
    if order.cl_ord_id is None or order.deadline is None or order.volume is None:
        raise ValueError(f"expected order {order.order_id} to have an id, a deadline and a volume")
    price = order.trigger_price
    if order.order_type is OrderType.LIMIT:
        price = order.limit_price
    return {
        "ordertype": order.order_type.value,
        "type": order.side.value,
        "volume": order.volume,
        "pair": pair,
        "execution_venue": venue,
        "price": price,
        "cl_ord_id": order.cl_ord_id,
        "deadline": _rfc3339(order.deadline),
        "oflags": "post" if order.is_post_only else None,
        "timeinforce": (
            None if order.time_in_force is TimeInForce.GOOD_TILL_CANCELED else order.time_in_force.value
        ),
        "expiretm": None if order.expires_at is None else str(int(order.expires_at.timestamp())),
        "validate": True if order.is_dry_run else None,
    }


def _rfc3339(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
