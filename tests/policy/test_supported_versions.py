"""What the wheel asks for leaves room for every Airflow that is said to be supported, and was tried there."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from wheel_matrix.cells import DERIVED, EVERY, Cell

ROOT = Path(__file__).resolve().parents[2]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
ASKED = [
    Requirement(line)
    for lines in (PROJECT["dependencies"], *[EXTRAS[name] for name in ("celery", "fab", "slack", "smtp")])
    for line in lines
]


def held(cell: Cell) -> dict[str, Version]:
    """Read the versions that a constraint file holds."""
    lines = [
        line.split(";")[0].split()[0] for line in cell.constraints.read_text().splitlines() if "==" in line
    ]
    pairs = [line.split("==") for line in lines if not line.startswith(("#", "-"))]
    return {canonicalize_name(name.split("[")[0]): Version(version) for name, version in pairs}


@pytest.mark.parametrize("cell", EVERY, ids=str)
def test_constraints_and_requirements_meet(cell: Cell) -> None:
    versions = held(cell)
    outside = [
        (str(asked), str(versions[name]))
        for asked in ASKED
        if (name := canonicalize_name(asked.name)) in versions and versions[name] not in asked.specifier
    ]
    assert outside == []


def test_constraints_hold_what_official_ones_hold() -> None:
    for cell in DERIVED:
        versions = held(cell)
        assert versions["apache-airflow"] == Version(cell.airflow)
        assert versions["sqlalchemy"] == Version("2.0.51")
        assert "kraken-recon" not in versions
        head = cell.constraints.read_text().split("\n\n")[0]
        assert "not Airflow's own" in head
        assert "uv pip compile" in head


def test_the_lower_ends_of_all_ranges_are_tried() -> None:
    [lowest] = [cell for cell in EVERY if "lowest" in cell.airflow]
    versions = held(lowest)
    for asked in ASKED:
        name = canonicalize_name(asked.name)
        least = [Version(one.version) for one in asked.specifier if one.operator == ">="]
        # What several packages ask for is as low as all of them allow.
        if least and name not in {"alembic", "pydantic", "pyyaml", "tenacity", "markdown-it-py"}:
            assert [versions[name]] == least, f"make constraints: {asked}"


def test_no_requirement_is_one_version() -> None:
    assert [str(asked) for asked in ASKED if any(one.operator == "==" for one in asked.specifier)] == []


def test_the_page_shows_every_cell_and_all_of_them_good() -> None:
    page = (ROOT / "docs/reference/supported-versions.md").read_text()
    rows = [line.strip("| ").split(" | ") for line in page.splitlines() if line.startswith("| ")]
    tried = {(row[0], row[1]): row[4:9] for row in rows if len(row) == 10}
    assert {cell: tried.get((cell.airflow, cell.python)) for cell in EVERY} == {
        cell: ["yes"] * 5 for cell in EVERY
    }
