"""The rows of ``position_sync`` in Postgres; every statement is a named query of ``sql/sync.sql``."""

from __future__ import annotations

from decimal import Decimal
from types import NoneType
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from kraken_recon.adapters.postgres.alert_raising import raise_alerts
from kraken_recon.adapters.postgres.named_sql import load
from kraken_recon.domain.alert_kinds import AlertKind
from kraken_recon.domain.ledger import HoldingKey, LedgerEntry
from kraken_recon.domain.policy import Mode, Tolerance
from kraken_recon.domain.reconciliation import RESIDUAL_REASONS, Observation, Recorded
from kraken_recon.domain.records import Account, AccountState, Comparison
from kraken_recon.errors import ConfigurationError, StoreError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy.engine import Connection, CursorResult, Row

    from kraken_recon.domain.intervals import Interval
    from kraken_recon.domain.ledger import Balance
    from kraken_recon.domain.reconciliation import Finding, Step
    from kraken_recon.domain.records import Alert, Opening, RunRecord

QUERIES: Final = {name: sa.text(query) for name, query in load("sync").items()}
CORRECTABLE: Final = (
    *("refid", "entry_time", "entry_type", "subtype", "asset", "wallet", "amount", "fee", "balance"),
)
_RESIDUAL_REASONS: Final = [str(reason) for reason in RESIDUAL_REASONS]
COUNTS: Final = (
    "checked",
    "matched",
    "within_tolerance",
    "explained",
    "updated",
    "added",
    "removed",
    "held",
    "awaiting",
    "failed",
)


def _holdings(
    assets: Sequence[str] | None, wallets: Sequence[str] | None, amounts: Sequence[Decimal] | None
) -> dict[HoldingKey, Decimal]:
    return {
        HoldingKey(asset, wallet): amount
        for asset, wallet, amount in zip(assets or (), wallets or (), amounts or (), strict=True)
    }


def _key_arrays(keys: Iterable[tuple[int, HoldingKey]]) -> dict[str, list[Any]]:
    listed = list(keys)
    return {
        "account_ids": [account for account, _ in listed],
        "assets": [key.asset for _, key in listed],
        "wallets": [key.wallet for _, key in listed],
    }


def array_literal(values: Sequence[object]) -> str:
    """Write a Postgres array, at a tenth of the cost of the driver adapting it element by element."""
    kinds = set(map(type, values))
    if kinds.isdisjoint((str, NoneType)):
        return "{" + ",".join(map(str, values)) + "}"
    return "{" + ",".join(["NULL" if value is None else _quoted(str(value)) for value in values]) + "}"


def _quoted(text: str) -> str:
    if "\\" in text or '"' in text:
        text = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'


