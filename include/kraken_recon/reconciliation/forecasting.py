"""Plan a run before it starts: who shares a task, whether all will be done in time, and who must be told.

Invariants:
1. Whether all accounts fit is one alert about the DAG, however many do not; a run whose accounts all fit ends
   it.
2. Nothing here keeps a run from starting: who comes late is done late.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from kraken_recon.alerts.alert import Alert
from kraken_recon.alerts.kinds import AlertKind
from kraken_recon.alerts.silence_rules import Job
from kraken_recon.alerts.store import AlertStore
from kraken_recon.errors import ConfigurationError
from kraken_recon.reconciliation.priority_store import PriorityStore
from kraken_recon.reconciliation.rules.forecast import Forecast, forecast
from kraken_recon.reconciliation.rules.grouping import Group, in_groups
from kraken_recon.reconciliation.run import SIDE_BY_SIDE
from kraken_recon.settings import SYNC_SLOTS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from kraken_recon.accounts.account import Account
    from kraken_recon.database.unit_of_work import UnitOfWork

# Below so many calls no tier's budget takes a minute, and no key is looked up.
CALLS_BELOW_NO_LIMIT: Final = 8
TOLD_MAX: Final = 20
SLOTS_MAX: Final = 10_000


@dataclass(frozen=True, slots=True)
class PlannedRun:
    """Who shares a task, and what is to be expected of it."""

    groups: list[Group]
    forecast: Forecast


def slots_of(environment: Mapping[str, str]) -> int:
    """Read how many tasks of ``position_sync`` run at the same time.

    Raises:
        ConfigurationError: the setting is no whole number of at least one.
    """
    text = environment.get(SYNC_SLOTS.name) or SYNC_SLOTS.default
    if not text.isdecimal() or not 1 <= int(text) <= SLOTS_MAX:
        raise ConfigurationError(
            f"{SYNC_SLOTS.name}: expected a whole number from 1 to {SLOTS_MAX}, was {text!r}"
        )
    return int(text)


def plan_run(
    unit: UnitOfWork,
    accounts: Sequence[Account],
    *,
    seconds_left: float,
    slots: int,
    budget_seconds_of: Callable[[Account, int], float],
) -> PlannedRun:
    """Group accounts, given in the order of their need, and say what their run will take.

    Args:
        unit: where it is on record what they took.
        accounts: all of the run.
        seconds_left: until its deadline.
        slots: how many tasks run at the same time.
        budget_seconds_of: how long an account's key takes for so many calls; a connection that is missing or
            wrong is its own run's trouble.
    """
    costs = PriorityStore(unit).costs([account.account_id for account in accounts])
    by_name = {account.name: account for account in accounts}
    budget_seconds = {}
    for cost in costs:
        if cost.calls and cost.calls >= CALLS_BELOW_NO_LIMIT:
            try:
                budget_seconds[cost.name] = budget_seconds_of(by_name[cost.name], cost.calls)
            except ConfigurationError:
                continue
    groups = in_groups(costs, SIDE_BY_SIDE)
    return PlannedRun(
        groups,
        forecast(
            groups,
            side_by_side=SIDE_BY_SIDE,
            slots=slots,
            seconds_left=seconds_left,
            budget_seconds=budget_seconds,
        ),
    )


def tell_forecast(unit: UnitOfWork, planned: PlannedRun) -> None:
    """Raise the alert that not all accounts will be done in time, or end it."""
    store, found = AlertStore(unit), planned.forecast
    if not found.late:
        store.resolve_alerts(
            [None], AlertKind.COVERAGE_AT_RISK, ended_by="a run whose accounts all fit into its time"
        )
        return
    told = "; ".join(f"{one.name} ({one.why})" for one in found.late[:TOLD_MAX])
    more = f" and {len(found.late) - TOLD_MAX} more" if len(found.late) > TOLD_MAX else ""
    alert = Alert(
        AlertKind.COVERAGE_AT_RISK,
        None,
        str(Job.POSITION_SYNC),
        None,
        f"{Job.POSITION_SYNC}: {found.told}: {told}{more}",
        evidence={
            "accounts": found.accounts,
            "late": len(found.late),
            "seconds": round(found.seconds),
            "seconds_left": round(found.seconds_left),
        },
    )
    store.raise_alerts([alert])


def forecast_view(planned: PlannedRun) -> dict[str, Any]:
    """Write a plan as JSON does."""
    found = planned.forecast
    return {
        "accounts": found.accounts,
        "slots": found.slots,
        "seconds": round(found.seconds, 1),
        "seconds_left": round(found.seconds_left, 1),
        "fits": not found.late,
        "tasks": [
            {"accounts": len(group.accounts), "seconds": round(group.seconds(SIDE_BY_SIDE), 1)}
            for group in planned.groups
        ],
        "late": [
            {"account": one.name, "done_after_seconds": round(one.done_after_seconds, 1), "why": one.why}
            for one in found.late
        ],
        "slowest": [
            {"account": one.name, "seconds": round(one.expected_seconds, 1), "calls": one.calls}
            for one in sorted(
                (account for group in planned.groups for account in group.accounts),
                key=lambda account: -account.expected_seconds,
            )[:TOLD_MAX]
        ],
    }


def render_forecast(view: Mapping[str, Any]) -> list[str]:
    """Write a plan for a terminal."""
    lines = [
        f"{view['accounts']} accounts in {len(view['tasks'])} tasks, {view['slots']} at a time: about "
        f"{view['seconds']:.0f} s, of {view['seconds_left']:.0f} s; "
        + ("all fit" if view["fits"] else f"{len(view['late'])} WILL NOT FIT")
    ]
    lines += [
        f"late: {one['account']} after {one['done_after_seconds']:.0f} s: {one['why']}"
        for one in view["late"]
    ]
    return lines + [
        f"slowest: {one['account']} {one['seconds']:.1f} s, "
        + ("nothing on record yet" if one["calls"] is None else f"{one['calls']} calls")
        for one in view["slowest"]
    ]
