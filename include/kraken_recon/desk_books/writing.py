"""Write to a desk's rows what was decided, so that it is always known what became of it.

Invariants:
1. What is about to be written is committed in our database before the desk's is touched, and what came of it
   after that.
2. Neither database is asked while the other is in a transaction; an account's rows of a book have one writer.
3. Of a run that died in between, the desk's rows say what it wrote; nothing is written twice.
4. What a person approved is written once, exactly so, or is out of date.
"""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from kraken_recon.books.events import Cause, Reason, Step
from kraken_recon.desk_books.change_store import RowLocks, change_rows, rows_at
from kraken_recon.desk_books.planning_writes import lock_name, locks_of, part_of, planned_writes, row_change
from kraken_recon.desk_books.rules.judged import WriteOutcome, WriteState, WrittenBack, conclude
from kraken_recon.desk_books.rules.kept_values import put_back
from kraken_recon.desk_books.rules.records import DeskProblem
from kraken_recon.desk_books.write_store import Conclusion, Intent, WriteStore
from kraken_recon.errors import ConfigurationError, DeskUnreadableError
from kraken_recon.ledger.entries import HoldingKey
from kraken_recon.plain_text import one_line
from kraken_recon.reconciliation.plans.plan import PlanKind, PlanStatus, RepairPlan
from kraken_recon.reconciliation.plans.store import PlanStore
from kraken_recon.values.money import exact_arithmetic

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from uuid import UUID

    from kraken_recon.desk_books.diffing import DeskBookPorts
    from kraken_recon.desk_books.rules.judged import JudgedAccount
    from kraken_recon.desk_books.rules.records import Difference
    from kraken_recon.desk_books.write_store import PlannedWrite

log = logging.getLogger(__name__)
DESK: Final = "desk"
"""What stands for the wallet in a plan of a book."""
_BUSY: Final = "another run is writing the same account's rows"


def write_back(judged: JudgedAccount, ports: DeskBookPorts) -> WrittenBack:
    """Write what was decided about one account in one book, and hold what a person decides about.

    What cannot be written is left for the next run, with the reason; a desk that is down stops nothing here.

    Raises:
        StoreError: our own database failed; the next run finds out what was written.
    """
    if not judged.to_write:
        return WrittenBack(held_plan_id=_record(judged, [], ports)[1])
    with turn(judged.book.name, judged.account_id, ports) as is_mine:
        if not is_mine:
            return WrittenBack(_left(judged, _BUSY))
        try:
            settle_account(judged.book.name, judged.account_id, ports)
            writes = planned_writes(ports.address_of(judged.book.connection), judged)
        except (DeskUnreadableError, ConfigurationError) as error:
            return WrittenBack(_left(judged, one_line(str(error))))
        if all(one.refusal for one in writes):
            held = _record(judged, [], ports)[1]
            return WrittenBack(_outcomes(writes, range(len(writes)), ()), held_plan_id=held)
        plan, held = _record(judged, writes, ports)
        if plan is None:
            return WrittenBack(_left(judged, "what was approved is approved no longer"), held_plan_id=held)
        intent, write_ids = plan
        conclusions = _written(judged, intent, write_ids, ports)
        with ports.open_unit_of_work() as unit:
            WriteStore(unit).conclude(conclusions)
            PlanStore(unit).finish_writing([intent.plan_id])
            unit.commit()
    return WrittenBack(_outcomes(writes, write_ids, conclusions), intent.plan_id, held)


def settle_unfinished(ports: DeskBookPorts, is_wanted: Callable[[str], bool]) -> list[DeskProblem]:
    """Find out what became of writes of which nobody knows, before their rows are judged again.

    Args:
        ports: of the run.
        is_wanted: whether this run is about a book; one that nobody declares any more is settled, too.

    Returns:
        What could not be found out yet, and stays as it is.
    """
    with ports.open_unit_of_work() as unit:
        found = WriteStore(unit).unfinished()
    problems: list[DeskProblem] = []
    for book, account_id in sorted({(one.book, one.account_id) for one in found if is_wanted(one.book)}):
        with turn(book, account_id, ports) as is_mine:
            if not is_mine:
                continue
            try:
                settle_account(book, account_id, ports)
            except (DeskUnreadableError, ConfigurationError) as error:
                what = one_line(f"it is not known yet what became of what was being written: {error}")
                log.warning("book %s, account %s: %s", book, account_id, what)
                problems.append(DeskProblem(f"{book} writes", what, _UNSETTLED))
    return problems


_UNSETTLED: Final = "Put right what the message names; until then nothing more is written to these rows."


@contextmanager
def turn(book: str, account_id: int, ports: DeskBookPorts) -> Iterator[bool]:
    """Be the only one that writes an account's rows of a book; say whether one is."""
    with (ports.open_own_session or ports.open_unit_of_work)() as unit:
        is_mine = WriteStore(unit).take_turn(book, account_id)
        # The lock is the session's: no transaction is open while the desk's database is at work.
        unit.commit()
        yield is_mine


def _left(judged: JudgedAccount, why: str) -> tuple[WriteOutcome, ...]:
    return tuple(WriteOutcome(one.asset, WriteState.SKIPPED, why) for one in judged.to_write)


