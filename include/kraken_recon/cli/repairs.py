"""The commands about what repairs write: ``plan ...`` and ``contradictions``."""

from __future__ import annotations

import getpass
import os
from typing import TYPE_CHECKING, Final
from uuid import UUID

from kraken_recon.cli.books import desk_book_ports
from kraken_recon.cli.command import ACCOUNT, Arguments, Result, argument, command, group
from kraken_recon.cli.trading_db import account_named, unit_of_work, wired
from kraken_recon.errors import ConfigurationError
from kraken_recon.holdings.store import PriceStore
from kraken_recon.reconciliation.plans.plan import PlanStatus
from kraken_recon.reconciliation.plans.store import PlanStore
from kraken_recon.repairs.accepting import accept
from kraken_recon.repairs.contradictions import (
    contradictions_view,
    find_contradictions,
    render_contradictions,
)
from kraken_recon.repairs.deciding import approve, reject, reopen
from kraken_recon.repairs.desk_plans import DeskBooks
from kraken_recon.repairs.undoing import undo
from kraken_recon.repairs.view import (
    case_of,
    list_plans,
    plan_view,
    render_plan,
    render_plans,
    show_plan,
    with_values,
)
from kraken_recon.reports.report_store import ReportStore
from kraken_recon.wiring import utc_now

if TYPE_CHECKING:
    from kraken_recon.repairs.deciding import PlanDecision

PLAN: Final = argument("plan", type=UUID, metavar="PLAN", help="id of a plan")
BY: Final = argument("--by", metavar="NAME", help="who decides; default: who runs this")
NOTE: Final = argument("--note", metavar="TEXT", help="why; kept with the decision")


@command(
    "list",
    argument("--account", action="append", metavar="NAME", help="may be given again"),
    argument("--held", action="store_true", help="only what is held of a drift that is still there"),
)
def list_newest(arguments: Arguments) -> Result:
    """List plans, newest first."""
    with unit_of_work() as unit:
        view = list_plans(PlanStore(unit), arguments.account, is_open=arguments.held)
        if arguments.held:
            view["plans"] = with_values(view["plans"], PlanStore(unit), PriceStore(unit), utc_now())
    return view, render_plans(view["plans"])


@command("show", PLAN)
def show(arguments: Arguments) -> Result:
    """Show everything that a plan writes, and who decided about it."""
    with unit_of_work() as unit:
        view = show_plan(PlanStore(unit), arguments.plan)
        if view["kind"] == "held":
            view = case_of(PlanStore(unit), ReportStore(unit), PriceStore(unit), arguments.plan, utc_now())
    return view, render_plan(view)


@command("undo", PLAN, BY)
def undo_plan(arguments: Arguments) -> Result:
    """Undo what a plan repaired, as a new plan; ledger entries stay."""
    undone_by, is_new = undo(arguments.plan, _who(arguments), unit_of_work, now=utc_now(), books=_desk_books)
    with unit_of_work() as unit:
        view = show_plan(PlanStore(unit), undone_by) | {"is_new": is_new}
    return view, [
        "undone; the next run finds the same drift again, and holds it for a person"
        if is_new
        else "it was undone already; nothing was written",
        *render_plan(view),
    ]


@command("approve", PLAN, BY, NOTE)
def approve_plan(arguments: Arguments) -> Result:
    """Approve a held plan, and write it if the drift is still the same."""
    ports = wired().sync_ports()
    decision = approve(arguments.plan, _who(arguments), ports, note=arguments.note, books=_desk_books)
    return _decided(decision, PlanStatus.APPLIED)


@command("reject", PLAN, BY, NOTE)
def reject_plan(arguments: Arguments) -> Result:
    """Reject a held plan: nobody is asked again until its drift changes."""
    decision = reject(arguments.plan, _who(arguments), wired().sync_ports(), note=arguments.note)
    return _decided(decision, PlanStatus.REJECTED)


@command("reopen", PLAN)
def reopen_plan(arguments: Arguments) -> Result:
    """Let the next run ask again about a rejected or expired plan."""
    decision = reopen(arguments.plan, wired().sync_ports())
    return _decided(decision, decision.status)


def _desk_books() -> DeskBooks:
    return DeskBooks.here(desk_book_ports())


def _who(arguments: Arguments) -> str:
    if arguments.by:
        return str(arguments.by)
    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # a user id without a name
        name = f"user {os.getuid()}"
    return f"{name} (command line)"


def _decided(decision: PlanDecision, wanted: PlanStatus) -> Result:
    """Show what became of the plan; another outcome than the one wanted is a failure."""
    with unit_of_work() as unit:
        view = plan_view(PlanStore(unit).find(plan_ids=[decision.plan_id])[0])
    if decision.status is not wanted or not decision.is_ours:
        view["failed"] = True
    return view, render_plan(view)


PLAN_COMMANDS: Final = group(
    "plan",
    "Show, undo, approve or reject what repairs write.",
    *(list_newest, show, undo_plan, approve_plan, reject_plan, reopen_plan),
)


@command(
    "contradictions",
    ACCOUNT,
    argument("--entry", metavar="ID", help="look around this entry, not around the newest"),
    argument(
        "--accept",
        metavar="ID",
        nargs="+",
        help="take these over as Kraken tells them, as one plan; all: whatever is shown",
    ),
    argument("--by", metavar="NAME", help="who decides"),
    argument("--note", metavar="TEXT", help="why; kept with the plan"),
)
def contradictions(arguments: Arguments) -> Result:
    """Show what Kraken tells otherwise than it is on record, or never tells, or accept that."""
    ports = wired().sync_ports()
    account = account_named(arguments.account)
    if arguments.accept is None:
        view = contradictions_view(account.name, find_contradictions(account, ports, arguments.entry))
        return view, render_contradictions(view)
    if not ((arguments.by or "").strip() and (arguments.note or "").strip()):
        raise ConfigurationError("--accept needs --by and --note: who decides, and why")
    plan_id, accepted = accept(account, arguments.accept, arguments.by, arguments.note, ports)
    names = [one.name for one in accepted]
    return {"account": account.name, "plan_id": str(plan_id), "accepted": names}, [
        *(f"{name} is on record as Kraken tells it" for name in names),
        f"to undo: python -m kraken_recon plan undo {plan_id}",
    ]
