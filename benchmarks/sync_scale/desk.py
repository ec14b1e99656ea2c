"""The accounts that are synced: the same in the database, at the exchange, and in the file of keys.

Invariants:
1. Every account follows from its number alone, to the last digit and id.
2. In the database each is as the product leaves it: opened, proved within the last hours, its key checked.
3. An account is quiet until the exchange is told of news.
"""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import psycopg

from kraken_recon.kraken.call_slots import fingerprint

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# How Kraken calls what is held, how we do, and how many of it at least.
HOLDINGS: Final = (
    ("ZUSD", "USD", "25000"),
    ("XXBT", "BTC", "1.5"),
    ("XETH", "ETH", "12"),
    ("SOL", "SOL", "300"),
    ("ADA", "ADA", "9000"),
)
SECRET: Final = base64.b64encode(b"sync scale benchmark".ljust(64)).decode()
OPENED: Final = datetime(2026, 1, 5, 12, tzinfo=UTC)
# Within this time no sweep falls due, whatever the account's number.
PROVED_WITHIN_MINUTES: Final = 600
HISTORY: Final = """
insert into trading.position_events (
  account_id, asset, wallet, quantity_before, quantity_after, cause, ledger_id, effective_at
)
select account_id, asset, wallet, 0, balance, 'ledger', ledger_id, entry_time
from trading.ledger_entries
where account_id > %(known)s
order by ingest_seq;

insert into trading.positions (account_id, asset, wallet, quantity, available_quantity, available_as_of)
select account_id, asset, wallet, balance, balance, now()
from trading.ledger_entries
where account_id > %(known)s
order by account_id, asset, wallet;

insert into trading.reconciliation_runs (
  run_id, account_id, interval_start, interval_end, mode, status, trigger, recorded_as_of, reported_as_of,
  checked, matched, api_calls, seconds, lock_hold_ms
)
select
  gen_random_uuid(), account_id, until - interval '15 minutes', until, 'repair', 'succeeded', 'scheduled',
  until, until, 5, 5, 1, 0.1, 1
from trading.accounts
cross join lateral (select now() - n * interval '15 minutes' as until from generate_series(1, 4) as n) as past
where account_id > %(known)s;

update trading.accounts a
set ledger_watermark = newest.ingest_seq
from (select account_id, max(ingest_seq) as ingest_seq from trading.ledger_entries group by account_id) newest
where newest.account_id = a.account_id and a.account_id > %(known)s
"""


@dataclass(frozen=True, slots=True)
class DeskAccount:
    """One account, by its number."""

    number: int

    @property
    def name(self) -> str:
        """What people call it, and the id of its connection."""
        return f"desk-{self.number:05d}"

    @property
    def key(self) -> str:
        """Its API key."""
        return f"key-{self.number:05d}"

    def entries(self) -> list[dict[str, Any]]:
        """Write its history as rows of Kraken's ledger: one deposit of everything that it holds."""
        rows = []
        for place, (code, _, least) in enumerate(HOLDINGS):
            amount = f"{Decimal(least) + self.number % 97:.4f}"
            at = OPENED + timedelta(hours=place, seconds=self.number)
            rows.append(
                {
                    "id": f"L{self.number:05d}-{place:05d}-OPENED",
                    "refid": f"R{self.number:05d}-{place:05d}-OPENED",
                    "time": Decimal(int(at.timestamp())),
                    "type": "deposit",
                    "subtype": "",
                    "aclass": "currency",
                    "asset": code,
                    "amount": amount,
                    "fee": "0.0000",
                    "balance": amount,
                }
            )
        return rows


def accounts_of(first: int, last: int) -> list[DeskAccount]:
    """Make the accounts with these numbers."""
    return [DeskAccount(number) for number in range(first, last + 1)]


def write_connections(file: Path, count: int, exchange_url: str, others: dict[str, str]) -> None:
    """Write the file in which Airflow finds every key, and the other connections."""
    kraken = {
        "conn_type": "kraken",
        "password": SECRET,
        "host": exchange_url,
        "extra": {"tier": "unlimited"},
    }
    keys = {one.name: kraken | {"login": one.key} for one in accounts_of(1, count)}
    file.write_text(json.dumps({name: json.loads(value) for name, value in others.items()} | keys))


def grow(url: str, known: int, count: int) -> None:
    """Let a desk that knows some accounts know more, up to a number."""
    accounts = accounts_of(known + 1, count)
    with psycopg.connect(url) as session, session.cursor() as cursor:
        with cursor.copy(
            "copy trading.accounts (account_id, name, kraken_conn_id, opened_at, opening_source, "
            "ledger_read_until) from stdin"
        ) as copy:
            now = datetime.now(UTC)
            for one in accounts:
                proved = now - timedelta(minutes=one.number % PROVED_WITHIN_MINUTES)
                copy.write_row((one.number, one.name, one.name, OPENED, "ledger", proved))
        with cursor.copy(
            "copy trading.ledger_entries (account_id, ledger_id, refid, entry_time, type, subtype, asset, "
            "wallet, amount, fee, balance) from stdin"
        ) as copy:
            for row in _entry_rows(accounts):
                copy.write_row(row)
        with cursor.copy(
            "copy trading.api_keys (key_fingerprint, nonce, call_level, level_at, checked_at) from stdin"
        ) as copy:
            for one in accounts:
                copy.write_row((fingerprint(one.key), 0, 0, now, now))
        for statement in HISTORY.split(";"):
            cursor.execute(statement.encode(), {"known": known})
    with psycopg.connect(url, autocommit=True) as session:
        session.execute("vacuum (analyze)")


def _entry_rows(accounts: list[DeskAccount]) -> Iterator[tuple[object, ...]]:
    ours = {code: asset for code, asset, _ in HOLDINGS}
    for one in accounts:
        for row in one.entries():
            at = datetime.fromtimestamp(int(row["time"]), UTC)
            yield (
                *(one.number, row["id"], row["refid"], at, row["type"], "", ours[row["asset"]], "spot"),
                *(row["amount"], row["fee"], row["balance"]),
            )


def digest_of_news(numbers: list[int]) -> str:
    """Name a choice of accounts, to compare two runs by."""
    return hashlib.sha256(json.dumps(numbers).encode()).hexdigest()[:12]
