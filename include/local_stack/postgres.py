"""Start, find and stop a PostgreSQL server of our own.

1. As root the server runs as an existing unprivileged user; no user is created and the mode of
   nothing that was not created here is changed.
2. Several starts at the same time give one server: a file lock guards every start and stop.
3. A pid is believed only if it belongs to a live ``postgres`` whose working directory is our data
   directory. A stranger that got a recycled pid is never signalled.
4. A server that is not detached dies with the process that started it, even by ``kill -9``.
5. Only password logins, on 127.0.0.1 and on a private Unix socket.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import secrets
import shutil
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self
from urllib.parse import quote

import psutil

from local_stack.binaries import ServerUser, choose_server_user, find_programs, has_name, programs_for
from local_stack.errors import LocalStackError
from local_stack.ports import HOST, free_port
from local_stack.processes import dying_with_parent, is_alive, poll_until
from local_stack.settings import private_log

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

SUPERUSER = "postgres"
LOCK_TIMEOUT_SECONDS = 90
START_TIMEOUT_SECONDS = 60
STOP_TIMEOUT_SECONDS = 10
UNIX_SOCKET_PATH_BYTES_MAX = 107

FAST_SHUTDOWN = signal.SIGINT
IMMEDIATE_SHUTDOWN = signal.SIGQUIT

# Data lost by a power cut is fine for a demo or a test, and makes both faster; a crash of the server
# alone still loses nothing.
NOT_DURABLE = {"fsync": "off", "full_page_writes": "off"}


@dataclass(frozen=True, slots=True)
class Postmaster:
    """What ``postmaster.pid`` says about the server."""

    pid: int
    port: int
    is_ready: bool


class EmbeddedPostgres:
    """One PostgreSQL server, its data below ``state_dir``.

    Args:
        state_dir: where data, password, log and lock live; created when missing.
        port: TCP port on 127.0.0.1; 0 takes the port of the last start if it is free, else any.
        detached: the server outlives this process, until somebody calls `stop`.
        durable: keep the promises of a real database across a power cut.
        settings: any further server settings.
    """

    def __init__(
        self,
        state_dir: Path,
        *,
        port: int = 0,
        detached: bool = False,
        durable: bool = False,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self.user = choose_server_user()
        self.home = _reachable_home(state_dir.absolute(), self.user)
        self.data = self.home / "data"
        self.log = self.home / "server.log"
        self.detached = detached
        self._wanted_port = port
        self._settings = {"max_connections": "200", **({} if durable else NOT_DURABLE), **(settings or {})}
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def is_owner(self) -> bool:
        """Tell whether this object started the server, rather than found it running."""
        return self._child is not None

    @property
    def pid(self) -> int | None:
        """Return the pid of the running server, if there is one."""
        found = self._running()
        return found.pid if found else None

    def start(self) -> Self:
        """Start the server, or attach to the one that already runs on this data.

        Call it from the main thread: a server that is not detached dies with the thread that started it.

        Raises:
            LocalStackError: it could not start; the message holds the end of its log.
        """
        with self._locked():
            running = self._running()
            if running is None:
                self._forget_crashed_server()
                programs = programs_for(self.user, find_programs(), self.home)
                if not (self.data / "PG_VERSION").exists():
                    self._initialise(programs)
                self._check_version(programs)
                self._launch(programs)
            elif self._wanted_port not in (0, running.port):
                raise LocalStackError(
                    f"PostgreSQL already runs on port {running.port}, not {self._wanted_port}. Stop it first."
                )
            else:
                self._wait_until_ready()
        return self

    def url(self, database: str) -> str:
        """Return a libpq URL of the database for the superuser; it holds the password.

        Raises:
            LocalStackError: the server is not running.
        """
        running = self._running()
        if running is None:
            raise LocalStackError(f"PostgreSQL is not running on {self.data}.")
        password = quote(self._password_file.read_text().strip(), safe="")
        return f"postgresql://{SUPERUSER}:{password}@{HOST}:{running.port}/{quote(database, safe='')}"

    def stop(self) -> bool:
        """Stop the server, whoever started it; tell whether one was running."""
        with self._locked():
            running = self._running()
            if running is None:
                self._reap()
                return False
            for how, patience_seconds in (
                (FAST_SHUTDOWN, STOP_TIMEOUT_SECONDS),
                (IMMEDIATE_SHUTDOWN, 5),
                (signal.SIGKILL, 5),
            ):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(running.pid, how)
                if poll_until(lambda: not self._is_ours(running.pid), timeout_seconds=patience_seconds):
                    break
            self._reap()
            return True

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        if self.is_owner and not self.detached:
            self.stop()

    @property
    def _password_file(self) -> Path:
        return self.home / "password"

    @property
    def _socket_directory(self) -> Path:
        return self.home / "socket"

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        descriptor = os.open(self.home / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if not poll_until(lambda: _try_lock(descriptor), timeout_seconds=LOCK_TIMEOUT_SECONDS):
                raise LocalStackError(f"Another start or stop has held {self.home}/lock for too long.")
            yield
        finally:
            os.close(descriptor)

    def _running(self) -> Postmaster | None:
        found = _read_pid_file(self.data / "postmaster.pid")
        return found if found and self._is_ours(found.pid) else None

    def _is_ours(self, pid: int) -> bool:
        if self._child is not None and self._child.pid == pid and self._child.poll() is not None:
            return False
        return pid in _servers_in(self.data, [pid])

    def _forget_crashed_server(self) -> None:
        """Remove a stale pid file, but not before every orphaned backend is gone.

        A second postmaster beside living backends of the first would corrupt the data.
        """
        pid_file = self.data / "postmaster.pid"
        if not pid_file.exists():
            return
        if not poll_until(lambda: not _servers_in(self.data, psutil.pids()), timeout_seconds=15):
            orphans = ", ".join(map(str, _servers_in(self.data, psutil.pids())))
            raise LocalStackError(f"Processes of a crashed PostgreSQL still use {self.data}: {orphans}.")
        pid_file.unlink(missing_ok=True)

    def _initialise(self, programs: Path) -> None:
        unfinished = self.home / "data.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        shutil.rmtree(self.data, ignore_errors=True)
        password = secrets.token_urlsafe(24)
        for_initdb = self.home / "password.initdb"
        _write_secret(for_initdb, password)
        unfinished.mkdir(mode=0o700)
        if self.user.is_someone_else:
            os.chown(for_initdb, self.user.uid, self.user.gid)
            os.chown(unfinished, self.user.uid, self.user.gid)
        command = [
            *(str(programs / "initdb"), "-D", str(unfinished), "-U", SUPERUSER, f"--pwfile={for_initdb}"),
            *("--auth-local=scram-sha-256", "--auth-host=scram-sha-256", "--encoding=UTF8", "--locale=C"),
            *("--no-sync", "--no-instructions"),
        ]
        if not has_name(self.user.uid):
            # initdb insists on a name for its user, which a container's arbitrary uid does not have.
            command = ["unshare", "--user", "--map-user=65534", *command]
        try:
            done = subprocess.run(
                command,
                cwd="/",
                env=_environment(),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
                **self.user.process_options(),
            )
        except OSError as error:
            raise LocalStackError(f"Could not run initdb as user {self.user.uid}: {error}") from error
        finally:
            for_initdb.unlink(missing_ok=True)
        if done.returncode != 0:
            raise LocalStackError(f"initdb failed: {done.stderr.strip() or done.stdout.strip()}")
        _write_secret(self._password_file, password)
        unfinished.rename(self.data)

    def _check_version(self, programs: Path) -> None:
        created_by = (self.data / "PG_VERSION").read_text().strip()
        said = subprocess.run(
            [programs / "postgres", "--version"], capture_output=True, text=True, check=True, cwd="/"
        ).stdout
        present = said.split()[2].split(".")[0]
        if present != created_by:
            raise LocalStackError(
                f"{self.data} was created by PostgreSQL {created_by}, but {programs} is {present}. "
                f"Remove {self.home}, or set RECON_PG_BIN to PostgreSQL {created_by}."
            )

    def _launch(self, programs: Path) -> None:
        port_file = self.home / "port"
        port = self._wanted_port or free_port(prefer=_read_port(port_file))
        options = {"port": str(port), "listen_addresses": HOST, **self._settings}
        options |= {"unix_socket_directories": self._prepared_socket_directory(port)}
        options |= {"unix_socket_permissions": "0700", "log_timezone": "UTC", "timezone": "UTC"}
        command = [str(programs / "postgres"), "-D", str(self.data)]
        command += [f"-c{name}={value}" for name, value in options.items()]
        with private_log(self.log) as log:
            self._child = subprocess.Popen(
                command,
                cwd="/",
                env=_environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # a Ctrl-C in the terminal is for us, we stop the server ourselves
                preexec_fn=None if self.detached else dying_with_parent(FAST_SHUTDOWN),  # noqa: PLW1509 - Linux, main thread
                **self.user.process_options(),
            )
        self._wait_until_ready()
        port_file.write_text(str(port))

    def _wait_until_ready(self) -> None:
        def settled() -> bool:
            running = self._running()
            return bool(running and running.is_ready) or self._has_exited()

        poll_until(settled, timeout_seconds=START_TIMEOUT_SECONDS, pause_seconds=0.01)
        running = self._running()
        if running and running.is_ready:
            return
        if self._child is not None:
            self._child.kill()
            self._reap()
        tail = "\n".join(self.log.read_text(errors="replace").splitlines()[-10:])
        raise LocalStackError(f"PostgreSQL did not start; the end of {self.log}:\n{tail}")

    def _has_exited(self) -> bool:
        return self._child is not None and self._child.poll() is not None

    def _reap(self) -> None:
        """Take note of the end of our own child, which is ending or has ended."""
        if self._child is not None:
            self._child.wait(timeout=STOP_TIMEOUT_SECONDS)
            self._child = None

    def _prepared_socket_directory(self, port: int) -> str:
        directory = self._socket_directory
        if len(os.fsencode(directory / f".s.PGSQL.{port}")) > UNIX_SOCKET_PATH_BYTES_MAX:
            return ""  # too deep for a Unix socket; TCP works everywhere
        # A crashed server's socket lock names a pid that may still be a zombie, or by now a stranger.
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(mode=0o700)
        if self.user.is_someone_else:
            os.chown(directory, self.user.uid, self.user.gid)
        return str(directory)


def _reachable_home(state_dir: Path, user: ServerUser) -> Path:
    """Return the state directory, or one in ``/var/tmp`` when the server's user cannot reach it."""
    state_dir.mkdir(mode=0o711, parents=True, exist_ok=True)
    if user.can_enter(state_dir):
        return state_dir
    digest = hashlib.sha256(os.fsencode(state_dir)).hexdigest()[:12]
    home = Path(f"/var/tmp/recon-pg-{os.geteuid()}-{digest}")  # noqa: S108 - owner and kind are checked below
    home.mkdir(mode=0o711, exist_ok=True)
    status = home.lstat()
    if home.is_symlink() or status.st_uid != os.geteuid() or status.st_mode & 0o022:
        raise LocalStackError(f"{home} exists and is not safely ours; remove it.")
    return home


def _read_pid_file(path: Path) -> Postmaster | None:
    try:
        lines = path.read_text().splitlines()
    except (FileNotFoundError, PermissionError):
        return None
    try:
        return Postmaster(int(lines[0]), int(lines[3]), is_ready=lines[7].strip() == "ready")
    except IndexError:
        # Still being written: the pid comes first.
        return Postmaster(int(lines[0]), 0, is_ready=False) if lines and lines[0].isdigit() else None


def _servers_in(data: Path, pids: list[int]) -> list[int]:
    """Return which of the pids are live PostgreSQL processes working in this data directory."""
    found = []
    for pid in pids:
        try:
            process = psutil.Process(pid)
            if is_alive(process) and process.name() == "postgres" and process.cwd() == str(data):
                found.append(pid)
        except psutil.Error:
            continue
    return found


def _environment() -> dict[str, str]:
    return {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}


def _write_secret(path: Path, text: str) -> None:
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read_port(path: Path) -> int:
    try:
        return int(path.read_text())
    except (FileNotFoundError, ValueError):
        return 0
