"""Silence is noticed: of a DAG by the watch, though no run of it exists, and of the watch by a DAG."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from desks.fake_exchange import Desk
from desks.logins import as_writer
from kraken_recon.alerts.heartbeats import beat, look_after_jobs, look_after_watch
from kraken_recon.alerts.silence_rules import SILENCE_MAX, Job
from kraken_recon.alerts.telling import prepare_notifications
from kraken_recon.cli.main import main
from kraken_recon.database.unit_of_work import UnitOfWork
from kraken_recon.wiring import utc_now

if TYPE_CHECKING:
    from collections.abc import Callable

NOW = utc_now()
DAGS = sorted(set(Job) - {Job.WATCH})
ALERTS = "select kind, asset, status, occurrences, message from trading.alerts order by alert_id"


@pytest.fixture
def desk(database_url: str) -> Desk:
    return Desk(database_url)


@pytest.fixture
def unit_of(desk: Desk) -> Callable[[], UnitOfWork]:
    return lambda: UnitOfWork(desk.engine)


@pytest.fixture
def told(unit_of: Callable[[], UnitOfWork], desk: Desk) -> Callable[..., list[str]]:
    """Decide what people are told as of a moment, and return what was decided since the last time."""
    known: list[int] = []

    def tell(after: timedelta) -> list[str]:
        prepare_notifications(unit_of, ["mail"], NOW + after)
        rows = desk.rows("select notification_id, subject from trading.alert_notifications order by 1")
        new = [row["subject"] for row in rows if row["notification_id"] not in known]
        known.extend(row["notification_id"] for row in rows)
        return new

    return tell


def test_every_silent_dag_is_told_once_and_so_is_its_return(
    desk: Desk, unit_of: Callable[[], UnitOfWork], told: Callable[[timedelta], list[str]]
) -> None:
    for job in DAGS:
        beat(unit_of, job, NOW)
    late = {job: SILENCE_MAX[job] + timedelta(seconds=1) for job in DAGS}
    for at in sorted(set(late.values())):
        silent = {beat.job for beat in look_after_jobs(unit_of, NOW + at)}
        assert silent == {job for job in DAGS if late[job] <= at}
    end = max(late.values())
    for _ in range(3):
        look_after_jobs(unit_of, NOW + end)
    rows = desk.rows(ALERTS)
    assert {(row["kind"], row["asset"], row["status"], row["occurrences"]) for row in rows} == {
        ("work_overdue", str(job), "open", 1) for job in DAGS
    }
    assert sorted(told(end)) == sorted(f"[opened] work overdue: {job}" for job in DAGS)
    assert told(end) == []
    for job in DAGS:
        beat(unit_of, job, NOW + end)
    assert look_after_jobs(unit_of, NOW + end) == []
    assert {row["status"] for row in desk.rows(ALERTS)} == {"resolved"}
    after = end + timedelta(minutes=30)
    assert sorted(told(after)) == sorted(f"[recovered] work overdue: {job}" for job in DAGS)
    assert told(after) == []


def test_just_in_time_is_not_silent(desk: Desk, unit_of: Callable[[], UnitOfWork]) -> None:
    for job in DAGS:
        beat(unit_of, job, NOW)
        assert look_after_jobs(unit_of, NOW + min(SILENCE_MAX[one] for one in DAGS)) == []
    assert desk.rows(ALERTS) == []


def test_what_never_worked_is_not_watched(desk: Desk, unit_of: Callable[[], UnitOfWork]) -> None:
    assert look_after_jobs(unit_of, NOW) == look_after_watch(unit_of, NOW) == []
    assert desk.rows(ALERTS) == []


def test_the_watch_is_watched_by_somebody_else(desk: Desk, unit_of: Callable[[], UnitOfWork]) -> None:
    beat(unit_of, Job.WATCH, NOW)
    beat(unit_of, Job.MAINTENANCE, NOW + timedelta(hours=3))
    later = NOW + timedelta(hours=3)
    assert look_after_jobs(unit_of, later) == []
    [silent] = look_after_watch(unit_of, later)
    assert (silent.job, silent.limit_minutes) == ("watch", 5)
    [alert] = desk.rows(ALERTS)
    assert (alert["kind"], alert["status"]) == ("watch_silent", "open")
    assert f"{NOW:%Y-%m-%d %H:%M:%S}Z, longer ago than 5 minutes" in alert["message"]
    beat(unit_of, Job.WATCH, later)
    assert look_after_watch(unit_of, later) == []
    assert desk.rows(ALERTS)[0]["status"] == "resolved"


def test_a_limit_of_ones_own_stays_and_a_late_heartbeat_turns_nothing_back(
    desk: Desk, unit_of: Callable[[], UnitOfWork]
) -> None:
    beat(unit_of, Job.MAINTENANCE, NOW)
    desk.execute("update trading.heartbeats set limit_minutes = 600")
    beat(unit_of, Job.MAINTENANCE, NOW - timedelta(hours=1))
    [kept] = desk.rows("select beat_at, limit_minutes from trading.heartbeats")
    assert kept == {"beat_at": NOW, "limit_minutes": 600}
    assert look_after_jobs(unit_of, NOW + timedelta(hours=5)) == []


def test_the_command_line_shows_who_works(
    desk: Desk, unit_of: Callable[[], UnitOfWork], monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    beat(unit_of, Job.WATCH, NOW - timedelta(hours=1))
    beat(unit_of, Job.MAINTENANCE, NOW)
    monkeypatch.setenv("KRAKEN_RECON_DSN", as_writer(desk.url))
    assert main(["alerts"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("maintenance: worked ") and "alive (limit 150 min)" in line for line in lines)
    assert any(line.startswith("watch: worked ") and "SILENT (limit 5 min)" in line for line in lines)
