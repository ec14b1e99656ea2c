"""Name a task in the sessions that it opens, so that a leaked session names its culprit.

``application_name`` is the one column of ``pg_stat_activity`` that everybody may read, and it holds 63 bytes.
"""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING, Final

from airflow.sdk import get_current_context

from kraken_recon.values.task_identity import TaskIdentity

if TYPE_CHECKING:
    from airflow.sdk.types import RuntimeTaskInstanceProtocol

BYTES_MAX: Final = 63
OUTSIDE_A_TASK: Final = "kraken_recon"


def running_task() -> tuple[str, TaskIdentity | None]:
    """Name the running task's sessions, and identify its try; the project and None where no task runs."""
    try:
        ti = get_current_context()["ti"]
    except RuntimeError:
        return OUTSIDE_A_TASK, None
    task = TaskIdentity(ti.id, ti.dag_id, ti.run_id, ti.task_id, _map_index(ti), ti.try_number)
    return task_session_name(ti), task


def task_session_name(ti: RuntimeTaskInstanceProtocol) -> str:
    """Write ``af1|task instance id|try|map index|dag.task`` in at most 63 bytes.

    Airflow makes a new task instance id for every try, so the id alone leads to the run, the map index and
    the try; the rest is there for people. The id is base64url without padding; a name that does not fit ends
    in a hash.
    """
    identity = base64.urlsafe_b64encode(ti.id.bytes).rstrip(b"=").decode()
    start = f"af1|{identity}|{ti.try_number}|{_map_index(ti)}|"
    return start + _shortened(f"{ti.dag_id}.{ti.task_id}", BYTES_MAX - len(start))


def _map_index(ti: RuntimeTaskInstanceProtocol) -> int:
    return -1 if ti.map_index is None else ti.map_index


def _shortened(name: str, bytes_max: int) -> str:
    text = name.encode("ascii", "replace").decode()
    if len(text) <= bytes_max:
        return text
    digest = hashlib.sha256(name.encode()).hexdigest()[:6]
    return f"{text[: bytes_max - 8]}~{digest}~"
