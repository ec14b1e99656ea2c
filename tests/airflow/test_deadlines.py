"""What a deadline counts from, and the alert of a missed one."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from airflow.models import DagRun, Variable  # noqa: TID251 - what the scheduler works with
from airflow.models.backfill import Backfill  # noqa: TID251 - the same
from airflow.sdk.exceptions import AirflowFailException, AirflowTaskTimeout
from airflow.serialization.decoders import decode_deadline_alert
from airflow.serialization.encoders import encode_deadline_alert
from airflow.utils.session import create_session
from airflow.utils.types import DagRunType

from desks.airflow import AirflowDesk
from desks.dag_runs import read_dags
from kraken_airflow.dag_parts.approval_runs import HOURS_VARIABLE
from kraken_airflow.dag_parts.deadlines import (
    BACKFILL_ALLOWANCE,
    DueTime,
    due_within,
    record_missed_deadline,
    resolve_missed_deadlines,
    tell_of_failed_task,
    tell_of_stopped_run,
)
from kraken_airflow.dag_parts.failures import AlertedFailure
from kraken_recon.alerts.run_coverage import Work
from kraken_recon.errors import ConfigurationError, StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.orm import Session

NOW = datetime.now(UTC).replace(microsecond=0)
LONG_AGO = NOW - timedelta(days=40)
QUARTER = timedelta(minutes=15)
LATE = "select * from trading.alerts order by alert_id"


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
    [alert] = read_dags().dags["repair_approval"].deadline
    stored = decode_deadline_alert(
        {"__type": "deadline_alert", "__var": encode_deadline_alert(alert)}  # as Airflow keeps it
    )
    assert stored.interval == timedelta(hours=1)
    found = due(session, DagRunType.MANUAL, LONG_AGO, stored.reference)
    assert found == NOW + timedelta(hours=hours)


RUN_AT = NOW - QUARTER


class Runs:
    """What Airflow calls back about runs of ``position_sync``, and the alerts that come of it."""

    def __init__(self, dag: Any, desk: AirflowDesk) -> None:
        self.dag = dag
        self.desk = desk

    def rows(self) -> list[dict[str, Any]]:
        return self.desk.rows(LATE)

    def standing(self) -> list[tuple[Any, ...]]:
        return [(row["kind"], row["wallet"], row["occurrences"], row["status"]) for row in self.rows()]

    def run(self, run_id: str, at: datetime = RUN_AT, kind: str = "scheduled", **conf: Any) -> dict[str, Any]:
        return {
            "dag_id": "position_sync", "run_id": run_id, "run_type": kind, "run_after": at, "conf": conf,
            "data_interval_start": at - QUARTER, "data_interval_end": at,
        }  # fmt: skip

    def miss(self, run: dict[str, Any], state: str = "running", ended_at: datetime | None = None) -> None:
        [deadline] = self.dag.deadline
        response = {
            name: value.isoformat() if isinstance(value, datetime) else value for name, value in run.items()
        }
        response |= {
            "dag_run_id": response.pop("run_id"),
            "state": state,
            "end_date": ended_at and ended_at.isoformat(),
        }
        context = {"dag_run": response, "deadline": {"id": "1", "deadline_time": NOW.isoformat()}}
        asyncio.run(record_missed_deadline(**deadline.callback.kwargs, context=context))

    def context(self, run: dict[str, Any], **more: Any) -> dict[str, Any]:
        ti = SimpleNamespace(task_id="reconcile_accounts")
        return {"dag": self.dag, "dag_run": SimpleNamespace(**run), "run_id": run["run_id"], "ti": ti, **more}

    def succeed(self, run: dict[str, Any]) -> None:
        resolve_missed_deadlines(self.context(run))

    def fail(self, run: dict[str, Any], error: Exception | None) -> None:
        tell_of_failed_task(self.context(run, exception=error))


@pytest.fixture(scope="module")
def position_sync() -> Any:
    return read_dags().dags["position_sync"]


@pytest.fixture
def runs(position_sync: Any, trading_db: str, monkeypatch: pytest.MonkeyPatch) -> Runs:
    desk = AirflowDesk(None, trading_db, monkeypatch)  # type: ignore[arg-type]
    desk.execute(
        "insert into trading.accounts (name, kraken_conn_id) values ('desk', 'one'), ('fund', 'two')"
    )
    return Runs(position_sync, desk)


def test_a_dag_that_hangs_is_one_alert_however_many_of_its_runs_are_late(runs: Runs) -> None:
    for number in range(3):
        runs.miss(runs.run(f"run {number}", RUN_AT + number * QUARTER), "queued" if number else "running")
    runs.miss(runs.run("run 2", RUN_AT + 2 * QUARTER), "queued")
    assert runs.standing() == [("deadline_missed", None, 3, "open")]
    assert "run run 2 had not ended by" in runs.rows()[0]["message"]
    runs.succeed(runs.run("run 0"))
    assert runs.standing()[0][-1] == "open"
    runs.succeed(runs.run("run 2", RUN_AT + 2 * QUARTER))
    assert runs.standing()[0][-1] == "resolved"
    assert runs.rows()[0]["resolution"] == "run run 2 of position_sync succeeded"


@pytest.mark.parametrize(
    ("state", "ended_at", "is_late"),
    [
        ("failed", NOW - timedelta(seconds=1), False),
        ("failed", NOW, False),
        ("failed", NOW + timedelta(seconds=1), True),
        ("success", NOW - timedelta(seconds=1), False),
        ("success", NOW + timedelta(seconds=1), False),
        ("running", None, True),
        ("queued", None, True),
    ],
)
def test_late_is_what_has_not_ended_by_then(
    runs: Runs, state: str, ended_at: datetime | None, *, is_late: bool
) -> None:
    runs.miss(runs.run("one"), state, ended_at)
    assert bool(runs.rows()) is is_late
    if is_late:
        assert state in runs.rows()[0]["message"]


@pytest.mark.parametrize(
    ("late", "done", "is_over"),
    [
        ({}, {"accounts": ["desk"]}, False),
        ({}, {"accounts": []}, True),
        ({}, {"accounts": None}, True),
        ({}, {"mode": "dry_run"}, False),
        ({"accounts": ["desk"]}, {}, True),
        ({"accounts": ["desk"]}, {"accounts": ["fund", "desk"]}, True),
        ({"accounts": ["desk"]}, {"accounts": ["fund"]}, False),
        ({"accounts": ["desk", "fund"]}, {"accounts": ["desk"]}, False),
        ({"accounts": ["desk"]}, {"accounts": ["desk"], "mode": "dry_run"}, False),
        ({"mode": "dry_run"}, {}, True),
        ({"mode": "dry_run"}, {"mode": "dry_run", "tolerance": "1"}, True),
    ],
    ids=str,
)
def test_a_run_makes_up_only_for_what_it_did(
    runs: Runs, late: dict[str, Any], done: dict[str, Any], *, is_over: bool
) -> None:
    runs.miss(runs.run("late", kind="manual", **late))
    runs.succeed(runs.run("done", NOW, "manual", **done))
    assert (runs.rows()[0]["status"] == "resolved") is is_over


def test_a_run_that_reaches_less_far_makes_up_for_nothing(runs: Runs) -> None:
    runs.miss(runs.run("late"))
    runs.succeed(runs.run("earlier", RUN_AT - QUARTER))
    past = runs.run("past", NOW, "manual") | {"data_interval_start": LONG_AGO, "data_interval_end": LONG_AGO}
    runs.succeed(past)
    runs.succeed(runs.run("backfilled", NOW, "backfill"))
    assert runs.standing()[0][-1] == "open"
    runs.miss(past)
    runs.succeed(runs.run("now", NOW))
    assert [row["status"] for row in runs.rows()] == ["resolved", "open"]
    runs.succeed(past)
    assert {row["status"] for row in runs.rows()} == {"resolved"}


def test_the_alert_of_one_account_s_run_is_the_account_s(runs: Runs) -> None:
    runs.miss(runs.run("one", kind="manual", accounts=["desk"]))
    runs.miss(runs.run("all"))
    assert [(row["wallet"], row["account_id"] is not None) for row in runs.rows()] == [
        ("desk", True),
        (None, False),
    ]


def test_a_backfill_is_one_alert_however_many_of_its_runs_are_late(runs: Runs) -> None:
    for number in range(20):
        runs.miss(runs.run(f"backfill {number}", kind="backfill"))
    for run_type in ("scheduled", "backfill"):
        runs.succeed(runs.run(f"{run_type} 19", NOW, run_type))
    assert runs.standing() == [("deadline_missed", "backfill", 20, "open")]


def test_failing_runs_are_one_alert_with_a_count_and_the_first_cause(runs: Runs) -> None:
    for number in range(3):
        run = runs.run(f"run {number}", RUN_AT + number * QUARTER)
        runs.fail(run, ConfigurationError("no account is active"))
        runs.fail(run, ValueError("postgresql://user:secret@host"))
        runs.miss(run, "failed", NOW - timedelta(minutes=1))
    assert runs.standing() == [("run_failure", None, 3, "open")]
    assert runs.rows()[0]["message"] == (
        "position_sync: run run 2 failed: task reconcile_accounts: ConfigurationError: no account is active"
    )
    runs.succeed(runs.run("one account", NOW + 3 * QUARTER, "manual", accounts=["desk"]))
    assert runs.standing()[0][-1] == "open"
    runs.succeed(runs.run("next", NOW + 3 * QUARTER))
    assert runs.standing()[0][-1] == "resolved"


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (ValueError("postgresql://user:secret@host"), "unexpected ValueError, see the task's log"),
        (AirflowTaskTimeout("10 minutes"), "it took longer than it may (execution_timeout)"),
        (None, "its process ended, or lost touch with Airflow"),
        (AirflowFailException("plan 7 has no answer\nmore"), "task reconcile_accounts: plan 7 has no answer"),
        (StoreError("x" * 5_000), "StoreError: xxx"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_failure_says_why_in_one_line_and_no_secret(runs: Runs, error: Exception | None, says: str) -> None:
    runs.fail(runs.run("one"), error)
    message = runs.rows()[0]["message"]
    assert says in message
    assert "secret" not in message
    assert "\n" not in message
    assert len(message) < 700


def test_what_has_alerts_of_its_own_raises_none(runs: Runs) -> None:
    run = runs.run("one")
    runs.fail(run, AlertedFailure("1 of 2 accounts were not reconciled"))
    runs.miss(run, "failed", NOW - timedelta(minutes=1))
    assert runs.rows() == []


def test_a_late_run_that_fails_stays_one_alert(runs: Runs) -> None:
    run = runs.run("one")
    runs.miss(run)
    runs.fail(run, None)
    tell_of_stopped_run(runs.context(run, reason="timed_out"))
    assert runs.standing() == [("deadline_missed", None, 1, "open")]
    assert "run one failed: it was stopped" in runs.rows()[0]["message"]


def test_a_run_that_was_stopped_is_told_of_and_others_by_their_tasks(runs: Runs) -> None:
    run = runs.run("one")
    for reason in ("task_failure", "success"):
        tell_of_stopped_run(runs.context(run, reason=reason))
    assert runs.rows() == []
    tell_of_stopped_run(runs.context(run, reason="timed_out"))
    runs.miss(run, "failed", NOW + timedelta(minutes=1))
    assert runs.standing() == [("run_failure", None, 1, "open")]


def test_work_of_its_own_is_made_up_for_by_nothing_else(
    trading_db: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A decision that a form brought, or a plan that waits for a person, is not done by another run."""
    desk = AirflowDesk(None, trading_db, monkeypatch)  # type: ignore[arg-type]
    for dag_id, own in (("order_execution", {"account": "desk"}), ("repair_approval", {"plan_id": "7"})):
        runs = Runs(read_dags().dags[dag_id], desk)
        mine = runs.run("mine", kind="manual", **own) | {"dag_id": dag_id}
        runs.miss(mine)
        runs.succeed(runs.run("other", NOW, "manual", **own) | {"dag_id": dag_id})
        assert runs.standing()[-1] == ("deadline_missed", "mine", 1, "open")
        runs.succeed(mine)
        assert runs.standing()[-1] == ("deadline_missed", "mine", 1, "resolved")


def test_an_audit_of_more_connections_is_not_made_up_for_by_one_of_fewer() -> None:
    work = Work(narrowed_by={"connections": ["trading_db"]})
    usual, wide = work.scope_of({}), work.scope_of({"connections": ["trading_db", "airflow_db"]})
    assert work.covers(wide, usual)
    assert not work.covers(usual, wide)
