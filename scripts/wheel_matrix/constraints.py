"""Derive constraint files from what Airflow's releases and their providers declare.

Airflow publishes its own on GitHub, which not every network reaches. What pip would have taken on the day of
a release comes close to them, and names no package of ours: as in anybody's Airflow, the wheel must do.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

from wheel_matrix.cells import DERIVED, LOWEST, PYTHONS, RELEASED, ROOT, Cell

#: The newest of SQLAlchemy's 2.0 in Airflow 3.3.1's own constraints, released after Airflow 3.2.2.
SQLALCHEMY: Final = "2.0.51"
SQLALCHEMY_RELEASED: Final = "2026-06-16"
PROVIDERS: Final = (
    "celery",
    "common-compat",
    "fab",
    "http",
    "openlineage",
    "postgres",
    "slack",
    "smtp",
    "standard",
)
HEAD: Final = """\
# Constraints for Airflow {airflow} on Python {python}, derived by `make constraints`; not Airflow's own file.
# The official one, to be preferred where it can be reached:
# https://raw.githubusercontent.com/apache/airflow/constraints-{airflow}/constraints-{python}.txt
#
# {how}
#
"""
OF_THE_DAY: Final = (
    "What this release and its providers declare, resolved as on the day of the release, with SQLAlchemy\n"
    f"# {SQLALCHEMY}, which official files hold. Like those it knows nothing of kraken-recon. Made by:"
)
OF_THE_LEAST: Final = (
    "The least version of each package that kraken-recon allows, and all else as on the day of the release.\n"
    "# Made by:"
)


def write_all() -> None:
    """Write every constraint file anew."""
    for cell in DERIVED:
        _write(cell, OF_THE_DAY, _of_the_day(cell), "\n".join(_asked(cell.airflow)))
    lowest = Cell(LOWEST, PYTHONS[0])
    _write(lowest, OF_THE_LEAST, _of_the_least(), "")


def _asked(airflow: str) -> list[str]:
    providers = [f"apache-airflow-providers-{name}" for name in PROVIDERS]
    return [
        f"apache-airflow[otel,statsd]=={airflow}",
        *providers,
        "psycopg[binary]",
        f"sqlalchemy=={SQLALCHEMY}",
    ]


def _of_the_day(cell: Cell) -> list[str]:
    newest = ["--exclude-newer", RELEASED[cell.airflow]]
    return [*newest, "--exclude-newer-package", f"sqlalchemy={SQLALCHEMY_RELEASED}", "-"]


def _of_the_least() -> list[str]:
    extras = [part for extra in ("celery", "fab", "slack", "smtp") for part in ("--extra", extra)]
    return ["--resolution", "lowest-direct", "--exclude-newer", RELEASED["3.2.2"], "pyproject.toml", *extras]


def _write(cell: Cell, how: str, arguments: list[str], asked: str) -> None:
    command = ["uv", "pip", "compile", "--python-version", cell.python, "--no-annotate", *arguments]
    done = subprocess.run(
        [Path(sys.executable).with_name("uv"), *command[1:], "--quiet", "--no-header"],
        input=asked, text=True, capture_output=True, cwd=ROOT, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        sys.exit(f"{cell}: no versions fit together:\n{done.stderr}")
    given = f"printf '%s\\n' {' '.join(asked.split())} | " if asked else ""
    head = HEAD.format(airflow=cell.airflow.removesuffix("-lowest"), python=cell.python, how=how)
    made = f"{head}#   {given}{' '.join(command)}\n{done.stdout}"
    cell.constraints.write_text(made)
    print(f"wrote {cell.constraints.relative_to(ROOT)}")
