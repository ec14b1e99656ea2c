"""A plugin of Airflow for this benchmark alone: each task's process says what it used, and when.

Airflow's own share of a task is what its process used before the task began and after it ended.
"""

from __future__ import annotations

import json
import os
import resource
import time
from pathlib import Path
from typing import Any, Final

from airflow.listeners import hookimpl
from airflow.plugins_manager import AirflowPlugin

FILE: Final = "SYNC_SCALE_TASK_COSTS"


def note(moment: str, task_instance: Any) -> None:  # noqa: ANN401 - Airflow's own, of which two fields are read
    """Write down what this process used so far."""
    line = {
        "moment": moment,
        "pid": os.getpid(),
        "task": task_instance.task_id,
        "map_index": task_instance.map_index,
        "cpu_seconds": time.process_time(),
        "memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }
    with Path(os.environ[FILE]).open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


class Listener:
    """What Airflow calls."""

    @hookimpl
    def on_task_instance_running(self, previous_state: Any, task_instance: Any) -> None:  # noqa: ANN401 - as above
        """Note the begin of a task."""
        del previous_state
        note("begin", task_instance)

    @hookimpl
    def on_task_instance_success(self, previous_state: Any, task_instance: Any) -> None:  # noqa: ANN401 - as above
        """Note the end of a task."""
        del previous_state
        note("end", task_instance)


class TaskCosts(AirflowPlugin):
    """The listener, where there is a file to write to."""

    name = "sync_scale_task_costs"
    listeners = [Listener()] if os.environ.get(FILE) else []
