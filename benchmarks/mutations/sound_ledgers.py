"""Good ledgers to damage: made by a seeded generator, or read from recordings of accounts.

Invariant: within each holding every entry's balance is the balance before it plus its change.
"""

from __future__ import annotations

import csv
import json
import random
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from kraken_recon.kraken.parse_ledger import parse_ledger_entries
from kraken_recon.ledger.chain import by_holding, prove_chain
from kraken_recon.ledger.entries import SPOT, HoldingKey, LedgerEntry
from kraken_recon.values.money import ZERO, exact_arithmetic

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

START: Final = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)
DECIMALS: Final = {"ADA": 8, "BTC": 10, "DOT": 10, "ETH": 10, "EUR": 4, "USD": 4}
CASH: Final = ("EUR", "USD")
EARNING: Final = {"ADA": "F", "BTC": "F", "DOT": "S", "ETH": "B"}
ID_LETTERS: Final = "ABCDEFGHJKLMNPQRSTUVWXYZ234567"


@dataclass(frozen=True, slots=True)
class SoundLedger:
    """An account's true books: what each holding opened with, and its entries in true order."""

    name: str
    openings: Mapping[HoldingKey, Decimal]
    entries: tuple[LedgerEntry, ...]

    @property
    def chains(self) -> dict[HoldingKey, list[LedgerEntry]]:
        """The entries per holding, in true order."""
        chains: dict[HoldingKey, list[LedgerEntry]] = defaultdict(list)
        for entry in self.entries:
            chains[entry.key].append(entry)
        return dict(chains)

    @property
    def balances(self) -> dict[HoldingKey, Decimal]:
        """What the exchange truly holds."""
        return dict(self.openings) | {key: chain[-1].balance for key, chain in self.chains.items()}


