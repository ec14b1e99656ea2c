"""Kraken's markets, and what an order must keep to before it may leave.

Invariants:
1. A size is only ever rounded down, and a price is never rounded: what was decided is sent, or refused.
2. What is refused says which rule was broken, with the figures.
3. The venue is part of a market's identity: a plain name means the international one, whatever else there is.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_DOWN, Decimal
from typing import TYPE_CHECKING, Final

from kraken_recon.orders.rules.order import OrderType, Side
from kraken_recon.values.money import EXACT, ZERO, exact_arithmetic, format_amount

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from kraken_recon.ledger.entries import Balance, HoldingKey
    from kraken_recon.orders.rules.order import Order

TRADABLE_WALLETS: Final = frozenset({"spot", "F"})
"""Where the money of an order may sit: auto-earning funds (``.F``) are traded through the base asset."""
MARKET_CUSHION: Final = Decimal("0.01")
"""What the price of a market order may rise by before a portion sized for it no longer fits."""
INTERNATIONAL: Final = "international"
VENUE_MARK: Final = ":"
_PLACES_MAX: Final = 60


@dataclass(frozen=True, slots=True)
class Market:
    """One tradable pair by our names; minimums in base and quote, prices in steps of ``tick_size``."""

    pair_id: str
    altname: str
    base: str
    quote: str
    status: str
    lot_decimals: int
    price_decimals: int
    order_minimum: Decimal
    cost_minimum: Decimal
    tick_size: Decimal
    fee_percent: Decimal
    venue: str | None = None  # None where Kraken names none

    @property
    def is_international(self) -> bool:
        """Whether a plain name means this market."""
        return is_international(self.venue)

    @property
    def name(self) -> str:
        """The pair as this project writes it; one of another venue with its venue."""
        plain = f"{self.base}/{self.quote}"
        return plain if self.is_international else f"{plain}{VENUE_MARK}{self.venue}"


def is_international(venue: str | None) -> bool:
    """Say whether a venue is the one that is meant by default (Kraken's changelog of April 2026)."""
    return venue in {None, INTERNATIONAL}


def assets_of(pair: str) -> tuple[str, str]:
    """Split a pair's name into base and quote, its venue left out."""
    base, _, rest = pair.partition("/")
    return base, rest.partition(VENUE_MARK)[0]


class Markets:
    """Markets by every name in use: Kraken's id and altname, ``BASE/QUOTE`` and ``BASEQUOTE``.

    A market of another venue goes only by names that say so. ``unreadable`` tells, by pair id, what is wrong
    with a market that Kraken lists and that makes no sense.
    """

    def __init__(
        self,
        markets: Iterable[Market],
        aliases: Mapping[str, str] | None = None,
        unreadable: Mapping[str, str] | None = None,
    ) -> None:
        self._by_name: dict[str, Market] = {}
        self._unreadable = {name.upper(): reason for name, reason in (unreadable or {}).items()}
        ranked = sorted(markets, key=lambda market: (market.status != "online", market.pair_id))
        plain = [market for market in ranked if market.is_international]
        by_id = {market.pair_id: market for market in plain}
        self._add((market.pair_id, market) for market in plain)
        self._add((market.altname, market) for market in plain)
        self._add((market.name, market) for market in plain)
        self._add((alias, by_id[pair_id]) for alias, pair_id in (aliases or {}).items() if pair_id in by_id)
        self._add((market.base + market.quote, market) for market in plain)
        elsewhere = [market for market in ranked if not market.is_international]
        self._add(
            (name, market)
            for market in elsewhere
            for name in (market.pair_id, market.altname, market.name)
            if VENUE_MARK in name
        )
        self._elsewhere = {
            name.upper(): market
            for market in elsewhere
            for name in (market.base + market.quote, market.altname.partition(VENUE_MARK)[0])
        }

    def _add(self, named: Iterable[tuple[str, Market]]) -> None:
        """Add names; whoever has a name keeps it."""
        for name, market in named:
            self._by_name.setdefault(name.upper(), market)

    def find(self, name: str) -> Market | None:
        """Look a market up; a name without a venue is looked for on the international one."""
        return self._by_name.get(name.upper())

    def why_not(self, name: str) -> str:
        """Say why there is no market of a name."""
        wanted = name.upper()
        if wanted in self._unreadable:
            return f"Kraken lists {name}, and what it says of it makes no sense: {self._unreadable[wanted]}"
        other = self._elsewhere.get(wanted.replace("/", ""))
        if other is not None:
            return f"Kraken lists {name} at {other.venue} alone; if that is meant, call it {other.name}"
        return f"Kraken has no market {name}"

    def name_of(self, pair: str) -> str:
        """Write a pair of Kraken's as ``BASE/QUOTE``; one that is no longer listed stays as it is."""
        market = self.find(pair)
        return market.name if market else pair


@dataclass(frozen=True, slots=True)
class Funds:
    """What an account can spend of one asset, and how much orders claim that the reading may not show."""

    reported: Decimal
    uncertain: Decimal


@dataclass(frozen=True, slots=True)
class Sized:
    """The order may leave, with this volume; ``reserved`` is what it may take."""

    volume: Decimal
    reserved: Decimal


@dataclass(frozen=True, slots=True)
class Unfit:
    """The order may not leave, and why; ``is_of_funds`` where other balances would say otherwise."""

    reason: str
    is_of_funds: bool = False


@dataclass(frozen=True, slots=True)
class Undecidable:
    """Whether the order fits depends on orders that the reading may not show yet: read again."""

    reason: str


def spendable(balances: Mapping[HoldingKey, Balance], asset: str) -> Decimal:
    """Add up what is available of an asset over the wallets that trading draws on.

    With auto-earn a hold sits on the base asset while the money sits in ``.F``, so one of the two may be
    negative: only the sum means something (ccxt issue 24664).
    """
    with exact_arithmetic():
        return sum(
            (
                balance.available
                for key, balance in balances.items()
                if key.asset == asset and key.wallet in TRADABLE_WALLETS
            ),
            ZERO,
        )


@exact_arithmetic()
def size(
    order: Order, market: Market, funds: Funds, last_price: Decimal | None
) -> Sized | Unfit | Undecidable:
    """Give a decided order its volume, or say why it may not leave.

    Args:
        order: the order; ``funds`` are of its base asset for a SELL, of its quote for a BUY.
        market: its market.
        funds: what can be spent.
        last_price: price of the last trade; None where it is not known.
    """
    price = order.limit_price or order.trigger_price or last_price
    if order.side is Side.BUY and price is None:
        return Undecidable(f"no price of {market.name} is known")
    if order.volume is None and funds.uncertain:
        return Undecidable("an earlier order may still take from what is available")
    volume = order.volume
    if volume is None:
        volume = _portion(order, market, funds.reported, price)
    if broken := _broken_price(order, market):
        return Unfit(broken)
    if broken := _broken_volume(volume, market, price):
        return Unfit(broken, is_of_funds=order.volume is None)
    return _fits(order, market, volume, _needed(order, market, volume, price), funds)


def _broken_volume(volume: Decimal, market: Market, price: Decimal | None) -> str | None:
    shown = f"{format_amount(volume)} {market.base}"
    if volume % Decimal(1).scaleb(-market.lot_decimals):
        return f"expected a volume of at most {market.lot_decimals} decimals, was {shown}"
    if volume < market.order_minimum or volume <= ZERO:
        return f"{shown} is below Kraken's minimum of {format_amount(market.order_minimum)}"
    if price is not None and volume * price < market.cost_minimum:
        return (
            f"{shown} at {format_amount(price)} is worth less than Kraken's minimum of "
            f"{format_amount(market.cost_minimum)} {market.quote}"
        )
    return None


def _fits(
    order: Order, market: Market, volume: Decimal, needed: Decimal, funds: Funds
) -> Sized | Unfit | Undecidable:
    if needed + funds.uncertain <= funds.reported or order.portion is not None:
        return Sized(volume, needed)
    asset = market.base if order.side is Side.SELL else market.quote
    if needed <= funds.reported:
        return Undecidable(f"earlier orders may still take {format_amount(funds.uncertain)} {asset}")
    return Unfit(
        f"needs {format_amount(needed)} {asset}, of which {format_amount(funds.reported)} is available",
        is_of_funds=True,
    )


def _broken_price(order: Order, market: Market) -> str | None:
    for label, price in (("limit", order.limit_price), ("trigger", order.trigger_price)):
        if price is not None and (
            price % market.tick_size or price % Decimal(1).scaleb(-market.price_decimals)
        ):
            return (
                f"expected a {label} price in steps of {format_amount(market.tick_size)} with at most "
                f"{market.price_decimals} decimals, was {format_amount(price)}"
            )
    return None


def _needed(order: Order, market: Market, volume: Decimal, price: Decimal | None) -> Decimal:
    """Say what an order may take: base for a SELL; cost and fee in quote for a BUY."""
    if order.side is Side.SELL or price is None:
        return volume
    return _rounded_down(volume * price * (1 + market.fee_percent / 100))


def _portion(order: Order, market: Market, available: Decimal, price: Decimal | None) -> Decimal:
    share = max(available, ZERO) * (order.portion or ZERO)
    if order.side is Side.BUY and price is not None:
        cushion = ZERO if order.order_type is OrderType.LIMIT else MARKET_CUSHION
        with_fee = price * (1 + cushion) * (1 + market.fee_percent / 100)
        # A quotient has no last digit; it is cut to the lot, so the context may round it down.
        with_rounding = EXACT.copy()
        with_rounding.prec, with_rounding.rounding = _PLACES_MAX, ROUND_DOWN
        with_rounding.clear_traps()
        share = with_rounding.divide(share, with_fee)
    return _cut(share, market.lot_decimals)


def _cut(amount: Decimal, decimals: int) -> Decimal:
    context = EXACT.copy()
    context.clear_traps()
    return amount.quantize(Decimal(1).scaleb(-decimals), rounding=ROUND_DOWN, context=context)


def _rounded_down(amount: Decimal) -> Decimal:
    """Keep what a column holds; a reserve need not be exact to the last digit."""
    return _cut(amount, 18)
