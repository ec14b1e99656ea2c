"""Recorded books from outside the project, loaded as accounts that live in their own time.

Invariants:
1. Rows of a recording are sent back as they were recorded.
2. An account's clock starts before its first row; advancing it replays history.
"""

from __future__ import annotations

import base64
import contextlib
import csv
import hashlib
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from kraken_sim.account.order import Order, Trade
from kraken_sim.amounts import number, plain
from kraken_sim.errors import ApiError, ControlError
from kraken_sim.http.auth import READ_PERMISSIONS
from kraken_sim.http.wire import decode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from kraken_sim.account.account import Account
    from kraken_sim.exchange import Exchange
    from kraken_sim.market.reference import Reference

Row = dict[str, Any]

#: Names of the 2026 export that the API knows by another code.
API_CODES: Final = {
    "BTC": "XXBT",
    "DOGE": "XXDG",
    "ETH": "XETH",
    "LTC": "XLTC",
    "XRP": "XXRP",
    "XMR": "XXMR",
    "EUR": "ZEUR",
    "USD": "ZUSD",
    "GBP": "ZGBP",
    "CAD": "ZCAD",
    "JPY": "ZJPY",
    "AUD": "ZAUD",
}
#: Suffix of the code under which the API shows a wallet of the export.
WALLET_SUFFIXES: Final = {
    "earn / flexible": "F",
    "earn / bonded": "B",
    "earn / liquid": "F",
    "earn / locked": "B",
}
LEAD_SECONDS: Final = Decimal(1)


def load(exchange: Exchange, directory: Path, names: list[str]) -> list[Row]:
    """Load the named recordings, or all that are there.

    Raises:
        ControlError: for a name that has no loader, or a file that is not there.
    """
    unknown = set(names) - set(LOADERS)
    if unknown:
        raise ControlError(f"expected recordings out of {sorted(LOADERS)}, was {sorted(unknown)}")
    wanted = names or [name for name in LOADERS if (directory / LOADERS[name][0]).exists()]
    return [_load_one(exchange, name, directory / LOADERS[name][0]) for name in wanted]


def _load_one(exchange: Exchange, name: str, path: Path) -> Row:
    if not path.exists():
        raise ControlError(f"expected a recording at {path}")
    secret = base64.b64encode(hashlib.sha512(f"{exchange.seed}:{name}".encode()).digest()).decode()
    account = exchange.open_account(
        name=name,
        api_key=f"recording-{name}",
        api_secret=secret,
        permissions=[*READ_PERMISSIONS],
        tier="unlimited",
    )
    LOADERS[name][1](account, path)
    first, last = account.ledger.entries[0].time, account.ledger.last_time
    exchange.clock_of(name).set(first - LEAD_SECONDS)
    return {
        "name": name,
        "api_key": account.key.key,
        "api_secret": secret,
        "entries": len(account.ledger.entries),
        "first_entry_time": plain(first),
        "last_entry_time": plain(last),
    }


def _cassette(path: Path) -> Row:
    """Read the result of a recorded exchange; the file is a list of exchanges."""
    result: Row = decode(path.read_bytes())[0]["response"]["json"]["result"]
    return result


def _load_cassettes(account: Account, directory: Path) -> None:
    """Load a recorded account: ledger newest first, trades, orders."""
    ledger = _cassette(directory / "ledgers.json")["ledger"]
    _take(account, [row | {"id": ledger_id} for ledger_id, row in reversed(list(ledger.items()))])
    trades = _cassette(directory / "trades_history.json")["trades"]
    for trade_id, body in reversed(list(trades.items())):
        account.trades.append(_recorded_trade(account, trade_id, body))
    orders = (
        _cassette(directory / "closed_orders.json")["closed"]
        | _cassette(directory / "open_orders.json")["open"]
    )
    for order_id, body in sorted(orders.items(), key=lambda item: number(item[1]["opentm"])):
        order = Order(order_id, number(body["opentm"]), recorded=body)
        order.closed = number(body["closetm"]) if "closetm" in body else None
        order.source = "recording"
        _describe(order, account.reference)
        order.trades = [trade for trade in account.trades if trade.order_id == order_id]
        account.orders[order_id] = order


def _describe(order: Order, reference: Reference) -> None:
    """Tell what a recorded order holds while it is open; a pair that the market lacks holds nothing."""
    body = order.recorded or {}
    with contextlib.suppress(ApiError):
        order.pair = reference.pair(body["descr"]["pair"])
    order.side, order.order_type = body["descr"]["type"], body["descr"]["ordertype"]
    order.volume, order.price = number(body["vol"]), number(body["descr"]["price"])


