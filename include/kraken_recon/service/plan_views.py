"""What people read of repair plans; amounts leave as text, exact and without an exponent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from kraken_recon.domain.ledger import HoldingKey
from kraken_recon.domain.money import ZERO, exact_arithmetic, format_amount
from kraken_recon.domain.plan import PlanStatus
from kraken_recon.errors import PlanRefusedError
from kraken_recon.service.reporting import explanation
from kraken_recon.service.undoing import facts_of

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from datetime import datetime
    from decimal import Decimal
    from uuid import UUID

    from kraken_recon.service.planning import PlanStore
    from kraken_recon.service.reporting import Reports

STATUS_WORDS: Final = {
    "planned": "what a repair would write",
    "applied": "written",
    "held": "waits for a person",
    "approved": "approved, not written yet",
    "rejected": "rejected",
    "expired": "nobody answered in time, which means no",
    "outdated": "out of date: the drift changed or went away",
}


def _iso(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None


def _id(value: UUID | None) -> str | None:
    return str(value) if value else None


@exact_arithmetic()
def _row_view(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "asset": row["asset"],
        "wallet": row["wallet"],
        "before": format_amount(row["quantity_before"]),
        "after": format_amount(row["quantity_after"]),
        "change": format_amount(row["quantity_after"] - row["quantity_before"]),
        "cause": row["cause"],
        "reason": row["reason"],
        "ledger_id": row["ledger_id"],
    }


def plan_view(plan: Mapping[str, Any], rows: Sequence[Mapping[str, Any]] | None = None) -> dict[str, Any]:
    """Describe one plan; with its rows where they are given."""
    is_held = plan["kind"] == "held" and plan["status"] == PlanStatus.PLANNED
    view: dict[str, Any] = {
        "plan_id": str(plan["plan_id"]),
        "account": plan["account"],
        "kind": plan["kind"],
        "status": plan["status"],
        "meaning": "what a repair would hold for a person" if is_held else STATUS_WORDS[plan["status"]],
        "as_of": _iso(plan["as_of"]),
        "run_id": _id(plan["run_id"]),
        "row_count": plan["row_count"],
        "why": plan["why"],
        "undoes": _id(plan["undoes"]),
        "undone_by": _id(plan["undone_by"]),
        "written_as": _id(plan["written_as"]),
        "created_at": _iso(plan["created_at"]),
        "applied_at": _iso(plan["applied_at"]),
        "closed_at": _iso(plan["closed_at"]) if plan["kind"] == "held" else None,
        "decided_by": plan["decided_by"],
        "decided_at": _iso(plan["decided_at"]),
        "note": plan["note"],
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
    found = plans.find(run_ids=run_ids, most=2 * len(run_ids))
    rows = plans.rows([plan["plan_id"] for plan in found]) if with_rows else {}
    return [plan_view(plan, rows.get(plan["plan_id"])) for plan in found]


@exact_arithmetic()
def case_of(plans: PlanStore, reports: Reports, plan_id: UUID) -> dict[str, Any]:
    """Collect what a person must see to decide about a held plan.

    Raises:
        PlanRefusedError: there is no such plan.
    """
    view = show_plan(plans, plan_id)
    plan = plans.find(plan_ids=[plan_id])[0]
    findings = {HoldingKey(f["asset"], f["wallet"]): f for f in reports.findings_of([plan["run_id"]])}
    ages = plans.residual_ages(plan["account_id"])
    values: list[Decimal | None] = []
    for row, shown in zip(plans.rows([plan_id])[plan_id], view["rows"], strict=True):
        key = HoldingKey(row["asset"], row["wallet"])
        finding, age, price = findings.get(key), ages.get(key), row["price"]
        value = abs(row["quantity_after"] - row["quantity_before"]) * price if price is not None else None
        values.append(value)
        shown |= {
            "recorded": format_amount(finding["db_quantity"]) if finding else shown["before"],
            "reported": format_amount(finding["exchange_quantity"]) if finding else shown["after"],
            "drift": format_amount(finding["drift"]) if finding else shown["change"],
            "explanation": explanation(finding) if finding else "no finding is on record",
            "price": format_amount(price) if price is not None else None,
            "value": format_amount(value) if value is not None else None,
            "seen_since": _iso(age["first_seen_at"]) if age else None,
            "confirmations": age["confirmations"] if age else 0,
        }
    known = [value for value in values if value is not None]
    view["quote_currency"] = plan["quote_currency"]
    view["value"] = format_amount(sum(known, ZERO)) if len(known) == len(values) else None
    return view


def render_plan(view: Mapping[str, Any]) -> list[str]:
    """Write one plan: what it is, who decided, and every row."""
    head = f"  {view['account']}, {view['kind']}: {view['meaning']}; as of {view['as_of']}"
    lines = [f"plan {view['plan_id']}", f"{head}, {view['row_count']} rows"]
    lines += [f"  held because {view['why']}"] if view["why"] else []
    if view["decided_by"]:
        words = "undone by" if view["undoes"] else "decided by"
        note = f": {view['note']}" if view["note"] else ""
        lines.append(f"  {words} {view['decided_by']} at {view['decided_at']}{note}")
    for name, words in (("undoes", "undoes"), ("undone_by", "undone by"), ("written_as", "written as")):
        lines += [f"  {words} plan {view[name]}"] if view[name] else []
    for row in view.get("rows", ()):
        source = f"ledger entry {row['ledger_id']}" if row["ledger_id"] else row["reason"].replace("_", " ")
        holding = HoldingKey(row["asset"], row["wallet"])
        lines.append(f"    {holding}: {row['before']} -> {row['after']} ({row['change']}), {source}")
    return lines


def render_plans(views: Sequence[Mapping[str, Any]]) -> list[str]:
    """Write several plans one below the other."""
    lines = [line for view in views for line in ("", *render_plan(view))]
    return lines[1:] or ["no plan"]
