"""Which task a session belongs to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from uuid import UUID


@dataclass(frozen=True, slots=True)
class TaskIdentity:
    """One try of one task instance."""

    task_instance_id: UUID
    dag_id: str
    run_id: str
    task_id: str
    map_index: int
    try_number: int
