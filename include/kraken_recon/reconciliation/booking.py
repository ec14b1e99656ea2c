"""Write what the readings of a batch of accounts mean, in one transaction.

Invariants:
1. Everything that a run writes for an account is in one transaction; a run that dies leaves nothing.
2. Only entries that were really inserted move positions, so it does not matter who else brings them.
3. Only positions that change are locked, in key order, and what is written was read under that lock.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from kraken_recon.alerts.kinds import SETTLED_BY_RUNS, AlertKind
from kraken_recon.alerts.store import AlertStore
from kraken_recon.books.events import RecordedPosition
from kraken_recon.books.store import BookStore
from kraken_recon.costs.recomputing import recompute, scope_of
from kraken_recon.costs.records import CostKey, CostScope
from kraken_recon.costs.store import CostStore
from kraken_recon.database.retrying import STORE_TRIES_MAX, is_worth_repeating
from kraken_recon.errors import (
    KrakenReconError,
    LockTimeoutError,
    PayloadInvalidError,
    StoreError,
    StoreUnreachableError,
)
from kraken_recon.holdings.pricing import PriceList, price_list
from kraken_recon.holdings.store import PriceStore
from kraken_recon.reconciliation.align_moments import as_if_opened, rolled_forward
from kraken_recon.reconciliation.margin.reconcile import reconcile_margin
from kraken_recon.reconciliation.margin.store import MarginStore
from kraken_recon.reconciliation.plans.recording import RunPlans, plans_of, record_dry_run, record_repair
from kraken_recon.reconciliation.plans.store import PlanStore
from kraken_recon.reconciliation.reading import respell_all
from kraken_recon.reconciliation.rules.assess import Action, Assessment, Discrepancy, assess
from kraken_recon.reconciliation.rules.evidence import Evidence, Observation
from kraken_recon.reconciliation.rules.families import missing_holdings
from kraken_recon.reconciliation.rules.policy import Mode
from kraken_recon.reconciliation.rules.run import RunRecord
from kraken_recon.reconciliation.run_summary import alerts_of, counts_of, findings_of, is_moving, note_of
from kraken_recon.reconciliation.store import ReconciliationStore
from kraken_recon.reconciliation.unpaired_conversions import tell_unpaired
from kraken_recon.values.money import ZERO, exact_arithmetic

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from contextlib import AbstractContextManager
    from decimal import Decimal
    from uuid import UUID

    from kraken_recon.database.unit_of_work import UnitOfWork
    from kraken_recon.ledger.entries import HoldingKey, LedgerEntry
    from kraken_recon.reconciliation.run import AccountWork, SyncRequest

log = logging.getLogger(__name__)

ACCOUNTS_PER_TRANSACTION: Final = 50


class _AccountRefusedError(Exception):
    """One account's reading turned out to be unusable while it was being booked."""

    def __init__(self, work: AccountWork, error: KrakenReconError) -> None:
        super().__init__(str(error))
        self.work = work
        self.error = error


def book(
    works: Sequence[AccountWork],
    request: SyncRequest,
    open_unit_of_work: Callable[[], AbstractContextManager[UnitOfWork]],
) -> None:
    """Book in batches, one transaction each; an account that cannot be booked is recorded as failed.

    One session serves as many batches as succeed in a row: a new one has everything to plan again. An account
    of which nothing can be written is ``left``.

    Raises:
        StoreUnreachableError: there is no database to write to.
    """
    batches = deque(
        works[start : start + ACCOUNTS_PER_TRANSACTION]
        for start in range(0, len(works), ACCOUNTS_PER_TRANSACTION)
    )
    tries = 0
    while batches:
        tries += 1
        try:
            with open_unit_of_work() as unit:
                while batches:
                    _Booking(unit, batches[0], request).run()
                    unit.commit()
                    batches.popleft()
                    tries = 1
        except _AccountRefusedError as refused:
            refused.work.error = f"{type(refused.error).__name__}: {refused.error}"
        except StoreUnreachableError:
            raise
        except StoreError as error:
            if is_worth_repeating(error) and tries < STORE_TRIES_MAX:
                continue
            tries = 0
            batches.extendleft(reversed(_parted(batches.popleft(), error)))


