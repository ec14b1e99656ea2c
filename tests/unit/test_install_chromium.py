"""`scripts/install-chromium` installs a browser where there is none, and else leaves the machine alone."""

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
    program(machine, "apt-get", 'echo "apt-get $1"')
    return subprocess.run(
        ["/bin/sh", repository / "scripts/install-chromium"],
        env={"PATH": str(machine), **variables},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("name", ["chromium", "chromium-browser", "google-chrome"])
def test_a_machine_with_a_browser_downloads_nothing(repository: Path, tmp_path: Path, name: str) -> None:
    program(tmp_path, name, "")
    done = install(repository, tmp_path, user=ROOT)
    assert (done.returncode, done.stdout) == (0, "")


def test_a_browser_elsewhere_is_enough(repository: Path, tmp_path: Path) -> None:
    place = tmp_path / "elsewhere"
    place.mkdir()
    program(place, "browser", "")
    done = install(repository, tmp_path, user=ROOT, CHROMIUM=str(place / "browser"))
    assert (done.returncode, done.stdout) == (0, "")


def test_root_gets_one(repository: Path, tmp_path: Path) -> None:
    done = install(repository, tmp_path, user=ROOT)
    assert (done.returncode, done.stdout.split("\n")) == (0, ["apt-get update", "apt-get install", ""])


def test_anybody_else_is_told(repository: Path, tmp_path: Path) -> None:
    done = install(repository, tmp_path, user=SOMEBODY)
    assert done.returncode == 1
    assert "set CHROMIUM to its path" in done.stderr
    assert done.stdout == ""
