"""Take back from a desk's rows what a plan wrote, as a new plan.

All rows of the plan change, each only while it is what the plan left, or none does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kraken_recon.books.events import Cause, Reason, Step
from kraken_recon.desk_books.change_store import change_rows, whole_row
from kraken_recon.desk_books.planning_writes import locks_of, part_of, row_change
from kraken_recon.desk_books.rules.judged import WriteState
from kraken_recon.desk_books.rules.kept_values import keep, put_back
from kraken_recon.desk_books.rules.records import DeskRow, WriteKind
from kraken_recon.desk_books.rules.writes import updated_besides
from kraken_recon.desk_books.schema_store import column_value, find_table
from kraken_recon.desk_books.session_store import desk_session
from kraken_recon.desk_books.write_store import Conclusion, Intent, PlannedWrite, WriteStore
from kraken_recon.desk_books.writing import DESK, settle_account, turn
from kraken_recon.errors import DeskUnreadableError, PlanNotWrittenError, PlanRefusedError
from kraken_recon.ledger.entries import HoldingKey
from kraken_recon.reconciliation.plans.plan import PlanKind, PlanStatus, RepairPlan
from kraken_recon.reconciliation.plans.store import PlanStore
from kraken_recon.values.money import ZERO, exact_arithmetic

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from decimal import Decimal
    from uuid import UUID

    from kraken_recon.desk_books.declaration import DeskBook
    from kraken_recon.desk_books.diffing import DeskBookPorts
    from kraken_recon.desk_books.session_store import DeskSession


def take_back(
    plan: Mapping[str, Any], book: DeskBook, by: str, ports: DeskBookPorts, now: datetime
) -> tuple[UUID, bool]:
    """Write the plan that takes another back; return its id, and whether it was written just now.

    Raises:
        PlanRefusedError: a row is gone or has moved on, or the desk's database refused; nothing was written.
        PlanNotWrittenError: somebody else writes the same rows, or it is not known what became of it.
    """
    return _TakingBack(plan, book, by, ports, now).run()


@dataclass(frozen=True, slots=True)
class _TakingBack:
    plan: Mapping[str, Any]
    book: DeskBook
    by: str
    ports: DeskBookPorts
    now: datetime

    def run(self) -> tuple[UUID, bool]:
        account_id, plan_id = self.plan["account_id"], self.plan["plan_id"]
        with turn(self.book.name, account_id, self.ports) as is_mine:
            if not is_mine:
                raise PlanNotWrittenError(
                    f"plan {plan_id} is not undone: a run is writing the same rows; try again"
                )
            try:
                settle_account(self.book.name, account_id, self.ports)
                with self.ports.open_unit_of_work() as unit:
                    [found] = PlanStore(unit).find(plan_ids=[plan_id])
                    written = WriteStore(unit).written_by(plan_id)
                if found["undone_by"]:
                    return found["undone_by"], False
                writes = self._inverse(written)
            except DeskUnreadableError as error:
                raise PlanRefusedError(f"plan {plan_id} is not undone: {error}") from None
            return self._written(writes)

    def _inverse(self, written: Sequence[Mapping[str, Any]]) -> list[PlannedWrite]:
        if not written:
            raise PlanRefusedError(f"plan {self.plan['plan_id']} wrote nothing that can be undone")
        with desk_session(self.ports.address_of(self.book.connection)) as session:
            try:
                return [self._inverse_of(one, session) for one in reversed(written)]
            except ValueError as error:
                raise PlanRefusedError(f"plan {self.plan['plan_id']} cannot be undone: {error}") from None

    def _inverse_of(self, one: Mapping[str, Any], session: DeskSession) -> PlannedWrite:
        part = part_of(self.book, is_cash=one["is_cash"])
        kind, key, before, after = WriteKind(one["kind"]), one["key"], one["after"], one["before"]
        if kind is WriteKind.UPDATE:
            shape = find_table(session, one["table_name"])
            besides = updated_besides(part, DeskRow((), "", None, put_back(before)), self.now)
            after = after | keep(
                {
                    name: column_value(value, shape.types[name], session.dialect)
                    for name, value in besides.items()
                    if shape is not None and part.on_update[name].kind != "text"
                }
            )
        elif kind is WriteKind.INSERT:
            kind = WriteKind.REMOVE
            shape = find_table(session, one["table_name"])
            columns = [*shape.types] if shape else [*before]
            before, after = keep(whole_row(session, one["table_name"], put_back(key), columns)) | before, {}
        else:
            kind, before = WriteKind.INSERT, {}
            key = key | {name: after[name] for name in part.only}
        put_back(after)
        return PlannedWrite(
            one["table_name"], one["asset"], one["is_cash"], kind, key, before, after, -one["change"]
        )

    def _written(self, writes: Sequence[PlannedWrite]) -> tuple[UUID, bool]:
        account_id = self.plan["account_id"]
        inverse = RepairPlan(PlanKind.UNDO, account_id, self.now, self._steps(writes), book=self.book.name)
        with self.ports.open_unit_of_work() as unit:
            PlanStore(unit).insert_undo(inverse, self.plan["plan_id"], self.by, PlanStatus.WRITING)
            intent = Intent(inverse.plan_id, self.book.name, self.book.connection, account_id, writes)
            write_ids = WriteStore(unit).intend(intent)
            unit.commit()
        changes = [row_change(one, part_of(self.book, is_cash=one.is_cash)) for one in writes]
        locks = locks_of(self.book, account_id, writes)
        try:
            address = self.ports.address_of(self.book.connection)
            changed = change_rows(address, changes, locks, is_whole=True)
        except DeskUnreadableError as error:
            conclusions = [Conclusion(number, WriteState.SKIPPED, str(error)) for number in write_ids]
        else:
            if changed is None:
                raise PlanNotWrittenError(
                    f"plan {self.plan['plan_id']}: the desk's database did not say whether it is undone; "
                    "the same command finds out"
                )
            conclusions = [
                Conclusion(number, one.state, one.reason, one.after or None)
                for number, one in zip(write_ids, changed, strict=True)
            ]
        with self.ports.open_unit_of_work() as unit:
            WriteStore(unit).conclude(conclusions)
            PlanStore(unit).finish_writing([inverse.plan_id])
            unit.commit()
        refused = {
            f"{write.asset}: {one.reason}"
            for write, one in zip(writes, conclusions, strict=True)
            if one.state is not WriteState.WRITTEN
        }
        if refused:
            told = "; ".join(sorted(refused))
            raise PlanRefusedError(f"plan {self.plan['plan_id']} cannot be undone: {told}")
        return inverse.plan_id, True

    @exact_arithmetic()
    def _steps(self, writes: Sequence[PlannedWrite]) -> tuple[Step, ...]:
        """Say by how much each asset goes back, from where the plan left it."""
        with self.ports.open_unit_of_work() as unit:
            rows = PlanStore(unit).rows([self.plan["plan_id"]])[self.plan["plan_id"]]
        left = {row["asset"]: row["quantity_after"] for row in rows}
        changes: dict[str, Decimal] = {}
        for one in writes:
            changes[one.asset] = changes.get(one.asset, ZERO) + one.change
        return tuple(
            Step(
                HoldingKey(asset, DESK),
                left[asset],
                left[asset] + change,
                Cause.ADJUSTMENT,
                self.now,
                Reason.REPAIR_UNDONE,
            )
            for asset, change in changes.items()
        )
