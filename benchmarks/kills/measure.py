"""Kill, stop, cut and fill every part of the deployment, one after another, while the desk is at work.

``python -m benchmarks kill-matrix [--seed N] [--only ROW]``; all rows write docs/reference/kill-matrix.md.
"""

from __future__ import annotations

import argparse
import random
import re
import signal
import tempfile
import time
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

import psutil
import psycopg

from benchmarks.figures import RESULTS, keep, surroundings
from benchmarks.kills import page
from benchmarks.kills.deployment import Deployment
from benchmarks.kills.desk import ACCOUNTS, DAGS, Desk, Pulse, now
from benchmarks.kills.disturbances import Row, Scene, every_row
from benchmarks.kills.room import enter
from local_stack import airflow
from local_stack.errors import LocalStackError
from local_stack.processes import poll_until

if TYPE_CHECKING:
    from collections.abc import Sequence

OUTPUT: Final = RESULTS / "kill_matrix.json"
LOGS: Final = RESULTS / "kill_matrix_logs"
AT_WORK: Final = """
select count(*) from task_instance
where state = 'running' and task_id in ('reconcile_accounts', 'execute_orders')
"""
ALERTS: Final = """
select distinct kind from trading.alerts where last_seen_at >= %s order by kind
"""
RED: Final = """
select distinct dag_id || '.' || task_id || '` red' from task_instance
where state = 'failed' and end_date >= %s
order by 1
"""
TRIED_AGAIN: Final = """
select distinct dag_id || '.' || task_id || '` tried again' from task_instance_history
where end_date >= %s
order by 1
"""
LOUD: Final = re.compile(r"\b(ERROR|CRITICAL|WARNING|FATAL|PANIC|Traceback)\b|\berror\b")


@dataclass
class Outcome:
    """What came of a row.

    Attributes:
        remedy: what was not back by itself, so that a person had to start the victims again.
        seconds: from the end of the disturbance to the proof of everything.
        seen: what a person would have seen, each found where it is said to be.
        wrong: what was lost or doubled.
        failure: why the row could not be done, which says nothing about the deployment.
    """

    name: str
    does: str
    lasted_seconds: float
    seconds: float = 0.0
    remedy: str = ""
    seen: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    failure: str = ""


class Matrix:
    """A deployment that is disturbed row by row."""

    def __init__(self, scene: Scene, pulse: Pulse, dice: random.Random) -> None:
        self._scene, self._pulse, self._dice = scene, pulse, dice

    def play(self, row: Row) -> Outcome:
        """Do one row: work, strike, wait for the proof, look at what was seen and what is wrong."""
        desk, deployment = self._scene.desk, self._scene.deployment
        marks = {name: len(deployment.log(name)) for name in deployment.names()}
        began, happened, heard = now(), len(deployment.happened), len(desk.heard)
        self._pulse.unwell.clear()
        desk.trade()
        desk.decide()
        desk.decide()
        self._wait_for_work()
        time.sleep(self._dice.uniform(0, 1.5))
        with row.strike(self._scene):
            struck = time.monotonic()
            while time.monotonic() - struck < row.seconds:
                desk.decide()
                time.sleep(min(5.0, max(0.0, row.seconds - (time.monotonic() - struck))))
        outcome = Outcome(row.name, row.does, row.seconds)
        ended, moment = time.monotonic(), now()
        outcome.left = self._wait(row, moment)
        outcome.seconds = round(time.monotonic() - ended, 1)
        if outcome.left:
            outcome.remedy = f"{'; '.join(outcome.left[:3])}"
            for victim in row.victims:
                deployment.signal(victim, signal.SIGKILL)
            outcome.left = self._wait(row, now())
        outcome.wrong = desk.losses()
        outcome.seen = self._seen(began, happened, heard, marks)
        return outcome

    def _wait(self, row: Row, since: datetime) -> list[str]:
        """Wait until everything is proven since a moment and every victim is back; return what is not."""
        left: list[str] = []

        def is_over() -> bool:
            left[:] = self._scene.desk.unproven(since)
            left.extend(f"`{name}` hangs" for name in row.victims if self._scene.deployment.is_stopped(name))
            return not left

        poll_until(is_over, timeout_seconds=row.patience_seconds, pause_seconds=0.5)
        return list(left)

    def _wait_for_work(self) -> None:
        def is_at_work() -> bool:
            return self._scene.desk.airflow_rows(AT_WORK) != [(0,)]

        poll_until(is_at_work, timeout_seconds=30, pause_seconds=0.1)

    def _seen(self, began: datetime, happened: int, heard: int, marks: dict[str, int]) -> list[str]:
        desk, deployment = self._scene.desk, self._scene.deployment
        seen = [f"told: {subject}" for subject in dict.fromkeys(desk.heard[heard:])]
        seen += [f"alert `{kind}`" for (kind,) in desk.rows(ALERTS, began)]
        seen += [f"`{text}" for query in (RED, TRIED_AGAIN) for (text,) in desk.airflow_rows(query, began)]
        seen += list(dict.fromkeys(text for _, text in deployment.happened[happened:]))
        seen += [f"{part} unhealthy in the UI" for part in sorted(self._pulse.unwell)]
        loud = {
            name: sum(1 for line in deployment.log(name)[mark:].splitlines() if LOUD.search(line))
            for name, mark in marks.items()
        }
        lines = ", ".join(f"`{name}` {count}" for name, count in loud.items() if count)
        return seen + ([f"lines in logs: {lines}"] if lines else [])