class PostgresSyncStore:
    """Satisfies ``service.ports.SyncStore`` over one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def _run(self, query: str, **values: object) -> Sequence[Row[Any]]:
        result = self._execute(query, values)
        return result.all() if result.returns_rows else ()

    def _execute(self, query: str, values: Mapping[str, object]) -> CursorResult[Any]:
        written = {
            name: array_literal(value) if isinstance(value, list) else value for name, value in values.items()
        }
        return self._connection.execute(QUERIES[query], written)

    def find_accounts(self, names: Collection[str] | None) -> list[Account]:
        """List active accounts; all of them, or those named."""
        rows = self._run("find_accounts", names=sorted(names) if names is not None else None)
        found = [Account(**row._asdict()) for row in rows]
        unknown = sorted(set(names or ()) - {account.name for account in found})
        if unknown:
            raise ConfigurationError(
                f"no active account is named {', '.join(unknown)}; see `python -m kraken_recon report`"
            )
        return found

    def load_states(self, accounts: Sequence[Account]) -> list[AccountState]:
        """Read what a sync must know of each account, in the order given."""
        ids = [account.account_id for account in accounts]
        rows = {row.account_id: row for row in self._run("load_states", account_ids=ids)}
        observations: dict[int, dict[HoldingKey, Observation]] = {}
        for row in self._run("load_residuals", account_ids=ids):
            observations.setdefault(row.account_id, {})[HoldingKey(row.asset, row.wallet)] = Observation(
                row.residual, row.first_seen_at, row.confirmations
            )
        tolerances: dict[int, dict[str, Tolerance]] = {}
        for row in self._run("load_tolerances", account_ids=ids):
            tolerances.setdefault(row.account_id, {})[row.asset] = Tolerance(row.quantity, row.value)
        unexplained = {
            row.account_id: row.after
            for row in self._run("load_unexplained", account_ids=ids, residual_reasons=_RESIDUAL_REASONS)
        }
        return [
            AccountState(
                account,
                rows[account.account_id].is_open,
                rows[account.account_id].newest_entry_at,
                rows[account.account_id].ledger_floor,
                observations.get(account.account_id, {}),
                tolerances.get(account.account_id, {}),
                rows[account.account_id].ledger_read_until,
                account.account_id in unexplained,
                unexplained.get(account.account_id),
            )
            for account in accounts
        ]

    def finished_runs(
        self, accounts: Sequence[Account], interval: Interval, mode: Mode
    ) -> Mapping[int, UUID]:
        """Name the runs of this interval that already succeeded, by account id."""
        rows = self._run(
            "finished_runs",
            account_ids=[account.account_id for account in accounts],
            interval_start=interval.start,
            interval_end=interval.end,
            mode=str(mode),
        )
        return {row.account_id: row.run_id for row in rows}

    def compare(self, replies: Mapping[int, Mapping[HoldingKey, Balance]]) -> Mapping[int, Comparison]:
        """Compare the positions of many accounts with their balance replies, by account id."""
        # Column by column: a tuple per balance would only give the garbage collector work.
        reported = replies.values()
        rows = self._run(
            "compare",
            replied=list(replies),
            account_ids=[account for account, reply in replies.items() for _ in reply],
            assets=[key.asset for reply in reported for key in reply],
            wallets=[key.wallet for reply in reported for key in reply],
            balances=[balance.balance for reply in reported for balance in reply.values()],
            available=[balance.available for reply in reported for balance in reply.values()],
        )
        nothing = Comparison(0, 0, {}, {})
        found = {
            row.account_id: Comparison(
                row.checked,
                row.all_positions,
                _holdings(row.differing_assets, row.differing_wallets, row.differing_drifts),
                _holdings(row.settled_assets, row.settled_wallets, row.settled_drifts),
                frozenset(
                    map(HoldingKey, row.available_assets or (), row.available_wallets or ()),
                ),
                frozenset(map(HoldingKey, row.folded_assets or (), row.folded_wallets or ())),
            )
            for row in rows
        }
        return {account: found.get(account, nothing) for account in replies}

    def update_available(self, available: Mapping[tuple[int, HoldingKey], tuple[Decimal, datetime]]) -> None:
        """Bring ``available_quantity`` of locked positions up to date where the reading is newer."""
        self._run(
            "update_available",
            **_key_arrays(available),
            available=[quantity for quantity, _ in available.values()],
            as_of=[as_of for _, as_of in available.values()],
        )

    def entries_after(self, account_id: int, after: datetime | None) -> list[LedgerEntry]:
        """Read the recorded entries later than ``after``."""
        rows = self._run("entries_after", account_id=account_id, after=after)
        return [LedgerEntry(*columns) for (*columns,) in rows]

    def balances_at(self, account_id: int, at: datetime | None) -> Mapping[HoldingKey, Decimal]:
        """Sum the openings and the recorded entries up to ``at`` (None: the openings alone)."""
        rows = self._run("balances_at", account_id=account_id, at=at)
        return {HoldingKey(row.asset, row.wallet): row.balance for row in rows}

    def respell(self, account_id: int, names: Mapping[HoldingKey, HoldingKey]) -> None:
        """Call locked holdings otherwise, entries and events too; those that get one name become one."""
        values: dict[str, object] = {
            "account_id": account_id,
            "assets": [key.asset for key in names],
            "old": [key.wallet for key in names],
            "new": [key.wallet for key in names.values()],
        }
        for query in ("respell_entries", "respell_events", "connect_respelled", "respell_positions"):
            self._execute(query, values)
        touched = sorted({*names, *names.values()})
        self._run("forget_residuals", **_key_arrays((account_id, key) for key in touched))

    def correct_entry(self, account_id: int, old: LedgerEntry, new: LedgerEntry) -> bool:
        """Replace one telling of a recorded entry by another; False where the record is not the old one."""
        values: dict[str, object] = {"account_id": account_id, "ledger_id": old.ledger_id}
        values |= {name: getattr(new, name) for name in CORRECTABLE}
        values |= {f"old_{name}": getattr(old, name) for name in CORRECTABLE}
        return bool(self._run("correct_entry", **values))

    def open_account(self, account_id: int, opening: Opening) -> bool:
        """Claim the opening of an account; False when another session opened it meanwhile."""
        claimed = self._run(
            "open_account", account_id=account_id, source=opening.source, ledger_floor=opening.ledger_floor
        )
        return bool(claimed)

    def write_opening(self, account_id: int, opening: Opening, run_id: UUID) -> None:
        """Write the opening events of locked positions, and move those that did not exist before."""
        keys = sorted(opening.quantities)
        self._run(
            "insert_openings",
            account_id=account_id,
            assets=[key.asset for key in keys],
            wallets=[key.wallet for key in keys],
            quantities=[opening.quantities[key] for key in keys],
            run_id=run_id,
            effective_at=opening.effective_at,
        )

    def advance_watermarks(
        self, read: Mapping[int, Sequence[LedgerEntry]], matched: Mapping[int, datetime]
    ) -> None:
        """Say that the ledger is proved complete: up to what was read, or where balances agreed at a time."""
        ids = [(account, entry.ledger_id) for account, listed in read.items() for entry in listed]
        self._run(
            "advance_watermarks",
            account_ids=[account for account, _ in ids],
            ledger_ids=[ledger_id for _, ledger_id in ids],
            matched=list(matched),
            matched_at=list(matched.values()),
        )

    def advance_coverage(self, read: Mapping[int, tuple[datetime | None, datetime]]) -> None:
        """Say between when ledgers were read and proved; a stretch beyond a hole adds nothing."""
        if read:
            self._run(
                "advance_coverage",
                account_ids=list(read),
                after=[after for after, _ in read.values()],
                read_until=[until for _, until in read.values()],
            )

    def ingest(
        self, entries: Mapping[int, Sequence[LedgerEntry]], run_ids: Mapping[int, UUID]
    ) -> set[tuple[int, str]]:
        """Insert entries that are not recorded yet; return those really inserted."""
        rows = [(account, entry) for account, listed in entries.items() for entry in listed]
        if not rows:
            return set()
        inserted = self._run(
            "ingest",
            **_key_arrays((account, entry.key) for account, entry in rows),
            ledger_ids=[entry.ledger_id for _, entry in rows],
            refids=[entry.refid for _, entry in rows],
            entry_times=[entry.entry_time for _, entry in rows],
            types=[entry.entry_type for _, entry in rows],
            subtypes=[entry.subtype for _, entry in rows],
            amounts=[entry.amount for _, entry in rows],
            fees=[entry.fee for _, entry in rows],
            balances=[entry.balance for _, entry in rows],
            run_ids=[run_ids[account] for account, _ in rows],
        )
        return {(row.account_id, row.ledger_id) for row in inserted}

    def known_ids(self, entries: Mapping[int, Sequence[LedgerEntry]]) -> set[tuple[int, str]]:
        """Return which of these entries are recorded already."""
        rows = [(account, entry.ledger_id) for account, listed in entries.items() for entry in listed]
        found = self._run(
            "known_ids",
            account_ids=[account for account, _ in rows],
            ledger_ids=[ledger_id for _, ledger_id in rows],
        )
        return {(row.account_id, row.ledger_id) for row in found}

    def arrived_meanwhile(
        self, seen: Mapping[int, tuple[datetime | None, Collection[str]]]
    ) -> Mapping[tuple[int, HoldingKey], Decimal]:
        """Sum the entries that others recorded after this reading, per holding."""
        ids = [(account, ledger_id) for account, (_, listed) in seen.items() for ledger_id in listed]
        rows = self._run(
            "arrived_meanwhile",
            replied=list(seen),
            after=[after for after, _ in seen.values()],
            account_ids=[account for account, _ in ids],
            ledger_ids=[ledger_id for _, ledger_id in ids],
        )
        return {(row.account_id, HoldingKey(row.asset, row.wallet)): row.change for row in rows}

    def lock_positions(self, keys: Iterable[tuple[int, HoldingKey]]) -> None:
        """Create the missing positions, then lock exactly these in key order."""
        arrays = _key_arrays(keys)
        self._run("create_positions", **arrays)
        locked = self._run("lock_positions", **arrays)
        if len(locked) != len(arrays["assets"]):
            raise StoreError(f"expected to lock {len(arrays['assets'])} positions, locked {len(locked)}")

    def recorded(self, keys: Iterable[tuple[int, HoldingKey]]) -> Mapping[tuple[int, HoldingKey], Recorded]:
        """Read positions with the totals of their events, entries and adjustments."""
        rows = self._run("recorded", **_key_arrays(keys), residual_reasons=_RESIDUAL_REASONS)
        return {
            (row.account_id, HoldingKey(row.asset, row.wallet)): Recorded(
                row.quantity, row.event_total, row.ledger_total, row.adjustment_total, row.adjusted_at
            )
            for row in rows
        }

    def write_steps(
        self,
        steps: Mapping[int, Sequence[Step]],
        run_ids: Mapping[int, UUID],
        plan_ids: Mapping[int, UUID] | None = None,
    ) -> None:
        """Append the events and move the positions to where the steps end."""
        plan_ids = plan_ids or {}
        rows = [(account, step) for account, listed in steps.items() for step in listed]
        if not rows:
            return
        self._run(
            "insert_events",
            **_key_arrays((account, step.key) for account, step in rows),
            before=[step.before for _, step in rows],
            after=[step.after for _, step in rows],
            causes=[str(step.cause) for _, step in rows],
            reasons=[str(step.reason) if step.reason else None for _, step in rows],
            ledger_ids=[step.ledger_id for _, step in rows],
            run_ids=[run_ids[account] for account, _ in rows],
            effective_at=[step.effective_at for _, step in rows],
            plan_ids=[plan_ids.get(account) for account, _ in rows],
        )
        ends = {(account, step.key): step.after for account, step in rows}
        result = self._execute("move_positions", {**_key_arrays(ends), "quantities": list(ends.values())})
        if result.rowcount != len(ends):
            raise StoreError(f"expected to move {len(ends)} positions, moved {result.rowcount}")

    def remember_residuals(
        self,
        observed: Mapping[int, Mapping[HoldingKey, Observation]],
        settled: Collection[tuple[int, HoldingKey]],
        cleared: Mapping[int, Sequence[HoldingKey]],
        as_of: Mapping[int, datetime],
    ) -> None:
        """Keep the residuals that coherent readings saw, and forget those that went away."""
        seen = [(account, key, o) for account, by_key in observed.items() for key, o in by_key.items()]
        if seen:
            self._run(
                "remember_residuals",
                **_key_arrays((account, key) for account, key, _ in seen),
                residuals=[o.residual for _, _, o in seen],
                first_seen_at=[o.first_seen_at for _, _, o in seen],
                last_seen_at=[as_of[account] for account, _, _ in seen],
                confirmations=[o.confirmations for _, _, o in seen],
                settled=[(account, key) in settled for account, key, _ in seen],
            )
        gone = [(account, key) for account, keys in cleared.items() for key in keys]
        if gone:
            self._run("forget_residuals", **_key_arrays(gone))

    def record_runs(self, runs: Sequence[RunRecord], findings: Mapping[UUID, Sequence[Finding]]) -> None:
        """Write runs with their discrepancies, replacing an unsuccessful try at the same interval."""
        written = {row.run_id for row in self._run("record_runs", **_run_arrays(runs))} if runs else set()
        if runs and runs[0].mode is Mode.DRY_RUN:
            self._run("forget_planned", run_ids=list(written))
        rows = [(run, f) for run in runs if run.run_id in written for f in findings.get(run.run_id, ())]
        if not rows:
            return
        self._run(
            "insert_discrepancies",
            **_key_arrays((run.account_id, finding.key) for run, finding in rows),
            run_ids=[run.run_id for run, _ in rows],
            db_quantities=[finding.recorded for _, finding in rows],
            exchange_quantities=[finding.reported for _, finding in rows],
            explained=[finding.explained for _, finding in rows],
            database_drifts=[finding.database_drift for _, finding in rows],
            residuals=[finding.residual for _, finding in rows],
            actions=[str(finding.action) for _, finding in rows],
            ledger_ids=[" ".join(finding.ledger_ids) for _, finding in rows],
        )

    def raise_alerts(self, alerts: Sequence[Alert]) -> None:
        """Open alerts, or count them again where the same one is open, with what was put off before."""
        raise_alerts(self._connection, alerts)

    def resolve_explained(self, account_ids: Collection[int], *, ended_by: str) -> None:
        """Resolve the alerts about adjustments of these accounts that entries explain by now."""
        if account_ids:
            self._run(
                "resolve_explained",
                account_ids=sorted(account_ids),
                kind=str(AlertKind.UNEXPLAINED_DISCREPANCY),
                residual_reasons=_RESIDUAL_REASONS,
                resolution=ended_by,
            )

    def resolve_alerts(
        self, account_ids: Collection[int], kind: AlertKind, *, ended_by: str | None = None
    ) -> None:
        """Resolve the open alerts of a kind for these accounts, and keep what ended them."""
        ids = sorted(account_ids)
        self._run("resolve_alerts", account_ids=ids, kind=str(kind), resolution=ended_by)


def _run_arrays(runs: Sequence[RunRecord]) -> dict[str, Any]:
    return {
        "interval_start": runs[0].interval.start,
        "interval_end": runs[0].interval.end,
        "mode": str(runs[0].mode),
        "run_ids": [run.run_id for run in runs],
        "account_ids": [run.account_id for run in runs],
        "statuses": [run.status for run in runs],
        "triggers": [run.trigger for run in runs],
        "reported_as_of": [run.reported_as_of for run in runs],
        "reported_heads": [run.reported_head for run in runs],
        **{name: [run.counts.get(name, 0) for run in runs] for name in COUNTS},
        "entries_ingested": [run.entries_ingested for run in runs],
        "api_calls": [run.api_calls for run in runs],
        "seconds": [Decimal(f"{run.seconds:.3f}") for run in runs],
        "lock_hold_ms": [Decimal(f"{run.lock_hold_ms:.3f}") for run in runs],
        "notes": [run.note for run in runs],
        "errors": [run.error for run in runs],
        "dag_ids": [run.dag_run.dag_id if run.dag_run else None for run in runs],
        "dag_run_ids": [run.dag_run.run_id if run.dag_run else None for run in runs],
    }
