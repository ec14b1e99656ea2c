"""What the benchmark of scale makes of its raw figures: whose seconds they are, which goals are missed."""

from __future__ import annotations

from typing import Any

import pytest
from benchmarks.sync_scale.tables import airflow_parts, markdown, parts, shares, verdicts

MACHINE = {"cores": 2, "processor": "a machine", "load_average_at_start": 0.1}
FIGURES = {"date": "2026-01-05T00:00:00", "machine": MACHINE, "server": {"server_version": "18"}}


def run(accounts: int, seconds: float, *, work: float = 1.0) -> dict[str, Any]:
    """Make a run of two tasks that worked so long together."""
    costs = [
        {
            "moment": moment,
            "pid": pid,
            "task": "reconcile_accounts",
            "cpu_seconds": used,
            "memory_bytes": 2**20,
        }
        for pid in (1, 2)
        for moment, used in (("begin", 0.2), ("end", 0.2 + work / 2))
    ]
    tasks = [
        {"task": "list_accounts", "begin": 1.5, "end": 2.0},
        {"task": "reconcile_accounts", "begin": 3.0, "end": seconds - 2},
        {"task": "reconcile_accounts", "begin": 4.0, "end": seconds - 3},
    ]
    cpu = {"tasks": work + 0.6, "executor": 0.5, "airflow-scheduler": 2.0, "postgres": 3.0, "simulator": 1.0}
    return {
        "accounts": accounts,
        "with_news": accounts // 20,
        "waited_seconds": 1.0,
        "seconds": seconds,
        "tasks": tasks,
        "task_costs": costs,
        "cpu_seconds": cpu | {"watch": 0.1},
        "memory_bytes": 2**30,
        "sessions_opened": 7,
        "sessions_at_most": 3,
        "statuses": {"succeeded": accounts},
        "calls": {"BalanceEx": accounts, "Ledgers": 5},
        "connections": 9,
    }


def test_seconds_are_split_by_whose_they_are() -> None:
    row = run(1_000, 20.0)
    assert shares(row) == {
        "its tasks' work": pytest.approx(1.0),
        "Airflow": pytest.approx(3.1),
        "exchange": 1.0,
        "PostgreSQL": 3.0,
        "its watch": 0.1,
    }
    assert airflow_parts(row)["tasks"] == pytest.approx(0.6)
    assert sum(airflow_parts(row).values()) == pytest.approx(3.1)
    assert parts(row) == (2.0, 15.0, 3.0)
    assert sum(parts(row)) == row["seconds"]


def test_missed_goals_say_what_limits_them() -> None:
    rows = [run(100, 10.0), run(1_000, 20.0), run(10_000, 240.0, work=90.0)]
    figures = FIGURES | {"rows": rows, "quiet": run(1_000, 20.0, work=5.0)}
    seconds, growth, quiet = verdicts(figures)
    assert seconds[1] == "240 s"
    assert seconds[2].startswith("**missed**: 2 cores were 20 % busy: its tasks' work 93 %, Airflow 3 %")
    assert (growth[1], growth[2].partition(":")[0]) == ("2.0 to 1,000, 12.0 to 10,000", "**missed**")
    assert (quiet[1], quiet[2].partition(":")[0]) == ("5.0 ms (1,000 accounts, tasks: 2)", "**missed**")
    text = markdown(figures)
    assert "| 10,000 | 500 | 240.0 | 12.0 | 2.0 | 235.0 | 3.0 | 2 | 10,000 |" in text
    widths = {line.count("|") for line in text.split("\n\n")[1].splitlines()}
    assert len(widths) == 1


def test_a_smaller_scale_says_only_what_it_can_tell() -> None:
    figures = FIGURES | {"rows": [run(10, 8.0), run(100, 9.0)], "quiet": run(100, 9.0, work=0.1)}
    assert verdicts(figures) == []
    assert markdown(figures).endswith("Too few accounts to judge a goal by.")
    figures = FIGURES | {"rows": [run(1_000, 9.0)], "quiet": run(1_000, 9.0, work=0.1)}
    assert [goal[2] for goal in verdicts(figures)] == ["met"]
