"""Compare what a desk's own row says of an order that ended with what Kraken says of it.

Invariants:
1. Figures are compared at the digits that the desk's column holds, however it rounds.
2. What the desk does not keep is not compared, and where Kraken itself tells a figure in several ways (an
   average price, a fee by asset), any of them is right.
"""

from __future__ import annotations

import decimal
from typing import TYPE_CHECKING, Final

from kraken_recon.desk_books.rules.compare import agrees
from kraken_recon.desk_books.rules.orders import StatusWord, digits_of, market_of, status_word
from kraken_recon.orders.rules.order import OrderStatus
from kraken_recon.orders.rules.sizing import assets_of
from kraken_recon.values.money import ZERO, format_amount
from kraken_recon.verification.rules.trade_legs import unit_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from decimal import Decimal

    from kraken_recon.desk_books.rules.orders import DeskOrder, OrderInBook
    from kraken_recon.ledger.entries import LedgerEntry
    from kraken_recon.orders.rules.order import Fill
    from kraken_recon.orders.rules.reports import ReportedOrder
    from kraken_recon.verification.rules.levels import LevelFindings, LevelResult

IN_QUOTE: Final = "viqc"
"""Kraken's flag of an order whose volume is in the quote currency."""
_DIVIDED: Final = decimal.Context(prec=60)


def desk_level(
    findings: LevelFindings,
    rows: Sequence[OrderInBook],
    reported: ReportedOrder,
    trades: Mapping[str, Fill],
    entries: Sequence[LedgerEntry],
) -> LevelResult:
    """Judge the rows that books have of one order.

    Args:
        findings: of the level.
        rows: one for each book.
        reported: Kraken's order.
        trades: of the order, by id.
        entries: of these trades.
    """
    for row in rows:
        book = f"{row.book}: " if len(rows) > 1 else ""
        _Comparison(findings, book, row.order, reported).run(trades.values(), entries)
    return findings.end("the desk's row agrees with Kraken's order")


class _Comparison:
    """One row and the order that it is about."""

    def __init__(self, findings: LevelFindings, book: str, order: DeskOrder, reported: ReportedOrder) -> None:
        self._findings, self._book = findings, book
        self._order, self._reported = order, reported

    def run(self, trades: Iterable[Fill], entries: Iterable[LedgerEntry]) -> None:
        """Compare everything that the row says."""
        order, reported = self._order, self._reported
        if order.side is not None:
            self._told("side", reported.side, order.side, is_same=order.side is reported.side)
        if order.pair is not None:
            market = market_of(reported.pair)
            is_same = order.pair == market or (
                not order.has_quote and assets_of(order.pair)[0] == assets_of(market)[0]
            )
            self._told("pair", market, order.pair, is_same=is_same)
        self._told("status", reported.status, order.status, is_same=_is_same_end(order, reported))
        self._volumes()
        made = list(trades)
        if order.price is not None and reported.volume_executed:
            self._amount("price", order.price, *_prices(reported, made))
        if order.fee is not None:
            self._amount("fee", order.fee, *_fees(reported, made, entries))

    def _volumes(self) -> None:
        order, reported = self._order, self._reported
        is_whole = status_word(order.status) is StatusWord.FILLED
        executed = order.volume if order.executed is None and is_whole else order.executed
        if executed is not None:
            self._amount("executed", executed, [reported.volume_executed])
        # Some desks cut the volume to what was executed.
        if IN_QUOTE not in reported.flags and executed is not order.volume:
            self._amount("volume", order.volume, [reported.volume, reported.volume_executed])

    def _amount(self, name: str, desk: Decimal, right: Sequence[Decimal], allowance: Decimal = ZERO) -> None:
        digits = digits_of(desk)
        is_same = any(agrees(one, desk, digits) or abs(one - desk) <= allowance for one in right)
        self._told(name, format_amount(right[0]), format_amount(desk), is_same=is_same)

    def _told(self, name: str, expected: str, observed: str, *, is_same: bool) -> None:
        named, findings = f"{self._book}{name}", self._findings
        findings.expected[named], findings.observed[named] = str(expected), str(observed)
        if not is_same:
            findings.wrong(f"expected {named} {expected}, the desk says {observed}")


def _is_same_end(order: DeskOrder, reported: ReportedOrder) -> bool:
    """Say whether an order ended as the desk's word says; of a word that nobody knows only that it ended."""
    is_filled = reported.status is OrderStatus.CLOSED or (
        reported.volume > ZERO and reported.volume_executed == reported.volume
    )
    match status_word(order.status):
        case StatusWord.FILLED:
            return is_filled
        case StatusWord.NOT_FILLED:
            return reported.status is not OrderStatus.CLOSED
        case StatusWord.OTHER:
            return True


def _prices(reported: ReportedOrder, trades: Sequence[Fill]) -> tuple[list[Decimal], Decimal]:
    """List what may be called the price of an order that was filled, its average first, and its allowance.

    The average is Kraken's own, by its cost, and by its trades; the limit is the price as it was ordered.
    """
    volume = reported.volume_executed
    count = max(1, len(trades))
    allowance = _DIVIDED.divide(count * unit_of(reported.cost), volume)
    prices = [_DIVIDED.divide(reported.cost, volume), reported.price_average]
    filled = sum((trade.volume for trade in trades), ZERO)
    if filled:
        paid = sum((trade.volume * trade.price for trade in trades), ZERO)
        prices.insert(0, _DIVIDED.divide(paid, filled))
    return [price for price in (*prices, reported.limit_price) if price], allowance


def _fees(
    reported: ReportedOrder, trades: Sequence[Fill], entries: Iterable[LedgerEntry]
) -> tuple[list[Decimal], Decimal]:
    """List what may be called the fee of an order: in the quote currency, and as the ledger took it by asset.

    Kraken cuts the fee of an order off for each trade, so a unit of it for each is the allowance.
    """
    by_asset: dict[str, Decimal] = {}
    for entry in entries:
        by_asset[entry.asset] = by_asset.get(entry.asset, ZERO) + entry.fee
    of_trades = [sum((trade.fee for trade in trades), ZERO)] if trades else []
    taken = [fee for fee in by_asset.values() if fee]
    return [reported.fee, *of_trades, *taken], max(1, len(trades)) * unit_of(reported.fee)
