"""Every DAG's deadline: what it counts from, and what is told of runs that miss it, fail or succeed.

Invariants:
1. A scheduled run is due some time after its interval's end, any other run some time after it was asked for;
   so a run that somebody starts for an old interval is not late before it began.
2. The runs of a backfill share one moment, by which the backfill as a whole is due: it grows with the number
   of intervals, and however many runs miss it, they raise one alert.
3. A missed deadline is a row of ``alerts``; whoever watches the rows tells people. What is late, what failed
   and which run makes up for it is decided by ``kraken_recon.alerts.runs``.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self

from airflow.sdk.definitions.callback import AsyncCallback
from airflow.sdk.definitions.deadline import BaseDeadlineReference, DeadlineAlert, deadline_reference

from kraken_airflow.dag_parts.failures import AlertedFailure, told_cause
from kraken_airflow.dag_parts.run_interval import AGE_MAX
from kraken_airflow.hooks.trading_db import TradingDbHook
from kraken_recon.alerts.run_coverage import BACKFILL, RunOfDag, Work
from kraken_recon.alerts.runs import Missed, tell_failed, tell_late, tell_succeeded
from kraken_recon.alerts.store import AlertStore

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from sqlalchemy.orm import Session

log = logging.getLogger(__name__)
INTERVAL: Final = ("data_interval_start", "data_interval_end")
# Why Airflow fails a run of which no task failed.
STOPPED: Final = {
    "timed_out": "it was stopped, because it took longer than a run may (dagrun_timeout)",
    "all_tasks_deadlocked": "no task of it could start any more",
}
# Measured: a run for the past takes seconds; a minute leaves room for a busy machine.
BACKFILL_ALLOWANCE: Final = timedelta(minutes=1)


@deadline_reference()
@dataclass(frozen=True, eq=False)
class DueTime(BaseDeadlineReference):
    """What a run's deadline counts from; the scheduler asks when it makes the run.

    Attributes:
        backfill_seconds_per_interval: how long each run of a backfill may take, on average.
        hours_variable: an Airflow Variable that gives people so many hours before the run can end.
        hours_default: where it is not set, or is no number above zero.
    """

    backfill_seconds_per_interval: float = BACKFILL_ALLOWANCE.total_seconds()
    hours_variable: str = ""
    hours_default: float = 0.0

    required_kwargs: ClassVar = {"dag_id", "run_id"}

    def serialize_reference(self) -> dict[str, Any]:
        """Write it into the serialized DAG."""
        return {**super().serialize_reference(), **asdict(self)}

    @classmethod
    def deserialize_reference(cls, reference_data: dict[str, Any]) -> Self:
        """Read it back; a DAG that an older release serialized names less."""
        return cls(**{name: reference_data[name] for name in FIELDS if name in reference_data})

    def _evaluate_with(self, *, session: Session, dag_id: str, run_id: str, **_: object) -> datetime | None:
        # Only the scheduler comes here; a task process must not import Airflow's tables.
        from airflow.models import DagRun  # noqa: PLC0415, TID251
        from airflow.models.backfill import Backfill  # noqa: PLC0415, TID251
        from sqlalchemy import select  # noqa: PLC0415

        run = session.scalar(select(DagRun).where(DagRun.dag_id == dag_id, DagRun.run_id == run_id))
        if run is None:
            return None
        if run.run_type == BACKFILL:
            backfill = session.get(Backfill, run.backfill_id)
            allowance = timedelta(seconds=self.backfill_seconds_per_interval)
            return None if backfill is None else backfill_due(backfill, run, allowance)
        if run.run_type == "scheduled":
            due: datetime = run.data_interval_end or run.run_after
            return due
        asked: datetime = run.queued_at or datetime.now(tz=run.run_after.tzinfo)
        return asked + self._time_of_people(session)

    def _time_of_people(self, session: Session) -> timedelta:
        if not self.hours_variable:
            return timedelta(0)
        try:
            hours = float(_variable(self.hours_variable, session) or self.hours_default)
            return timedelta(hours=hours if hours > 0 else self.hours_default)
        except (ValueError, OverflowError):
            # The task that asks says what is wrong with the variable; a run must be made in any case.
            return timedelta(hours=self.hours_default)


def _variable(key: str, session: Session) -> str | None:
    """Look a Variable up wherever Airflow keeps them, in the session in which the run is being made.

    ``Variable.get`` would commit that session, and with it half a run.
    """
    from airflow.configuration import ensure_secrets_loaded  # noqa: PLC0415 - only who makes runs comes here
    from airflow.secrets.metastore import MetastoreBackend  # noqa: PLC0415 - the same

    for backend in ensure_secrets_loaded():
        own: dict[str, Any] = {"session": session} if isinstance(backend, MetastoreBackend) else {}
        try:
            value: str | None = backend.get_variable(key, **own)
        except Exception:
            log.exception("the variable %s cannot be read from %s", key, type(backend).__name__)
            continue
        if value is not None:
            return value
    return None


FIELDS: Final = tuple(field.name for field in fields(DueTime))


def backfill_due(backfill: Any, run: Any, allowance: timedelta) -> datetime:  # noqa: ANN401 - rows of Airflow, which has no types for them
    """Say when all runs of a backfill should have ended."""
    interval = (run.data_interval_end - run.data_interval_start) or timedelta(days=1)
    count = (backfill.to_date - backfill.from_date) // interval + 1
    due: datetime = backfill.created_at + count * allowance
    return due


def due_within(
    limit: timedelta,
    *,
    after_hours: tuple[str, float] | None = None,
    backfill_allowance: timedelta = BACKFILL_ALLOWANCE,
    narrowed_by: Mapping[str, str | list[str]] | None = None,
    brings_own: bool = False,
) -> dict[str, Any]:
    """Give a DAG its deadline: ``@dag(..., **due_within(timedelta(minutes=15)))``.

    Args:
        limit: how long after it could have begun to end.
        after_hours: a Variable with the hours that people have before that, and how many where it is not set.
        backfill_allowance: how long each run of a backfill may take, on average.
        narrowed_by: params that let a run do less than all, each with the value that leaves nothing out.
        brings_own: whether a run that is given params does work which no other run does.
    """
    variable, hours = after_hours or ("", 0.0)
    reference = DueTime(backfill_allowance.total_seconds(), variable, hours)
    minutes = int(limit / timedelta(minutes=1))
    work = {"narrowed_by": dict(narrowed_by or {}), "brings_own": brings_own}
    deadline = DeadlineAlert(
        reference=reference,
        interval=limit,
        callback=AsyncCallback(record_missed_deadline, {"limit_minutes": minutes, "work": work}),
    )
    # Not an argument: Airflow 3.2 knows no names of deadlines, and shows none.
    deadline.name = f"due within {limit}" + (f" after {variable}" if variable else "")
    return {
        "deadline": deadline,
        "on_success_callback": resolve_missed_deadlines,
        "on_failure_callback": tell_of_stopped_run,
    }


async def record_missed_deadline(
    *,
    limit_minutes: int,
    context: Mapping[str, Any] | None = None,
    work: Mapping[str, Any] | None = None,
    **_: object,
) -> None:
    """Raise the alert of a run that has not ended by its deadline; the triggerer runs this."""
    await asyncio.to_thread(_record, limit_minutes, context or {}, Work(**(work or {})))


def _record(limit_minutes: int, context: Mapping[str, Any], work: Work) -> None:
    run = context["dag_run"]
    with _alerts() as alerts:
        ended_at = _moment(run["end_date"]) if run.get("end_date") else None
        due = _moment(context["deadline"]["deadline_time"])
        missed = Missed(due, limit_minutes, str(run["state"]), ended_at)
        tell_late(alerts, _run_of(run | {"run_id": run["dag_run_id"]}, work), missed)


def resolve_missed_deadlines(context: Mapping[str, Any]) -> None:
    """Resolve the alerts of late and failed runs for which a run that succeeded makes up."""
    run, work = context.get("dag_run"), _work_of(context)
    if run is None:
        log.warning("run %s: Airflow does not say what it did, so no alert ends with it", context["run_id"])
        return
    with _alerts() as alerts:
        tell_succeeded(alerts, _run_of(vars(run), work), work)


def tell_of_failed_task(context: Mapping[str, Any]) -> None:
    """Tell why a run failed, unless alerts of what it met do: ``on_failure_callback`` of every task."""
    ti, error = context["ti"], context.get("exception")
    with _alerts() as alerts:
        tell_failed(
            alerts,
            _run_of(vars(context["dag_run"]), _work_of(context)),
            f"task {ti.task_id}: {told_cause(error)}",
            is_told=isinstance(error, AlertedFailure),
        )


def tell_of_stopped_run(context: Mapping[str, Any]) -> None:
    """Tell of a run that Airflow stopped; where a task failed, the task has told."""
    run, reason = context.get("dag_run"), str(context.get("reason"))
    if run is None or reason not in STOPPED:
        return
    with _alerts() as alerts:
        tell_failed(alerts, _run_of(vars(run), _work_of(context)), STOPPED[reason])


@contextmanager
def _alerts() -> Iterator[AlertStore]:
    with TradingDbHook(application_name="kraken_recon:deadlines").unit_of_work() as unit:
        yield AlertStore(unit)
        unit.commit()


def _work_of(context: Mapping[str, Any]) -> Work:
    """Read what was declared beside the deadline of the DAG."""
    for deadline in context["dag"].deadline or ():
        declared = (deadline.callback.kwargs or {}).get("work")
        if declared:
            return Work(**declared)
    return Work()


def _run_of(run: Mapping[str, Any], work: Work) -> RunOfDag:
    params = run.get("conf") or {}
    started = _moment(run.get("run_after") or datetime.now(UTC))
    start, end = (_moment(run[name]) if run.get(name) else None for name in INTERVAL)
    # A run by hand has an interval too, the last one that is over; an older one makes it a run of the past.
    age_max = max(AGE_MAX, 2 * (end - start)) if start and end else AGE_MAX
    is_past = end is not None and end < started - age_max
    run_type = str(getattr(run["run_type"], "value", run["run_type"]))
    return RunOfDag(
        str(run["dag_id"]),
        str(run.get("run_id", "")),
        run_type,
        end if end and is_past else started,
        work.scope_of(params),
        is_alone=is_past or run_type == BACKFILL or (work.brings_own and bool(params)),
    )


def _moment(given: Any) -> datetime:  # noqa: ANN401 - Airflow hands on text, pendulum's and plain datetimes
    return datetime.fromisoformat(str(given))
