"""Who may import whom, what Airflow runs as a plugin, and that it knows our connection type."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import grimp
import pytest
from airflow.plugins_manager import get_plugin_info
from airflow.providers_manager import ProvidersManager

from kraken_airflow.hooks.kraken import KrakenHook

ROOT = Path(__file__).resolve().parents[2]
LINES_OF_A_FILE_MAX = 450
LINES_OF_A_FUNCTION_MAX = 60


def test_the_import_contracts_are_kept(project_environment: dict[str, str]) -> None:
    done = subprocess.run(
        [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"],
        env=project_environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"an import crosses a wall; see pyproject.toml:\n{done.stdout}{done.stderr}"


@pytest.mark.parametrize(
    "package",
    ["kraken_recon", "kraken_sim", "kraken_airflow", "session_lint", "local_stack", "demo_month", "demo_bot"],
)
def test_no_modules_import_each_other_in_a_circle(package: str) -> None:
    graph = grimp.build_graph(package, exclude_type_checking_imports=False, cache_dir=None)
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    TopologicalSorter(imports).prepare()  # raises CycleError, which names the circle


def test_what_tests_share_is_a_desk_that_the_readme_names() -> None:
    tests = ROOT / "tests"
    files = {path.relative_to(tests).with_suffix(""): path for path in tests.rglob("*.py")}
    shared = {".".join(place.parts) for place in files if place.parts[0] not in {"desks", "conftest"}}
    borrowed = [
        (place.as_posix(), node.module)
        for place, path in files.items()
        if "session_corpus" not in place.parts
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and node.module in shared
    ]
    assert borrowed == [], "move what two test files need to tests/desks"
    named = set(re.findall(r"`(\w+\.\w+)`", (tests / "desks/README.md").read_text()))
    desks = {path.name for path in (tests / "desks").iterdir() if path.suffix in {".py", ".sql"}}
    assert desks - {"__init__.py"} <= named, "say in tests/desks/README.md when to use it"


@pytest.mark.parametrize("root", ["include", "plugins", "dags", "scripts"])
def test_a_file_and_a_function_can_be_taken_in_at_a_glance(root: str) -> None:
    # The schema is one list of tables, and is read by name.
    files = [path for kind in ("py", "sql", "html") for path in (ROOT / root).rglob(f"*.{kind}")]
    lines = {path.relative_to(ROOT).as_posix(): path.read_text().count("\n") for path in files}
    assert {name for name, count in lines.items() if count > LINES_OF_A_FILE_MAX} <= {
        "include/kraken_recon/database/migrations/schema.sql"
    }
    long = [
        f"{path.relative_to(ROOT)}:{part.lineno} {part.name}"
        for path in files
        if path.suffix == ".py"
        for part in ast.walk(ast.parse(path.read_text()))
        if isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef)
        and (part.end_lineno or 0) - part.lineno >= LINES_OF_A_FUNCTION_MAX
    ]
    assert long == []


@pytest.mark.parametrize(
    ("written", "places"),
    [
        ("insert into trading.reconciliation_runs ", ["reconciliation.sql"]),
        ("<table", ["chart.html", "table.html"]),
    ],
)
def test_what_is_done_in_one_place(written: str, places: list[str]) -> None:
    files = [path for root in ("include", "plugins") for path in (ROOT / root).rglob("*.*")]
    found = [path.name for path in files if path.suffix in {".sql", ".html"} and written in path.read_text()]
    assert sorted(found) == places


def test_commands_are_declared_in_one_way() -> None:
    graph = grimp.build_graph("kraken_recon", include_external_packages=True, cache_dir=None)
    own_parsers = graph.find_modules_that_directly_import("argparse")
    assert own_parsers == {"kraken_recon.cli.arguments", "kraken_recon.cli.command"}


def test_airflow_registers_the_plugin_once() -> None:
    sources = [str(info["source"]) for info in get_plugin_info()]
    ours = [source for source in sources if "kraken" in source]
    assert len(ours) == 1, f"registered twice, or never: {ours}"


def test_the_connection_form_is_ours() -> None:
    forms = {
        form.connection_type: form for form in ProvidersManager().iter_connection_type_hook_ui_metadata()
    }
    assert "kraken" in forms, (
        "Airflow does not know the connection type kraken: run make setup, which installs the entry point"
    )
    form = forms["kraken"]
    assert form.hook_class_name == f"{KrakenHook.__module__}.{KrakenHook.__qualname__}"
    behaviour = form.field_behaviour
    assert behaviour["relabeling"] == {"login": "API key", "password": "Private key", "host": "Base URL"}
    assert behaviour["placeholders"]["host"] == "empty: https://api.kraken.com"
    assert set(behaviour["hidden_fields"]) == {"schema", "port", "extra"}
