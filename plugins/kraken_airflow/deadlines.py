"""Every DAG's deadline: what it counts from, and the alert when it is missed.

Invariants:
1. A scheduled run is due some time after its interval's end, any other run some time after it was asked for;
   so a run that somebody starts for an old interval is not late before it began.
2. The runs of a backfill share one moment, by which the backfill as a whole is due: it grows with the number
   of intervals, and however many runs miss it, they raise one alert.
3. A missed deadline is a row of ``alerts``; whoever watches the rows tells people. A later run of the DAG
   that succeeds resolves it; the alert of a backfill, of which one run says little, is resolved by a person.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import asdict, dataclass, fields
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self

from airflow.sdk.definitions.callback import AsyncCallback
from airflow.sdk.definitions.deadline import BaseDeadlineReference, DeadlineAlert, deadline_reference

from kraken_airflow.hooks.trading_db import TradingDbHook

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy.orm import Session

log = logging.getLogger(__name__)
BACKFILL: Final = "backfill"
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
) -> dict[str, Any]:
    """Give a DAG its deadline: ``@dag(..., **due_within(timedelta(minutes=15)))``.

    Args:
        limit: how long after it could have begun to end.
        after_hours: a Variable with the hours that people have before that, and how many where it is not set.
        backfill_allowance: how long each run of a backfill may take, on average.
    """
    variable, hours = after_hours or ("", 0.0)
    reference = DueTime(backfill_allowance.total_seconds(), variable, hours)
    minutes = int(limit / timedelta(minutes=1))
    return {
        "deadline": DeadlineAlert(
            reference=reference,
            interval=limit,
            callback=AsyncCallback(record_missed_deadline, {"limit_minutes": minutes}),
            name=f"due within {limit}" + (f" after {variable}" if variable else ""),
        ),
        "on_success_callback": resolve_missed_deadlines,
    }


async def record_missed_deadline(
    *, limit_minutes: int, context: Mapping[str, Any] | None = None, **_: object
) -> None:
    """Raise the alert of a missed deadline; the triggerer runs this."""
    await asyncio.to_thread(_record, limit_minutes, context or {})


def _record(limit_minutes: int, context: Mapping[str, Any]) -> None:
    run = context["dag_run"]
    due = str(context["deadline"]["deadline_time"])
    dag_id, state = str(run["dag_id"]), str(run["state"])
    is_backfill = run["run_type"] == BACKFILL
    name = BACKFILL if is_backfill else str(run["dag_run_id"])
    what = "its backfill as a whole" if is_backfill else f"run {name}"
    with TradingDbHook(application_name="kraken_recon:deadlines").unit_of_work() as unit:
        unit.alerts.raise_deadline(
            dag_id,
            name,
            f"{dag_id}: {what} has not succeeded by {due} (it is {state})",
            {
                "run_id": str(run["dag_run_id"]),
                "run_type": str(run["run_type"]),
                "state": state,
                "due": due,
                "limit_minutes": limit_minutes,
            },
        )
        unit.commit()


def resolve_missed_deadlines(context: Mapping[str, Any]) -> None:
    """Resolve the alerts of a DAG's late runs once a run of it has succeeded."""
    if context["dag_run"].run_type == BACKFILL:
        return
    with TradingDbHook(application_name="kraken_recon:deadlines").unit_of_work() as unit:
        unit.alerts.resolve_deadlines(str(context["dag_run"].dag_id))
        unit.commit()
