"""A container that hangs is ended by its health check, and nothing else is."""

from __future__ import annotations

import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from kraken_airflow.restart_when_unwell import main

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

HANGS = "import time; print('up', flush=True); time.sleep(60)"
WELL, UNWELL, UNKNOWN = ("true",), ("false",), ("sh", "-c", "exit 2")


@pytest.fixture
def hanging() -> Iterator[subprocess.Popen[bytes]]:
    """A service that is stopped and wakes for nobody, as the first of a session of its own."""
    process = subprocess.Popen(
        [sys.executable, "-c", HANGS], stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    )
    with process:
        assert process.stdout
        process.stdout.readline()
        process.send_signal(signal.SIGSTOP)
        yield process
        process.kill()


@pytest.fixture
def asked(hanging: subprocess.Popen[bytes], tmp_path: Path) -> Callable[..., int]:
    def ask(*command: str, young: str = "-1") -> int:
        given = ["--first", str(hanging.pid), "--after", "3", "--count", str(tmp_path / "unwell")]
        return main([*given, "--young", young, "--seconds", "0.2", "--", *command])

    return ask


def test_what_is_unwell_three_times_in_a_row_is_ended(
    hanging: subprocess.Popen[bytes], asked: Callable[..., int]
) -> None:
    assert [asked(*UNWELL), asked(*UNWELL), asked(*WELL), asked(*UNWELL), asked("sleep", "9")] == [
        1,
        1,
        0,
        1,
        1,
    ]
    assert hanging.poll() is None
    assert asked(*UNWELL) == 1
    assert hanging.wait(timeout=5) == -signal.SIGKILL
    assert hanging.stderr
    assert b"unwell 3 times in a row: everything here is ended" in hanging.stderr.read()


@pytest.mark.parametrize(("command", "young"), [(UNKNOWN, "-1"), (UNWELL, "3600")])
def test_what_another_is_to_blame_for_and_a_slow_start_end_nothing(
    hanging: subprocess.Popen[bytes], asked: Callable[..., int], command: tuple[str, ...], young: str
) -> None:
    assert [asked(*command, young=young) for _ in range(4)] == [1] * 4
    assert hanging.poll() is None
