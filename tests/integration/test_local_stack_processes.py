"""Supervised services: started once, recognised by more than a pid, stopped with all their children."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
from typing import TYPE_CHECKING

import psutil
import pytest

from local_stack import processes
from local_stack.airflow import COMPONENTS, KEYLESS, airflow_environment, component_services
from local_stack.errors import LocalStackError
from local_stack.ports import free_port, require_free
from local_stack.processes import Service, Services, interrupts_deferred, is_alive, poll_until
from local_stack.settings import REPOSITORY, Settings, kept_secret

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ENVIRONMENT = {"PATH": os.environ["PATH"]}


@pytest.fixture
def services(tmp_path: Path) -> Iterator[Services]:
    running = Services(tmp_path)
    yield running
    running.stop(running.names())


def python(code: str, **environment: str) -> Service:
    return Service("sample", (sys.executable, "-c", code), {**ENVIRONMENT, **environment})


def sleeper(**environment: str) -> Service:
    return Service("sample", ("sleep", "60"), {**ENVIRONMENT, **environment})


def pid_told_in(services: Services) -> int:
    log = services.log_of("sample")
    assert poll_until(lambda: log.read_text().endswith("\n"), timeout_seconds=10)
    return int(log.read_text())


def is_gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or not is_alive(psutil.Process(pid))


def test_a_running_service_is_left_running(services: Services) -> None:
    assert services.ensure(sleeper())
    pid = services.pid_of("sample")
    assert not services.ensure(sleeper())
    assert services.pid_of("sample") == pid


def test_another_supervisor_recognises_the_service(services: Services, tmp_path: Path) -> None:
    services.ensure(sleeper())
    assert not Services(tmp_path).ensure(sleeper())


def test_a_service_with_another_environment_is_restarted(services: Services) -> None:
    services.ensure(sleeper())
    first = services.pid_of("sample")
    assert first
    assert services.ensure(sleeper(COLOUR="blue"))
    assert services.pid_of("sample") != first
    assert is_gone(first)


def test_a_service_that_ended_is_started_again(services: Services) -> None:
    services.ensure(sleeper())
    first = services.pid_of("sample")
    assert first
    os.kill(first, signal.SIGKILL)
    assert poll_until(lambda: not services.is_running("sample"), timeout_seconds=5)
    assert services.ensure(sleeper())


CHILD_AND_WAIT = """
import subprocess, time
child = subprocess.Popen(["sleep", "60"], start_new_session={own_session})
print(child.pid, flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("own_session", [False, True])
def test_stopping_ends_the_children_too(services: Services, *, own_session: bool) -> None:
    services.ensure(python(CHILD_AND_WAIT.format(own_session=own_session)))
    child = pid_told_in(services)
    assert services.stop(["sample"]) == ["sample"]
    assert is_gone(child)
    assert services.names() == []


def test_stopping_ends_children_whose_leader_is_gone(services: Services) -> None:
    services.ensure(python(CHILD_AND_WAIT.format(own_session=False)))
    child, leader = pid_told_in(services), services.pid_of("sample")
    assert leader
    os.kill(leader, signal.SIGKILL)
    assert poll_until(lambda: is_gone(leader), timeout_seconds=5)
    assert not is_gone(child)
    assert services.stop(["sample"]) == ["sample"]
    assert is_gone(child)


DEAF = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print(os.getpid(), flush=True)
time.sleep(60)
"""


def test_a_service_that_will_not_end_is_killed(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "STOP_PATIENCE_SECONDS", 0.3)
    services.ensure(python(DEAF))
    pid = pid_told_in(services)
    assert services.stop(["sample"]) == ["sample"]
    assert is_gone(pid)


@pytest.mark.parametrize("forged", [{"start_ticks": 1}, {"boot_id": "another boot"}])
def test_a_stranger_with_a_recycled_pid_is_never_signalled(
    services: Services, tmp_path: Path, forged: dict[str, object]
) -> None:
    with subprocess.Popen(["sleep", "60"], start_new_session=True) as stranger:
        services.ensure(sleeper())
        record = tmp_path / "run" / "sample.json"
        genuine = json.loads(record.read_text())
        services.stop(["sample"])
        ticks = processes.start_ticks(stranger.pid)
        record.write_text(json.dumps(genuine | {"pid": stranger.pid, "start_ticks": ticks} | forged))
        assert not services.is_running("sample")
        assert services.stop(["sample"]) == []
        assert stranger.poll() is None
        stranger.kill()


def test_an_interrupt_waits_until_the_started_process_is_noted() -> None:
    noted = []

    def start() -> None:
        with interrupts_deferred():
            os.kill(os.getpid(), signal.SIGINT)
            noted.append("pid")

    with pytest.raises(KeyboardInterrupt):
        start()
    assert noted == ["pid"]


def test_a_taken_port_is_named_with_the_variable_to_set() -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        with pytest.raises(LocalStackError, match=rf"Port {port} for Airflow .*RECON_AIRFLOW_PORT=PORT"):
            require_free(port, variable="RECON_AIRFLOW_PORT", purpose="Airflow")
        assert free_port(prefer=port) != port
    require_free(port, variable="RECON_AIRFLOW_PORT", purpose="Airflow")
    assert free_port(prefer=port) == port


@pytest.mark.parametrize("text", ["-1", "65536", "http"])
def test_a_port_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(LocalStackError, match=f"RECON_SIM_PORT={text}"):
        Settings.from_environment({"RECON_SIM_PORT": text})


def test_a_secret_is_made_once_and_kept_private(tmp_path: Path) -> None:
    first = kept_secret(tmp_path, "jwt", length_bytes=64)
    assert len(first) >= 64
    assert kept_secret(tmp_path, "jwt", length_bytes=64) == first
    assert kept_secret(tmp_path, "other", length_bytes=64) != first
    assert (tmp_path / "secrets.json").stat().st_mode & 0o077 == 0


def test_down_with_nothing_running_says_so(tmp_path: Path, project_environment: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "local_stack", "down"],
        env={**project_environment, "RECON_STATE_DIR": str(tmp_path / "state")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "Nothing was running.\n"


def test_what_a_component_forks_ends_with_it_however_it_ends(services: Services) -> None:
    """A scheduler that is killed leaves no worker behind, and no task of a worker."""
    code = """
import os, sys, threading, time
from local_stack.component import ForksEndWithParent
ForksEndWithParent().register()
def nap(): time.sleep(60); os._exit(0)
from_thread = []
def fork_in_thread():
    pid = os.fork()
    if pid == 0: time.sleep(1.5); print("outlived its thread", flush=True); nap()
    from_thread.append(pid)
thread = threading.Thread(target=fork_in_thread); thread.start(); thread.join()
if (worker := os.fork()) == 0:
    if (task := os.fork()) == 0: nap()
    print(worker := os.getpid(), task, flush=True); nap()
time.sleep(60)
"""
    services.ensure(python(code, PYTHONPATH=str(REPOSITORY / "include")))
    log = services.log_of("sample")
    assert poll_until(lambda: "outlived" in log.read_text(), timeout_seconds=10)
    worker, task = map(int, log.read_text().splitlines()[0].split())
    leader = services.pid_of("sample")
    assert leader
    assert not is_gone(worker)
    os.kill(leader, signal.SIGKILL)
    assert poll_until(lambda: is_gone(worker) and is_gone(task), timeout_seconds=5)


def test_airflow_s_components_run_that_way(tmp_path: Path) -> None:
    settings = Settings(tmp_path, "127.0.0.1", 1, 0, 0, "", tmp_path)
    keys = {
        "AIRFLOW_CONN_DESK": '{"conn_type": "kraken", "password": "canary"}',
        "AIRFLOW_CONN_OTHER": "kraken://key:canary@",
    }
    environment = airflow_environment(settings, metadata_url="postgresql://db/airflow", connections=keys)
    services = component_services(settings, environment)
    commands = {one.name: one.command for one in services}
    assert all(commands[name][1:3] == ("-m", "local_stack.component") for name in COMPONENTS)
    # Keys reach what calls Kraken; with LocalExecutor the scheduler, too, whose children the tasks are.
    keyless = {one.name for one in services if "canary" not in "".join(one.environment.values())}
    assert keyless == KEYLESS == {"airflow-dag-processor", "watch"}
    assert all(keys.keys() <= dict(one.environment).keys() for one in services if one.name not in KEYLESS)


def test_logs_of_services_are_their_owner_s_alone(services: Services) -> None:
    log = services.log_of("sample")
    log.parent.mkdir(parents=True)
    log.write_text("of an older release, open to everybody")
    written = log.parent / "of a task"
    code = f"open({str(written)!r}, 'w').close(); print(1, flush=True); import time; time.sleep(60)"
    services.ensure(python(code))
    pid_told_in(services)
    assert [stat.S_IMODE(path.stat().st_mode) for path in (log, written)] == [0o600, 0o600]
