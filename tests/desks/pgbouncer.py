"""A PgBouncer before a server, in either of its modes, as a process of the test's own."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, urlsplit

import pytest

from local_stack.binaries import choose_server_user
from local_stack.ports import HOST, free_port
from local_stack.processes import dying_with_parent, poll_until

if TYPE_CHECKING:
    from collections.abc import Iterator

START_TIMEOUT_SECONDS: Final = 10
CONFIGURATION: Final = """\
[databases]
* = host={host} port={server_port} user={user} password='{password}'
[pgbouncer]
listen_addr = {host}
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = {mode}
default_pool_size = {pool_size}
max_client_conn = 200
{more}
"""


def _program() -> str:
    """Find PgBouncer, or skip; where everything has to run, its absence fails."""
    name = os.environ.get("PGBOUNCER") or "pgbouncer"
    if found := shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin"):
        return found
    message = "no PgBouncer on this machine: scripts/install-programs installs it"
    (pytest.fail if os.environ.get("CI") else pytest.skip)(message)
    raise AssertionError


@contextmanager
def pgbouncer(url: str, mode: str, *, pool_size: int = 20, more: str = "") -> Iterator[str]:
    """Run a PgBouncer before the server of a URL for the length of the block; give the same URL through it.

    Args:
        url: of any database of the server; all of them can be had.
        mode: ``session``, ``transaction`` or ``statement``.
        pool_size: how many sessions it opens per database.
        more: further lines of its configuration.
    """
    program, server, user, port = _program(), urlsplit(url), choose_server_user(), free_port()
    with tempfile.TemporaryDirectory(prefix="kraken-recon-pooler-") as place:
        Path(place).chmod(0o711)
        configuration = Path(place) / "pgbouncer.ini"
        configuration.touch(0o600)
        if user.is_someone_else:
            os.chown(configuration, user.uid, user.gid)
        configuration.write_text(
            CONFIGURATION.format(
                host=HOST,
                server_port=server.port,
                user=unquote(server.username or ""),
                password=unquote(server.password or "").replace("'", "''"),
                port=port,
                mode=mode,
                pool_size=pool_size,
                more=more,
            )
        )
        with (Path(place) / "log").open("wb") as log:
            process = subprocess.Popen(
                [program, str(configuration)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                preexec_fn=dying_with_parent(),  # noqa: PLW1509 - started from the main thread
                **user.process_options(),
            )
        try:
            told = Path(place) / "log"
            is_up = poll_until(
                lambda: b"process up" in told.read_bytes(), timeout_seconds=START_TIMEOUT_SECONDS
            )
            assert is_up, f"PgBouncer did not start:\n{told.read_text(errors='replace')}"
            yield server._replace(netloc=f"{server.username}@{HOST}:{port}").geturl()
        finally:
            process.terminate()
            process.wait(timeout=10)
