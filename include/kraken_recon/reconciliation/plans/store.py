"""Repair plans in Postgres; every statement is a named query of ``plans.sql``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kraken_recon.books.events import REPAIR_REASONS, UNDO_REASONS
from kraken_recon.books.store import key_arrays
from kraken_recon.database.arrays import json_rows
from kraken_recon.database.store import Store, named_queries
from kraken_recon.ledger.entries import HoldingKey
from kraken_recon.reconciliation.plans.plan import NOT_WRITTEN, PlanStatus

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from decimal import Decimal
    from uuid import UUID

    from kraken_recon.reconciliation.plans.plan import RepairPlan


class PlanStore(Store):
    """Repair plans and what became of them."""

    queries = named_queries(__file__, "plans")

    def last_repairs(
        self, keys: Iterable[tuple[int, HoldingKey]]
    ) -> Mapping[tuple[int, HoldingKey], frozenset[Decimal]]:
        """Read what the last repair of holdings changed, where nobody found them in agreement since."""
        listed = list(keys)
        if not listed:
            return {}
        rows = self._run(
            "last_repairs",
            **key_arrays(listed),
            repair_reasons=list(REPAIR_REASONS),
            undo_reasons=list(UNDO_REASONS),
        )
        return {(row.account_id, HoldingKey(row.asset, row.wallet)): frozenset(row.changes) for row in rows}

    def undone_repairs(self, keys: Iterable[tuple[int, HoldingKey]]) -> Mapping[tuple[int, HoldingKey], str]:
        """Name who undid the last repair of holdings, where a person did and nobody repaired them since."""
        listed = list(keys)
        if not listed:
            return {}
        rows = self._run(
            "undone_repairs",
            **key_arrays(listed),
            repair_reasons=list(REPAIR_REASONS),
            undo_reasons=list(UNDO_REASONS),
        )
        return {(row.account_id, HoldingKey(row.asset, row.wallet)): row.decided_by for row in rows}

    def insert(self, plans: Sequence[RepairPlan], status: PlanStatus, run_ids: Mapping[int, UUID]) -> None:
        """Write plans that are not written (yet), with their rows, or that this transaction writes."""
        if not plans:
            return
        ids = [plan.plan_id for plan in plans]
        written = self._run("insert_plans", status=str(status), plans=_plan_rows(plans, ids, run_ids))
        if status is not PlanStatus.APPLIED:
            self._insert_rows(plans, ids, {row.plan_id for row in written})

    def forget_dry_runs(self, run_ids: Collection[UUID]) -> None:
        """Forget what an earlier try at the same dry runs planned."""
        self._run("forget_planned", run_ids=list(run_ids), plan_ids=[])

    def settle_held(self, fingerprints: Mapping[int, UUID | None], book: str | None = None) -> None:
        """Close what is held of accounts, or of them in a book, under another fingerprint than this."""
        if fingerprints:
            accounts, names = list(fingerprints), list(fingerprints.values())
            self._run("settle_held", account_ids=accounts, fingerprints=names, book=book)

    def hold(self, plans: Sequence[RepairPlan], run_ids: Mapping[int, UUID]) -> None:
        """Hold plans of accounts that have none open."""
        if plans:
            ids = [plan.plan_id for plan in plans]
            self._run("forget_planned", run_ids=[], plan_ids=ids)
            held = self._run("hold_plans", plans=_plan_rows(plans, ids, run_ids))
            self._insert_rows(plans, ids, {row.plan_id for row in held})

    def open_held(self, account_id: int, book: str) -> UUID | None:
        """Name the plan that waits for a person, of an account in one book."""
        rows = self._run("open_held", account_id=account_id, book=book)
        return rows[0].plan_id if rows else None

    def _insert_rows(
        self, plans: Sequence[RepairPlan], ids: Sequence[UUID], chosen: Collection[UUID]
    ) -> None:
        rows = [
            {
                "plan_id": plan_id,
                "place": place,
                "asset": row.key.asset,
                "wallet": row.key.wallet,
                "quantity_before": row.before,
                "quantity_after": row.after,
                "cause": row.cause,
                "reason": row.reason,
                "ledger_id": row.ledger_id,
                "effective_at": row.effective_at,
                "price": plan.prices.get(row.key.asset),
            }
            for plan, plan_id in zip(plans, ids, strict=True)
            if plan_id in chosen
            for place, row in enumerate(plan.rows)
        ]
        if rows:
            self._run("insert_plan_rows", rows=json_rows(rows))

    def decide(self, plan_id: UUID, status: PlanStatus, by: str, note: str | None) -> bool:
        """Claim the decision about a held plan; False when somebody else was first or it is closed."""
        return bool(self._run("decide", plan_id=plan_id, status=str(status), decided_by=by, note=note))

    def finish_approved(self, plan_id: UUID, run_id: UUID) -> bool:
        """Say that what was approved is written by this run; False when it is approved no longer."""
        return bool(self._run("finish_approved", plan_id=plan_id, run_id=run_id))

    def begin_approved(self, plan_id: UUID, run_id: UUID) -> bool:
        """Say that this run writes what was approved to a book; False when it is approved no longer."""
        return bool(self._run("begin_approved", plan_id=plan_id, run_id=run_id))

    def finish_writing(self, plan_ids: Collection[UUID]) -> dict[UUID, PlanStatus]:
        """Say what became of plans that write a book, of which every row is known by now."""
        rows = self._run("finish_writing", plan_ids=list(plan_ids), not_written=NOT_WRITTEN)
        return {row.plan_id: PlanStatus(row.status) for row in rows}

    def outdate(self, plan_id: UUID, note: str) -> None:
        """Close a held plan that nothing can write any more, and say why."""
        self._run("outdate", plan_id=plan_id, note=note)

    def outdate_undeclared(self, books: Collection[str]) -> None:
        """Close what is held of books that are not among these any more."""
        self._run("outdate_undeclared", books=list(books))

    def close_decided(self, plan_id: UUID) -> bool:
        """Close a rejected or expired plan, so that the next run holds the drift anew."""
        return bool(self._run("close_decided", plan_id=plan_id))

    def insert_undo(
        self, plan: RepairPlan, undoes: UUID, by: str, status: PlanStatus = PlanStatus.APPLIED
    ) -> bool:
        """Write a plan that undoes another; False when that is undone already, or being so."""
        inserted = self._run(
            "insert_undo",
            plan_id=plan.plan_id,
            account_id=plan.account_id,
            book=plan.book,
            status=str(status),
            as_of=plan.as_of,
            row_count=len(plan.rows),
            undoes=undoes,
            decided_by=by,
        )
        if inserted and status is PlanStatus.WRITING:
            self._insert_rows([plan], [plan.plan_id], {plan.plan_id})
        return bool(inserted)

    def find(
        self,
        *,
        plan_ids: Collection[UUID] | None = None,
        run_ids: Collection[UUID] | None = None,
        names: Collection[str] | None = None,
        is_open: bool = False,
        most: int = 100,
    ) -> list[dict[str, Any]]:
        """Read plans with ``account``, ``undone_by`` and ``written_as``, newest first."""
        rows = self._run(
            "find_plans",
            plan_ids=list(plan_ids) if plan_ids is not None else None,
            run_ids=list(run_ids) if run_ids is not None else None,
            names=sorted(names) if names is not None else None,
            is_open=is_open,
            most=most,
        )
        return [row._asdict() for row in rows]

    def rows(self, plan_ids: Collection[UUID]) -> Mapping[UUID, list[dict[str, Any]]]:
        """Read what plans write, in order."""
        found: dict[UUID, list[dict[str, Any]]] = {plan_id: [] for plan_id in plan_ids}
        if found:
            for row in self._run("plan_rows", plan_ids=list(found)):
                found[row.plan_id].append(row._asdict())
        return found

    def desk_findings(self, run_id: UUID, book: str) -> list[dict[str, Any]]:
        """Read what a run found in a book of the desk's."""
        return self._rows("desk_findings", run_id=run_id, book=book)

    def standing(
        self, account_id: int, keys: Collection[HoldingKey]
    ) -> Mapping[HoldingKey, tuple[Decimal, Decimal]]:
        """Read positions with the place where their newest event ended."""
        rows = self._run(
            "event_totals",
            **key_arrays((account_id, key) for key in keys),
        )
        return {HoldingKey(row.asset, row.wallet): (row.quantity, row.event_total) for row in rows}

    def residual_ages(self, account_id: int) -> Mapping[HoldingKey, Mapping[str, Any]]:
        """Read since when an account's residuals have been the same."""
        rows = self._run("residual_ages", account_id=account_id)
        return {HoldingKey(row.asset, row.wallet): row._asdict() for row in rows}


def _plan_rows(plans: Sequence[RepairPlan], ids: Sequence[UUID], run_ids: Mapping[int, UUID]) -> str:
    return json_rows(
        {
            "plan_id": plan_id,
            "account_id": plan.account_id,
            "book": plan.book,
            "kind": plan.kind,
            "run_id": run_ids[plan.account_id],
            "as_of": plan.as_of,
            "fingerprint": plan.fingerprint,
            "row_count": len(plan.rows),
            "why": plan.why,
        }
        for plan, plan_id in zip(plans, ids, strict=True)
    )
