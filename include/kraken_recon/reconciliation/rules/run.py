"""The values that travel between the use cases and the trading database."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from decimal import Decimal
    from uuid import UUID

    from kraken_recon.accounts.account import Account
    from kraken_recon.accounts.tolerance import Tolerance
    from kraken_recon.ledger.entries import HoldingKey
    from kraken_recon.reconciliation.rules.evidence import Observation
    from kraken_recon.reconciliation.rules.policy import Mode
    from kraken_recon.values.intervals import Interval


@dataclass(frozen=True, slots=True)
class AcceptedMissing:
    """How many entries Kraken counts and does not show up to a moment, as a person accepted."""

    entries: int
    until: datetime


@dataclass(frozen=True, slots=True)
class AccountState:
    """What a sync must know of an account before it asks Kraken.

    ``newest_entry_at`` is the time of the newest entry up to the watermark; nothing at or before
    ``ledger_floor`` is ever read again, because the opening already holds it. ``ledger_read_until`` is how
    far the ledger was read without a gap, whatever the balances said. ``is_unexplained`` says that an
    adjustment waits for the entry that explains it, which is later than ``unexplained_after`` (None: any).
    ``has_tokenized`` says that it holds, or held, tokenized assets; their own ledger was read until
    ``tokenized_read_until``. After ``gaps_since`` lie the gaps that a person accepted.
    """

    account: Account
    is_open: bool
    newest_entry_at: datetime | None
    ledger_floor: datetime | None
    observations: Mapping[HoldingKey, Observation] = field(default_factory=dict)
    tolerances: Mapping[str, Tolerance] = field(default_factory=dict)
    ledger_read_until: datetime | None = None
    is_unexplained: bool = False
    unexplained_after: datetime | None = None
    accepted_missing: AcceptedMissing | None = None
    has_tokenized: bool = False
    tokenized_read_until: datetime | None = None
    gaps_since: datetime | None = None


@dataclass(frozen=True, slots=True)
class Comparison:
    """How one account's positions compare with a balance reply, before anything is explained.

    ``differing`` also names, with a drift of zero, positions that agree with the reply but not with their own
    newest event, or that were written while Kraken was asked; ``available_differing`` are existing positions
    of which another quantity is available.
    ``folded`` are positions that Kraken shows under another wallet of the asset, as an earlier reading found.
    """

    checked: int
    all_positions: int
    differing: Mapping[HoldingKey, Decimal]
    settled: Mapping[HoldingKey, Decimal]
    available_differing: frozenset[HoldingKey] = frozenset()
    folded: frozenset[HoldingKey] = frozenset()


@dataclass(frozen=True, slots=True)
class DagRun:
    """The run of a DAG that something was done by."""

    dag_id: str
    run_id: str


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One row of ``reconciliation_runs``; as of the past where ``recorded_as_of`` says so, else as of now."""

    run_id: UUID
    account_id: int
    interval: Interval
    mode: Mode
    status: str
    trigger: str
    recorded_as_of: datetime | None = None
    reported_as_of: datetime | None = None
    reported_head: str | None = None
    counts: Mapping[str, int] = field(default_factory=dict)
    entries_ingested: int = 0
    api_calls: int = 0
    seconds: float = 0.0
    lock_hold_ms: float = 0.0
    note: str | None = None
    error: str | None = None
    dag_run: DagRun | None = None


@dataclass(frozen=True, slots=True)
class Opening:
    """How an account's books begin here: a quantity per holding, from when on, and where it comes from."""

    source: str
    quantities: Mapping[HoldingKey, Decimal]
    effective_at: datetime
    ledger_floor: datetime | None