def _parted(failing: Sequence[AccountWork], error: StoreError) -> list[Sequence[AccountWork]]:
    """Say how to go on with a batch that could not be written: account by account, to find whose fault it is.

    A locked table is nobody's: the whole batch has failed then. What cannot even be recorded is left.
    """
    is_one_accounts = not (isinstance(error, LockTimeoutError) and error.locked_tables)
    if len(failing) > 1 and is_one_accounts:
        return [[work] for work in failing]
    reason = f"{type(error).__name__}: {error}"
    if all(work.error for work in failing):
        for work in failing:
            work.left = f"{work.error}; it could not be recorded: {reason}"
        return []
    for work in failing:
        work.error = work.error or reason
    return [failing]


class _Booking:
    """One transaction over a batch of accounts."""

    def __init__(self, unit: UnitOfWork, works: Sequence[AccountWork], request: SyncRequest) -> None:
        self._unit = unit
        self._costs = CostStore(unit)
        self._margin = MarginStore(unit)
        self._plan_store = PlanStore(unit)
        self._price_store = PriceStore(unit)
        self._plans = RunPlans()
        self._cost_scope = CostScope()
        self._request = request
        self._works = works
        self._read = [w for w in works if w.reading is not None and not w.error and not w.moving]
        self._matched = [
            w for w in works if w.reading is None and w.comparison and not w.error and not w.moving
        ]
        self._run_ids = {work.account_id: work.run_id for work in works}
        self._started = time.monotonic()
        self._lock_hold_ms = 0.0
        self._locked: list[tuple[int, HoldingKey]] = []
        self._opened_by_others: set[int] = set()

    @exact_arithmetic()
    def run(self) -> None:
        """Apply the readings, then record every account's run."""
        assessments: dict[int, Assessment] = {}
        ingested: dict[int, int] = {}
        self._respell()
        entries = self._new_entries() if self._read else {}
        ingested = {account: sum(map(len, by_key.values())) for account, by_key in entries.items()}
        keys = self._keys_to_judge(entries)
        locked_at = time.monotonic()
        if self._request.mode is Mode.REPAIR:
            if self._request.keeps_costs:
                opening = {w.account_id for w in self._read if w.reading and w.reading.opening}
                self._cost_scope = scope_of(self._costs, *self._touched(entries), opening=opening)
            self._lock(keys)
        if self._read:
            assessments = self._assess(keys, entries)
            self._plans = self._plan(assessments)
        if self._request.mode is Mode.REPAIR:
            self._write(assessments)
        self._lock_hold_ms = (time.monotonic() - locked_at) * 1000 if self._read else 0.0
        reconcile_margin(self._margin, self._works, entries, self._request)
        self._record(assessments, ingested)

    @property
    def _proved(self) -> list[AccountWork]:
        """List the accounts whose reading shows all that Kraken counts: only these move what is proved."""
        return [work for work in self._read if work.reading and not work.reading.missing]

    @property
    def _entries_read(self) -> dict[int, Sequence[LedgerEntry]]:
        return {work.account_id: work.reading.entries for work in self._read if work.reading}

    def _new_entries(self) -> dict[int, dict[HoldingKey, list[LedgerEntry]]]:
        """Insert what is not recorded yet; keep what was really inserted, in chain order per holding."""
        read = self._entries_read
        if self._request.mode is Mode.REPAIR:
            inserted = BookStore(self._unit).ingest(read, self._run_ids)
            for work in sorted(self._read, key=lambda work: work.account_id):
                self._claim_opening(work)
        else:
            inserted = {
                (account, entry.ledger_id) for account, entries in read.items() for entry in entries
            } - BookStore(self._unit).known_ids(read)
        new: dict[int, dict[HoldingKey, list[LedgerEntry]]] = {}
        for work in self._read:
            chained = work.reading.chained if work.reading else {}
            new[work.account_id] = {
                key: fresh
                for key, entries in chained.items()
                if (fresh := [e for e in entries if (work.account_id, e.ledger_id) in inserted])
            }
        return new

    def _respell(self) -> None:
        """Call holdings as Kraken does, before anything is compared with what it tells of them."""
        if self._request.mode is Mode.DRY_RUN:
            return
        for work in self._read:
            if work.reading:
                respell_all(BookStore(self._unit), work.account_id, work.reading)

    def _claim_opening(self, work: AccountWork) -> None:
        opening = work.reading.opening if work.reading else None
        if opening is None:
            return
        if not ReconciliationStore(self._unit).open_account(work.account_id, opening) and work.reading:
            # Another run opened it meanwhile; this reading goes on from there, like any other of an open one.
            work.reading = replace(work.reading, opening=None)
            self._opened_by_others.add(work.account_id)

    def _lock(self, keys: Collection[tuple[int, HoldingKey]]) -> None:
        """Lock every position that this transaction may touch, at once, so that no two can deadlock."""
        available = {
            (work.account_id, key)
            for work in (*self._read, *self._matched)
            if work.comparison
            for key in work.comparison.available_differing
        }
        self._locked = sorted({*keys, *available})
        if self._locked:
            # With every wallet of the assets whose average may move: it is written under these locks.
            BookStore(self._unit).lock_positions(sorted({*self._locked, *self._cost_scope.positions}))
        for work in self._read:
            if work.reading and work.reading.opening:
                ReconciliationStore(self._unit).write_opening(
                    work.account_id, work.reading.opening, work.run_id
                )

    def _touched(
        self, new: Mapping[int, Mapping[HoldingKey, Sequence[LedgerEntry]]]
    ) -> tuple[set[CostKey], set[tuple[CostKey, str]]]:
        """Name the assets whose cost may change (new entries or an opening), and the new trades' payments."""
        touched, paid = set(), set()
        for work in self._read:
            quote = work.state.account.quote_currency
            opening = work.reading.opening.quantities if work.reading and work.reading.opening else ()
            for key in (*new[work.account_id], *opening):
                cost_key = CostKey(work.account_id, key.asset, quote)
                touched.add(cost_key)
                if key.asset == quote:
                    paid |= {(cost_key, e.refid) for e in new[work.account_id].get(key, ()) if e.operation}
        return touched, paid

    def _assess(
        self,
        keys: Collection[tuple[int, HoldingKey]],
        new: Mapping[int, Mapping[HoldingKey, Sequence[LedgerEntry]]],
    ) -> dict[int, Assessment]:
        recorded = BookStore(self._unit).recorded(keys)
        if self._request.mode is Mode.REPAIR:
            # The totals were read after the new entries were inserted; judge from before them.
            recorded = {
                (account, key): replace(
                    row,
                    ledger_total=row.ledger_total - sum((e.change for e in new[account].get(key, ())), ZERO),
                )
                for (account, key), row in recorded.items()
            }
        last_repairs = self._last_repairs(recorded)
        meanwhile = BookStore(self._unit).arrived_meanwhile(
            {
                w.account_id: (w.reading.after, [e.ledger_id for e in w.reading.entries])
                for w in self._read
                if w.reading
            }
        )
        by_account: dict[int, dict[HoldingKey, RecordedPosition]] = {
            work.account_id: {} for work in self._read
        }
        for account, key in keys:
            by_account[account][key] = recorded.get((account, key), RecordedPosition())
        return self._with_undone(
            {
                work.account_id: self._assess_account(
                    work, by_account[work.account_id], new[work.account_id], meanwhile, last_repairs
                )
                for work in self._read
            }
        )

    def _with_undone(self, assessments: Mapping[int, Assessment]) -> dict[int, Assessment]:
        """Tell repairs that a person undid apart from those that did not last."""
        undone = self._plan_store.undone_repairs(
            (account, key) for account, found in assessments.items() for key in found.not_converging
        )
        return {
            account: replace(
                found,
                not_converging=tuple(key for key in found.not_converging if (account, key) not in undone),
                undone={key: by for (owner, key), by in undone.items() if owner == account},
            )
            for account, found in assessments.items()
        }

    def _last_repairs(
        self, recorded: Mapping[tuple[int, HoldingKey], RecordedPosition]
    ) -> Mapping[tuple[int, HoldingKey], frozenset[Decimal]]:
        """Ask about the holdings that may be repaired; most runs repair nothing and ask nothing."""
        seen = {(w.account_id, key) for w in self._read for key in w.state.observations}
        return self._plan_store.last_repairs(
            sorted(
                place
                for place, row in recorded.items()
                if row.quantity != row.expected or row.adjustment_total or place in seen
            )
        )

    def _plan(self, assessments: Mapping[int, Assessment]) -> RunPlans:
        return plans_of(
            assessments,
            {w.account_id: w.reading.as_of for w in self._read if w.reading},
            {w.account_id: w.prices for w in self._read},
        )

    def _keys_to_judge(
        self, new: Mapping[int, Mapping[HoldingKey, Sequence[LedgerEntry]]]
    ) -> list[tuple[int, HoldingKey]]:
        stale = {
            work.account_id: work.reading.balances
            for work in self._read
            if work.reading
            and (
                work.reading.balances != work.balances
                or work.reading.opening
                or work.reading.respelled
                or work.account_id in self._opened_by_others
            )
        }
        renewed = ReconciliationStore(self._unit).compare(stale) if stale else {}
        keys: set[tuple[int, HoldingKey]] = set()
        for work in self._read:
            work.comparison = renewed.get(work.account_id, work.comparison)
            if work.comparison is None or work.reading is None:
                continue
            named = {*work.comparison.differing, *work.comparison.settled, *work.comparison.folded}
            named |= {*new[work.account_id]}
            if work.reading.opening:
                named |= set(work.reading.opening.quantities)
            keys |= {(work.account_id, key) for key in named}
        return sorted(keys)

    def _assess_account(
        self,
        work: AccountWork,
        recorded: Mapping[HoldingKey, RecordedPosition],
        new: Mapping[HoldingKey, Sequence[LedgerEntry]],
        meanwhile: Mapping[tuple[int, HoldingKey], Decimal],
        last_repairs: Mapping[tuple[int, HoldingKey], frozenset[Decimal]],
    ) -> Assessment:
        reading, comparison = work.reading, work.comparison
        if reading is None or comparison is None:
            raise ValueError(f"expected a reading of account {work.state.account.name}, was none")
        if self._request.mode is Mode.DRY_RUN and reading.opening:
            recorded = as_if_opened(recorded, reading.opening.quantities)
        evidence = Evidence(
            recorded=recorded,
            ingested=new,
            balances=rolled_forward(reading.balances, work.account_id, meanwhile),
            coherent=reading.coherent,
            as_of=reading.as_of,
            observations=work.state.observations,
            all_positions=comparison.all_positions,
            prices=work.prices,
            last_repairs={
                key: changes for (account, key), changes in last_repairs.items() if account == work.account_id
            },
            approved=self._request.approval.changes if self._request.approval else {},
        )
        missing = missing_holdings(evidence)
        if missing:
            raise _AccountRefusedError(
                work,
                PayloadInvalidError(
                    f"Kraken's balance reply leaves out {', '.join(missing)}, of which its ledger still "
                    "holds some; nothing was changed",
                    account=work.state.account.name,
                    endpoint="BalanceEx",
                ),
            )
        policy = replace(
            self._request.policy, overrides={**self._request.policy.overrides, **work.state.tolerances}
        )
        return assess(evidence, policy)

    def _write(self, assessments: Mapping[int, Assessment]) -> None:
        BookStore(self._unit).write_steps(
            {account: a.steps for account, a in assessments.items()}, self._run_ids, self._plans.written_ids
        )
        recompute(self._costs, self._cost_scope)
        self._update_available()
        ReconciliationStore(self._unit).advance_watermarks(
            {w.account_id: w.reading.entries for w in self._proved if w.reading},
            {w.account_id: w.as_of for w in self._matched if w.as_of},
        )
        ReconciliationStore(self._unit).advance_coverage(
            {w.account_id: (w.reading.after, w.reading.as_of) for w in self._proved if w.reading}
        )
        as_of = {w.account_id: w.reading.as_of for w in self._read if w.reading}
        ReconciliationStore(self._unit).remember_residuals(
            {
                account: {
                    **a.observed,
                    **{key: Observation(surplus, as_of[account]) for key, surplus in a.folded.items()},
                }
                for account, a in assessments.items()
            },
            [
                *(
                    (account, finding.key)
                    for account, a in assessments.items()
                    for finding in a.findings
                    if finding.action is Action.WITHIN_TOLERANCE
                ),
                *((account, key) for account, a in assessments.items() for key in a.folded),
            ],
            {account: a.cleared for account, a in assessments.items()} | self._gone_from_matched(),
            as_of,
        )
        self._finish_approved(assessments)
        record_repair(self._plan_store, self._plans, self._run_ids, self._judged)

    @property
    def _judged(self) -> list[int]:
        """Name the accounts whose drift this run knows."""
        return [w.account_id for w in (*self._read, *self._matched) if not is_moving(w)]

    def _finish_approved(self, assessments: Mapping[int, Assessment]) -> None:
        approval = self._request.approval
        for work in self._read:
            if approval is None or not assessments[work.account_id].approval_stands:
                continue
            if not self._plan_store.finish_approved(approval.plan_id, work.run_id):
                raise _AccountRefusedError(
                    work, StoreError(f"plan {approval.plan_id} is approved no longer; nothing was written")
                )

    def _update_available(self) -> None:
        """Bring what is available up to date wherever a locked position may differ."""
        replies = {w.account_id: (w.reading.balances, w.reading.as_of) for w in self._read if w.reading}
        replies |= {
            w.account_id: (w.balances, w.as_of)
            for w in self._matched
            if w.balances is not None and w.as_of is not None
        }
        available = {}
        for account, key in self._locked:
            balances, as_of = replies[account]
            available[account, key] = (balances[key].available if key in balances else ZERO, as_of)
        if available:
            BookStore(self._unit).update_available(available)

    def _gone_from_matched(self) -> dict[int, tuple[HoldingKey, ...]]:
        """Name the residuals that the balances alone no longer show."""
        return {
            work.account_id: tuple(
                key
                for key in work.state.observations
                if work.comparison and key not in {*work.comparison.settled, *work.comparison.folded}
            )
            for work in self._matched
        }

    def _record(self, assessments: Mapping[int, Assessment], ingested: Mapping[int, int]) -> None:
        runs, alerts = [], []
        findings = {w.run_id: findings_of(w, assessments.get(w.account_id)) for w in self._works}
        prices = self._prices(findings)
        for work in self._works:
            found = findings[work.run_id]
            runs.append(self._run_record(work, found, ingested.get(work.account_id, 0)))
            assessment = assessments.get(work.account_id)
            alerts += alerts_of(work, found, prices, assessment)
        ReconciliationStore(self._unit).record_runs(runs, findings)
        if self._request.mode is Mode.DRY_RUN:
            record_dry_run(self._plan_store, self._plans, self._run_ids)
        else:
            AlertStore(self._unit).raise_alerts(alerts)
            for work in self._read:
                if ingested.get(work.account_id) and work.reading:
                    tell_unpaired(
                        AlertStore(self._unit), self._costs, work.state.account, work.reading.entries
                    )
            ended_by = self._request.told_as
            AlertStore(self._unit).resolve_alerts(
                self._judged, *SETTLED_BY_RUNS, still=alerts, ended_by=ended_by
            )
            worked = [w.account_id for w in (*self._read, *self._matched)]
            AlertStore(self._unit).resolve_alerts(worked, AlertKind.SYNC_FAILURE, ended_by=ended_by)
            BookStore(self._unit).resolve_explained(
                [w.account_id for w in self._read if w.state.is_unexplained], ended_by=ended_by
            )

    def _prices(self, findings: Mapping[UUID, Sequence[Discrepancy]]) -> PriceList:
        """Read what is needed to value what no entry explains; most runs need nothing and ask nothing."""
        wanted = [
            (work.state.account.quote_currency, finding.key.asset)
            for work in self._works
            for finding in findings[work.run_id]
            if finding.database_drift or finding.residual
        ]
        moments = [work.as_of for work in self._works if work.as_of]
        return price_list(self._price_store, wanted, max(moments)) if wanted and moments else PriceList()

    def _run_record(self, work: AccountWork, found: Sequence[Discrepancy], ingested: int) -> RunRecord:
        status = "failed" if work.error else "moving" if work.moving or is_moving(work) else "succeeded"
        reading = work.reading
        return RunRecord(
            run_id=work.run_id,
            account_id=work.account_id,
            interval=self._request.interval,
            mode=self._request.mode,
            status=status,
            trigger=self._request.trigger,
            reported_as_of=reading.as_of if reading else work.as_of,
            reported_head=reading.head.ledger_id if reading and reading.head else None,
            counts=counts_of(work, found) if not work.error else {"failed": 1},
            entries_ingested=work.caught_up + (ingested if not work.error else 0),
            api_calls=work.calls,
            seconds=work.seconds + time.monotonic() - self._started,
            lock_hold_ms=self._lock_hold_ms if reading else 0.0,
            note=note_of(work, found),
            error=work.error,
            dag_run=self._request.dag_run,
        )
