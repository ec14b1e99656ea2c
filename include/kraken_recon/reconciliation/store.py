"""The rows of a run, as named queries of ``reconciliation.sql``."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from kraken_recon.accounts.tolerance import Tolerance
from kraken_recon.books.store import RESIDUAL_REASON_NAMES, BookStore, key_arrays
from kraken_recon.database.named_sql import load
from kraken_recon.database.store import ArrayStore
from kraken_recon.ledger.entries import HoldingKey, LedgerEntry
from kraken_recon.reconciliation.rules.evidence import Observation
from kraken_recon.reconciliation.rules.policy import Mode
from kraken_recon.reconciliation.rules.run import AccountState, Comparison

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from datetime import datetime
    from uuid import UUID

    from kraken_recon.accounts.account import Account
    from kraken_recon.ledger.entries import Balance
    from kraken_recon.reconciliation.rules.assess import Discrepancy
    from kraken_recon.reconciliation.rules.run import Opening, RunRecord
    from kraken_recon.values.intervals import Interval


QUERIES: Final = {name: sa.text(query) for name, query in load(__file__, "reconciliation").items()}
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


class ReconciliationStore(ArrayStore):
    """What runs read and write of accounts, residuals, runs and discrepancies."""

    queries = QUERIES

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
            for row in self._run("load_unexplained", account_ids=ids, residual_reasons=RESIDUAL_REASON_NAMES)
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
        """Say between when ledgers were read and proved; a stretch beyond a gap adds nothing."""
        if read:
            self._run(
                "advance_coverage",
                account_ids=list(read),
                after=[after for after, _ in read.values()],
                read_until=[until for _, until in read.values()],
            )

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
                **key_arrays((account, key) for account, key, _ in seen),
                residuals=[o.residual for _, _, o in seen],
                first_seen_at=[o.first_seen_at for _, _, o in seen],
                last_seen_at=[as_of[account] for account, _, _ in seen],
                confirmations=[o.confirmations for _, _, o in seen],
                settled=[(account, key) in settled for account, key, _ in seen],
            )
        gone = [(account, key) for account, keys in cleared.items() for key in keys]
        if gone:
            BookStore(self._unit).forget_residuals(gone)

    def record_runs(self, runs: Sequence[RunRecord], findings: Mapping[UUID, Sequence[Discrepancy]]) -> None:
        """Write runs with their discrepancies, replacing an unsuccessful try at the same interval."""
        written = {row.run_id for row in self._run("record_runs", **_run_arrays(runs))} if runs else set()
        if runs and runs[0].mode is Mode.DRY_RUN:
            self._run("forget_planned", run_ids=list(written))
        rows = [(run, f) for run in runs if run.run_id in written for f in findings.get(run.run_id, ())]
        if not rows:
            return
        self._run(
            "insert_discrepancies",
            **key_arrays((run.account_id, finding.key) for run, finding in rows),
            run_ids=[run.run_id for run, _ in rows],
            db_quantities=[finding.recorded for _, finding in rows],
            exchange_quantities=[finding.reported for _, finding in rows],
            explained=[finding.explained for _, finding in rows],
            database_drifts=[finding.database_drift for _, finding in rows],
            residuals=[finding.residual for _, finding in rows],
            actions=[str(finding.action) for _, finding in rows],
            ledger_ids=[" ".join(finding.ledger_ids) for _, finding in rows],
        )


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