def _share(amount: Decimal, asset: str, numerator: int, denominator: int) -> Decimal:
    """Take a share of an amount, cut off after the asset's last decimal."""
    units = int(abs(amount).scaleb(DECIMALS[asset]))
    return Decimal(units * numerator // denominator).scaleb(-DECIMALS[asset])


class _Author:
    """Writes a ledger as Kraken would: random ids, several lines per event, crowded instants."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311 - the same ledger every time is the point
        self._now = START
        self._balances: dict[HoldingKey, Decimal] = defaultdict(lambda: ZERO)
        self.entries: list[LedgerEntry] = []

    def _id(self, first: str) -> str:
        letters = "".join(self._random.choices(ID_LETTERS, k=16))
        return f"{first}{letters[:5]}-{letters[5:10]}-{letters[10:]}"

    def _quantity(self, asset: str, low: int, high: int) -> Decimal:
        return Decimal(self._random.randint(low, high)).scaleb(-DECIMALS[asset])

    def _write(self, key: HoldingKey, kind: str, amount: Decimal, fee: Decimal, refid: str) -> None:
        # Kraken writes a zero with all the decimals of its asset.
        nothing = Decimal(0).scaleb(-DECIMALS[key.asset])
        amount, fee = amount + nothing, fee + nothing
        balance = self._balances[key] + amount - fee
        self._balances[key] = balance
        self.entries.append(
            LedgerEntry(self._id("L"), refid, self._now, kind, "", *key, amount, fee, balance)
        )

    def deposit(self) -> None:
        """Money or coins arrive."""
        asset = self._random.choice(sorted(DECIMALS))
        amount = self._quantity(asset, 10 ** (DECIMALS[asset] + 1), 10 ** (DECIMALS[asset] + 3))
        self._write(HoldingKey(asset, SPOT), "deposit", amount, ZERO, self._id("Q"))

    def trade(self) -> None:
        """A fill: two legs at one instant, or a few milliseconds apart; several fills share an instant."""
        for _ in range(self._random.choice((1, 1, 1, 2, 4))):
            coin, cash = self._random.choice(sorted(EARNING)), self._random.choice(CASH)
            sign = self._random.choice((1, -1))
            refid = self._id("T")
            amount = sign * self._quantity(coin, 10 ** (DECIMALS[coin] - 2), 10 ** DECIMALS[coin])
            cost = -sign * self._quantity(cash, 10**4, 10**7)
            self._write(HoldingKey(coin, SPOT), "trade", amount, ZERO, refid)
            if self._random.random() < 0.5:
                self._now += timedelta(milliseconds=self._random.randint(1, 7))
            fee = _share(cost, cash, 26, 10_000)
            self._write(HoldingKey(cash, SPOT), "trade", cost, fee, refid)

    def allocation(self) -> None:
        """A coin moves to its earning wallet and, half of the time, straight back: balances that return."""
        coin = self._random.choice(sorted(EARNING))
        spot, earning, refid = HoldingKey(coin, SPOT), HoldingKey(coin, EARNING[coin]), self._id("E")
        amount = self._quantity(coin, 10 ** (DECIMALS[coin] - 3), 10 ** (DECIMALS[coin] - 1))
        for sign in (1, -1)[: self._random.choice((1, 2))]:
            self._write(spot, "earn", -sign * amount, ZERO, refid)
            self._write(earning, "earn", sign * amount, ZERO, refid)

    def reward(self) -> None:
        """A small gain in an earning wallet, sometimes with a commission."""
        coin = self._random.choice(sorted(EARNING))
        amount = self._quantity(coin, 100, 100_000)
        fee = self._random.choice((ZERO, _share(amount, coin, 1, 4)))
        self._write(HoldingKey(coin, EARNING[coin]), "earn", amount, fee, self._id("S"))

    def margin(self) -> None:
        """A margin position: a line without an amount, whose fee may be nothing as well."""
        fee = self._random.choice((ZERO, self._quantity("USD", 1, 500)))
        self._write(HoldingKey("USD", SPOT), "margin", ZERO, fee, self._id("T"))

    def withdrawal(self) -> None:
        """Something leaves; now and then it comes back, with the fee."""
        asset = self._random.choice(sorted(DECIMALS))
        amount = self._quantity(asset, 10 ** (DECIMALS[asset] - 1), 10 ** DECIMALS[asset])
        fee, refid = self._quantity(asset, 1, 10_000), self._id("F")
        self._write(HoldingKey(asset, SPOT), "withdrawal", -amount, fee, refid)
        if self._random.random() < 0.2:
            self._now += timedelta(minutes=3)
            self._write(HoldingKey(asset, SPOT), "withdrawal", amount, -fee, refid)

    @exact_arithmetic()
    def write(self, least: int) -> tuple[LedgerEntry, ...]:
        """Write at least so many entries."""
        events = (self.deposit, self.trade, self.allocation, self.reward, self.margin, self.withdrawal)
        while len(self.entries) < least:
            if self._random.random() < 0.8:
                self._now += timedelta(seconds=self._random.randint(1, 7200))
            self._random.choices(events, weights=(2, 8, 3, 3, 1, 2))[0]()
        return tuple(self.entries)


def generated(seed: int, least: int) -> SoundLedger:
    """Write a ledger; the same for the same seed, on any machine."""
    return SoundLedger(f"generated {seed}", {}, _Author(seed).write(least))


def _in_true_order(name: str, entries: list[LedgerEntry]) -> SoundLedger:
    """Order recorded entries by time, and those of one instant as their balances say.

    Raises:
        ValueError: the recording has a gap.
    """
    openings: dict[HoldingKey, Decimal] = {}
    ordered: list[LedgerEntry] = []
    for key, listed in by_holding(entries).items():
        chain = prove_chain(key, listed, known_balance=None)
        if chain.gaps:
            raise ValueError(f"{name}: {chain.gaps[0]}")
        openings[key] = chain.opening
        ordered += chain.entries
    # Stable, so that the order within a holding is kept.
    ordered.sort(key=lambda entry: entry.entry_time)
    return SoundLedger(name, {key: opening for key, opening in openings.items() if opening}, tuple(ordered))


def _recorded_reply(directory: Path) -> list[LedgerEntry]:
    file = directory / "shideneyu__kraken_client" / "cassettes" / "ledgers.json"
    reply: dict[str, Any] = json.loads(file.read_text(), parse_float=Decimal)[0]["response"]["json"]["result"]
    return list(parse_ledger_entries(reply["ledger"]))


def _recorded_export(directory: Path) -> list[LedgerEntry]:
    file = directory / "zhaow-de__zcrypto-kraken" / "window-1-ledgers.csv"
    with file.open(newline="") as handle:
        rows = [row for row in csv.DictReader(handle) if row["txid"]]
    wallets = {"spot / main": SPOT, "earn / bonded": "B"}
    return [
        LedgerEntry(
            row["txid"],
            row["refid"],
            datetime.fromisoformat(f"{row['time']}+00:00"),
            row["type"],
            row["subtype"],
            row["asset"],
            wallets.get(row["wallet"], "F"),
            *(Decimal(row[name]) for name in ("amount", "fee", "balance")),
        )
        for row in rows
    ]


def recorded(directory: Path) -> list[SoundLedger]:
    """Read the recorded accounts that are at hand."""
    readers = {"shideneyu": _recorded_reply, "zhaow-de": _recorded_export}
    return [_in_true_order(f"recorded {name}", read(directory)) for name, read in readers.items()]
