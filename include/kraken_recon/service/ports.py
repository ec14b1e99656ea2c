"""What the use cases need from the outside world, as protocols that the adapters satisfy structurally."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from kraken_recon.service.lock_patience import LockingUnit

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from contextlib import AbstractContextManager
    from datetime import datetime
    from decimal import Decimal
    from uuid import UUID

    from kraken_recon.domain.alert_kinds import AlertKind
    from kraken_recon.domain.intervals import Interval
    from kraken_recon.domain.ledger import Balance, HoldingKey, LedgerEntry, LedgerPage
    from kraken_recon.domain.margin import MarginPosition
    from kraken_recon.domain.past import Coverage, HoldingThen
    from kraken_recon.domain.policy import Mode
    from kraken_recon.domain.reconciliation import Finding, Observation, Recorded, Step
    from kraken_recon.domain.records import Account, AccountState, Alert, Comparison, Opening, RunRecord
    from kraken_recon.domain.turns import Need
    from kraken_recon.service.costing import CostStore
    from kraken_recon.service.margin import MarginStore
    from kraken_recon.service.planning import PlanStore
    from kraken_recon.service.pricing import PriceStore


class CallSlots(Protocol):
    """The nonce stream and call budget of one API key, shared by every worker that uses the key."""

    def take(self, cost: int) -> AbstractContextManager[int]:
        """Wait for budget, then yield a nonce; the call must be sent and answered inside the block."""
        ...


class Exchange(Protocol):
    """One account at Kraken, through one API key. Not thread-safe: one object per thread."""

    @property
    def calls(self) -> int:
        """Private requests sent so far, retries included."""
        ...

    def check_key(self) -> None:
        """Refuse a key that may withdraw, that lacks a read permission, or that sees only a date window.

        Raises ``ConfigurationError`` with what to change.
        """
        ...

    def balances(self) -> Mapping[HoldingKey, Balance]:
        """Read ``BalanceEx``; empty when Kraken answered without an error and without any balance."""
        ...

    def ledger_page(self, *, after: datetime | None, until: str | None, offset: int) -> LedgerPage:
        """Read one page of ``Ledgers``, newest first.

        Args:
            after: only entries later than this (Kraken's ``start``, exclusive); None for all.
            until: id of the newest entry to include (Kraken's ``end``, inclusive); None for the head.
            offset: how many entries to skip.
        """
        ...

    def open_positions(self) -> Mapping[str, MarginPosition]:
        """Read ``OpenPositions`` by position id; empty when none is open, never for want of an answer."""
        ...

    def prices(self, quote: str) -> Mapping[str, Decimal]:
        """Read last prices of every asset that trades against ``quote``, by normalised asset name."""
        ...


class SyncStore(Protocol):
    """The rows of ``position_sync``, inside one transaction. Keys are (account id, holding)."""

    def find_accounts(self, names: Collection[str] | None) -> list[Account]:
        """List active accounts; all of them, or those named (``ConfigurationError`` for an unknown name)."""
        ...

    def load_states(self, accounts: Sequence[Account]) -> list[AccountState]:
        """Read what a sync must know of each account."""
        ...

    def finished_runs(
        self, accounts: Sequence[Account], interval: Interval, mode: Mode
    ) -> Mapping[int, UUID]:
        """Name the runs of this interval that already succeeded, by account id."""
        ...

    def compare(self, replies: Mapping[int, Mapping[HoldingKey, Balance]]) -> Mapping[int, Comparison]:
        """Compare the positions of many accounts with their balance replies, by account id."""
        ...

    def update_available(self, available: Mapping[tuple[int, HoldingKey], tuple[Decimal, datetime]]) -> None:
        """Set ``available_quantity`` of locked positions to what a reading said at a time, if it is newer."""
        ...

    def entries_after(self, account_id: int, after: datetime | None) -> list[LedgerEntry]:
        """Read the recorded entries later than ``after``."""
        ...

    def balances_at(self, account_id: int, at: datetime | None) -> Mapping[HoldingKey, Decimal]:
        """Sum the openings and the recorded entries up to ``at`` (None: the openings alone)."""
        ...

    def respell(self, account_id: int, names: Mapping[HoldingKey, HoldingKey]) -> None:
        """Call locked holdings otherwise, entries and events too; those that get one name become one."""
        ...

    def correct_entry(self, account_id: int, old: LedgerEntry, new: LedgerEntry) -> bool:
        """Replace one telling of a recorded entry by another; False where the record is not the old one."""
        ...

    def open_account(self, account_id: int, opening: Opening) -> bool:
        """Claim the opening of an account; False when another session opened it meanwhile."""
        ...

    def write_opening(self, account_id: int, opening: Opening, run_id: UUID) -> None:
        """Write the opening events of locked positions, and move those that did not exist before."""
        ...

    def advance_watermarks(
        self, read: Mapping[int, Sequence[LedgerEntry]], matched: Mapping[int, datetime]
    ) -> None:
        """Say that the ledger is proved complete: up to what was read, or where balances agreed at a time."""
        ...

    def advance_coverage(self, read: Mapping[int, tuple[datetime | None, datetime]]) -> None:
        """Say between when ledgers were read and proved; a stretch beyond a hole adds nothing."""
        ...

    def ingest(
        self, entries: Mapping[int, Sequence[LedgerEntry]], run_ids: Mapping[int, UUID]
    ) -> set[tuple[int, str]]:
        """Insert entries that are not recorded yet; return those really inserted."""
        ...

    def known_ids(self, entries: Mapping[int, Sequence[LedgerEntry]]) -> set[tuple[int, str]]:
        """Return which of these entries are recorded already."""
        ...

    def arrived_meanwhile(
        self, seen: Mapping[int, tuple[datetime | None, Collection[str]]]
    ) -> Mapping[tuple[int, HoldingKey], Decimal]:
        """Sum the entries that others recorded after this reading, per holding."""
        ...

    def lock_positions(self, keys: Iterable[tuple[int, HoldingKey]]) -> None:
        """Create the missing positions, then lock exactly these ``FOR NO KEY UPDATE`` in key order."""
        ...

    def recorded(self, keys: Iterable[tuple[int, HoldingKey]]) -> Mapping[tuple[int, HoldingKey], Recorded]:
        """Read positions with the totals of their events, entries and adjustments."""
        ...

    def write_steps(
        self,
        steps: Mapping[int, Sequence[Step]],
        run_ids: Mapping[int, UUID],
        plan_ids: Mapping[int, UUID] | None = None,
    ) -> None:
        """Append the events, of these plans, and move the positions to where the steps end."""
        ...

    def remember_residuals(
        self,
        observed: Mapping[int, Mapping[HoldingKey, Observation]],
        settled: Collection[tuple[int, HoldingKey]],
        cleared: Mapping[int, Sequence[HoldingKey]],
        as_of: Mapping[int, datetime],
    ) -> None:
        """Keep the residuals that coherent readings saw, and forget those that went away."""
        ...

    def record_runs(self, runs: Sequence[RunRecord], findings: Mapping[UUID, Sequence[Finding]]) -> None:
        """Write runs with their discrepancies, replacing an unsuccessful try at the same interval."""
        ...

    def raise_alerts(self, alerts: Sequence[Alert]) -> None:
        """Open alerts, or count them again where the same one is open."""
        ...

    def resolve_explained(self, account_ids: Collection[int], *, ended_by: str) -> None:
        """Resolve the alerts about adjustments of these accounts that entries explain by now."""
        ...

    def resolve_alerts(
        self, account_ids: Collection[int], kind: AlertKind, *, ended_by: str | None = None
    ) -> None:
        """Resolve the open alerts of a kind for these accounts, and keep what ended them."""
        ...


class BackfillStore(Protocol):
    """The books as of a past moment, inside one transaction."""

    def coverage(self, account_ids: Collection[int]) -> Mapping[int, Coverage]:
        """Read since when accounts have books here, and how far their ledger was read, by account id."""
        ...

    def holdings_then(
        self, account_id: int, at: datetime, read: Sequence[LedgerEntry] = ()
    ) -> list[HoldingThen]:
        """Read every holding as of a moment; entries of ``read`` that are not recorded count as happened."""
        ...

    def head_then(self, account_id: int, at: datetime) -> str | None:
        """Name the newest recorded entry before a moment."""
        ...

    def record_run(self, run: RunRecord, findings: Sequence[Finding]) -> None:
        """Write a run as of its interval's end with its discrepancies, unless it has succeeded before."""
        ...


class TurnsStore(Protocol):
    """What decides which accounts come first."""

    def needs(self, account_ids: Collection[int], since: datetime) -> list[Need]:
        """Read why accounts may have to come before others; differences older than ``since`` do not count."""
        ...


class UnitOfWork(LockingUnit, Protocol):
    """One database session and transaction; rolled back unless committed, always closed."""

    @property
    def sync(self) -> SyncStore:
        """The rows of ``position_sync``."""
        ...

    @property
    def costs(self) -> CostStore:
        """Average costs and realised results."""
        ...

    @property
    def plans(self) -> PlanStore:
        """Repair plans and what became of them."""
        ...

    @property
    def backfill(self) -> BackfillStore:
        """The books as of a past moment."""
        ...

    @property
    def margin(self) -> MarginStore:
        """Open margin positions."""
        ...

    @property
    def prices(self) -> PriceStore:
        """The newest price of every asset, by currency."""
        ...

    @property
    def turns(self) -> TurnsStore:
        """Which accounts come first."""
        ...

    def commit(self) -> None:
        """Make the work permanent; the unit stays usable for a next transaction."""
        ...
