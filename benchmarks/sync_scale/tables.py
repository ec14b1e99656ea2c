"""The figures of a run as tables for people, and what they say of the goals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from benchmarks.figures import taken
from benchmarks.sync_scale.processes import SCHEDULER, TASKS, WORKERS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

GOAL_ACCOUNTS: Final = 10_000
GOAL_SECONDS: Final = 120.0
GOAL_QUIET_CPU_MS: Final = 2.0
GOAL_CORES: Final = 2
# With fewer, what a task takes whatever it does is most of it.
QUIET_ACCOUNTS_MIN: Final = 1_000
# From here on ten times as many accounts may take at most ten times as long.
LINEAR_FROM: Final = 100
ACCOUNTS: Final = "accounts"
RECONCILE: Final = "reconcile_accounts"
PRODUCT: Final = "its tasks' work"
AIRFLOW: Final = "Airflow"
# What is not the product's, the exchange's or the server's is Airflow's share.
OTHERS: Final = {"simulator": "exchange", "postgres": "PostgreSQL", "watch": "its watch"}


def work_seconds(costs: Sequence[Mapping[str, Any]], task: str | None = None) -> float:
    """Add up the processor seconds of the work itself, of all tasks or of one: from its begin to its end."""
    begun: dict[int, float] = {}
    total = 0.0
    for line in costs:
        if task not in (None, line["task"]):
            continue
        if line["moment"] == "begin":
            begun[line["pid"]] = line["cpu_seconds"]
        elif line["pid"] in begun:
            total += line["cpu_seconds"] - begun.pop(line["pid"])
    return total


def shares(row: Mapping[str, Any]) -> dict[str, float]:
    """Split the processor seconds of a run by whose they are."""
    found = {name: row["cpu_seconds"].get(kind, 0.0) for kind, name in OTHERS.items()}
    work = work_seconds(row["task_costs"])
    airflow = sum(used for kind, used in row["cpu_seconds"].items() if kind not in OTHERS)
    return {PRODUCT: work, AIRFLOW: airflow - work, **found}


def airflow_parts(row: Mapping[str, Any]) -> dict[str, float]:
    """Split Airflow's own share by its components; a task's process but for the work is ``tasks``."""
    used = row["cpu_seconds"]
    names = {
        "tasks": used.get(TASKS, 0.0) - work_seconds(row["task_costs"]),
        "executor": used.get(WORKERS, 0.0),
        "scheduler": used.get(SCHEDULER, 0.0),
        "API server": used.get("airflow-api-server", 0.0),
        "DAG processor": used.get("airflow-dag-processor", 0.0),
        "triggerer": used.get("airflow-triggerer", 0.0),
    }
    return {name: max(0.0, seconds) for name, seconds in names.items()}


def parts(row: Mapping[str, Any]) -> tuple[float, float, float]:
    """Split the seconds of a run: until the first account's task, the accounts, and what follows."""
    of_accounts = [task for task in row["tasks"] if task["task"] == RECONCILE]
    begin = min(task["begin"] for task in of_accounts)
    end = max(task["end"] for task in of_accounts)
    return begin - row["waited_seconds"], end - begin, row["waited_seconds"] + row["seconds"] - end


def limits(row: Mapping[str, Any], cores: int) -> str:
    """Say what a run was limited by: how busy the cores were, and with what."""
    used = shares(row)
    total = sum(used.values())
    busy = 100 * total / (cores * row["seconds"])
    told = ", ".join(
        f"{name} {100 * seconds / total:.0f} %"
        for name, seconds in sorted(used.items(), key=lambda one: -one[1])
        if seconds > total / 100
    )
    return f"{cores} cores were {min(busy, 100):.0f} % busy: {told}"


