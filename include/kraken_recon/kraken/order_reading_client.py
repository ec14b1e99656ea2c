"""Read markets, orders, trades and their ledger entries of one account.

Invariants:
1. Taker fills are never consolidated: a fill is known by the trade id that its ledger entries refer to.
2. A paged reading ends at a page without news, or raises; it never comes back smaller.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

from kraken_recon.errors import PayloadInvalidError
from kraken_recon.kraken import parse_account, parse_ledger, parse_orders
from kraken_recon.kraken.client import BASE_UNITS, KrakenClient, _unix_seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from datetime import datetime

    from kraken_recon.kraken.transport import Parameter
    from kraken_recon.ledger.entries import LedgerEntry
    from kraken_recon.orders.rules.bounds import MarketPrice
    from kraken_recon.orders.rules.order import Fill
    from kraken_recon.orders.rules.reports import ReportedOrder
    from kraken_recon.orders.rules.sizing import Markets

ORDERS_PER_QUERY: Final = 50
TRADES_PER_QUERY: Final = 20
PAGES_MAX: Final = 200
PAGE_LENGTH: Final = 50
MARKETS_AGE_MAX_SECONDS: Final = 600.0
# Whoever asks for ever other markets that there are not shall not keep the others waiting.
LACKING_MAX: Final = 20

Row = TypeVar("Row")


@dataclass(slots=True)
class _MarketCopy:
    """Markets as they were read, and the names that a second reading lacked as well."""

    markets: Markets
    read_at: float
    lacking: set[str] = field(default_factory=set)

    def is_enough(self, name: str | None) -> bool:
        is_known = name is None or name in self.lacking or self.markets.find(name) is not None
        return is_known or len(self.lacking) >= LACKING_MAX


@dataclass(slots=True)
class MarketCache:
    """The markets of each host, read again after ten minutes; shared by the clients of one run."""

    _copies: dict[str, _MarketCopy] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def get(self, host: str, read: Callable[[], Markets], name: str | None = None) -> Markets:
        """Return the host's markets, reading them where that is due.

        One reply may list too few of them: that there is no market of a name, only two say.
        """
        with self._lock:
            copy = self._copies.get(host)
            if copy is None or time.monotonic() - copy.read_at > MARKETS_AGE_MAX_SECONDS:
                copy = _MarketCopy(read(), time.monotonic())
            if name is not None and not copy.is_enough(name):
                again = _MarketCopy(read(), time.monotonic())
                copy.lacking.add(name)
                copy = again if again.is_enough(name) else copy
            self._copies[host] = copy
            return copy.markets


class OrderReadingClient(KrakenClient):
    """A client that also reads orders and trades. Not thread-safe: one object per thread."""

    def __init__(self, *arguments: Any, markets: MarketCache | None = None, **options: Any) -> None:  # noqa: ANN401 - the base class's
        super().__init__(*arguments, **options)
        self._markets = markets or MarketCache()

    def markets(self, name: str | None = None) -> Markets:
        """Read ``AssetPairs``, at most once in ten minutes, and once more where it lacks a market."""
        parse = partial(parse_orders.parse_markets, account=self._account)
        return self._markets.get(
            str(self._transport.uri), lambda: self._read_public("AssetPairs", parse), name
        )

    def server_time(self) -> datetime:
        """Read Kraken's clock, which tells whole seconds."""
        return self._read_public("Time", partial(parse_account.parse_server_time, account=self._account))

    def system_status(self) -> str:
        """Read what Kraken says of itself, such as ``online``."""
        parse = partial(parse_account.parse_system_status, account=self._account)
        return self._read_public("SystemStatus", parse)

    def price(self, pair: str) -> MarketPrice | None:
        """Read what a pair costs now; None where it never traded."""
        market = self.markets(pair).find(pair)
        if market is None:
            return None
        parse = partial(parse_orders.parse_market_prices, account=self._account)
        prices = self._read_public("Ticker", parse, {"pair": market.altname, "execution_venue": market.venue})
        price = prices.get(market.pair_id)
        return price if price and price.last else None

    def query_orders(self, txids: Collection[str]) -> dict[str, ReportedOrder]:
        """Read orders by id, with their trade ids; one that Kraken does not show yet is left out."""
        found: dict[str, ReportedOrder] = {}
        for some in _in_parts(sorted(txids), ORDERS_PER_QUERY):
            parameters: dict[str, Parameter] = {"txid": some, "trades": True, "consolidate_taker": False}
            found |= self._orders("QueryOrders", parameters)
        return found

    def open_orders(self) -> dict[str, ReportedOrder]:
        """Read every open order, with its trade ids."""
        return self._orders("OpenOrders", {"trades": True}, member="open")

    def closed_orders(self, *, after: datetime) -> dict[str, ReportedOrder]:
        """Read every order that was opened or closed later than ``after``, and is no longer open."""

        def page(offset: int) -> dict[str, ReportedOrder]:
            parameters = {
                "start": _unix_seconds(after),
                "ofs": offset or None,
                "closetime": "both",
                "trades": True,
                "consolidate_taker": False,
                "without_count": True,
            }
            return self._orders("ClosedOrders", parameters, member="closed")

        return self._all_pages(page, "ClosedOrders")

    def trades(self, *, after: datetime) -> dict[str, Fill]:
        """Read every trade later than ``after``."""

        def page(offset: int) -> dict[str, Fill]:
            parameters = {
                "start": _unix_seconds(after),
                "ofs": offset or None,
                "consolidate_taker": False,
                "without_count": True,
                **BASE_UNITS,
            }
            return self._trades("TradesHistory", parameters, member="trades")

        return self._all_pages(page, "TradesHistory")

    def trades_of(self, trade_ids: Collection[str]) -> dict[str, Fill]:
        """Read trades by id; one that Kraken does not show yet is left out."""
        found: dict[str, Fill] = {}
        for some in _in_parts(sorted(trade_ids), TRADES_PER_QUERY):
            found |= self._trades("QueryTrades", {"txid": some})
        return found

    def ledger_entries(
        self, refids: Collection[str], *, after: datetime, until: datetime
    ) -> tuple[LedgerEntry, ...]:
        """Read the ledger entries of trades, out of those later than ``after`` and not later than ``until``.

        ``QueryLedgers`` finds entries by their own ids only, so the window is read and its rows are picked.
        """
        wanted = frozenset(refids)
        return tuple(e for e in self.ledger_between(after, until) if e.refid in wanted)

    def ledger_between(self, after: datetime, until: datetime) -> tuple[LedgerEntry, ...]:
        """Read every ledger entry later than ``after`` and not later than ``until``, newest first."""

        def page(offset: int) -> dict[str, LedgerEntry]:
            parameters = {
                "start": _unix_seconds(after),
                "end": _unix_seconds(until),
                "ofs": offset or None,
                "without_count": True,
            }
            parse = partial(parse_ledger.parse_ledger_page, account=self._account)
            read = self._read_result("Ledgers", parameters, parse)
            return {entry.ledger_id: entry for entry in read.entries}

        return tuple(self._all_pages(page, "Ledgers").values())

    def _all_pages(self, page: Callable[[int], dict[str, Row]], endpoint: str) -> dict[str, Row]:
        """Read newest first, with a row of overlap, until a page brings nothing new.

        Rows that arrive meanwhile push older ones to later offsets: they are seen twice, never missed.
        """
        rows: dict[str, Row] = {}
        for _ in range(PAGES_MAX):
            read = page(max(0, len(rows) - 1))
            fresh = {name: row for name, row in read.items() if name not in rows}
            rows |= fresh
            if not fresh or len(read) < PAGE_LENGTH:
                return rows
        raise PayloadInvalidError(
            f"{endpoint}: expected at most {PAGES_MAX} pages", account=self._account, endpoint=endpoint
        )

    def _orders(
        self, endpoint: str, parameters: Mapping[str, Parameter], *, member: str | None = None
    ) -> dict[str, ReportedOrder]:
        return self._rows(endpoint, parameters, member, parse_orders.parse_orders)

    def _trades(
        self, endpoint: str, parameters: Mapping[str, Parameter], *, member: str | None = None
    ) -> dict[str, Fill]:
        return self._rows(endpoint, parameters, member, parse_orders.parse_trades)

    def _rows(
        self,
        endpoint: str,
        parameters: Mapping[str, Parameter],
        member: str | None,
        parse: Callable[..., dict[str, Row]],
    ) -> dict[str, Row]:
        """Read the rows of a reply, or of one member of it."""
        markets = self.markets()

        def rows_of(result: object) -> dict[str, Row]:
            named = {"account": self._account, "endpoint": endpoint}
            rows = result if member is None else parse_orders.parse_members(result, member, **named)
            return parse(rows, markets=markets, **named)

        return self._read_result(endpoint, parameters, rows_of)


def _in_parts(ids: Sequence[str], length: int) -> Iterator[list[str]]:
    for start in range(0, len(ids), length):
        yield list(ids[start : start + length])
