"""Cluster policy of this project's own DAGs: what every task of them must state.

Airflow finds it by the entry point ``airflow.policy``, beside whatever policy the site has in a file.

Invariants:
1. A DAG of anybody else is never touched: neither refused nor changed, nor is our code imported for it.
2. What a site's own policy makes of our DAGs is the site's decision: ours looks first.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

from airflow.policies import hookimpl

if TYPE_CHECKING:
    from airflow.sdk import DAG
    from airflow.sdk.types import Operator

# Airflow waits for ever, and silently, for a slot of a pool that does not exist.
KNOWN_POOLS: Final = frozenset({"default_pool", "kraken_api", "desk_books"})
NOBODY: Final = "airflow"


@hookimpl(tryfirst=True)
def dag_policy(dag: DAG) -> None:
    """Refuse a DAG of ours with a task without an owner, without a time limit, or with an unknown pool."""
    # This module is loaded while Airflow's settings are being made, in every process.
    from airflow.exceptions import AirflowClusterPolicyViolation  # noqa: PLC0415

    if not is_ours(dag):
        return
    problems = [
        f"task {dag.dag_id}.{task.task_id}: {problem}" for task in dag.tasks for problem in problems_of(task)
    ]
    if problems:
        raise AirflowClusterPolicyViolation("; ".join(problems))


def is_ours(dag: DAG) -> bool:
    """Say whether a DAG is the very one that this package defines; others may use the same ids and tags."""
    return getattr(sys.modules.get(f"{__package__}.dags.{dag.dag_id}"), "DAG", None) is dag


def problems_of(task: Operator) -> list[str]:
    """Say what a task must state and does not."""
    problems = []
    if not task.owner or task.owner == NOBODY:
        problems.append("say who answers for it: set owner")
    if task.execution_timeout is None:
        problems.append("limit its time: set execution_timeout")
    if task.pool not in KNOWN_POOLS:
        problems.append(f"use a pool that exists, one of {', '.join(sorted(KNOWN_POOLS))}, not {task.pool}")
    return problems
