"""``python -m demo_bot``: book what is new on the simulated Kraken, with a few honest mistakes.

The bot reads Kraken's ledger by the account's own key, writes into its own database, and knows nothing of
the product: neither its books nor that somebody compares them.
"""

from __future__ import annotations

import os
import sys
from collections import defaultdict
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from demo_bot.bot import Bot, Mistake
from demo_bot.tables import TableBook, bot_engine
from kraken_recon.kraken.client import KrakenClient
from kraken_recon.kraken.credentials import allowed_hosts, credentials_from_environment
from kraken_recon.kraken.local_call_slots import InProcessCallSlots

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from kraken_recon.ledger.entries import LedgerEntry

DATABASE: Final = "DEMO_BOT_DSN"
ACCOUNT: Final = "alpha-market-making"
KEY: Final = "kraken_alpha_market_making"


def honest_mistakes(entries: Sequence[LedgerEntry]) -> dict[str, Mistake]:
    """Choose one entry of each of four assets, from the midst of what happened, and what goes wrong."""
    trades = [entry for entry in entries if entry.entry_type == "trade"]
    choices = (
        (Mistake.LOST, [e for e in trades if e.asset == "BTC"]),
        (Mistake.TWICE, [e for e in trades if e.asset == "ETH"]),
        (Mistake.FEE_LEFT_OUT, [e for e in trades if e.asset == "SOL" and e.fee]),
        (Mistake.LOST, [e for e in entries if e.subtype == "reward"]),
    )
    return {among[len(among) // 2].ledger_id: mistake for mistake, among in choices if among}


def new_entries(kraken: KrakenClient, seen: str | None) -> list[LedgerEntry]:
    """Read what happened since an entry was seen, the oldest first."""
    found: list[LedgerEntry] = []
    while page := kraken.ledger_page(after=None, until=None, offset=len(found)).entries:
        found += page
        if seen in {entry.ledger_id for entry in page}:
            break
    found.sort(key=lambda entry: entry.entry_time)
    known = [place for place, entry in enumerate(found) if entry.ledger_id == seen]
    return found[known[0] + 1 :] if known else found


def opening(kraken: KrakenClient, entries: Iterable[LedgerEntry]) -> dict[str, Decimal]:
    """Say what the account had before these entries, by asset."""
    held: dict[str, Decimal] = defaultdict(Decimal)
    for key, balance in kraken.balances().items():
        held[key.asset] += balance.balance
    for entry in entries:
        held[entry.asset] -= entry.change
    return {asset: amount for asset, amount in held.items() if amount}


def main() -> None:
    """Follow Kraken, and say what went wrong."""
    engine = bot_engine(os.environ[DATABASE])
    book = TableBook(engine)
    seen = book.open_for(ACCOUNT)
    credentials = credentials_from_environment(KEY, os.environ, allowed_hosts=allowed_hosts(os.environ))
    with KrakenClient(credentials, account=ACCOUNT, slots=InProcessCallSlots()) as kraken:
        entries = new_entries(kraken, seen)
        begun_with = {} if seen else opening(kraken, entries)
    for asset, amount in begun_with.items():
        book.move(asset, amount)
    mistakes = honest_mistakes(entries)
    Bot(book, mistakes).follow(entries)
    if entries:
        book.remember(entries[-1].ledger_id)
    for sentence in _told(entries, mistakes):
        sys.stdout.write(f"{sentence}\n")


def _told(entries: Sequence[LedgerEntry], mistakes: Mapping[str, Mistake]) -> Iterator[str]:
    yield f"{ACCOUNT}: the bot booked {len(entries)} ledger entries in its own database"
    for entry in entries:
        if entry.ledger_id in mistakes:
            what = f"{entry.subtype or entry.entry_type} of {entry.amount.normalize():f} {entry.asset}"
            yield f"{ACCOUNT}: a {what}: {mistakes[entry.ledger_id]} ({entry.ledger_id})"


if __name__ == "__main__":
    main()
