"""Which run of a DAG makes up for which, so that an alert about a run ends when its work is done after all.

Invariants:
1. A run makes up for another only if it did the same work, or more, and reaches at least as far in time.
2. A run with work of its own (a decision of a form, a plan that a person decides, a stretch of the past) is
   made up for by nothing but itself.
3. The runs of a backfill are one piece of work, about which one run says little: a person ends its alert.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

BACKFILL: Final = "backfill"
THREAD_LENGTH_MAX: Final = 200

Value = str | list[str]


@dataclass(frozen=True, slots=True)
class Work:
    """What the runs of a DAG do, by their params.

    Attributes:
        narrowed_by: params that narrow it, each with the value that leaves nothing out.
        brings_own: whether a run that is given params does work which no other run does.
    """

    narrowed_by: Mapping[str, Value] = field(default_factory=dict)
    brings_own: bool = False

    def scope_of(self, params: Mapping[str, Any]) -> dict[str, Value]:
        """Read what narrows a run; nothing where it does all there is."""
        given = {name: _value(params.get(name)) or whole for name, whole in self.narrowed_by.items()}
        return {name: value for name, value in given.items() if value != self.narrowed_by[name]}

    def covers(self, done: Mapping[str, Value], wanted: Mapping[str, Value]) -> bool:
        """Say whether work of one scope includes that of another."""
        return all(
            _includes(done.get(name, whole), wanted.get(name, whole), whole)
            for name, whole in self.narrowed_by.items()
        )


@dataclass(frozen=True, slots=True)
class RunOfDag:
    """A run of a DAG: how far in time it reaches, what narrows it, and whether it has work of its own."""

    dag_id: str
    run_id: str
    run_type: str
    reaches: datetime
    scope: Mapping[str, Value] = field(default_factory=dict)
    is_alone: bool = False

    @property
    def thread(self) -> str | None:
        """Name what the run's alerts are about beside its DAG: one cause is one alert, however many runs."""
        if self.run_type == BACKFILL:
            return BACKFILL
        if self.is_alone:
            return self.run_id
        values = [[value] if isinstance(value, str) else value for value in self.scope.values()]
        parts = [part for value in values for part in value]
        return ", ".join(parts)[:THREAD_LENGTH_MAX] or None

    @property
    def account(self) -> str | None:
        """Name the account that the run was for, where it was for one alone."""
        named = self.scope.get("accounts")
        return named[0] if isinstance(named, list) and len(named) == 1 else None


@dataclass(frozen=True, slots=True)
class Missing:
    """What an open alert of a DAG waits for: the work of its newest run."""

    run_id: str
    reaches: datetime
    scope: Mapping[str, Value]
    is_alone: bool


def makes_up_for(run: RunOfDag, missing: Missing, work: Work) -> bool:
    """Say whether a run that succeeded did what an alert waits for."""
    if run.run_id == missing.run_id:
        return run.run_type != BACKFILL
    if run.run_type == BACKFILL or missing.is_alone:
        return False
    return run.reaches >= missing.reaches and work.covers(run.scope, missing.scope)


def _value(given: object) -> Value:
    if given is None:
        return ""
    return sorted(map(str, given)) if isinstance(given, (list, tuple)) else str(given)


def _includes(done: Value, wanted: Value, whole: Value) -> bool:
    if isinstance(done, list) and isinstance(wanted, list):
        return not done or (bool(wanted) and set(wanted) <= set(done))
    return done in (wanted, whole)
