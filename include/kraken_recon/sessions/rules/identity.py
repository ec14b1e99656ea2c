"""Whose a session is, as far as its role, its name and the registry of owners tell."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Final
from uuid import UUID

from kraken_recon.sessions.rules.records import Backend, Owner, Ownership

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kraken_recon.sessions.rules.records import Sample
    from kraken_recon.values.task_identity import TaskIdentity

TASK_PREFIX: Final = "af1|"
PROJECT_PREFIX: Final = "kraken_recon"
# People, their reports and backups: what they do is theirs, unless it keeps others waiting.
TOOLS: Final = (
    "psql",
    "pg_dump",
    "pg_restore",
    "pg_basebackup",
    "pgbackrest",
    "barman",
    "pgadmin",
    "dbeaver",
    "datagrip",
    "metabase",
    "grafana",
    "tableau",
    "superset",
    "apache superset",
    "redash",
    "power bi",
)
# What a pooler does to a connection before the next client gets it.
POOLERS_RESET: Final = "discard all"


def task_instance_id(application_name: str) -> UUID | None:
    """Read the task instance's id out of the name of its session; None where it is no task's."""
    if not application_name.startswith(TASK_PREFIX):
        return None
    try:
        return UUID(bytes=base64.urlsafe_b64decode(application_name.split("|")[1] + "=="))
    except (ValueError, IndexError, binascii.Error):
        return None


def ownership_of(backend: Backend, sample: Sample) -> Ownership:
    """Tell whose a session is."""
    name = backend.application_name
    if backend.backend_type != "client backend" or name.lower().startswith(TOOLS):
        return Ownership.FOREIGN
    if not sample.is_ours:
        return Ownership.WATCHED
    if backend.role not in sample.app_roles:
        return Ownership.FOREIGN
    if name.startswith(PROJECT_PREFIX) or task_instance_id(name):
        return Ownership.OURS
    return Ownership.WATCHED


def may_be_inherited(backend: Backend, owners: Mapping[str, Owner]) -> bool:
    """Tell a session that may be a pooler's: its name is then that of whoever used it last."""
    owner = owners.get(backend.application_name)
    if owner and owner.is_direct is not None:
        return not owner.is_direct
    identity = task_instance_id(backend.application_name)
    of_task = [o for o in owners.values() if o.task and o.task.task_instance_id == identity]
    return backend.statement.lower() == POOLERS_RESET or any(o.is_direct is False for o in of_task)


def described(backend: Backend, owner: Owner | None, task: TaskIdentity | None) -> str:
    """Say for people who opened a session and where, as far as it is known."""
    place = f" ({owner.call_site}; process {owner.process_id} on {owner.host})" if owner else ""
    if task is None:
        return (backend.application_name or f"role {backend.role}, without a name") + place
    mapped = f"[{task.map_index}]" if task.map_index >= 0 else ""
    return f"{task.dag_id}.{task.task_id}{mapped} try {task.try_number} of run {task.run_id}{place}"
