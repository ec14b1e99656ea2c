"""What a deadline counts from, and the alert of a missed one."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.models import DagRun, Variable  # noqa: TID251 - what the scheduler works with
from airflow.models.backfill import Backfill  # noqa: TID251 - the same
from airflow.serialization.decoders import decode_deadline_alert
from airflow.serialization.encoders import encode_deadline_alert
from airflow.utils.session import create_session
from airflow.utils.types import DagRunType

from airflow_desk import AirflowDesk, trading_connection
from kraken_airflow.approvals import HOURS_VARIABLE
from kraken_airflow.deadlines import (
    BACKFILL_ALLOWANCE,
    DueTime,
    due_within,
    record_missed_deadline,
    resolve_missed_deadlines,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy.orm import Session

NOW = datetime.now(UTC).replace(microsecond=0)
LONG_AGO = NOW - timedelta(days=40)
QUARTER = timedelta(minutes=15)
LATE = "select asset, wallet, status, occurrences, account_id, message from trading.alerts order by alert_id"


@pytest.fixture
def session() -> Iterator[Session]:
    with create_session() as opened:
        yield opened
        opened.rollback()


def due(
    session: Session, kind: DagRunType, start: datetime, reference: Any = None, **more: Any
) -> datetime | None:
    """Make a run of an interval and ask what its deadline counts from."""
    run = DagRun(
        dag_id="position_sync", run_id=f"{kind}__{start.isoformat()}", run_type=kind, logical_date=start,
        data_interval=(start, start + QUARTER), run_after=start + QUARTER, queued_at=NOW, **more,
    )  # fmt: skip
    session.add(run)
    session.flush()
    reference = reference or DueTime()
    found: datetime | None = reference._evaluate_with(  # noqa: SLF001 - Airflow's own entry
        session=session, dag_id=run.dag_id, run_id=run.run_id
    )
    return found


def test_a_scheduled_run_is_due_after_its_interval(session: Session) -> None:
    assert due(session, DagRunType.SCHEDULED, NOW - QUARTER) == NOW


def test_a_run_by_hand_for_an_old_interval_is_not_late_at_once(session: Session) -> None:
    assert due(session, DagRunType.MANUAL, LONG_AGO) == NOW


def test_a_backfill_is_due_as_a_whole(session: Session) -> None:
    backfill = Backfill(
        dag_id="position_sync", from_date=LONG_AGO, to_date=LONG_AGO + 95 * QUARTER, created_at=NOW
    )
    session.add(backfill)
    session.flush()
    found = {
        due(session, DagRunType.BACKFILL_JOB, LONG_AGO + n * QUARTER, backfill_id=backfill.id)
        for n in range(3)
    }
    assert found == {NOW + 96 * BACKFILL_ALLOWANCE}


def test_a_backfill_may_be_given_more_time(session: Session) -> None:
    backfill = Backfill(dag_id="position_sync", from_date=LONG_AGO, to_date=LONG_AGO, created_at=NOW)
    session.add(backfill)
    session.flush()
    reference = due_within(QUARTER, backfill_allowance=timedelta(minutes=7))["deadline"].reference
    found = due(session, DagRunType.BACKFILL_JOB, LONG_AGO, reference, backfill_id=backfill.id)
    assert found == NOW + timedelta(minutes=7)


@pytest.mark.parametrize(
    ("setting", "hours"),
    [
        (("nowhere", ""), 24),
        (("database", "3"), 3),
        (("environment", "2"), 2),
        (("environment", "0.5"), 0.5),
        *((("environment", wrong), 24) for wrong in ("soon", "-1", "0", "nan", "1e300", "")),
    ],
)
def test_an_approval_is_due_an_hour_after_people_s_time(
    session: Session,
    repository: Path,
    monkeypatch: pytest.MonkeyPatch,
    setting: tuple[str, str],
    hours: float,
) -> None:
    place, variable = setting
    if place == "environment":
        monkeypatch.setenv(f"AIRFLOW_VAR_{HOURS_VARIABLE.upper()}", variable)
    elif place == "database":
        session.add(Variable(HOURS_VARIABLE, variable))  # noqa: AIR311 - the row itself
        session.flush()
    [alert] = DagBag(str(repository / "dags" / "repair_approval.py")).dags["repair_approval"].deadline
    stored = decode_deadline_alert(
        {"__type": "deadline_alert", "__var": encode_deadline_alert(alert)}  # as Airflow keeps it
    )
    assert stored.interval == timedelta(hours=1)
    found = due(session, DagRunType.MANUAL, LONG_AGO, stored.reference)
    assert found == NOW + timedelta(hours=hours)


def context(run_id: str, run_type: str) -> dict[str, Any]:
    run = {"dag_id": "position_sync", "dag_run_id": run_id, "run_type": run_type, "state": "running"}
    return {"dag_run": run, "deadline": {"id": "1", "deadline_time": NOW.isoformat()}}


@dataclass
class Succeeded:
    """A run as a callback sees it."""

    run_type: str
    dag_id: str = "position_sync"


@pytest.fixture
def rows(trading_db: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("AIRFLOW_CONN_TRADING_DB", trading_connection(trading_db))
    return lambda: AirflowDesk(None, trading_db, monkeypatch).rows(LATE)  # type: ignore[arg-type]


def miss(run_id: str, run_type: str) -> None:
    asyncio.run(record_missed_deadline(limit_minutes=15, context=context(run_id, run_type)))


def test_each_late_run_is_an_alert_of_its_own_until_one_succeeds(rows: Any) -> None:
    for run_id in ("one", "two", "two"):
        miss(run_id, "manual")
    assert [(row["wallet"], row["occurrences"], row["status"]) for row in rows()] == [
        ("one", 1, "open"),
        ("two", 2, "open"),
    ]
    assert rows()[0]["account_id"] is None
    assert "run one has not succeeded by" in rows()[0]["message"]
    resolve_missed_deadlines({"dag_run": Succeeded("scheduled")})
    assert {row["status"] for row in rows()} == {"resolved"}


def test_a_backfill_is_one_alert_however_many_of_its_runs_are_late(rows: Any) -> None:
    for number in range(20):
        miss(f"backfill {number}", "backfill")
    for run_type in ("scheduled", "backfill"):
        resolve_missed_deadlines({"dag_run": Succeeded(run_type)})
    assert [(row["wallet"], row["status"], row["occurrences"]) for row in rows()] == [
        ("backfill", "open", 20)
    ]
