"""Cluster policy: what every task of this Airflow must state. Airflow finds it by its name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from airflow.exceptions import AirflowClusterPolicyViolation

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator

# Airflow waits for ever, and silently, for a slot of a pool that does not exist.
KNOWN_POOLS: Final = frozenset({"default_pool", "kraken_api", "desk_books"})
NOBODY: Final = "airflow"


def task_policy(task: BaseOperator) -> None:
    """Refuse the DAG of a task without an owner, without a time limit, or with an unknown pool."""
    problems = []
    if not task.owner or task.owner == NOBODY:
        problems.append("say who answers for it: set owner")
    if task.execution_timeout is None:
        problems.append("limit its time: set execution_timeout")
    if task.pool not in KNOWN_POOLS:
        problems.append(f"use a pool that exists, one of {', '.join(sorted(KNOWN_POOLS))}, not {task.pool}")
    if problems:
        raise AirflowClusterPolicyViolation(f"task {task.dag_id}.{task.task_id}: {'; '.join(problems)}")
