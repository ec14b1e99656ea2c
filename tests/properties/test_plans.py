"""Plans: a name that follows from what they say, a dry run that tells the truth, and an undo that undoes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from desks.histories import Movement, amounts, happen, holdings, movements, on_database, opened_account
from kraken_recon.accounts.tolerance import Tolerance
from kraken_recon.books.events import Cause, Reason, Step
from kraken_recon.database.unit_of_work import UnitOfWork
from kraken_recon.errors import PlanRefusedError
from kraken_recon.reconciliation.plans.plan import PlanKind, RepairPlan, undoing
from kraken_recon.reconciliation.plans.store import PlanStore
from kraken_recon.reconciliation.rules.assess import changes_of
from kraken_recon.reconciliation.rules.policy import Guard, Mode, Policy
from kraken_recon.repairs.undoing import undo
from kraken_recon.repairs.view import plans_of_runs
from kraken_recon.values.money import EXACT

if TYPE_CHECKING:
    from desks.fake_exchange import Desk
    from kraken_recon.ledger.entries import HoldingKey

AT = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)
GENEROUS = Policy(Tolerance(Decimal(0)), guard=Guard(Decimal(100), Decimal(10) ** 20))
ROW = ("asset", "wallet", "before", "after", "cause", "reason", "ledger_id")


@st.composite
def histories(draw: st.DrawFn) -> tuple[Step, ...]:
    """Rows as a run writes them: connected per holding, of entries and of adjustments."""
    steps: list[Step] = []
    for key in draw(st.lists(holdings, min_size=1, max_size=3, unique=True)):
        quantity = draw(amounts)
        for number in range(draw(st.integers(1, 4))):
            after = EXACT.add(quantity, draw(amounts))
            reason = draw(st.sampled_from((None, *Reason)))
            cause = Cause.ADJUSTMENT if reason else Cause.LEDGER
            ledger_id = None if reason else f"L{key.asset}{key.wallet}{number}"
            steps.append(Step(key, quantity, after, cause, AT, reason, ledger_id))
            quantity = after
    return tuple(steps)


@given(rows=histories())
def test_a_plan_s_name_follows_from_account_as_of_and_rows(rows: tuple[Step, ...]) -> None:
    plan = RepairPlan(PlanKind.REPAIR, 7, AT, rows)
    same = tuple(
        Step(r.key, r.before + Decimal("0.000"), r.after, r.cause, AT + timedelta(1), r.reason, r.ledger_id)
        for r in rows
    )
    elsewhere = AT.astimezone(timezone(timedelta(hours=9)))
    assert RepairPlan(PlanKind.REPAIR, 7, elsewhere, same, {"BTC": Decimal(1)}, "why").plan_id == plan.plan_id
    others = (
        RepairPlan(PlanKind.REPAIR, 8, AT, rows),
        RepairPlan(PlanKind.REPAIR, 7, AT + timedelta(seconds=1), rows),
        RepairPlan(PlanKind.HELD, 7, AT, rows),
        RepairPlan(PlanKind.REPAIR, 7, AT, rows[:-1]),
    )
    assert plan.plan_id not in {other.plan_id for other in others}


@given(rows=histories(), moved=amounts)
def test_a_fingerprint_names_the_drift_whatever_else_moved(rows: tuple[Step, ...], moved: Decimal) -> None:
    plan = RepairPlan(PlanKind.HELD, 7, AT, rows)
    shifted = tuple(
        Step(r.key, EXACT.add(r.before, moved), EXACT.add(r.after, moved), r.cause, AT, r.reason, r.ledger_id)
        for r in rows
    )
    later = RepairPlan(PlanKind.HELD, 7, AT + timedelta(1), tuple(r for r in shifted if r.reason))
    assert later.fingerprint == plan.fingerprint
    assert (plan.fingerprint is None) == (plan.changes == {})


FACTS = {None, Reason.FOUND_CHANGED, Reason.GAP_MENDED, Reason.ENTRY_RESTORED}


@given(rows=histories())
def test_an_undo_takes_back_every_repair_and_nothing_else(rows: tuple[Step, ...]) -> None:
    inverse = undoing(rows, AT)
    ends = {row.key: row.after for row in rows}
    for step in inverse:
        assert step.before == ends[step.key]
        ends[step.key] = step.after
    facts = {key: Decimal(0) for key in ends}
    starts: dict[HoldingKey, Decimal] = {}
    for row in rows:
        starts.setdefault(row.key, row.before)
        if row.reason in FACTS:
            facts[row.key] = EXACT.add(facts[row.key], EXACT.subtract(row.after, row.before))
    assert ends == {key: EXACT.add(starts[key], fact) for key, fact in facts.items()}
    assert changes_of(inverse) == {}


def plans(desk: Desk, run_ids: list[UUID]) -> list[tuple[Any, ...]]:
    with UnitOfWork(desk.engine) as unit:
        return [
            (view["plan_id"], view["kind"], [tuple(row[name] for name in ROW) for row in view["rows"]])
            for view in plans_of_runs(PlanStore(unit), run_ids, with_rows=True)
        ]


tamperings = st.dictionaries(holdings, amounts, max_size=3)
residuals = st.dictionaries(holdings, st.sampled_from(tuple(map(Decimal, ("0.5", "-0.25")))), max_size=2)


def trouble(
    desk: Desk, happening: list[Movement], tampered: dict[HoldingKey, Decimal], odd: dict[HoldingKey, Decimal]
) -> str:
    """Open an account, let residuals age, entries come and hands slip; return its name."""
    name, books = opened_account(desk)
    books.residuals.update(odd)
    desk.sync(name)
    for movement in happening:
        happen(books, movement)
    for key, quantity in tampered.items():
        desk.execute(
            "update trading.positions set quantity = :quantity"
            " where (account_id, asset, wallet) = (:account, :asset, :wallet)",
            account=desk.account_id(name),
            asset=key.asset,
            wallet=key.wallet,
            quantity=quantity,
        )
    return name


@on_database
@given(
    happening=st.lists(movements, max_size=3),
    tampered=tamperings,
    odd=residuals,
    policy=st.sampled_from((Policy(), GENEROUS)),
)
def test_what_a_dry_run_prints_is_what_the_repair_writes(
    desk: Desk,
    happening: list[Movement],
    tampered: dict[HoldingKey, Decimal],
    odd: dict[HoldingKey, Decimal],
    policy: Policy,
) -> None:
    name = trouble(desk, happening, tampered, odd)
    planned = plans(desk, desk.sync(name, mode=Mode.DRY_RUN, policy=policy))
    runs = desk.sync_again(name, policy=policy)
    assert plans(desk, runs) == planned
    written = desk.rows(
        "select plan_id::text, asset, wallet, trim_scale(quantity_before)::text as before,"
        " trim_scale(quantity_after)::text as after, cause, reason, ledger_id"
        " from trading.position_events where run_id = any(:runs) order by event_id",
        runs=runs,
    )
    told = [row for _, kind, rows in planned if kind == "repair" for row in rows]
    assert [tuple(row[name] for name in ROW) for row in written] == told
    assert {row["plan_id"] for row in written} == {plan for plan, kind, _ in planned if kind == "repair"}


@on_database
@given(happening=st.lists(movements, max_size=3), tampered=tamperings, odd=residuals)
def test_an_undone_repair_leaves_books_that_are_told_by_their_events(
    desk: Desk,
    happening: list[Movement],
    tampered: dict[HoldingKey, Decimal],
    odd: dict[HoldingKey, Decimal],
) -> None:
    name = trouble(desk, happening, tampered, odd)
    for plan, kind, rows in plans(desk, desk.sync(name, policy=GENEROUS)):
        if kind == "held":
            continue
        is_undoable = any(row[5] not in {None, "found_changed"} for row in rows)
        for is_first in (True, False):
            try:
                _, is_new = undo(UUID(plan), "alice", lambda: UnitOfWork(desk.engine), now=desk.now)
            except PlanRefusedError:
                assert not is_undoable
            else:
                assert is_new == is_first
                assert is_undoable
    undone = desk.positions(name)
    assert undone == desk.event_totals(name)
    desk.sync(name, policy=GENEROUS)
    desk.sync(name, policy=GENEROUS)
    assert desk.positions(name) == undone == desk.event_totals(name)
