"""A two-year account of any size, as Kraken's export and as an exchange in memory.

Invariants:
1. The same number of entries gives the same account, to the last digit and id.
2. Every running balance follows from the one before it, and no balance is ever below zero.
3. The exchange answers from memory: what is measured around it is this project and its database alone.
"""

from __future__ import annotations

import csv
import io
import random
from bisect import bisect_right
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from kraken_recon.ledger.entries import SPOT, Balance, HoldingKey, LedgerEntry, LedgerPage
from kraken_recon.values.money import exact_arithmetic

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kraken_recon.ledger.transfers import Transfer
    from kraken_recon.reconciliation.margin.rules import MarginPosition

SEED: Final = 20260105
END: Final = datetime(2026, 2, 1, tzinfo=UTC)
MONTH: Final = timedelta(days=31)
LENGTH: Final = 24 * MONTH
HEADER: Final = (
    *("txid", "refid", "time", "type", "subtype", "aclass", "subclass", "asset", "wallet"),
    *("amount", "fee", "balance"),
)
MARKETS: Final = {"BTC": Decimal(40_000), "ETH": Decimal(3_000), "SOL": Decimal(150), "ADA": Decimal("0.5")}
PAGE_LENGTH: Final = 50
ZERO: Final = Decimal(0)


@exact_arithmetic()
def make_entries(count: int) -> list[LedgerEntry]:
    """Make an account's ledger, oldest first: trades against dollars, rewards, deposits, withdrawals."""
    dice = random.Random(SEED)  # noqa: S311 - repeatable data, no secret
    balances: dict[str, Decimal] = dict.fromkeys(("USD", *MARKETS), ZERO)
    entries: list[LedgerEntry] = []

    def add(kind: str, refid: str, asset: str, amount: Decimal, fee: Decimal = ZERO) -> None:
        balances[asset] += amount - fee
        at = END - LENGTH + LENGTH * place / count
        ledger_id = f"L{len(entries):06d}-AAAAA-BBBBBB"
        entries.append(LedgerEntry(ledger_id, refid, at, kind, "", asset, SPOT, amount, fee, balances[asset]))

    while len(entries) < count:
        place = len(entries)
        refid = f"T{place:06d}-CCCCC-DDDDDD"
        asset = dice.choice(list(MARKETS))
        kind = dice.random()
        quantity = Decimal(dice.randint(1, 10**6)).scaleb(-6)
        cost = quantity * MARKETS[asset]
        fee = cost * Decimal("0.0026")
        if balances["USD"] < 2 * cost:
            add("deposit", refid, "USD", Decimal(1_000_000))
        elif kind < 0.03 or count - place == 1:
            add("staking", refid, asset, Decimal(dice.randint(1, 10**5)).scaleb(-8))
        elif kind < 0.55 or balances[asset] < quantity:
            add("trade", refid, "USD", -cost, fee)
            add("trade", refid, asset, quantity)
        else:
            add("trade", refid, asset, -quantity)
            add("trade", refid, "USD", cost, fee)
    return entries


def as_export(entries: Sequence[LedgerEntry]) -> bytes:
    """Write entries as Kraken's ``ledgers.csv``."""
    text = io.StringIO()
    writer = csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writerow(HEADER)
    for e in entries:
        amounts = (f"{e.amount:f}", f"{e.fee:f}", f"{e.balance:f}")
        time = f"{e.entry_time:%Y-%m-%d %H:%M:%S}"
        writer.writerow(
            (e.ledger_id, e.refid, time, e.entry_type, "", "currency", "", e.asset, "spot / main", *amounts)
        )
    return text.getvalue().encode()


@dataclass
class MemoryExchange:
    """Satisfies the ``Exchange`` port with the entries that have happened by ``now``."""

    entries: Sequence[LedgerEntry]
    now: datetime
    calls: int = 0
    times: list[datetime] = field(init=False)

    def __post_init__(self) -> None:
        self.times = [entry.entry_time for entry in self.entries]
        self.places = {entry.ledger_id: place for place, entry in enumerate(self.entries)}

    def check_key(self) -> None:
        """Accept the key; a real one is checked once a day."""

    def balances(self) -> dict[HoldingKey, Balance]:
        """Answer ``BalanceEx``."""
        self.calls += 1
        found: dict[HoldingKey, Balance] = {}
        wanted = {HoldingKey(asset, SPOT) for asset in ("USD", *MARKETS)}
        for place in range(bisect_right(self.times, self.now) - 1, -1, -1):
            entry = self.entries[place]
            found.setdefault(entry.key, Balance(entry.balance, ZERO, ZERO, ZERO))
            if found.keys() == wanted:
                break
        return found

    def ledger_page(self, *, after: datetime | None, until: str | None, offset: int) -> LedgerPage:
        """Answer ``Ledgers``: newest first, ``after`` exclusive, ``until`` inclusive."""
        self.calls += 1
        newest = bisect_right(self.times, self.now) if until is None else self.places[until] + 1
        oldest = bisect_right(self.times, after) if after is not None else 0
        rows = self.entries[max(oldest, newest - offset - PAGE_LENGTH) : max(oldest, newest - offset)]
        return LedgerPage(tuple(reversed(rows)), newest - oldest)

    def tokenized_ledger_page(self, *, after: datetime | None, until: str | None, offset: int) -> LedgerPage:
        """Know no tokenized assets."""
        del after, until, offset
        return LedgerPage((), 0)

    def transfers(self) -> tuple[Transfer, ...]:
        """Know nothing that is under way."""
        return ()

    def open_positions(self) -> Mapping[str, MarginPosition]:
        """Answer ``OpenPositions``: the account trades without margin."""
        self.calls += 1
        return {}

    def prices(self, quote: str) -> Mapping[str, Decimal]:
        """Answer with prices that never move."""
        return {quote: Decimal(1), **MARKETS}
