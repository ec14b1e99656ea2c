"""Run ``python -m airflow`` with the same arguments, so that what it forks ends with it.

A scheduler that is killed leaves its workers behind. They hold the sockets of its database sessions, the
server keeps its transaction open with the locks on the DAG's rows, and no other scheduler gets on. Here the
kernel kills each fork when the process that forked it ends, however it ends.
"""

from __future__ import annotations

import ctypes
import os
import runpy
import signal
import sys
import threading

PR_SET_PDEATHSIG = 1  # linux/prctl.h


class ForksEndWithParent:
    """Hooks around each fork of this process and of those that it forks."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._parent = 0

    def before(self) -> None:
        """Note who forks: the signal comes when the forking thread ends, which other threads do early."""
        is_main = threading.current_thread() is threading.main_thread()
        self._parent = os.getpid() if is_main else 0

    def in_child(self) -> None:
        """Ask the kernel for the signal; whoever comes too late ends at once."""
        if not self._parent:
            return
        self._libc.prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
        if os.getppid() != self._parent:
            os._exit(1)

    def register(self) -> None:
        """Let every fork from now on end with its parent."""
        os.register_at_fork(before=self.before, after_in_child=self.in_child)


def main() -> None:
    """Become ``python -m airflow`` with the same arguments."""
    ForksEndWithParent().register()
    sys.argv[0] = "airflow"
    runpy.run_module("airflow", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