def verdicts(figures: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Compare with each goal, in rows of a table; of a smaller scale only what it can tell."""
    cores = figures["machine"]["cores"]
    rows = {row["accounts"]: row for row in figures["rows"]}
    lines = []
    if row := rows.get(GOAL_ACCOUNTS):
        lines.append(
            _verdict(
                f"{GOAL_ACCOUNTS:,} accounts within {GOAL_SECONDS:.0f} s on {GOAL_CORES} cores",
                f"{row['seconds']:.0f} s",
                limits(row, cores) if row["seconds"] > GOAL_SECONDS else "",
            )
        )
    steps = [(small, big) for small in rows for big in rows if small >= LINEAR_FROM and big == 10 * small]
    if steps:
        growth = {big: rows[big]["seconds"] / rows[small]["seconds"] for small, big in steps}
        worst = max(growth, key=lambda big: growth[big])
        told = ", ".join(f"{factor:.1f} to {big:,}" for big, factor in growth.items())
        lines.append(
            _verdict(
                f"at most ten times the seconds for ten times the accounts, from {LINEAR_FROM}",
                told,
                limits(rows[worst], cores) if growth[worst] > 10 else "",
            )
        )
    quiet = figures["quiet"]
    if quiet["accounts"] < QUIET_ACCOUNTS_MIN:
        return lines
    cpu_ms = 1000 * work_seconds(quiet["task_costs"], RECONCILE) / quiet["accounts"]
    tasks = sum(task["task"] == RECONCILE for task in quiet["tasks"])
    lines.append(
        _verdict(
            f"at most {GOAL_QUIET_CPU_MS:g} CPU ms per quiet account",
            f"{cpu_ms:.1f} ms ({quiet['accounts']:,} accounts, tasks: {tasks})",
            "the product's own Python in its task; `without_airflow.py --profile` shows where"
            if cpu_ms > GOAL_QUIET_CPU_MS
            else "",
        )
    )
    return lines


def _verdict(goal: str, found: str, limit: str) -> tuple[str, str, str]:
    return goal, found, f"**missed**: {limit}" if limit else "met"


def markdown(figures: Mapping[str, Any]) -> str:
    """Write the figures as the tables of the README."""
    rows = figures["rows"]
    tables = (_of_seconds(rows), _of_cpu(rows), _of_airflow(rows), _of_things(rows))
    judged = verdicts(figures)
    goals = _table(("goal", "measured", ""), judged) if judged else "Too few accounts to judge a goal by."
    return "\n\n".join((taken(figures), *tables, goals))


def _table(titles: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rule = "--:" if titles[0] == ACCOUNTS else "---"
    written = [titles, [rule] * len(titles), *lines]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in written)


def _of_seconds(rows: Sequence[Mapping[str, Any]]) -> str:
    lines = []
    before = None
    for row in rows:
        growth = f"{row['seconds'] / before:.1f}" if before else ""
        before = row["seconds"]
        tasks = sum(task["task"] == RECONCILE for task in row["tasks"])
        done = row["statuses"].get("succeeded", 0)
        spans = [f"{seconds:.1f}" for seconds in parts(row)]
        counts = [f"{row['with_news']:,}", f"{row['seconds']:.1f}", growth]
        lines.append([f"{row['accounts']:,}", *counts, *spans, str(tasks), f"{done:,}"])
    titles = ("with news", "run s", "growth", "until the first account s", "accounts s", "after the last s")
    return _table((ACCOUNTS, *titles, "tasks", "done"), lines)


def _of_cpu(rows: Sequence[Mapping[str, Any]]) -> str:
    lines = []
    for row in rows:
        used = shares(row)
        each = [1000 * seconds / row["accounts"] for seconds in (used[PRODUCT], sum(used.values()))]
        lines.append([f"{row['accounts']:,}", *(f"{one:.1f}" for one in (*used.values(), *each))])
    titles = [f"CPU s: {name}" for name in shares(rows[0])]
    return _table((ACCOUNTS, *titles, "CPU ms per account: its tasks' work", "all"), lines)


def _of_airflow(rows: Sequence[Mapping[str, Any]]) -> str:
    lines = [
        [f"{row['accounts']:,}", *(f"{seconds:.1f}" for seconds in airflow_parts(row).values())]
        for row in rows
    ]
    return _table((ACCOUNTS, *(f"Airflow's CPU s: {name}" for name in airflow_parts(rows[0]))), lines)


def _of_things(rows: Sequence[Mapping[str, Any]]) -> str:
    lines = []
    for row in rows:
        counts = [row["accounts"], row["memory_bytes"] // 2**20, _task_mib(row), sum(row["calls"].values())]
        counts += [row["connections"], row["sessions_opened"], row["sessions_at_most"]]
        lines.append([f"{count:,}" for count in counts])
    titles = ("memory MiB, all", "the largest task's", "calls to the exchange", "connections to it")
    return _table((ACCOUNTS, *titles, "sessions of the database", "at once"), lines)


def _task_mib(row: Mapping[str, Any]) -> int:
    return max((int(line["memory_bytes"]) for line in row["task_costs"]), default=0) // 2**20
