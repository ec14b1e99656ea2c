"""The rows of a run, as named queries of ``reconciliation.sql``."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from kraken_recon.accounts.tolerance import Tolerance
from kraken_recon.books.store import RESIDUAL_REASON_NAMES, BookStore, key_arrays
from kraken_recon.database.arrays import json_rows
from kraken_recon.database.store import Store, named_queries
from kraken_recon.ledger.entries import HoldingKey, LedgerEntry
from kraken_recon.reconciliation.rules.counts import COUNTS
from kraken_recon.reconciliation.rules.evidence import Observation
from kraken_recon.reconciliation.rules.policy import Mode
from kraken_recon.reconciliation.rules.run import AcceptedMissing, AccountState, Comparison
from kraken_recon.values.cycle_search import no_cycle_search

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from datetime import datetime
    from decimal import Decimal
    from uuid import UUID

    from kraken_recon.accounts.account import Account
    from kraken_recon.ledger.entries import Balance
    from kraken_recon.reconciliation.rules.assess import Discrepancy
    from kraken_recon.reconciliation.rules.run import Opening, RunRecord
    from kraken_recon.values.intervals import Interval


def _holdings(
    assets: Sequence[str] | None, wallets: Sequence[str] | None, amounts: Sequence[Decimal] | None
) -> dict[HoldingKey, Decimal]:
    return {
        HoldingKey(asset, wallet): amount
        for asset, wallet, amount in zip(assets or (), wallets or (), amounts or (), strict=True)
    }


class ReconciliationStore(Store):
    """What runs read and write of accounts, residuals, runs and discrepancies."""

    queries = named_queries(
        __file__,
        "reconciliation",
        counts=", ".join(count.name for count in COUNTS),
        new_counts=", ".join(f"excluded.{count.name}" for count in COUNTS),
    )

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
                row.is_open,
                row.newest_entry_at,
                row.ledger_floor,
                observations.get(account.account_id, {}),
                tolerances.get(account.account_id, {}),
                row.ledger_read_until,
                account.account_id in unexplained,
                unexplained.get(account.account_id),
                AcceptedMissing(row.missing_accepted, row.missing_accepted_until)
                if row.missing_accepted
                else None,
                row.has_tokenized,
                row.tokenized_read_until,
                row.gaps_since,
            )
            for account in accounts
            for row in [rows[account.account_id]]
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

    @no_cycle_search()
    def snapshot(self) -> str:
        """Mark what is recorded by now, for a comparison with what Kraken is asked for afterwards."""
        [row] = self._run("snapshot")
        return str(row.snapshot)

    def compare(
        self, replies: Mapping[int, Mapping[HoldingKey, Balance]], asked_in: str | None = None
    ) -> Mapping[int, Comparison]:
        """Compare the positions of many accounts with their balance replies, by account id.

        Args:
            replies: the balances of each account.
            asked_in: the snapshot from before they were asked for; what was written since agrees with none.
        """
        reported = replies.values()
        rows = self._run(
            "compare",
            asked_in=asked_in,
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

    def advance_proofs(
        self,
        read: Mapping[int, Sequence[LedgerEntry]],
        matched: Mapping[int, datetime] = MappingProxyType({}),
        covered: Mapping[int, tuple[datetime | None, datetime]] = MappingProxyType({}),
        tokenized: Mapping[int, datetime] = MappingProxyType({}),
    ) -> None:
        """Say up to where ledgers are proved complete; nothing goes back.

        Args:
            read: the entries up to which nothing is missing, by account.
            matched: when balances agreed; that proves the entries up to then.
            covered: between when a ledger was read; a stretch beyond a gap adds nothing.
            tokenized: up to when the ledger of tokenized assets was read.
        """
        ids = [(account, entry.ledger_id) for account, listed in read.items() for entry in listed]
        self._run(
            "advance_proofs",
            account_ids=[account for account, _ in ids],
            ledger_ids=[ledger_id for _, ledger_id in ids],
            matched=list(matched),
            matched_at=list(matched.values()),
            covered=list(covered),
            covered_after=[after for after, _ in covered.values()],
            covered_until=[until for _, until in covered.values()],
            tokenized=list(tokenized),
            tokenized_until=list(tokenized.values()),
        )

    def accept_missing(self, account_id: int, accepted: AcceptedMissing | None) -> None:
        """Keep how many entries Kraken counts and does not show; None: it shows what it counts."""
        self._run(
            "accept_missing",
            account_id=account_id,
            entries=accepted.entries if accepted else None,
            until=accepted.until if accepted else None,
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
            rows = (
                {
                    "account_id": account,
                    "asset": key.asset,
                    "wallet": key.wallet,
                    "residual": o.residual,
                    "first_seen_at": o.first_seen_at,
                    "last_seen_at": as_of[account],
                    "confirmations": o.confirmations,
                    "is_settled": (account, key) in settled,
                }
                for account, key, o in seen
            )
            self._run("remember_residuals", residuals=json_rows(rows))
        gone = [(account, key) for account, keys in cleared.items() for key in keys]
        if gone:
            BookStore(self._unit).forget_residuals(gone)

    def record_runs(self, runs: Sequence[RunRecord], findings: Mapping[UUID, Sequence[Discrepancy]]) -> None:
        """Write runs with their discrepancies, replacing an unsuccessful try at the same interval."""
        if not runs:
            return
        written = {row.run_id for row in self._run("record_runs", runs=json_rows(map(_run_row, runs)))}
        kept = [run for run in runs if run.run_id in written]
        # What applies nothing finds all there is each time; a repair adds to what an earlier try found.
        whole = [run.run_id for run in kept if run.mode is Mode.DRY_RUN or run.recorded_as_of]
        if whole:
            self._run("forget_discrepancies", run_ids=whole)
        rows = [(run, found) for run in kept for found in findings.get(run.run_id, ())]
        if rows:
            self._run("insert_discrepancies", **_discrepancy_arrays(rows))


def _run_row(run: RunRecord) -> dict[str, Any]:
    return {
        "run_id": run.run_id,
        "account_id": run.account_id,
        "interval_start": run.interval.start,
        "interval_end": run.interval.end,
        "mode": run.mode,
        "status": run.status,
        "trigger": run.trigger,
        "recorded_as_of": run.recorded_as_of,
        "reported_as_of": run.reported_as_of,
        "reported_head": run.reported_head,
        **{count.name: run.counts.get(count.name, 0) for count in COUNTS},
        "entries_ingested": run.entries_ingested,
        "api_calls": run.api_calls,
        "seconds": f"{run.seconds:.3f}",
        "lock_hold_ms": f"{run.lock_hold_ms:.3f}",
        "note": run.note,
        "error": run.error,
        "dag_id": run.dag_run.dag_id if run.dag_run else None,
        "dag_run_id": run.dag_run.run_id if run.dag_run else None,
    }


def _discrepancy_arrays(rows: Sequence[tuple[RunRecord, Discrepancy]]) -> dict[str, list[Any]]:
    """Write discrepancies column by column: of all that a run writes they are the most."""
    return {
        **key_arrays((run.account_id, found.key) for run, found in rows),
        "run_ids": [run.run_id for run, _ in rows],
        "db_quantities": [found.recorded for _, found in rows],
        "exchange_quantities": [found.reported for _, found in rows],
        "explained": [found.explained for _, found in rows],
        "database_drifts": [found.database_drift for _, found in rows],
        "residuals": [found.residual for _, found in rows],
        "actions": [found.action for _, found in rows],
        "ledger_ids": [" ".join(found.ledger_ids) for _, found in rows],
    }
