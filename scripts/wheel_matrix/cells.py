"""Which Airflow meets which Python, by which constraints."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
FOLDER: Final = ROOT / "deploy/constraints"
PYTHONS: Final = ("3.11", "3.12", "3.13")
#: Airflow's releases with constraints here, and the day after which nothing newer was there for them.
RELEASED: Final = {"3.2.2": "2026-05-30", "3.3.2": "2026-09-18"}
#: The least of everything that pyproject.toml allows.
LOWEST: Final = "3.2.2-lowest"
#: What requirements.txt pins; SQLAlchemy 2.1 is among it.
PINNED: Final = "pinned"


@dataclass(frozen=True, slots=True)
class Cell:
    """One environment of the matrix."""

    airflow: str
    python: str

    @property
    def constraints(self) -> Path:
        """The file whose versions are kept."""
        if self.airflow == PINNED:
            return ROOT / "requirements.txt"
        return FOLDER / f"airflow-{self.airflow}-python-{self.python}.txt"

    def __str__(self) -> str:
        """Name it in output and on the page."""
        return f"Airflow {self.airflow}, Python {self.python}"


DERIVED: Final = tuple(Cell(airflow, python) for airflow in RELEASED for python in PYTHONS)
EVERY: Final = (*DERIVED, Cell(LOWEST, "3.11"), Cell(PINNED, "3.13"))
#: The corners: with these and the suite on the pinned versions, CI stays within its hour.
QUICK: Final = (Cell("3.2.2", "3.11"), Cell("3.3.2", "3.13"))


def find_python(version: str) -> str | None:
    """Find an interpreter of a version: the one in ``PYTHON``, on the path, or one of pyenv's."""
    kept_by_pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    candidates = [
        shutil.which(os.environ.get("PYTHON", "")),
        shutil.which(f"python{version}"),
        shutil.which("python3"),
    ]
    candidates += sorted(map(str, kept_by_pyenv.glob(f"{version}.*/bin/python{version}")))
    for found in filter(None, candidates):
        told = subprocess.run(
            [found, "-c", "import sys, venv; print('%d.%d' % sys.version_info[:2])"],
            capture_output=True,
            text=True,
            check=False,
        )
        if told.returncode == 0 and told.stdout.strip() == version:
            return found
    return None
