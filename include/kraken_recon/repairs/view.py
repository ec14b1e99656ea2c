"""What people read of repair plans; amounts leave as text, exact and without an exponent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from kraken_recon.desk_books.writing import DESK
from kraken_recon.errors import PlanRefusedError
from kraken_recon.holdings.pricing import PriceList, price_list, worth_words
from kraken_recon.ledger.entries import HoldingKey
from kraken_recon.reconciliation.plans.plan import PlanStatus
from kraken_recon.repairs.undoing import facts_of
from kraken_recon.reports.report import explanation
from kraken_recon.values.money import ZERO, exact_arithmetic
from kraken_recon.values.plain import plain

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from datetime import datetime
    from decimal import Decimal

    from kraken_recon.holdings.store import PriceStore
    from kraken_recon.reconciliation.plans.store import PlanStore
    from kraken_recon.reports.report_store import ReportStore

PLAN_FIELDS: Final = (
    *(
        "plan_id",
        "account",
        "book",
        "quote_currency",
        "kind",
        "status",
        "as_of",
        "run_id",
        "row_count",
        "why",
    ),
    *("undoes", "undone_by", "written_as", "created_at", "applied_at", "decided_by", "decided_at", "note"),
)
# Two of positions, and two of every book of the desk's that the account is in.
PLANS_OF_A_RUN_MAX: Final = 100
STATUS_WORDS: Final = {
    "planned": "what a repair would write",
    "writing": "being written to the desk's book, or cut off: the next run finds out",
    "applied": "written",
    "held": "waits for a person",
    "approved": "approved, not written yet",
    "rejected": "rejected",
    "expired": "nobody answered in time, which means no",
    "outdated": "out of date: the drift changed or went away",
}


@exact_arithmetic()
def _row_view(row: Mapping[str, Any]) -> dict[str, Any]:
    before, after = row["quantity_before"], row["quantity_after"]
    told = {name: row[name] for name in ("asset", "wallet", "cause", "reason", "ledger_id")}
    shown: dict[str, Any] = plain({**told, "before": before, "after": after, "change": after - before})
    return shown


def plan_view(plan: Mapping[str, Any], rows: Sequence[Mapping[str, Any]] | None = None) -> dict[str, Any]:
    """Describe one plan; with its rows where they are given."""
    is_held = plan["kind"] == "held" and plan["status"] == PlanStatus.PLANNED
    view: dict[str, Any] = {
        **plain({name: plan[name] for name in PLAN_FIELDS}),
        "meaning": "what a repair would hold for a person" if is_held else STATUS_WORDS[plan["status"]],
        "closed_at": plain(plan["closed_at"]) if plan["kind"] == "held" else None,
    }
    if rows is not None:
        view["rows"] = [_row_view(row) for row in rows]
        view["facts"] = facts_of(rows)
    return view


def show_plan(plans: PlanStore, plan_id: UUID) -> dict[str, Any]:
    """Describe one plan with everything that it writes.

    Raises:
        PlanRefusedError: there is none.
    """
    found = plans.find(plan_ids=[plan_id])
    if not found:
        raise PlanRefusedError(f"no plan has the id {plan_id}; see `python -m kraken_recon plan list`")
    return plan_view(found[0], plans.rows([plan_id])[plan_id])


def list_plans(
    plans: PlanStore, names: Collection[str] | None, *, is_open: bool = False, most: int = 20
) -> dict[str, Any]:
    """List plans, newest first; ``is_open`` only those held whose drift is still there."""
    return {"plans": [plan_view(p) for p in plans.find(names=names, is_open=is_open, most=most)]}


def plans_of_runs(plans: PlanStore, run_ids: Collection[UUID], *, with_rows: bool) -> list[dict[str, Any]]:
    """Describe what these runs wrote, held or would write."""
    found = plans.find(run_ids=run_ids, most=PLANS_OF_A_RUN_MAX * len(run_ids))
    rows = plans.rows([plan["plan_id"] for plan in found]) if with_rows else {}
    return [plan_view(plan, rows.get(plan["plan_id"])) for plan in found]


@exact_arithmetic()
def case_of(
    plans: PlanStore, reports: ReportStore, prices: PriceStore, plan_id: UUID, now: datetime
) -> dict[str, Any]:
    """Collect what a person must see to decide about a held plan.

    Raises:
        PlanRefusedError: there is no such plan.
    """
    view = show_plan(plans, plan_id)
    plan = plans.find(plan_ids=[plan_id])[0]
    rows, quote = plans.rows([plan_id])[plan_id], plan["quote_currency"]
    findings = _findings(plans, reports, plan)
    ages = plans.residual_ages(plan["account_id"])
    priced = price_list(prices, [(quote, row["asset"]) for row in rows], now)
    for row, shown in zip(rows, view["rows"], strict=True):
        key = HoldingKey(row["asset"], row["wallet"])
        finding, age = findings.get(key), ages.get(key)
        worth = priced.worth(quote, {row["asset"]: abs(row["quantity_after"] - row["quantity_before"])})
        price, priced_at = priced.of(quote, row["asset"])
        shown.update(
            plain(
                {
                    **(finding or _unknown(shown)),
                    "price": price,
                    "priced_at": priced_at,
                    "value": worth.value,
                    "seen_since": age["first_seen_at"] if age else None,
                    "confirmations": age["confirmations"] if age else 0,
                }
            )
        )
    return view | _worth_view(quote, _absolute_changes(rows), priced)


def _findings(
    plans: PlanStore, reports: ReportStore, plan: Mapping[str, Any]
) -> dict[HoldingKey, dict[str, Any]]:
    """Say of each holding what the run that made a plan found: on record, and at Kraken or proven."""
    if plan["book"]:
        return {
            HoldingKey(found["asset"], DESK): {
                "recorded": found["desk"],
                "reported": found["proven"],
                "drift": found["difference"],
                "explanation": _desk_explanation(found),
            }
            for found in plans.desk_findings(plan["run_id"], plan["book"])
        }
    return {
        HoldingKey(found["asset"], found["wallet"]): {
            "recorded": found["db_quantity"],
            "reported": found["exchange_quantity"],
            "drift": found["drift"],
            "explanation": explanation(found),
        }
        for found in reports.findings_of([plan["run_id"]])
    }


def _desk_explanation(found: Mapping[str, Any]) -> str:
    entries = f": ledger entries {', '.join(found['ledger_ids'])}" if found["ledger_ids"] else ""
    return f"{found['explanation'].replace('_', ' ')}{entries}"


def _unknown(shown: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "recorded": shown["before"],
        "reported": shown["after"],
        "drift": shown["change"],
        "explanation": "no finding is on record",
    }


def with_values(
    views: Sequence[dict[str, Any]], plans: PlanStore, prices: PriceStore, now: datetime
) -> list[dict[str, Any]]:
    """Add to views of plans what they change is worth, and at prices of when."""
    by_plan = plans.rows([UUID(view["plan_id"]) for view in views]) if views else {}
    changes = {str(plan_id): _absolute_changes(rows) for plan_id, rows in by_plan.items()}
    quotes = {view["plan_id"]: view["quote_currency"] for view in views}
    pairs = [(quotes[plan_id], asset) for plan_id, of_plan in changes.items() for asset in of_plan]
    priced = price_list(prices, pairs, now)
    return [
        view | _worth_view(view["quote_currency"], changes.get(view["plan_id"], {}), priced) for view in views
    ]


@exact_arithmetic()
def _absolute_changes(rows: Sequence[Mapping[str, Any]]) -> dict[str, Decimal]:
    changes: dict[str, Decimal] = {}
    for row in rows:
        change = abs(row["quantity_after"] - row["quantity_before"])
        changes[row["asset"]] = changes.get(row["asset"], ZERO) + change
    return changes


def _worth_view(quote: str, changes: Mapping[str, Decimal], priced: PriceList) -> dict[str, Any]:
    worth = priced.worth(quote, changes)
    parts = {name: value for name, value in worth.as_view().items() if name != "currency"}
    return {"quote_currency": quote, **parts, "worth": worth_words(worth)}


def render_plan(view: Mapping[str, Any]) -> list[str]:
    """Write one plan: what it is, who decided, and every row."""
    whose = f"{view['account']}, book {view['book']}" if view["book"] else view["account"]
    head = f"  {whose}, {view['kind']}: {view['meaning']}; as of {view['as_of']}"
    lines = [f"plan {view['plan_id']}", f"{head}, {view['row_count']} rows"]
    lines += [f"  held because {view['why']}"] if view["why"] else []
    lines += [f"  worth {view['worth']}"] if "worth" in view else []
    if view["decided_by"]:
        words = "undone by" if view["undoes"] else "decided by"
        note = f": {view['note']}" if view["note"] else ""
        lines.append(f"  {words} {view['decided_by']} at {view['decided_at']}{note}")
    for name, words in (("undoes", "undoes"), ("undone_by", "undone by"), ("written_as", "written as")):
        lines += [f"  {words} plan {view[name]}"] if view[name] else []
    for row in view.get("rows", ()):
        source = f"ledger entry {row['ledger_id']}" if row["ledger_id"] else row["reason"].replace("_", " ")
        holding = row["asset"] if view["book"] else HoldingKey(row["asset"], row["wallet"])
        lines.append(f"    {holding}: {row['before']} -> {row['after']} ({row['change']}), {source}")
    return lines


def render_plans(views: Sequence[Mapping[str, Any]]) -> list[str]:
    """Write several plans one below the other."""
    lines = [line for view in views for line in ("", *render_plan(view))]
    return lines[1:] or ["no plan"]