def keep_log(service: str, text: str) -> None:
    """Keep what a service said, for a closer look."""
    LOGS.mkdir(parents=True, exist_ok=True)
    (LOGS / f"{service}.log").write_text(text)


def prepare(deployment: Deployment, accounts: int = ACCOUNTS, tier: str = "unlimited") -> tuple[Scene, Pulse]:
    """Start everything, with every DAG at work and the first proof of every account."""
    desk = Desk(deployment, accounts, tier)
    began = time.monotonic()
    deployment.start()
    desk.open()
    deployment.start_airflow()
    desk.introduce()
    composed = deployment.composed
    login = airflow.Login(
        f"http://127.0.0.1:{composed.api_port}", "admin", composed.secret("airflow_admin_password")
    )
    api = airflow.AirflowApi(login)
    api.wait_until_healthy(deployment.services)
    for dag_id in DAGS:
        api.wait_until_parsed(dag_id)
        api.unpause(dag_id)
    pulse = Pulse(login.url, login.password)
    pulse.start()
    assert poll_until(lambda: not desk.unproven(now() - timedelta(minutes=5)), timeout_seconds=300), (
        desk.unproven(now() - timedelta(minutes=5))
    )
    print(f"everything runs and is proven after {time.monotonic() - began:.0f} s", flush=True)
    return Scene(deployment, desk), pulse


def main(arguments: Sequence[str] | None = None) -> None:
    """Play the rows; all of them write the page."""
    given = list(arguments or [])
    parser = argparse.ArgumentParser(prog="python -m benchmarks kill-matrix", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", action="append", metavar="ROW", help="one row; may be given several times")
    parser.add_argument("--list", action="store_true", help="name the rows")
    options = parser.parse_args(given)
    rows = every_row()
    if options.list:
        print("\n".join(f"{row.name:28} {row.does}" for row in rows))
        return
    if unknown := set(options.only or ()) - {row.name for row in rows}:
        raise SystemExit(f"no such row: {', '.join(sorted(unknown))}; --list names them")
    enter(given)
    with tempfile.TemporaryDirectory(prefix="kraken-recon-kills-", ignore_cleanup_errors=True) as name:
        place = Path(name)
        place.chmod(0o711)
        outcomes: list[Outcome] = []
        deployment = Deployment(place)
        try:
            scene, pulse = prepare(deployment)
            around = surroundings(scene.desk.url)
            for row in rows:
                if not options.only or row.name in options.only:
                    dice = random.Random(f"{options.seed} {row.name}")  # noqa: S311 - must be reproducible
                    outcomes.append(_played(Matrix(scene, pulse, dice), row))
                    _tell(outcomes[-1])
        except KeyboardInterrupt:
            print(f"stopped after {len(outcomes)} of {len(rows)} rows", flush=True)
        finally:
            for service in deployment.names():
                keep_log(service, deployment.log(service))
            deployment.stop()
    if not outcomes:
        raise SystemExit("no row was played")
    played = {outcome.name for outcome in outcomes}
    figures = {
        **around,
        "seed": options.seed,
        "rows": [asdict(outcome) for outcome in outcomes],
        "unplayed": [row.name for row in rows if row.name not in played],
    }
    keep(figures, OUTPUT)
    if not options.only:
        page.write(figures)
        print(f"wrote {page.PAGE}")
    if any(outcome.wrong or outcome.left or outcome.failure for outcome in outcomes):
        raise SystemExit("something was lost, doubled, not brought back, or not done")


def _played(matrix: Matrix, row: Row) -> Outcome:
    """Do a row; one that cannot be done is tried once more, and ends no other."""
    failure = ""
    for _ in range(2):
        try:
            return matrix.play(row)
        except (AssertionError, OSError, LocalStackError, psutil.Error, psycopg.Error) as error:
            failure = f"{type(error).__name__}: {error}".splitlines()[0]
    return Outcome(row.name, row.does, row.seconds, failure=failure)


def _tell(outcome: Outcome) -> None:
    if outcome.failure:
        print(f"{now():%H:%M:%S} {outcome.name}: NOT DONE, {outcome.failure}", flush=True)
        return
    print(f"{now():%H:%M:%S} {outcome.name}: {outcome.seconds} s {outcome.remedy or 'by itself'}", flush=True)
    for line in (*outcome.seen, *(f"LEFT {left}" for left in outcome.left)):
        print(f"    {line}", flush=True)
    for wrong in outcome.wrong:
        print(f"    WRONG {wrong}", flush=True)
