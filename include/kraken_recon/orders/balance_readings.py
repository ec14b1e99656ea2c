"""Size orders by Kraken's balances, and believe no single reply that an order may not leave.

Invariants:
1. What an account has too little of is final only when two readings in a row say the same. Where nothing is
   recorded, they alone decide: an order that may not be covered is not sent, and the refusal says what to do.
2. A reply that shows less than is recorded, and by that alone would refuse an order, refuses none: the order
   waits for the next execution, for a better reply, or for a sync that corrects the records.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from kraken_recon.orders.rules.order import Side
from kraken_recon.orders.rules.sizing import (
    TRADABLE_WALLETS,
    Funds,
    Market,
    Sized,
    Undecidable,
    Unfit,
    size,
    spendable,
)
from kraken_recon.values.money import ZERO, exact_arithmetic, format_amount

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from decimal import Decimal

    from kraken_recon.ledger.entries import Balance, HoldingKey
    from kraken_recon.orders.exchange import OrderPorts, OrderSettings, TradingExchange
    from kraken_recon.orders.rules.order import Order
    from kraken_recon.orders.store import OrderStore

NEVER_PROVED: Final = (
    "two readings in a row say so, and nothing is recorded here that they could contradict: run "
    "`python -m kraken_recon sync` for this account, compare it with Kraken's page, and decide again"
)
READING_AGE_MAX: Final = timedelta(seconds=15)


@dataclass(slots=True)
class BalanceReadings:
    """The balances of one account while its orders are placed."""

    exchange: TradingExchange
    ports: OrderPorts
    settings: OrderSettings
    _balances: Mapping[HoldingKey, Balance] = field(default_factory=dict)
    _begun_at: datetime | None = None
    _seen: dict[int, Decimal] = field(default_factory=dict)

    def read(self, *, again: bool) -> bool:
        """Read the balances where that is due; say whether they are as new as can be."""
        now = self.ports.clock()
        if not again and self._begun_at and now - self._begun_at < READING_AGE_MAX:
            return False
        self._balances, self._begun_at = self.exchange.balances(), now
        return True

    def judge(
        self, store: OrderStore, order: Order, market: Market, price: Decimal | None, *, is_fresh: bool
    ) -> Sized | Unfit | Undecidable:
        """Size an order, or say why it may not leave, or that the balances must be read again."""
        asset = order.base if order.side is Side.SELL else order.quote
        funds = self._funds(store, order, asset)
        sized = size(order, market, funds, price)
        by_balances = sized.is_of_funds if isinstance(sized, Unfit) else order.portion is not None
        if isinstance(sized, Undecidable) or not by_balances:
            return sized
        if not is_fresh:
            return Undecidable("the balances may have changed since they were read")
        lacking = self._lacking(store, order.account_id, asset)
        if lacking <= ZERO and isinstance(sized, Sized):
            return sized
        if lacking > ZERO and isinstance(sized, Unfit):
            by_records = size(order, market, replace(funds, reported=funds.reported + lacking), price)
            if not isinstance(by_records, Unfit):
                shown = f"{format_amount(lacking)} {asset} less than is recorded here"
                return Undecidable(f"Kraken shows {shown}, without which it {sized.reason}")
        if isinstance(sized, Unfit) and not self._is_recorded(store, order.account_id, asset):
            sized = replace(sized, reason=f"{sized.reason}; {NEVER_PROVED}")
        before, self._seen[order.order_id] = self._seen.get(order.order_id), funds.reported
        if before != funds.reported:
            return Undecidable(f"asked again, because one reply is not enough: {_reason(sized)}")
        return sized

    def _funds(self, store: OrderStore, order: Order, asset: str) -> Funds:
        assert self._begun_at is not None  # noqa: S101 - for the type checker
        read_from = self._begun_at - self.settings.balance_lag
        return Funds(spendable(self._balances, asset), store.claimed(order.account_id, asset, read_from))

    def _is_recorded(self, store: OrderStore, account_id: int, asset: str) -> bool:
        """Say whether anything is recorded here that Kraken's replies could contradict."""
        return bool(store.recorded_holdings(account_id, [asset], before=self.ports.clock()))

    @exact_arithmetic()
    def _lacking(self, store: OrderStore, account_id: int, asset: str) -> Decimal:
        """Say how much less Kraken shows than is recorded, less what orders under way may have taken."""
        recorded = store.recorded_holdings(account_id, [asset], before=self.ports.clock())
        if asset not in recorded:
            return ZERO
        shown = sum(
            (
                balance.balance
                for key, balance in self._balances.items()
                if key.asset == asset and key.wallet in TRADABLE_WALLETS
            ),
            ZERO,
        )
        return recorded[asset] - shown - store.under_way(account_id, asset)


def _reason(sized: Sized | Unfit) -> str:
    return sized.reason if isinstance(sized, Unfit) else "the balances differ from what is recorded here"
