"""`scripts/install-programs` installs what there is not, and else leaves the machine alone."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

ROOT = "echo 0"
SOMEBODY = "echo 1000"


def program(directory: Path, name: str, script: str) -> None:
    file = directory / name
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)


def install(
    repository: Path, machine: Path, *, user: str, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run the script on a machine that has no other programs; its apt-get tells what it was asked."""
    program(machine, "id", user)
    program(machine, "apt-get", 'echo "apt-get $@"')
    return subprocess.run(
        ["/bin/sh", repository / "scripts/install-programs"],
        env={"PATH": str(machine), "SYSTEM_PROGRAMS": str(machine / "none"), **variables},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("name", ["chromium", "chromium-browser", "google-chrome"])
def test_a_machine_that_has_all_downloads_nothing(repository: Path, tmp_path: Path, name: str) -> None:
    program(tmp_path, name, "")
    program(tmp_path, "pgbouncer", "")
    done = install(repository, tmp_path, user=ROOT)
    assert (done.returncode, done.stdout) == (0, "")


def test_programs_elsewhere_are_enough(repository: Path, tmp_path: Path) -> None:
    place = tmp_path / "elsewhere"
    place.mkdir()
    program(place, "browser", "")
    program(place, "pgbouncer", "")
    browser = str(place / "browser")
    for where in ({"PGBOUNCER": str(place / "pgbouncer")}, {"SYSTEM_PROGRAMS": str(place)}):
        done = install(repository, tmp_path, user=ROOT, CHROMIUM=browser, **where)
        assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize(
    ("present", "packages"),
    [
        ((), "chromium fonts-liberation pgbouncer"),
        (("chromium",), "pgbouncer"),
        (("pgbouncer",), "chromium fonts-liberation"),
    ],
)
def test_root_gets_what_is_not_there(
    repository: Path, tmp_path: Path, present: tuple[str, ...], packages: str
) -> None:
    for name in present:
        program(tmp_path, name, "")
    done = install(repository, tmp_path, user=ROOT)
    asked = ["apt-get update -qq", f"apt-get install -y -qq --no-install-recommends {packages}", ""]
    assert (done.returncode, done.stdout.split("\n")) == (0, asked)


def test_anybody_else_is_told(repository: Path, tmp_path: Path) -> None:
    done = install(repository, tmp_path, user=SOMEBODY)
    assert done.returncode == 1
    assert "set CHROMIUM to its path" in done.stderr
    assert "set PGBOUNCER to its path" in done.stderr
    assert done.stdout == ""
