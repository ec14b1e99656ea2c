"""Processes that run one DAG after another, and what overtakes some of the runs."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from multiprocessing.connection import Connection

RUN_TIMEOUT_SECONDS: Final = 300


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a DAG, and what shall overtake it after a delay."""

    dag_id: str
    fate: str
    delay_seconds: float
    conf: Mapping[str, str]


class Worker:
    """A process that runs one DAG after another, until it is told to end; then another takes its place."""

    def __init__(self, dags: Mapping[str, Any], log: Path) -> None:
        self._dags = dags
        self._log = log
        self._begin()

    @property
    def memory_bytes(self) -> int:
        """Return what the process has in memory now; what it shares with others counts in each."""
        with suppress(FileNotFoundError, ProcessLookupError):
            pages = Path(f"/proc/{self._process.pid}/statm").read_text().split()[1]
            return int(pages) * os.sysconf("SC_PAGE_SIZE")
        return 0

    def _begin(self) -> None:
        from airflow import settings  # noqa: PLC0415 - see prepare_airflow

        sys.stdout.flush()
        settings.dispose_orm(do_log=False)  # a child must not inherit a connection
        self._pipe, theirs = multiprocessing.Pipe()
        self._process = multiprocessing.get_context("fork").Process(
            target=_work, args=(self._dags, theirs, self._log)
        )
        self._process.start()
        theirs.close()
        self.run: Run | None = None
        self.runs_count = 0

    def start(self, run: Run) -> None:
        """Begin a run."""
        self.run, self._began, self._is_struck = run, time.monotonic(), False
        self._pipe.send((run.dag_id, run.conf))

    def ended(self) -> str | None:
        """Say how the run ended, if it has; meanwhile let its fate overtake it."""
        assert self.run is not None
        seconds = time.monotonic() - self._began
        with suppress(EOFError):
            if self._pipe.poll():
                end, is_over = self._pipe.recv()
                self.run = None
                self.runs_count += 1
                if is_over:
                    self._process.join()
                    self._begin()
                return str(end)
            if self.run.fate.startswith("SIG") and not self._is_struck and seconds > self.run.delay_seconds:
                self._is_struck = True
                self._strike(signal.Signals[self.run.fate])
            if seconds < RUN_TIMEOUT_SECONDS:
                return None
            self._strike(signal.SIGKILL)
        self._process.join()
        status = self._process.exitcode or 0
        self._begin()
        if seconds >= RUN_TIMEOUT_SECONDS:
            return "too long"
        return signal.Signals(-status).name if status < 0 else "stopped"

    def stop(self) -> None:
        """End the process."""
        self._strike(signal.SIGKILL)
        self._process.join()

    def _strike(self, blow: signal.Signals) -> None:
        assert self._process.pid is not None
        with suppress(ProcessLookupError):
            os.kill(self._process.pid, blow)


def _work(dags: Mapping[str, Any], orders: Connection, log: Path) -> None:
    """Run what is asked for, until told to end; all that is said goes into the log."""
    from airflow import settings  # noqa: PLC0415 - see prepare_airflow
    from kraken_recon.errors import RunStoppedError  # noqa: PLC0415

    is_told = Event()

    def stop(*_: object) -> None:
        # As Airflow's task runner does through on_kill; its process ends after it, like this one.
        is_told.set()
        raise RunStoppedError("the task was told to end")

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the soak's own end is for its parent
    settings.configure_orm()
    said = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(said, 1)
    os.dup2(said, 2)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while not is_told.is_set():
        dag_id, conf = orders.recv()
        try:
            signal.signal(signal.SIGTERM, stop)
            end = str(dags[dag_id].test(run_conf=conf).state)
        except BaseException:  # noqa: BLE001 - only how it ended is of interest
            end = "stopped"
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        orders.send((end, is_told.is_set()))


def ended(workers: Sequence[Worker]) -> Counter[str]:
    """Count the runs that have just ended."""
    ends = Counter[str]()
    for worker in workers:
        if worker.run is not None:
            dag_id, end = worker.run.dag_id, worker.ended()
            ends.update([f"{dag_id}: {end}"] if end else [])
    return ends
