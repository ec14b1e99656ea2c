"""Orders that went through Kraken, with every book that tells of them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import ROUND_DOWN, ROUND_HALF_UP, Context, Decimal
from typing import TYPE_CHECKING, Any

from kraken_recon.ledger.entries import SPOT, HoldingKey, LedgerEntry
from kraken_recon.orders.rules.order import Fill, Order, OrderStatus, OrderType, Side, Source, TimeInForce
from kraken_recon.orders.rules.reports import ReportedOrder
from kraken_recon.values.money import exact_arithmetic
from kraken_recon.verification.rules.judge import OrderEvidence

if TYPE_CHECKING:
    from collections.abc import Iterable

NOON = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)
UNITS = {"BTC": Decimal("0.0000000001"), "USD": Decimal("0.0001"), "KFEE": Decimal("0.01")}
COST_UNIT = Decimal("0.00001")
ZERO = Decimal(0)
ROUNDING = Context(prec=60)


def rounded(amount: Decimal, unit: Decimal) -> Decimal:
    return amount.quantize(unit, ROUND_HALF_UP, ROUNDING)


def order(**changes: Any) -> Order:
    """An order to buy BTC for USD that Kraken has filled whole."""
    values: dict[str, Any] = {
        "order_id": 1, "account_id": 1, "source": Source.AI, "pair": "BTC/USD", "base": "BTC", "quote": "USD",
        "side": Side.BUY, "order_type": OrderType.MARKET, "volume": Decimal(1), "portion": None,
        "limit_price": None, "trigger_price": None, "expected_price": None,
        "time_in_force": TimeInForce.GOOD_TILL_CANCELED, "expires_at": None, "is_post_only": False,
        "is_dry_run": False, "cl_ord_id": "c-1", "kraken_txid": "OAAAAA-00001", "status": OrderStatus.CLOSED,
        "deadline": NOON, "decided_at": NOON, "submitted_at": NOON, "ended_at": NOON,
        "volume_executed": ZERO, "cost_executed": ZERO, "fee_reported": ZERO,
    }  # fmt: skip
    return Order(**(values | changes))


@dataclass
class TradedBooks:
    """One account's ledger, kept by its running balances, and the trades and orders of it."""

    balances: dict[HoldingKey, Decimal] = field(default_factory=dict)
    entries: list[LedgerEntry] = field(default_factory=list)
    trades: dict[str, Fill] = field(default_factory=dict)
    now: datetime = NOON

    @exact_arithmetic()
    def add(
        self, asset: str, amount: Decimal, *, fee: Decimal = ZERO, refid: str = "", kind: str = "trade"
    ) -> None:
        """Append an entry, some milliseconds later than the last."""
        self.now += timedelta(milliseconds=7)
        key, number = HoldingKey(asset, SPOT), len(self.entries) + 1
        amount, fee = (rounded(value, UNITS[asset]) for value in (amount, fee))
        self.balances[key] = self.balances.get(key, Decimal(1000)) + amount - fee
        entry = LedgerEntry(
            f"L{number:05}", refid or f"X{number:05}", self.now, kind, "", asset, SPOT, amount, fee,
            self.balances[key],
        )  # fmt: skip
        self.entries.append(entry)

    @exact_arithmetic()
    def trade(self, ordered: Order, volume: Decimal, price: Decimal, *, fee_on: str = "quote") -> Fill:
        """Fill an order by a volume, with its two entries, or three where the fee is paid in credits."""
        self.now += timedelta(seconds=1)
        number = len(self.trades) + 1
        cost = rounded(volume * price, COST_UNIT)
        fee = rounded(cost * Decimal("0.0026"), COST_UNIT)
        fill = Fill(
            f"T{ordered.order_id:05}-{number:03}", ordered.kraken_txid or "", ordered.pair, ordered.side,
            self.now, price, volume, cost, fee,
        )  # fmt: skip
        self.trades[fill.trade_id] = fill
        sign = 1 if ordered.side is Side.BUY else -1
        on_base = {"base": fee, "both": rounded(fee / 2, COST_UNIT)}.get(fee_on, ZERO)
        on_quote = {"base": ZERO, "kfee": ZERO, "both": fee - on_base}.get(fee_on, fee)
        base_fee = ROUNDING.divide(on_base, price)
        self.add(ordered.base, sign * volume, fee=base_fee, refid=fill.trade_id)
        self.add(ordered.quote, -sign * cost, fee=on_quote, refid=fill.trade_id)
        if fee_on == "kfee":
            self.add("KFEE", ZERO, fee=fee * 100, refid=fill.trade_id)
        return fill


def ended(ordered: Order, fills: Iterable[Fill], *, digits: str = "0.00001") -> tuple[Order, ReportedOrder]:
    """The order as it ends here and at Kraken, whose totals are cut off after some digits."""
    made = list(fills)
    volume = sum((fill.volume for fill in made), ZERO)
    cost = sum((fill.cost for fill in made), ZERO)
    fee = sum((fill.fee for fill in made), ZERO)
    ours = replace(ordered, volume_executed=volume, cost_executed=cost, fee_reported=fee)
    cut = Decimal(digits)
    reported = ReportedOrder(
        kraken_txid=ordered.kraken_txid or "", cl_ord_id=ordered.cl_ord_id,
        status_reported=str(ordered.status), pair=ordered.pair, side=ordered.side,
        order_type=ordered.order_type, volume=ordered.volume or ZERO, limit_price=None, trigger_price=None,
        volume_executed=volume, cost=cost.quantize(cut, ROUND_DOWN), fee=fee.quantize(cut, ROUND_DOWN),
        price_average=ZERO, opened_at=NOON, closed_at=NOON, expires_at=None, reason=None, flags=frozenset(),
        trade_ids=tuple(fill.trade_id for fill in made),
    )  # fmt: skip
    return ours, reported


def evidence(books: TradedBooks, ordered: Order, reported: ReportedOrder) -> OrderEvidence:
    """All books of one order, complete and in agreement."""
    fills = {trade: books.trades[trade] for trade in reported.trade_ids}
    return OrderEvidence(
        order=ordered,
        recorded_fills=fills,
        reported=reported,
        trades=fills,
        entries=tuple(books.entries),
        recorded_entries={entry.ledger_id: entry for entry in books.entries},
        movements={entry.ledger_id: entry.change for entry in books.entries},
    )
