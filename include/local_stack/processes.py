"""Start processes that outlive us or die with us, recognise them later, and stop them whole.

1. A process is known by its pid *and* its start time: a recycled pid is somebody else and is left alone.
2. Each service leads a session of its own. Stopping it ends every process of that session, even when
   the leader itself is gone.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from local_stack.errors import LocalStackError
from local_stack.settings import private_log

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

PR_SET_PDEATHSIG = 1  # linux/prctl.h
STOP_PATIENCE_SECONDS = 4
KILL_PATIENCE_SECONDS = 5
PRIVATE = 0o077
STAT_FIELDS_AFTER_NAME_BEFORE_START = 19  # proc(5): starttime is field 22, the name is field 2


def poll_until(condition: Callable[[], bool], *, timeout_seconds: float, pause_seconds: float = 0.02) -> bool:
    """Ask again and again until the condition holds or the time is up; tell which."""
    deadline = time.monotonic() + timeout_seconds
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(pause_seconds)
    return True


def is_alive(process: psutil.Process) -> bool:
    """Tell whether the process runs; a zombie does not, however slowly its parent reaps."""
    try:
        return process.status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    except psutil.NoSuchProcess:
        return False


def dying_with_parent(how: signal.Signals = signal.SIGTERM) -> Callable[[], None]:
    """Return a ``preexec_fn`` after which the kernel signals the child when its parent ends."""
    if not sys.platform.startswith("linux"):
        raise LocalStackError("The local stack runs on Linux only.")
    libc = ctypes.CDLL(None, use_errno=True)
    parent = os.getpid()

    def set_signal() -> None:
        libc.prctl(PR_SET_PDEATHSIG, int(how), 0, 0, 0)
        if os.getppid() != parent:  # it ended before the call
            os._exit(1)

    return set_signal


@contextlib.contextmanager
def interrupts_deferred() -> Iterator[None]:
    """Hold back a Ctrl-C until the block is done, so that no process starts without being noted."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    arrived: list[int] = []
    previous = signal.signal(signal.SIGINT, lambda number, _frame: arrived.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
    if arrived:
        raise KeyboardInterrupt


@dataclass(frozen=True, slots=True)
class Service:
    """A long-running program.

    Attributes:
        version: anything else whose change asks for a restart, such as a digest of its code.
    """

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    version: str = ""

    @property
    def fingerprint(self) -> str:
        """Return a digest that differs when the service must be restarted."""
        text = json.dumps([self.command, sorted(self.environment.items()), self.version])
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Started:
    """What is remembered of a started service."""

    pid: int
    start_ticks: int
    boot_id: str
    fingerprint: str


class Services:
    """The services of one state directory: their pid files in ``run/``, their logs in ``logs/``."""

    def __init__(self, state_dir: Path) -> None:
        self._records = state_dir / "run"
        self.logs = state_dir / "logs"

    def ensure(self, service: Service) -> bool:
        """Start the service unless it runs as asked for; tell whether it was started."""
        started = self._read(service.name)
        if started is not None:
            if _leads(started) and started.fingerprint == service.fingerprint:
                return False
            self.stop([service.name])
        self._records.mkdir(parents=True, exist_ok=True)
        with interrupts_deferred(), private_log(self.log_of(service.name)) as log:
            child = subprocess.Popen(
                service.command,
                env=dict(service.environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                umask=PRIVATE,  # what it writes, such as logs of tasks, is for this user alone
            )
            ticks = start_ticks(child.pid) or 0
            record = Started(child.pid, ticks, _boot_id(), service.fingerprint)
            self._record_of(service.name).write_text(json.dumps(asdict(record)))
        _started_here[child.pid] = child
        return True

    def is_running(self, name: str) -> bool:
        """Tell whether the service's own process runs."""
        started = self._read(name)
        return started is not None and _leads(started)

    def pid_of(self, name: str) -> int | None:
        """Return the pid of a running service."""
        started = self._read(name)
        return started.pid if started and _leads(started) else None

    def names(self) -> list[str]:
        """Return the names of all services that were started and not stopped since."""
        return sorted(path.stem for path in self._records.glob("*.json"))

    def log_of(self, name: str) -> Path:
        """Return the service's log file."""
        return self.logs / f"{name}.log"

    def end_of_log(self, name: str, *, lines: int = 15) -> str:
        """Return the last lines of the service's log."""
        path = self.log_of(name)
        return "\n".join(path.read_text(errors="replace").splitlines()[-lines:]) if path.exists() else ""

    def stop(self, names: Iterable[str]) -> list[str]:
        """Stop the services together, politely and then not; return which of them were running.

        Raises:
            LocalStackError: a process did not end even when killed.
        """
        records = {name: started for name in names if (started := self._read(name)) is not None}
        running = [name for name, started in records.items() if _members(started)]

        seen: dict[int, psutil.Process] = {}

        def remaining() -> set[int]:
            # A child with a session of its own is no longer found once its parent has ended: keep it in mind.
            for pid in set().union(*(_members(started) for started in records.values())):
                with contextlib.suppress(psutil.NoSuchProcess):
                    seen.setdefault(pid, psutil.Process(pid))
            return {pid for pid, process in seen.items() if is_alive(process)}

        for how, patience_seconds in (
            (signal.SIGTERM, STOP_PATIENCE_SECONDS),
            (signal.SIGKILL, KILL_PATIENCE_SECONDS),
        ):
            for pid in remaining():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, how)
            if poll_until(lambda: not remaining(), timeout_seconds=patience_seconds, pause_seconds=0.05):
                break
        if stubborn := remaining():
            raise LocalStackError(f"These processes did not end: {sorted(stubborn)}.")
        for name in names:
            self._record_of(name).unlink(missing_ok=True)
        return running

    def _record_of(self, name: str) -> Path:
        return self._records / f"{name}.json"

    def _read(self, name: str) -> Started | None:
        try:
            return Started(**json.loads(self._record_of(name).read_text()))
        except (FileNotFoundError, ValueError, TypeError):
            return None


# Kept so that a child that ends while we run is reaped.
_started_here: dict[int, subprocess.Popen[bytes]] = {}


def _leads(started: Started) -> bool:
    """Tell whether the recorded process itself still runs."""
    if child := _started_here.get(started.pid):
        child.poll()
    if started.boot_id != _boot_id() or start_ticks(started.pid) != started.start_ticks:
        return False
    try:
        return is_alive(psutil.Process(started.pid))
    except psutil.NoSuchProcess:
        return False


def _members(started: Started) -> set[int]:
    """Return the living processes of the service's session, and all descendants of its leader.

    The kernel does not give a pid away while a session of that number lives, so a session's number
    identifies the service even after its leader has ended.
    """
    if started.boot_id != _boot_id():
        return set()
    leader_ticks = start_ticks(started.pid)
    if leader_ticks is not None and leader_ticks != started.start_ticks:
        return set()
    if child := _started_here.get(started.pid):
        child.poll()
    found = set()
    for process in psutil.process_iter():
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if os.getsid(process.pid) == started.pid and is_alive(process):
                found.add(process.pid)
    if leader_ticks is not None:
        found |= _descendants(started.pid)
    return found


def _descendants(leader: int) -> set[int]:
    """Return the living descendants of a process, from one look at who is whose parent.

    ``psutil.Process.children`` compares start times as well, which a correction of the clock between two
    readings shifts: a child then seems older than its parent and is left out.
    """
    children: dict[int, list[psutil.Process]] = {}
    for process in psutil.process_iter(["ppid"]):
        children.setdefault(process.info["ppid"], []).append(process)
    found: set[int] = set()
    waiting = [leader]
    while waiting:
        for child in children.get(waiting.pop(), ()):
            waiting.append(child.pid)
            if is_alive(child):
                found.add(child.pid)
    return found


def start_ticks(pid: int) -> int | None:
    """Return when the process started, in clock ticks since boot: exact, whatever the wall clock does."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return int(stat.rpartition(")")[2].split()[STAT_FIELDS_AFTER_NAME_BEFORE_START])


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
