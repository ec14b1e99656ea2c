"""The one way to value what people decide about: the newest price on record, and how old it is.

Invariants:
1. A currency is worth one of itself, whatever is on record.
2. An asset without a price of the last 24 hours is named, never dropped and never worth zero.
3. Values in different currencies are never added.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from datetime import UTC, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, Protocol

from kraken_recon.errors import ConfigurationError, ExchangeError, StoreError
from kraken_recon.holdings.store import PriceStore
from kraken_recon.holdings.valuation import value_holdings
from kraken_recon.values.money import exact_arithmetic, format_amount

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping
    from contextlib import AbstractContextManager
    from datetime import datetime

    from kraken_recon.accounts.account import Account
    from kraken_recon.database.unit_of_work import UnitOfWork

PRICE_AGE_MAX: Final = timedelta(hours=24)
UNPRICED_SHOWN_MAX: Final = 5
log = logging.getLogger(__name__)


class Prices(Protocol):
    """A way to Kraken's last prices."""

    def prices(self, quote: str) -> Mapping[str, Decimal]:
        """Read last prices by asset."""
        ...


class RebasedPrices(Prices, Protocol):
    """A way to Kraken's last prices, and to the units that its pages show tokenized assets in."""

    def rebase_factors(self) -> Mapping[str, Decimal]:
        """Read what one unit of each tokenized asset is in the units of Kraken's own pages."""
        ...


class PricingPorts(Protocol):
    """What asking for prices needs of the outside world."""

    @property
    def open_unit_of_work(self) -> Callable[[], AbstractContextManager[UnitOfWork]]:
        """Open a transaction."""
        ...

    @property
    def open_exchange(self) -> Callable[[Account], AbstractContextManager[Prices]]:
        """Open a client of an account."""
        ...

    @property
    def clock(self) -> Callable[[], datetime]:
        """Tell the time."""
        ...


@dataclass(frozen=True, slots=True)
class Worth:
    """What quantities are worth in one currency, without the ``unpriced`` assets.

    ``value`` is None where nothing has a price; ``priced_at`` is the oldest of the prices used, None where
    none was needed.
    """

    currency: str
    value: Decimal | None
    unpriced: tuple[str, ...] = ()
    priced_at: datetime | None = None

    def as_view(self) -> dict[str, Any]:
        """Write it as text for JSON and pages."""
        return {
            "currency": self.currency,
            "value": None if self.value is None else format_amount(self.value),
            "unpriced": list(self.unpriced),
            "priced_at": self.priced_at.isoformat(timespec="seconds") if self.priced_at else None,
        }


@dataclass(frozen=True, slots=True)
class PriceList:
    """Prices with their times, by currency and asset."""

    prices: Mapping[tuple[str, str], tuple[Decimal, datetime]] = field(default_factory=dict)

    def of(self, currency: str, asset: str) -> tuple[Decimal | None, datetime | None]:
        """Say what one unit costs and when that was read; a currency in itself needs no reading."""
        if asset == currency:
            return Decimal(1), None
        return self.prices.get((currency, asset), (None, None))

    def worth(self, currency: str, quantities: Mapping[str, Decimal]) -> Worth:
        """Value quantities by asset."""
        found = {asset: self.of(currency, asset) for asset in quantities}
        priced = {asset: price for asset, (price, _) in found.items() if price is not None}
        valued = value_holdings(quantities, priced)
        unpriced = tuple(asset.asset for asset in valued.assets if asset.value is None)
        times = [found[asset.asset][1] for asset in valued.assets]
        return Worth(
            currency,
            None if unpriced and len(unpriced) == len(valued.assets) else valued.value,
            unpriced,
            min((time for time in times if time is not None), default=None),
        )

    @exact_arithmetic()
    def worth_of_changes(self, currency: str, changes: Mapping[str, Decimal]) -> Worth:
        """Value differences by asset, in whichever direction each goes."""
        return self.worth(currency, {asset: abs(change) for asset, change in changes.items()})


def price_list(store: PriceStore, wanted: Iterable[tuple[str, str]], now: datetime) -> PriceList:
    """Read the prices of assets by currency that are not too old to be trusted."""
    pairs = sorted({(currency, asset) for currency, asset in wanted if currency != asset})
    return PriceList(store.newest(pairs, now - PRICE_AGE_MAX) if pairs else {})


def ask_for_prices(account: Account, assets: Collection[str], ports: PricingPorts) -> None:
    """Ask Kraken for what has no price on record, and keep it; where it does not answer all stays unknown."""
    quote, now = account.quote_currency, ports.clock()
    with ports.open_unit_of_work() as unit:
        known = price_list(PriceStore(unit), [(quote, asset) for asset in assets], now)
    if all(known.of(quote, asset)[0] is not None for asset in assets):
        return
    try:
        with ports.open_exchange(account) as exchange:
            prices = exchange.prices(quote)
    except (ExchangeError, ConfigurationError) as error:
        log.warning("account %s: no prices: %s", account.name, error)
        return
    keep_prices(quote, prices, ports)


def keep_prices(quote: str, prices: Mapping[str, Decimal], ports: PricingPorts) -> None:
    """Keep prices in a transaction of their own; a database that cannot do so now stops nothing."""
    try:
        with ports.open_unit_of_work() as unit:
            PriceStore(unit).keep(quote, prices, ports.clock())
            unit.commit()
    except StoreError as error:
        log.warning("prices in %s were not kept: %s", quote, error)


def money_words(value: str) -> str:
    """Round a value for people; downloads have all of it."""
    return f"{Decimal(value):,.2f}"


def worth_evidence(worth: Worth) -> dict[str, str]:
    """Write what an alert keeps of a value, so that others need not read it out of the message."""
    known = worth.as_view()
    return {name: known[name] for name in ("value", "currency", "priced_at") if known[name] is not None}


def worth_words(worth: Worth) -> str:
    """Say for people what something is worth, at prices of when, and what is missing from the sum."""
    if worth.value is None:
        return f"not known: no price in {worth.currency} within 24 hours"
    words = f"{worth.value:,.2f} {worth.currency}"
    if worth.priced_at:
        words += f" at prices of {worth.priced_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    if worth.unpriced:
        more = len(worth.unpriced) - UNPRICED_SHOWN_MAX
        names = ", ".join(worth.unpriced[:UNPRICED_SHOWN_MAX]) + (f" and {more} more" if more > 0 else "")
        words += f", without {names}, which have no price within 24 hours"
    return words
