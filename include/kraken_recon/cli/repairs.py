"""The commands ``plan ...``: what repairs wrote or would write, and what a person decides about them."""

from __future__ import annotations

import getpass
import os
from typing import TYPE_CHECKING, Any
from uuid import UUID

from kraken_recon.database.unit_of_work import UnitOfWork
from kraken_recon.holdings.store import PriceStore
from kraken_recon.reconciliation.plans.plan import PlanStatus
from kraken_recon.reconciliation.plans.store import PlanStore
from kraken_recon.repairs.deciding import approve, reject, reopen
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
    import argparse
    from collections.abc import Callable

    from kraken_recon.repairs.deciding import PlanDecision
    from kraken_recon.wiring import Wiring

    Result = tuple[dict[str, Any], list[str]]


def _who(arguments: argparse.Namespace) -> str:
    if arguments.by:
        return str(arguments.by)
    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # a user id without a name
        name = f"user {os.getuid()}"
    return f"{name} (command line)"


class PlanCommands:
    """Each command on the trading database that ``wiring`` names when it runs."""

    def __init__(self, wiring: Callable[[], Wiring]) -> None:
        self._wiring = wiring

    def add_to(self, parser: argparse.ArgumentParser) -> None:
        """Add the commands below ``plan``."""
        commands = parser.add_subparsers(dest="plan_command", required=True, metavar="COMMAND")

        def command(name: str, run: Callable[[argparse.Namespace], Result], summary: str) -> None:
            added = commands.add_parser(name, help=summary, description=summary)
            added.add_argument("--json", action="store_true", help="print one JSON document")
            added.set_defaults(run=run)
            if name == "list":
                added.add_argument("--account", action="append", metavar="NAME", help="may be given again")
                added.add_argument(
                    "--held", action="store_true", help="only what is held of a drift that is still there"
                )
                return
            added.add_argument("plan", type=UUID, metavar="PLAN", help="id of a plan")
            if name in {"undo", "approve", "reject"}:
                added.add_argument("--by", metavar="NAME", help="who decides; default: who runs this")
            if name in {"approve", "reject"}:
                added.add_argument("--note", metavar="TEXT", help="why; kept with the decision")

        command("list", self._list, "List plans, newest first.")
        command("show", self._show, "Show everything that a plan writes, and who decided about it.")
        command("undo", self._undo, "Undo what a plan repaired, as a new plan; ledger entries stay.")
        command("approve", self._approve, "Approve a held plan, and write it if the drift is still the same.")
        command("reject", self._reject, "Reject a held plan: nobody is asked again until its drift changes.")
        command("reopen", self._reopen, "Let the next run ask again about a rejected or expired plan.")

    def _list(self, arguments: argparse.Namespace) -> Result:
        with UnitOfWork(self._wiring().engine()) as unit:
            view = list_plans(PlanStore(unit), arguments.account, is_open=arguments.held)
            if arguments.held:
                view["plans"] = with_values(view["plans"], PlanStore(unit), PriceStore(unit), utc_now())
        return view, render_plans(view["plans"])

    def _show(self, arguments: argparse.Namespace) -> Result:
        with UnitOfWork(self._wiring().engine()) as unit:
            view = show_plan(PlanStore(unit), arguments.plan)
            if view["kind"] == "held":
                view = case_of(
                    PlanStore(unit), ReportStore(unit), PriceStore(unit), arguments.plan, utc_now()
                )
        return view, render_plan(view)

    def _undo(self, arguments: argparse.Namespace) -> Result:
        engine = self._wiring().engine()
        undone_by, is_new = undo(arguments.plan, _who(arguments), lambda: UnitOfWork(engine), now=utc_now())
        with UnitOfWork(engine) as unit:
            view = show_plan(PlanStore(unit), undone_by) | {"is_new": is_new}
        return view, [
            "undone; the next run finds the same drift again, and holds it for a person"
            if is_new
            else "it was undone already; nothing was written",
            *render_plan(view),
        ]

    def _approve(self, arguments: argparse.Namespace) -> Result:
        decision = approve(arguments.plan, _who(arguments), self._wiring().sync_ports(), note=arguments.note)
        return self._decided(decision, PlanStatus.APPLIED)

    def _reject(self, arguments: argparse.Namespace) -> Result:
        decision = reject(arguments.plan, _who(arguments), self._wiring().sync_ports(), note=arguments.note)
        return self._decided(decision, PlanStatus.REJECTED)

    def _reopen(self, arguments: argparse.Namespace) -> Result:
        decision = reopen(arguments.plan, self._wiring().sync_ports())
        return self._decided(decision, decision.status)

    def _decided(self, decision: PlanDecision, wanted: PlanStatus) -> Result:
        """Show what became of the plan; another outcome than the one wanted is a failure."""
        with UnitOfWork(self._wiring().engine()) as unit:
            view = plan_view(PlanStore(unit).find(plan_ids=[decision.plan_id])[0])
        if decision.status is not wanted or not decision.is_ours:
            view["failed"] = True
        return view, render_plan(view)
