"""The pages that are written from the code say what the code says, and name every setting that it reads."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kraken_recon import settings
from local_stack.settings import VARIABLES
from reference_pages.pages import PAGES

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = ROOT / "docs/reference"
# Written by hand, or by what they measure; other tests look after what they say.
OTHERS = {
    "fault-matrix",
    "growth",
    "kill-matrix",
    "mutation-score",
    "position-certificate",
    "race-schedules",
    "session-leak-score",
    "soak",
    "supported-versions",
    "two-hosts",
}
VARIABLE = re.compile(r"(KRAKEN_RECON|RECON|KRAKEN)_[A-Z_]+|AIRFLOW_CONN_[A-Z_]+")
OF_AIRFLOW = re.compile(r"var\.value\.get\('(\w+)'|var\.value\.(?!get\b)(\w+)|Variable\.get\(['\"](\w+)['\"]")
# What the stack hands to the programs that it starts: the product's own settings.
HANDED_ON = {
    "KRAKEN_RECON_DSN",
    "KRAKEN_RECON_ALLOWED_HOSTS",
    "KRAKEN_RECON_KNOWN_TROUBLE",
    "AIRFLOW_CONN_TRADING_DB",
    "AIRFLOW_CONN_AIRFLOW_API",
    "AIRFLOW_CONN_AIRFLOW_DB_AUDIT",
    "KRAKEN_RECON_AUDITED_CONNECTIONS",
    "KRAKEN_RECON_DESK_BOOKS",
    "AIRFLOW_CONN_ARENA_DB",
}


@pytest.mark.parametrize("name", PAGES)
def test_a_page_says_what_the_code_says(name: str) -> None:
    assert (REFERENCE / f"{name}.md").read_text() == PAGES[name](), "run `make reference`"


def test_every_page_is_written_or_known() -> None:
    assert {path.stem for path in REFERENCE.glob("*.md")} == PAGES.keys() | OTHERS


def texts_in(*folders: str) -> Iterator[tuple[str, str]]:
    for folder in folders:
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    yield path.relative_to(ROOT).as_posix(), node.value


def undeclared(declared: set[str], *folders: str) -> set[tuple[str, str]]:
    return {
        (place, text)
        for place, text in texts_in(*folders)
        if VARIABLE.fullmatch(text) and text not in declared and "provider_info" not in place
    }


def test_every_environment_variable_of_the_product_is_declared_once() -> None:
    declared = {setting.name for setting in settings.ENVIRONMENT}
    found = undeclared(set(), "include/kraken_recon", "plugins", "dags")
    places = {name: {place for place, text in found if text == name} for _, name in found}
    remedy = "declare it in kraken_recon/settings.py and use it from there"
    assert places == {name: {"include/kraken_recon/settings.py"} for name in declared}, remedy


def test_every_environment_variable_of_the_stack_is_declared() -> None:
    declared = {variable.name for variable in VARIABLES}
    assert undeclared(declared | HANDED_ON, "include/local_stack") == set(), (
        "add it to local_stack/settings.py"
    )


def test_every_airflow_variable_is_declared() -> None:
    names = {
        name
        for _, text in texts_in("dags", "plugins")
        for match in OF_AIRFLOW.finditer(text)
        for name in match.groups()
        if name
    }
    sources = "".join(path.read_text() for path in (ROOT / "plugins").rglob("*.py"))
    listed = {name: setting for name, setting in vars(settings).items() if setting in settings.VARIABLES}
    assert names <= {setting.name for setting in listed.values()}, "declare it in kraken_recon/settings.py"
    unread = {s.name for constant, s in listed.items() if s.name not in names and constant not in sources}
    assert unread == set()


def test_the_example_of_an_environment_names_every_variable() -> None:
    example = (ROOT / ".env.example").read_text()
    declared = {setting.name for setting in (*settings.ENVIRONMENT, *VARIABLES)}
    assert {name for name in declared if not re.search(rf"^# ?{name}=", example, re.MULTILINE)} == set()
