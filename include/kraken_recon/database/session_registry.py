"""Name each session after its task and its call site, and say in the registry what that name stands for.

Invariants:
1. A process writes a row once per place that opens sessions, not per session: the name ends in a code of
   host, process and place, and the row explains the code. A unit of work pays for a walk over a few frames.
2. Registering never fails a session: an unregistered one is still named after its task.
3. The row is written before the session's first transaction, without waiting for the disk.
4. Whatever interrupts the registering, no session is left open, and the next one registers.
"""

from __future__ import annotations

import base64
import hashlib
import inspect
import os
import socket
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

import psycopg

from kraken_recon.database.named_sql import load
from kraken_recon.database.poolers import note_direct

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import FrameType

    from kraken_recon.values.task_identity import TaskIdentity

BYTES_MAX: Final = 63
CODE_CHARACTERS: Final = 5
PLACES_MAX: Final = 3
# Names given by a test or a script belong to whoever gave them.
REGISTERED_PREFIXES: Final = ("af1|", "kraken_recon")
# A process that lives long says so again, before its row is forgotten.
REMEMBERED_SECONDS: Final = 6 * 3600
_PLUMBING: Final = (
    f"{os.sep}sqlalchemy{os.sep}",
    f"{os.sep}psycopg{os.sep}",
    f"{os.sep}kraken_recon{os.sep}database{os.sep}",
    f"{os.sep}kraken{os.sep}call_slots.py",
    f"{os.sep}kraken{os.sep}slot_sessions.py",
    "contextlib.py",
)
_known: set[tuple[object, ...]] = set()


@dataclass(frozen=True, slots=True)
class Declaration:
    """What an engine says of its sessions: see ``Owner``."""

    application_name: str
    hold_seconds: int
    pool_size: int = 0
    connections_max: int = 32
    task: TaskIdentity | None = None


def registered_connection(
    connect: Callable[[str], psycopg.Connection], declaration: Declaration, server: Mapping[str, object]
) -> psycopg.Connection:
    """Open a session under a name that leads to its owner.

    Args:
        connect: opens a session under an application name; it commits each statement.
        declaration: what to register.
        server: the connection parameters, of which those that name the database are read.
    """
    plain = declaration.application_name.encode("ascii", "replace")
    if not declaration.application_name.startswith(REGISTERED_PREFIXES):
        return connect(plain[:BYTES_MAX].decode())
    place = call_site(inspect.currentframe())
    code = _code(socket.gethostname(), os.getpid(), place)
    name = f"{plain[: BYTES_MAX - CODE_CHARACTERS - 1].decode()}#{code}"
    connection = connect(name)
    try:
        database = tuple(server.get(key) for key in ("host", "port", "dbname"))
        key = (os.getpid(), database, name, int(time.time() // REMEMBERED_SECONDS))
        if key not in _known:
            if _register(connection, name, place, declaration):
                note_direct(server)
            _known.add(key)
    except BaseException:  # a task told to end; nobody else knows of the session yet
        connection.close()
        raise
    return connection


def call_site(frame: FrameType | None) -> str:
    """Name the innermost places of the stack that are neither driver nor unit of work, innermost first."""
    places: list[str] = []
    while frame is not None and len(places) < PLACES_MAX:
        file = _short_name(frame.f_code.co_filename)
        if file:
            places.append(f"{file}:{frame.f_lineno} {frame.f_code.co_name}")
        frame = frame.f_back
    return " < ".join(places) or "unknown"


@cache
def _short_name(file: str) -> str:
    """Name a source file by its directory and itself; empty for a driver's and the unit of work's."""
    return "" if any(part in file for part in _PLUMBING) else "/".join(Path(file).parts[-2:])


@cache
def _code(*parts: object) -> str:
    digest = hashlib.sha256("\0".join(map(str, parts)).encode()).digest()
    return base64.b32encode(digest).decode()[:CODE_CHARACTERS].lower()


def _register(connection: psycopg.Connection, name: str, place: str, declaration: Declaration) -> bool:
    """Write the row, and say whether it is known that no pooler is in between."""
    task = declaration.task
    row = {
        "application_name": name,
        "host": socket.gethostname(),
        "process_id": os.getpid(),
        "call_site": place,
        "hold_seconds": declaration.hold_seconds,
        "pool_size": declaration.pool_size,
        "connections_max": declaration.connections_max,
        "task_instance_id": task and task.task_instance_id,
        "dag_id": task and task.dag_id,
        "run_id": task and task.run_id,
        "task_id": task and task.task_id,
        "map_index": task.map_index if task else None,
        "try_number": task and task.try_number,
        # A pooler makes up a number of its own: whoever asks the server behind it then gets another one.
        "told_process_number": connection.info.backend_pid,
    }
    # A database that is not migrated yet, a role that may not write: the session matters more.
    with suppress(psycopg.Error):
        found = connection.execute(load(__file__, "session_registry")["register_owner"], row).fetchone()
        return bool(found and found[0])
    return False
