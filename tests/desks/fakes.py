"""Stand-ins for the outside world, small enough to be obviously right."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

from kraken_recon.ledger.entries import SPOT, TOKENIZED, Balance, HoldingKey, LedgerEntry, LedgerPage
from kraken_recon.values.money import exact_arithmetic

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from kraken_recon.ledger.transfers import Transfer
    from kraken_recon.reconciliation.margin.rules import MarginPosition

START = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)
ZERO = Decimal(0)


@dataclass
class FakeBooks:
    """An account at an exchange whose ledger is the truth: balances are its running sums plus residuals."""

    openings: dict[HoldingKey, Decimal] = field(default_factory=dict)
    entries: list[LedgerEntry] = field(default_factory=list)
    residuals: dict[HoldingKey, Decimal] = field(default_factory=dict)
    holds: dict[HoldingKey, Decimal] = field(default_factory=dict)
    margin: dict[str, MarginPosition] = field(default_factory=dict)
    transfers: list[Transfer] = field(default_factory=list)
    now: datetime = START
    made: int = 0

    @exact_arithmetic()
    def balance_of(self, key: HoldingKey) -> Decimal:
        """Sum one holding, without residuals."""
        return self.openings.get(key, ZERO) + sum((e.change for e in self.entries if e.key == key), ZERO)

    @exact_arithmetic()
    def add(  # noqa: PLR0913 - each is one column of a ledger entry
        self,
        asset: str,
        amount: str,
        *,
        fee: str = "0",
        wallet: str = SPOT,
        entry_type: str = "trade",
        at: datetime | None = None,
    ) -> LedgerEntry:
        """Append an entry with the right running balance, one second after the last."""
        self.made += 1
        if at is None:
            self.now += timedelta(seconds=1)
        key = HoldingKey(asset, wallet)
        change = Decimal(amount) - Decimal(fee)
        entry = LedgerEntry(
            ledger_id=f"L{self.made:05d}",
            refid=f"T{self.made:05d}",
            entry_time=at or self.now,
            entry_type=entry_type,
            subtype="",
            asset=asset,
            wallet=wallet,
            amount=Decimal(amount),
            fee=Decimal(fee),
            balance=self.balance_of(key) + change,
        )
        self.entries.append(entry)
        return entry

    @exact_arithmetic()
    def balances(self) -> dict[HoldingKey, Balance]:
        """Answer like ``BalanceEx``."""
        keys = {*self.openings, *(e.key for e in self.entries), *self.residuals}
        return {
            key: Balance(
                self.balance_of(key) + self.residuals.get(key, ZERO), self.holds.get(key, ZERO), ZERO, ZERO
            )
            for key in keys
        }


@dataclass
class FakeExchange:
    """Satisfies the ``Exchange`` port over ``FakeBooks``; ``before_call`` may raise or change the books."""

    books: FakeBooks
    before_call: Callable[[str], None] = lambda _: None
    price_list: Mapping[str, Decimal] = field(default_factory=dict)
    calls: int = 0
    made: list[str] = field(default_factory=list)

    def _count(self, endpoint: str) -> None:
        self.calls += 1
        self.made.append(endpoint)
        self.before_call(endpoint)

    def check_key(self) -> None:
        """Accept any key."""

    def balances(self) -> Mapping[HoldingKey, Balance]:
        """Answer ``BalanceEx``."""
        self._count("BalanceEx")
        return self.books.balances()

    def ledger_page(self, *, after: datetime | None, until: str | None, offset: int) -> LedgerPage:
        """Answer ``Ledgers``: newest first, 50 a page, ``after`` exclusive, ``until`` inclusive."""
        return self._page(
            [e for e in self.books.entries if e.wallet != TOKENIZED], after=after, until=until, offset=offset
        )

    def tokenized_ledger_page(self, *, after: datetime | None, until: str | None, offset: int) -> LedgerPage:
        """Answer ``Ledgers`` of tokenized assets."""
        rows = [e for e in self.books.entries if e.wallet == TOKENIZED]
        return self._page(rows, after=after, until=until, offset=offset)

    def _page(
        self, rows: list[LedgerEntry], *, after: datetime | None, until: str | None, offset: int
    ) -> LedgerPage:
        self._count("Ledgers")
        ordered = list(reversed(rows))
        if until is not None:
            newest = next(e for e in ordered if e.ledger_id == until)
            ordered = [e for e in ordered if e.entry_time <= newest.entry_time]
        if after is not None:
            ordered = [e for e in ordered if e.entry_time > after]
        return LedgerPage(tuple(ordered[offset : offset + 50]), len(ordered))

    def open_positions(self) -> Mapping[str, MarginPosition]:
        """Answer ``OpenPositions``."""
        self._count("OpenPositions")
        return dict(self.books.margin)

    def rebase_factors(self) -> Mapping[str, Decimal]:
        """Know no splits."""
        return {}

    def transfers(self) -> tuple[Transfer, ...]:
        """Answer the Funding (Beta) API."""
        self._count("withdrawals")
        self._count("deposits")
        return tuple(self.books.transfers)

    def prices(self, quote: str) -> Mapping[str, Decimal]:
        """Answer with the given price list, whatever the quote."""
        del quote
        return self.price_list

    @contextmanager
    def opened(self) -> Iterator[FakeExchange]:
        """Hand out this exchange as if it had just been opened, its call counter at zero."""
        self.calls = 0
        yield self
