"""Every session of the project goes through the unit of work; well-known projects raise no false alarm."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from kraken_recon.cli.main import main
from session_lint.linting import lint_sessions
from session_lint.python_sources import read_sources

ROOT = Path(__file__).resolve().parents[2]

# Each was read by hand and is real, save that the engine of testing/requirements.py never connects. A new
# version of a package may bring new ones: read them, and mend the rule if one is wrong.
REVIEWED = {
    "airflow": {
        ("cli/commands/dag_command.py", "KRS009"): 1,
        ("cli/commands/db_manager_command.py", "KRS003"): 2,
        ("jobs/job.py", "KRS009"): 1,
        ("providers/common/compat/openlineage/utils/sql.py", "KRS002"): 1,
        ("providers/postgres/hooks/postgres.py", "KRS002"): 1,
        ("sdk/definitions/dag.py", "KRS003"): 1,
        ("sdk/definitions/dag.py", "KRS009"): 2,
        ("utils/db_manager.py", "KRS003"): 1,
    },
    "alembic": {},
    "asyncpg": {},
    "fastapi": {},
    "psycopg": {},
    "sqlalchemy": {
        ("testing/requirements.py", "KRS002"): 1,
        ("testing/suite/test_dialect.py", "KRS004"): 1,
    },
}


def lint(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, Any]:
    status = main(["lint-sessions", "--json", *map(str, arguments)])
    return status, json.loads(capsys.readouterr().out)


def test_every_session_goes_through_the_unit_of_work(capsys: pytest.CaptureFixture[str]) -> None:
    places = [
        "kraken_recon/database/unit_of_work.py",
        "kraken_recon/desk_books/session_store.py",  # of a desk's own database
        "demo_bot/tables.py",
        "local_stack/databases.py",
    ]
    only_in = [part for place in places for part in ("--only-in", ROOT / "include" / place)]
    status, view = lint(capsys, *only_in, *(ROOT / name for name in ("dags", "include", "plugins")))
    assert view["findings"] == []
    assert status == 0
    assert view["files"] > 100


def test_tests_and_benchmarks_leave_nothing_open(capsys: pytest.CaptureFixture[str]) -> None:
    bad = ROOT / "tests" / "unit" / "session_corpus" / "bad"
    status, view = lint(capsys, "--exclude", bad, ROOT / "benchmarks", ROOT / "scripts", ROOT / "tests")
    assert view["findings"] == []
    assert status == 0


@pytest.mark.parametrize("package", REVIEWED)
def test_nothing_new_is_found_in_a_well_known_project(package: str) -> None:
    spec = find_spec(package)
    assert spec is not None
    (folder,) = (Path(place) for place in spec.submodule_search_locations or ())
    # Which other providers are installed is not this project's choice.
    providers = (folder / "providers").glob("*")
    others = [place for place in providers if place.name not in {"common", "postgres", "smtp", "standard"}]
    view = lint_sessions(read_sources([folder], exclude=others))
    counts: dict[tuple[str, str], int] = {}
    for finding in view["findings"]:
        place = (Path(finding["path"]).relative_to(folder).as_posix(), finding["rule"])
        counts[place] = counts.get(place, 0) + 1
    assert counts == REVIEWED[package]
    assert view["unreadable"] == []
