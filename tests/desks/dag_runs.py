"""Runs of the project's DAGs in the test's own process, on Airflow's real tables."""

from __future__ import annotations

import sys
import time
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

import pytest
from airflow.dag_processing.bundles.manager import DagBundlesManager
from airflow.dag_processing.dagbag import DagBag, sync_bag_to_db
from airflow.sdk import DAG

if TYPE_CHECKING:
    from collections.abc import Callable

DAGS: Final = Path(__file__).resolve().parents[2] / "dags"
POLL_SECONDS: Final = 0.02


def read_dags(folder: Path = DAGS) -> DagBag:
    """Read DAG files; tests may change what they get, and nobody else gets that."""
    for name in [name for name in sys.modules if name.startswith("kraken_airflow.dags.")]:
        del sys.modules[name]
    bag = DagBag(str(folder), bundle_path=folder)
    assert bag.import_errors == {}
    return bag


def record_dags(bag: DagBag) -> None:
    """Write DAGs into Airflow's database, as its DAG processor does: only then can they run."""
    DagBundlesManager().sync_bundles_to_db()
    sync_bag_to_db(bag, "dags-folder", None)


def run_dag(dag: DAG, **options: Any) -> Any:
    """Run a recorded DAG and return its run: ``dag.test()`` without what takes time there.

    It runs without its deadline, with which ``dag.test()`` ends in an error (apache/airflow#73428). A task is
    tried again at once. DAG files are not read again before every run, and nothing sleeps a second to see
    whether a task has become ready.
    """
    dag.deadline = None
    for task in dag.tasks:
        task.retry_delay, task.retry_exponential_backoff = timedelta(0), 0
    with pytest.MonkeyPatch.context() as patch, TemporaryDirectory() as empty:
        patch.setenv("AIRFLOW__CORE__DAGS_FOLDER", empty)
        patch.setattr(time, "sleep", _sleep)
        return dag.test(**options)


def _sleep(seconds: float, *, _sleep: Callable[[float], None] = time.sleep) -> None:
    asked_by = sys._getframe(1).f_globals["__name__"]  # noqa: SLF001 - nobody else shall be impatient
    _sleep(POLL_SECONDS if asked_by == DAG.__module__ else seconds)
