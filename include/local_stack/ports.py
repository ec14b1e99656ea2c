"""Find free TCP ports on this machine, and say who holds one that is not."""

from __future__ import annotations

import contextlib
import socket

import psutil

from local_stack.errors import LocalStackError

HOST = "127.0.0.1"


def is_free(port: int, host: str = HOST) -> bool:
    """Tell whether a server could listen on the port."""
    with socket.socket() as probe:
        # As servers do: connections that linger after a restart do not block the port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True


def free_port(*, prefer: int = 0) -> int:
    """Return the preferred port if it is free, else any free one."""
    if prefer and is_free(prefer):
        return prefer
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def require_free(port: int, *, variable: str, purpose: str, host: str = HOST) -> None:
    """Check that the port can be listened on.

    Raises:
        LocalStackError: it is taken; the message names the port, its holder and the variable to set.
    """
    if not is_free(port, host):
        raise LocalStackError(
            f"Port {port} for {purpose} is in use{_holder(port)}. "
            f"Free it, or choose another with {variable}=PORT."
        )


def _holder(port: int) -> str:
    with contextlib.suppress(psutil.Error):
        for connection in psutil.net_connections("tcp"):
            listens = connection.status == psutil.CONN_LISTEN and connection.laddr[1:] == (port,)
            if listens and connection.pid:
                return f" by {psutil.Process(connection.pid).name()} (pid {connection.pid})"
    return ""