def _record(
    judged: JudgedAccount, writes: Sequence[PlannedWrite], ports: DeskBookPorts
) -> tuple[tuple[Intent, list[int]] | None, UUID | None]:
    """Commit what is about to be written and what is held; None where an approval is taken back meanwhile."""
    plan = _plan(judged, PlanKind.REPAIR, judged.to_write) if writes else None
    held = _plan(judged, PlanKind.HELD, judged.to_hold) if judged.to_hold else None
    run_ids, account_id, book = {judged.account_id: judged.run_id}, judged.account_id, judged.book
    intended = None
    with ports.open_unit_of_work() as unit:
        plans = PlanStore(unit)
        if plan is not None and _begins(judged, plans):
            plans.insert([plan], PlanStatus.WRITING, run_ids)
            intent = Intent(plan.plan_id, book.name, book.connection, account_id, writes, judged.run_id)
            intended = (intent, WriteStore(unit).intend(intent))
        plans.settle_held({account_id: held.fingerprint if held else None}, book.name)
        held_id = None
        if held is not None:
            plans.hold([held], run_ids)
            held_id = plans.open_held(account_id, book.name)
        unit.commit()
    return intended, held_id


def _begins(judged: JudgedAccount, plans: PlanStore) -> bool:
    if judged.approved_plan is None or not judged.approval_stands:
        return True
    return plans.begin_approved(judged.approved_plan, judged.run_id)


@exact_arithmetic()
def _plan(judged: JudgedAccount, kind: PlanKind, differences: Sequence[Difference]) -> RepairPlan:
    steps = tuple(
        Step(
            HoldingKey(one.asset, DESK),
            one.compared.desk,
            one.compared.desk + one.compared.difference,
            Cause.ADJUSTMENT,
            judged.read_at,
            Reason.DRIFT_REPAIRED,
        )
        for one in differences
    )
    reasons: dict[str, list[str]] = {}
    for one in differences if kind is PlanKind.HELD else ():
        reasons.setdefault(one.reason, []).append(one.asset)
    why = "; ".join(f"{', '.join(assets)}: {reason}" for reason, assets in reasons.items())
    return RepairPlan(
        kind, judged.account_id, judged.read_at, steps, judged.prices, why or None, judged.book.name
    )


def _written(
    judged: JudgedAccount, intent: Intent, write_ids: Sequence[int], ports: DeskBookPorts
) -> list[Conclusion]:
    """Change the desk's rows; nothing is concluded of a commit that was not answered."""
    book = judged.book
    wanted = [(number, one) for number, one in zip(write_ids, intent.writes, strict=True) if not one.refusal]
    if not wanted:
        return []
    changes = [
        row_change(one, part_of(book, is_cash=one.is_cash), judged.terms[one.is_cash].names)
        for _, one in wanted
    ]
    locks = locks_of(book, judged.account_id, [one for _, one in wanted])
    try:
        changed = change_rows(ports.address_of(book.connection), changes, locks)
    except DeskUnreadableError as error:
        return [Conclusion(number, WriteState.SKIPPED, one_line(str(error))) for number, _ in wanted]
    return [
        Conclusion(number, one.state, one.reason, one.after or None)
        for (number, _), one in zip(wanted, changed or (), strict=changed is not None)
    ]


def _outcomes(
    writes: Sequence[PlannedWrite], write_ids: Sequence[int], conclusions: Sequence[Conclusion]
) -> tuple[WriteOutcome, ...]:
    """Say of each asset what became of it: of several rows, the one that was left."""
    known = {one.write_id: one for one in conclusions}
    outcomes: dict[str, WriteOutcome] = {}
    for number, write in zip(write_ids, writes, strict=True):
        one = known.get(number) or Conclusion(
            number, WriteState.SKIPPED if write.refusal else WriteState.WRITING, write.refusal or _UNANSWERED
        )
        if write.asset not in outcomes or one.state is not WriteState.WRITTEN:
            outcomes[write.asset] = WriteOutcome(write.asset, one.state, one.reason)
    return tuple(outcomes.values())


_UNANSWERED: Final = "the desk's database did not answer the commit; the next run finds out what it kept"


def settle_account(book: str, account_id: int, ports: DeskBookPorts) -> None:
    """Conclude from the desk's rows what an earlier run wrote; whoever wrote them is not at work any more."""
    with ports.open_unit_of_work() as unit:
        unfinished = WriteStore(unit).unfinished(book, account_id)
    for connection in sorted({one.connection for one in unfinished}):
        writes = [one for one in unfinished if one.connection == connection]
        wanted = [
            (one.table, put_back(one.key), list(dict.fromkeys((*one.key, *one.before, *one.after))))
            for one in writes
        ]
        found = rows_at(ports.address_of(connection), wanted, RowLocks(lock_name(book, account_id)))
        conclusions = [
            Conclusion(one.write_id, *conclude(rows, one.before, one.after))
            for one, rows in zip(writes, found, strict=True)
        ]
        with ports.open_unit_of_work() as unit:
            WriteStore(unit).conclude(conclusions)
            PlanStore(unit).finish_writing(sorted({one.plan_id for one in writes}))
            unit.commit()
