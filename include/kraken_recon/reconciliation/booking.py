"""Write what the readings of a batch of accounts mean, in one transaction.

Invariants:
1. Everything that a run writes for an account is in one transaction; a run that dies leaves nothing.
2. Only entries that were really inserted move positions, so it does not matter who else brings them.
3. Only positions that change are locked, in key order, and what is written was read under that lock.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final

from kraken_recon.alerts.kinds import SETTLED_BY_RUNS, AlertKind
from kraken_recon.alerts.store import AlertStore
from kraken_recon.books.booking_entries import inserted_in_order
from kraken_recon.books.store import BookStore
from kraken_recon.costs.recomputing import HistoryNeededError, recompute, scope_of_news
from kraken_recon.costs.records import CostScope
from kraken_recon.costs.store import CostStore
from kraken_recon.errors import StoreError
from kraken_recon.holdings.pricing import PriceList, price_list
from kraken_recon.holdings.store import PriceStore
from kraken_recon.reconciliation.entry_alerts import tell_unpaired
from kraken_recon.reconciliation.judging import Batch, Judging
from kraken_recon.reconciliation.margin.reconcile import reconcile_margin
from kraken_recon.reconciliation.margin.store import MarginStore
from kraken_recon.reconciliation.plans.recording import RunPlans, plans_of, record_dry_run, record_repair
from kraken_recon.reconciliation.plans.store import PlanStore
from kraken_recon.reconciliation.reading import mend_gaps, respell_all
from kraken_recon.reconciliation.rules.assess import Action
from kraken_recon.reconciliation.rules.evidence import Observation
from kraken_recon.reconciliation.rules.policy import Mode
from kraken_recon.reconciliation.run_summary import alerts_of, counts_of, findings_of, note_of, run_record
from kraken_recon.reconciliation.stages import Compared, Read
from kraken_recon.reconciliation.store import ReconciliationStore
from kraken_recon.reconciliation.transactions import AccountRefusedError, write_in_batches
from kraken_recon.values.cycle_search import no_cycle_search
from kraken_recon.values.money import ZERO, exact_arithmetic

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from contextlib import AbstractContextManager
    from datetime import datetime
    from decimal import Decimal
    from uuid import UUID

    from kraken_recon.alerts.alert import Alert
    from kraken_recon.books.store import Place
    from kraken_recon.database.unit_of_work import UnitOfWork
    from kraken_recon.ledger.entries import HoldingKey, LedgerEntry
    from kraken_recon.reconciliation.rules.assess import Assessment, Discrepancy
    from kraken_recon.reconciliation.rules.run import RunRecord
    from kraken_recon.reconciliation.run import AccountWork, SyncRequest


WRITERS: Final = 2
"""Sessions that book side by side, where there is more than one batch."""


@no_cycle_search()
def book(
    works: Sequence[AccountWork],
    request: SyncRequest,
    open_unit_of_work: Callable[[], AbstractContextManager[UnitOfWork]],
) -> None:
    """Book what is known of these accounts; one that cannot be booked is recorded as failed.

    Raises:
        StoreUnreachableError: there is no database to write to.
    """
    write_in_batches(works, partial(_write, request), open_unit_of_work, writers=WRITERS)


def _write(request: SyncRequest, unit: UnitOfWork, works: Sequence[AccountWork]) -> None:
    """Book a batch as if its new entries alone gave its costs, and once more without that if they do not."""
    try:
        _Booking(unit, request, Batch(works)).run()
    except HistoryNeededError:
        unit.roll_back()
        _Booking(unit, request, Batch(works), trusts_news=False).run()


@dataclass(slots=True)
class _Booking:
    """One transaction over a batch of accounts."""

    unit: UnitOfWork
    request: SyncRequest
    batch: Batch
    trusts_news: bool = True
    started: float = field(default_factory=time.monotonic)
    lock_hold_ms: float = 0.0
    plans: RunPlans = field(default_factory=RunPlans)
    new: Mapping[int, Mapping[HoldingKey, Sequence[LedgerEntry]]] = field(default_factory=dict)
    assessments: Mapping[int, Assessment] = field(default_factory=dict)

    @exact_arithmetic()
    def run(self) -> None:
        """Apply the readings, then record every account's run."""
        batch, read, is_repair = self.batch, self.batch.read, self.request.mode is Mode.REPAIR
        if is_repair:
            for account, one in read.items():
                # Before anything is compared with what Kraken tells of them.
                respell_all(BookStore(self.unit), account, one.reading)
                mend_gaps(BookStore(self.unit), account, one.reading, batch.run_ids[account])
        opened_by_others: set[int] = set()
        if read:
            self.new = self._add_entries(opened_by_others)
            self._compare_again(opened_by_others)
        judging = Judging(self.unit, batch, self.request, self.new)
        keys = judging.keys
        locked_at = time.monotonic()
        if is_repair:
            scope = self._cost_scope()
            locked = self._lock(keys, scope)
        if read:
            self.assessments = judging.assess(keys)
            self.plans = plans_of(
                self.assessments,
                {account: one.as_of for account, one in read.items()},
                {account: one.prices for account, one in read.items()},
            )
        if is_repair:
            self._write(scope, locked)
        self.lock_hold_ms = (time.monotonic() - locked_at) * 1000 if read else 0.0
        reconcile_margin(MarginStore(self.unit), list(batch.works.values()), self.new, self.request)
        self._record()

    def _add_entries(self, opened_by_others: set[int]) -> dict[int, dict[HoldingKey, list[LedgerEntry]]]:
        """Insert what is not recorded yet; keep what was really inserted, in chain order per holding."""
        books, batch = BookStore(self.unit), self.batch
        entries = {account: one.reading.entries for account, one in batch.read.items()}
        if self.request.mode is Mode.REPAIR:
            inserted = books.ingest(entries, batch.run_ids)
            for account in sorted(batch.read):
                opening = batch.read[account].reading.opening
                if opening and not ReconciliationStore(self.unit).open_account(account, opening):
                    batch.opened_by_another(account)
                    opened_by_others.add(account)
        else:
            inserted = {(a, e.ledger_id) for a, of in entries.items() for e in of} - books.known_ids(entries)
        return inserted_in_order({a: one.reading.chained for a, one in batch.read.items()}, inserted)

    def _compare_again(self, opened_by_others: Collection[int]) -> None:
        """Compare what a reading changed or told otherwise than the first reply."""
        stale = {
            account: one.reading.balances
            for account, one in self.batch.read.items()
            if one.reading.balances != one.balances
            or one.reading.opening
            or one.reading.respelled
            or one.reading.mended
            or account in opened_by_others
        }
        if stale:
            for account, comparison in ReconciliationStore(self.unit).compare(stale).items():
                self.batch.compared_again(account, comparison)

    def _cost_scope(self) -> CostScope:
        if not self.request.keeps_costs:
            return CostScope()
        batch = self.batch
        quotes = {account: batch.works[account].state.account.quote_currency for account in batch.read}
        openings = {
            account: one.reading.opening.quantities.keys()
            for account, one in batch.read.items()
            if one.reading.opening
        }
        return scope_of_news(CostStore(self.unit), quotes, self.new, openings, trusts_news=self.trusts_news)

    def _lock(self, keys: Collection[Place], scope: CostScope) -> list[Place]:
        """Lock every position that this transaction may touch, at once, so that no two can deadlock.

        Return those that are judged, or of which another quantity may be available.
        """
        batch = self.batch
        compared: list[tuple[int, Read | Compared]] = [*batch.read.items(), *batch.matched.items()]
        available = {(a, key) for a, one in compared for key in one.comparison.available_differing}
        locked = sorted({*keys, *available})
        if locked:
            # With every wallet of the assets whose average may move: it is written under these locks.
            BookStore(self.unit).lock_positions(sorted({*locked, *scope.positions}))
        for account, one in batch.read.items():
            if one.reading.opening:
                run_id = batch.works[account].run_id
                ReconciliationStore(self.unit).write_opening(account, one.reading.opening, run_id)
        return locked

    def _write(self, scope: CostScope, locked: Collection[Place]) -> None:
        batch, store = self.batch, ReconciliationStore(self.unit)
        # Only a reading that shows all that Kraken counts moves what is proved.
        proved = {account: one.reading for account, one in batch.read.items() if not one.reading.missing}
        steps = {account: found.steps for account, found in self.assessments.items()}
        available = self._available(locked)
        BookStore(self.unit).write_steps(steps, batch.run_ids, self.plans.written_ids, available)
        recompute(CostStore(self.unit), scope)
        store.advance_proofs(
            {account: reading.entries for account, reading in proved.items()},
            {account: one.as_of for account, one in batch.matched.items()},
            {account: (of.after, of.as_of) for account, of in proved.items()},
            {account: of.as_of for account, of in proved.items() if of.has_tokenized},
        )
        self._remember_residuals(store)
        self._finish_approved()
        record_repair(PlanStore(self.unit), self.plans, batch.run_ids, batch.judged)

    def _remember_residuals(self, store: ReconciliationStore) -> None:
        """Keep what coherent readings saw, and forget what they, or the balances alone, no longer show."""
        as_of = {account: one.as_of for account, one in self.batch.read.items()}
        observed = {
            account: {
                **found.observed,
                **{key: Observation(surplus, as_of[account]) for key, surplus in found.folded.items()},
            }
            for account, found in self.assessments.items()
        }
        settled = [
            (account, key)
            for account, found in self.assessments.items()
            for key in (
                *(f.key for f in found.findings if f.action is Action.WITHIN_TOLERANCE),
                *found.folded,
            )
        ]
        gone = {
            account: tuple(
                key
                for key in self.batch.works[account].state.observations
                if key not in {*one.comparison.settled, *one.comparison.folded}
            )
            for account, one in self.batch.matched.items()
        }
        cleared = {account: found.cleared for account, found in self.assessments.items()}
        store.remember_residuals(observed, settled, cleared | gone, as_of)

    def _finish_approved(self) -> None:
        approval = self.request.approval
        for account, found in self.assessments.items():
            if approval is None or not found.approval_stands:
                continue
            work = self.batch.works[account]
            if not PlanStore(self.unit).finish_approved(approval.plan_id, work.run_id):
                raise AccountRefusedError(
                    work, StoreError(f"plan {approval.plan_id} is approved no longer; nothing was written")
                )

    def _available(self, locked: Collection[Place]) -> dict[Place, tuple[Decimal, datetime]]:
        """Say what is available of each locked position, and as of when."""
        replies = {account: (one.reading.balances, one.as_of) for account, one in self.batch.read.items()}
        replies |= {account: (one.balances, one.as_of) for account, one in self.batch.matched.items()}
        available = {}
        for account, key in locked:
            balances, as_of = replies[account]
            available[account, key] = (balances[key].available if key in balances else ZERO, as_of)
        return available

    def _record(self) -> None:
        """Record every account's run, and tell people."""
        works = self.batch.works.values()
        findings = {w.run_id: findings_of(w, self.assessments.get(w.account_id)) for w in works}
        prices = self._prices(findings)
        alerts = [
            alert
            for work in works
            for alert in alerts_of(work, findings[work.run_id], prices, self.assessments.get(work.account_id))
        ]
        runs = [self._run_record(work, findings[work.run_id]) for work in works]
        ReconciliationStore(self.unit).record_runs(runs, findings)
        if self.request.mode is Mode.DRY_RUN:
            record_dry_run(PlanStore(self.unit), self.plans, self.batch.run_ids)
        else:
            self._tell(alerts)

    def _tell(self, alerts: Sequence[Alert]) -> None:
        """Raise these alerts, and end those that the run has answered."""
        store, batch, ended_by = AlertStore(self.unit), self.batch, self.request.told_as
        store.raise_alerts(alerts)
        for account, one in batch.read.items():
            if self.new[account]:
                tell_unpaired(self.unit, batch.works[account].state.account, one.reading.entries)
        store.resolve_alerts(batch.judged, *SETTLED_BY_RUNS, still=alerts, ended_by=ended_by)
        store.resolve_alerts([*batch.read, *batch.matched], AlertKind.SYNC_FAILURE, ended_by=ended_by)
        unexplained = [account for account in batch.read if batch.works[account].state.is_unexplained]
        BookStore(self.unit).resolve_explained(unexplained, ended_by=ended_by)

    def _prices(self, findings: Mapping[UUID, Sequence[Discrepancy]]) -> PriceList:
        """Read what is needed to value what no entry explains; most runs need nothing and ask nothing."""
        wanted = [
            (work.state.account.quote_currency, finding.key.asset)
            for work in self.batch.works.values()
            for finding in findings[work.run_id]
            if finding.database_drift or finding.residual
        ]
        moments = [work.reached.as_of for work in self.batch.works.values() if work.reached.as_of]
        return price_list(PriceStore(self.unit), wanted, max(moments)) if wanted and moments else PriceList()

    def _run_record(self, work: AccountWork, found: Sequence[Discrepancy]) -> RunRecord:
        is_read, reached = isinstance(work.stage, Read), work.reached
        head = reached.reading.head if isinstance(reached, Read) else None
        return run_record(
            work,
            self.request,
            as_of=reached.as_of,
            head=head.ledger_id if head else None,
            counts=counts_of(work, found),
            ingested=sum(map(len, self.new[work.account_id].values())) if is_read else 0,
            seconds=time.monotonic() - self.started,
            lock_hold_ms=self.lock_hold_ms if is_read else 0.0,
            note=note_of(work, found, self.assessments.get(work.account_id)),
        )
