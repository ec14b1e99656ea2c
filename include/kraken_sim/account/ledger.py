"""The append-only ledger of one account: the only source of truth about its money.

Invariants:
1. Rows are kept oldest first and their times never fall.
2. A computed row's balance is the previous balance of the same code plus amount minus fee.
3. A recorded row is sent back exactly as it was loaded.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kraken_sim.amounts import TENTH_MILLISECOND, ZERO, fixed, half_up, number
from kraken_sim.errors import ControlError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from decimal import Decimal

    from kraken_sim.identifiers import Identifiers
    from kraken_sim.market.reference import Reference


@dataclass(frozen=True, slots=True)
class Entry:
    """One ledger row; amounts as the text that is sent, time in unix seconds."""

    ledger_id: str
    refid: str
    time: Decimal
    entry_type: str
    subtype: str | None  # None: replies of 2015 do not have the field
    aclass: str
    asset: str
    amount: str
    fee: str
    balance: str

    def wire(self) -> dict[str, Any]:
        """Shape the row as Kraken does."""
        row: dict[str, Any] = {"refid": self.refid, "time": self.time, "type": self.entry_type}
        if self.subtype is not None:
            row["subtype"] = self.subtype
        row |= {"aclass": self.aclass, "asset": self.asset}
        return row | {"amount": self.amount, "fee": self.fee, "balance": self.balance}


@dataclass(frozen=True, slots=True)
class Posting:
    """A change about to be written: what, how much, and how long after the event."""

    asset: str
    amount: Decimal
    fee: Decimal = ZERO
    delay_seconds: Decimal = ZERO


class Ledger:
    """One account's rows and the balances that follow from them."""

    def __init__(self, reference: Reference, identifiers: Identifiers) -> None:
        self.entries: list[Entry] = []
        self.keys: list[tuple[Decimal, int]] = []
        self.positions: dict[str, int] = {}
        self.openings: dict[str, Decimal] = {}
        self.classes: set[str] = set()
        self._by_asset: dict[str, list[int]] = {}
        self._reference = reference
        self._identifiers = identifiers
        self._balances: tuple[int, dict[str, Decimal]] | None = None

    @property
    def last_time(self) -> Decimal:
        """Time of the newest row on file, or zero."""
        return self.entries[-1].time if self.entries else ZERO

    def open_with(self, openings: dict[str, Decimal]) -> None:
        """Set balances that come from rows not on file."""
        self.openings = dict(openings)
        self._balances = None

    def balance(self, asset: str) -> Decimal:
        """Tell the newest balance on file of one code."""
        positions = self._by_asset.get(asset)
        if positions:
            return number(self.entries[positions[-1]].balance)
        return self.openings.get(asset, ZERO)

    def visible(self, moment: Decimal) -> int:
        """Count the rows that are written by a moment."""
        return bisect_right(self.keys, (moment, len(self.keys)))

    def balances(self, moment: Decimal) -> dict[str, Decimal]:
        """Tell every balance at a moment; a code that was ever used stays, even at zero."""
        count = self.visible(moment)
        if self._balances is None or self._balances[0] != count:
            found = {asset: amount for asset, amount in self.openings.items() if amount}
            for asset, positions in self._by_asset.items():
                seen = bisect_left(positions, count)
                if seen:
                    found[asset] = number(self.entries[positions[seen - 1]].balance)
            self._balances = (count, found)
        return self._balances[1]

    def post(
        self, *, moment: Decimal, refid: str, entry_type: str, subtype: str, postings: Iterable[Posting]
    ) -> list[str]:
        """Write rows that belong together; return their ids. Legs that round to nothing are left out."""
        ids: list[str] = []
        for posting in postings:
            decimals = self._reference.decimals(posting.asset)
            amount, fee = half_up(posting.amount, decimals), half_up(posting.fee, decimals)
            if not amount and not fee:
                continue
            moment_of_row = max(moment + posting.delay_seconds, self.last_time + TENTH_MILLISECOND)
            entry = Entry(
                ledger_id=self._identifiers.ledger(),
                refid=refid,
                time=moment_of_row.quantize(TENTH_MILLISECOND),
                entry_type=entry_type,
                subtype=subtype,
                aclass=self._reference.asset_class(posting.asset),
                asset=posting.asset,
                amount=fixed(amount, decimals),
                fee=fixed(fee, decimals),
                balance=fixed(self.balance(posting.asset) + amount - fee, decimals),
            )
            self._append(entry)
            ids.append(entry.ledger_id)
        return ids

    def load(self, rows: Iterable[dict[str, Any]]) -> None:
        """Take recorded rows in any order of time; rows of one moment keep the order given.

        Raises:
            ControlError: for a row that cannot be one, or an id that is on file.
        """
        for row in sorted(rows, key=lambda row: number(row["time"])):
            asset = str(row["asset"])
            amount, fee = number(row["amount"]), number(row.get("fee", "0"))
            decimals = self._reference.decimals(asset)
            balance = row.get("balance")
            if asset not in self.openings and asset not in self._by_asset and balance is not None:
                self.openings[asset] = number(balance) - amount + fee
            self._append(
                Entry(
                    ledger_id=str(row.get("id") or self._identifiers.ledger()),
                    refid=str(row["refid"]),
                    time=number(row["time"]),
                    entry_type=str(row["type"]),
                    subtype=row.get("subtype"),
                    aclass=str(row.get("aclass", "currency")),
                    asset=asset,
                    amount=str(row["amount"]) if balance is not None else fixed(amount, decimals),
                    fee=str(row.get("fee", "0")) if balance is not None else fixed(fee, decimals),
                    balance=str(balance)
                    if balance is not None
                    else fixed(self.balance(asset) + amount - fee, decimals),
                )
            )

    def _append(self, entry: Entry) -> None:
        if entry.ledger_id in self.positions:
            raise ControlError(f"expected a new ledger id, was {entry.ledger_id}")
        if entry.time < self.last_time:
            raise ControlError(f"expected a row no older than {self.last_time}, was {entry.time}")
        position = len(self.entries)
        self.entries.append(entry)
        self.classes.add(entry.aclass)
        self.keys.append((entry.time, position))
        self.positions[entry.ledger_id] = position
        self._by_asset.setdefault(entry.asset, []).append(position)
        self._balances = None
