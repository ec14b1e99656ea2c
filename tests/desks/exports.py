"""Write Kraken's exports as Kraken does, in every generation of their header."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from kraken_recon.ledger.entries import LedgerEntry

LEDGER_HEADERS = {
    9: "txid refid time type aclass asset amount fee balance",
    10: "txid refid time type subtype aclass asset amount fee balance",
    12: "txid refid time type subtype aclass subclass asset wallet amount fee balance",
    16: "txid refid time type subtype aclass subclass asset wallet amount fee balance"
    " amountusd feeusd balanceusd feecurrency",
}
TRADE_HEADERS = {
    13: "txid ordertxid pair time type ordertype price cost fee vol margin misc ledgers",
    22: "txid ordertxid pair time type ordertype price cost fee vol margin misc ledgers posttxid posstatus"
    " cprice ccost cfee cvol cmargin net trades",
    24: "txid ordertxid pair aclass subclass time type ordertype price cost fee vol margin misc ledgers"
    " posttxid posstatuscode cprice ccost cfee cvol cmargin net trades",
}
OLD_NAMES = {"BTC": "XXBT", "ETH": "XETH", "USD": "ZUSD", "EUR": "ZEUR"}
# A deposit and a purchase, as the simulator and its exports tell them.
ENTRIES = [
    {"id": "LAAAAA-00001-000001", "refid": "QAAAAAA-1", "time": "1767600000.1234",
     "type": "deposit", "subtype": "", "aclass": "currency", "asset": "ZUSD",
     "amount": "10000.0000", "fee": "0.0000"},
    {"id": "LAAAAA-00001-000002", "refid": "TAAAAA-00001-000001", "time": "1767600010.5",
     "type": "trade", "subtype": "tradespot", "aclass": "currency", "asset": "XXBT",
     "amount": "0.0500000000", "fee": "0.0000000000"},
    {"id": "LAAAAA-00001-000003", "refid": "TAAAAA-00001-000001", "time": "1767600010.51",
     "type": "trade", "subtype": "tradespot", "aclass": "currency", "asset": "ZUSD",
     "amount": "-3000.0000", "fee": "7.8000"},
]  # fmt: skip
# A row of each report, cell by cell.
ROW = {
    "txid": "L1",
    "refid": "T1",
    "time": "2026-01-31 12:00:05",
    "type": "trade",
    "subtype": "tradespot",
    "aclass": "currency",
    "subclass": "crypto",
    "asset": "BTC",
    "wallet": "spot / main",
    "amount": "-0.5",
    "fee": "0.0001",
    "balance": "1.4999",
}
TRADE = {
    "txid": "T1",
    "ordertxid": "O1",
    "pair": "BTC/EUR",
    "time": "2026-01-31 12:00:05.1234",
    "type": "sell",
    "ordertype": "limit",
    "price": "40000.0",
    "cost": "20000.0",
    "fee": "32.0",
    "vol": "0.5",
    "margin": "0.0",
    "ledgers": "L1,L2",
}
WALLET_NAMES = {"spot": "spot / main", "F": "earn / flexible", "B": "earn / bonded"}


def write_csv(header: Sequence[str], rows: Iterable[Sequence[Any]], *, quoted: bool = True) -> bytes:
    out = io.StringIO()
    writer = csv.writer(out, quoting=csv.QUOTE_ALL if quoted else csv.QUOTE_MINIMAL, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return out.getvalue().encode()


def ledgers_csv(entries: Iterable[LedgerEntry], columns: int = 12, *, quoted: bool = True) -> bytes:
    """Write entries in the order given; the older generations name assets and wallets as they did."""
    header = LEDGER_HEADERS[columns].split()
    rows = []
    for entry in entries:
        asset, wallet = entry.asset, ""
        if columns < 12:
            asset = OLD_NAMES.get(asset, asset) + ("" if entry.wallet == "spot" else f".{entry.wallet}")
        else:
            wallet = WALLET_NAMES[entry.wallet]
        cells = {
            "txid": entry.ledger_id,
            "refid": entry.refid,
            "time": f"{entry.entry_time:%Y-%m-%d %H:%M:%S}",
            "type": entry.entry_type,
            "subtype": entry.subtype,
            "aclass": "currency",
            "asset": asset,
            "wallet": wallet,
            "amount": f"{entry.amount:f}",
            "fee": f"{entry.fee:f}",
            "balance": f"{entry.balance:f}",
        }
        rows.append([cells.get(column, "") for column in header])
    return write_csv(header, rows, quoted=quoted)


def ledgers(*rows: dict[str, str], columns: int = 12, quoted: bool = True) -> bytes:
    """Write a ledger of rows that differ from ``ROW`` in what is given."""
    header = LEDGER_HEADERS[columns].split()
    return write_csv(header, [[(ROW | row).get(c, "") for c in header] for row in rows], quoted=quoted)


def trades(*rows: dict[str, str], columns: int = 24) -> bytes:
    """Write trades that differ from ``TRADE`` in what is given."""
    header = TRADE_HEADERS[columns].split()
    return write_csv(header, [[(TRADE | row).get(c, "") for c in header] for row in rows])
