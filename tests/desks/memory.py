"""A place in memory for what tests write and throw away."""

from __future__ import annotations

import os
from pathlib import Path

MEMORY = Path("/dev/shm")  # noqa: S108 - where Linux has a file system in memory


def place_in_memory(room_bytes: int) -> Path | None:
    """Find a file system in memory with so much room for each worker; else the usual place will do.

    Nearly every test has a database of its own, which is hundreds of files to write and delete. On a disk
    that takes longer than all that the test does; in memory, a tenth of it.
    """
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    if not MEMORY.is_dir():
        return None
    system = os.statvfs(MEMORY)
    # A server whose user cannot reach its programs gets copies of them where its data are.
    is_fit = not system.f_flag & os.ST_NOEXEC and os.access(MEMORY, os.W_OK)
    return MEMORY if is_fit and system.f_bavail * system.f_frsize >= workers * room_bytes else None