def _load_pages(account: Account, path: Path) -> None:
    """Load every page of ``Ledgers`` that one recording holds, newest first."""
    results = [(exchange["response"]["json"] or {}).get("result") for exchange in decode(path.read_bytes())]
    pages = [result["ledger"] for result in results if result and "ledger" in result]
    rows = [row | {"id": ledger_id} for page in pages for ledger_id, row in page.items()]
    _take(account, rows[::-1])


def _recorded_trade(account: Account, trade_id: str, body: Row) -> Trade:
    legs = [entry.ledger_id for entry in account.ledger.entries if entry.refid == trade_id]
    return Trade(
        trade_id=trade_id,
        order_id=body["ordertxid"],
        pair_id=body["pair"],
        time=number(body["time"]),
        volume=number(body["vol"]),
        cost=number(body["cost"]),
        fee=number(body["fee"]),
        body=body,
        ledger_ids=legs,
    )


def _load_reply(account: Account, path: Path) -> None:
    """Load one recorded ``Ledgers`` reply, with or without lines above it."""
    text = path.read_text()
    ledger = decode(text[text.index("{") :])["result"]["ledger"]
    _take(account, [row | {"id": ledger_id} for ledger_id, row in reversed(list(ledger.items()))])


def _load_export(account: Account, path: Path) -> None:
    """Load a CSV export of 2026: whole seconds, wallets, asset names without prefixes."""
    with path.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["txid"]]
    shaped = [_from_export(account, row) for row in rows]
    _take(account, in_chain_order(shaped))


def _from_export(account: Account, row: Row) -> Row:
    seconds = datetime.strptime(row["time"], "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)
    suffix = WALLET_SUFFIXES.get(row["wallet"])
    name = str(row["asset"])
    asset = f"{name}.{suffix}" if suffix else API_CODES.get(name, name)
    decimals = account.reference.decimals(asset)
    scaled = {name: _at_scale(row[name], decimals) for name in ("amount", "fee", "balance")}
    return {
        "id": row["txid"],
        "refid": row["refid"],
        "time": Decimal(int(seconds.timestamp())),
        "type": row["type"],
        "subtype": row["subtype"],
        "aclass": row["aclass"],
        "asset": asset,
    } | scaled


def _at_scale(text: str, decimals: int) -> str:
    """Write an export's bare number at the API's scale, never cutting a digit off."""
    value = number(text)
    exact = value.as_tuple().exponent
    return format(value, f".{max(decimals, -exact if isinstance(exact, int) else 0)}f")


def in_chain_order(rows: Iterable[Row]) -> list[Row]:
    """Order rows of one moment by their balance chain: each follows the row whose balance it starts from."""
    waiting = sorted(rows, key=lambda row: number(row["time"]))
    balances: dict[str, Decimal] = {}
    ordered: list[Row] = []
    while waiting:
        moment = waiting[0]["time"]
        fits = (row for row in waiting if row["time"] == moment and _starts_from(row, balances))
        chosen = next(fits, waiting[0])
        waiting.remove(chosen)
        balances[chosen["asset"]] = number(chosen["balance"])
        ordered.append(chosen)
    return ordered


def _starts_from(row: Row, balances: dict[str, Decimal]) -> bool:
    before = number(row["balance"]) - number(row["amount"]) + number(row["fee"])
    return before == balances.get(row["asset"], Decimal(0))


def _take(account: Account, rows: list[Row]) -> None:
    account.ledger.load(rows)
    if not account.ledger.entries:
        raise ControlError(f"expected ledger rows for {account.name}, was none")


LOADERS: Final[dict[str, tuple[str, Callable[[Account, Path], None]]]] = {
    "shideneyu": ("shideneyu__kraken_client/cassettes", _load_cassettes),
    "zhaow-de": ("zhaow-de__zcrypto-kraken/window-1-ledgers.csv", _load_export),
    "knowm": ("knowm__XChange/example-ledgerinfo-data.json", _load_reply),
    "asmodehn": ("asmodehn__aiokraken/cassettes/test_ledgers__test_ledger.json", _load_pages),
    "jkorf": ("JKorf__Kraken.Net/Endpoints__Spot__Account__GetLedgerInfo.txt", _load_reply),
}
