"""The kill matrix strikes every part, and its page says what came back and what did not."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from benchmarks.kills.disturbances import every_row
from benchmarks.kills.measure import Outcome
from benchmarks.kills.page import written

from desks.compose_services import AIRFLOW_SERVICES

FIGURES: dict[str, Any] = {
    "machine": {"cores": 2, "processor": "any", "load_average_at_start": 0.1},
    "server": {"server_version": "18"},
    "date": "2026-03-01T12:00:00",
    "seed": 1,
}


def test_every_part_is_killed_stopped_and_cut_off() -> None:
    rows = every_row()
    names = [row.name for row in rows]
    assert len(set(names)) == len(names)
    # The two workers are alike.
    parts = set(AIRFLOW_SERVICES) - {"worker-default"}
    for blow in ("kill", "stop"):
        struck = {victim for row in rows if row.name.startswith(blow) for victim in row.victims}
        assert parts <= struck, blow
    assert parts <= {victim for row in rows if row.name.startswith("cut") for victim in row.victims}


def test_the_page_says_what_came_back_and_what_was_lost() -> None:
    outcomes = [
        Outcome("well", "a kill", 0, seconds=12, seen=["alert `run_failure`"]),
        Outcome("hangs", "a stop", 0, seconds=300, remedy="desk-1"),
        Outcome("loses", "a cut", 12, seconds=30, wrong=["desk-1: 1 entries lost"]),
        Outcome("broken", "a lock", 12, failure="AssertionError: no task was running"),
    ]
    page = written(FIGURES | {"rows": [asdict(outcome) for outcome in outcomes]})
    assert "**2 of 3 came back by themselves; 1 lost or doubled anything.**" in page
    assert "| a kill | yes | 12 s | nothing | alert `run_failure` |" in page
    assert "| a stop | **no** (desk-1): start it again | 300 s |" in page
    assert "| a cut | yes | 30 s | desk-1: 1 entries lost |" in page
    assert "**Not done**: a lock (AssertionError: no task was running)." in page
