"""One noun per capability and one meaning per word, as far as a test can tell."""

from __future__ import annotations

import argparse
import ast
import re
import tomllib
from collections import defaultdict
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kraken_recon.alerts.kinds import AlertKind
from kraken_recon.cli.main import make_parser
from kraken_recon.database.named_sql import load

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
CORE = ROOT / "include/kraken_recon"
AIRFLOW = ROOT / "plugins/kraken_airflow"
SOURCES = ("dags", "include", "plugins", "scripts", "tests", "benchmarks")
# Words for a drawer into which anything fits.
SAY_NOTHING = {"util", "helper", "common", "manager", "misc", "stuff"}
# Where the words are used as the field does, or about the words themselves; the table's name stands in rows.
# What the families of commands share.
OF_NO_FAMILY = {"arguments", "command", "exit_statuses", "log_lines", "main", "trading_db"}
TELL_OF_BIDS_AND_ASKS = {
    "docs/glossary.md",
    "docs/how-to/place-an-order.md",
    "include/kraken_sim/README.md",
    "tests/policy/test_glossary.py",
}
THE_TABLE = re.compile(r"\b([pf]k_)?order_books(_account_id_accounts)?\b")


def singular(word: str) -> str:
    """Bring a word to the form in which nouns are compared."""
    if word.endswith("ies"):
        return f"{word[:-3]}y"
    return word[:-1] if word.endswith("s") and not word.endswith("ss") else word


def words(text: str) -> set[str]:
    """Cut a name or a sentence into nouns to compare."""
    return {singular(word) for word in re.findall(r"[a-z]+", text.lower())}


def rows(page: str, heading: str) -> list[list[str]]:
    """Read the rows of the first table below a line of a page that begins so."""
    text = (ROOT / page).read_text()
    table = text[text.index(heading) :].partition("\n\n")[0].splitlines()
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in table[2:]]


def named(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


CAPABILITIES = rows("docs/architecture.md", "| folder | is about")


@cache
def vocabulary() -> frozenset[str]:
    terms = [row[0] for row in rows("docs/glossary.md", "| term | meaning")]
    return frozenset(word for term in terms for word in words(term))


@cache
def modules(*folders: str) -> tuple[Path, ...]:
    return tuple(path for folder in folders for path in sorted((ROOT / folder).rglob("*.py")))


def classes(*folders: str) -> Iterator[tuple[str, Path]]:
    for path in modules(*folders):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                yield node.name, path


def test_every_folder_is_a_capability_with_a_line_and_a_term() -> None:
    told = [folder for row in CAPABILITIES for folder in named(row[0])]
    folders = {path.parent.name for path in CORE.glob("*/__init__.py")}
    assert sorted(told) == sorted(folders), "docs/architecture.md has a line for every folder of kraken_recon"
    # What stands below all capabilities or above them: a machine room, no noun of the desk.
    unnamed = {f for f in folders if not words(f) <= vocabulary()} - {"cli", "values", "kraken"}
    assert not unnamed, f"docs/glossary.md does not say what these are: {unnamed}"


def test_every_folder_of_the_plugin_has_a_line() -> None:
    told = [f for row in rows("docs/architecture.md", "| folder of `kraken_airflow`") for f in named(row[0])]
    folders = {path.parent.name for path in AIRFLOW.glob("*/__init__.py")}
    assert sorted(told) == sorted(folders)


def test_every_dag_belongs_to_one_capability_and_so_does_its_operator() -> None:
    told = [dag for row in CAPABILITIES for dag in named(row[2])]
    assert sorted(told) == sorted(path.stem for path in (ROOT / "dags").glob("*.py"))
    operators = {path.stem for path in (AIRFLOW / "operators").glob("*.py")} - {"__init__", "base"}
    without_dag = {folder for row in CAPABILITIES if not named(row[2]) for folder in named(row[0])}
    assert operators <= {*told, *without_dag}, "an operator's file is named after its DAG, or its capability"


def test_every_command_belongs_to_one_capability() -> None:
    told = [command for row in CAPABILITIES for command in named(row[3])]
    whole = make_parser()._actions  # noqa: SLF001 - argparse offers no other way to look at a parser
    families = [action for action in whole if isinstance(action, argparse._SubParsersAction)]  # noqa: SLF001 - same
    assert sorted(told) == sorted(name for family in families for name in family.choices)


def test_the_floors_are_those_that_the_contracts_keep() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    contracts = settings["tool"]["importlinter"]["contracts"]
    (floors,) = [c["layers"] for c in contracts if c.get("containers") == ["kraken_recon"]]
    text = (ROOT / "docs/architecture.md").read_text()
    drawn = text[text.index("They stand on floors") :].split("```text\n")[1].partition("\n```")[0]
    assert drawn.splitlines() == [floor for floor in floors if floor != "__main__"]


@pytest.mark.parametrize(
    ("what", "names"),
    [
        ("stores", [name for name, _ in classes("include/kraken_recon") if name.endswith("Store")]),
        ("files of SQL", [path.stem for path in CORE.rglob("*.sql")]),
        ("pages", [path.stem for path in (AIRFLOW / "dashboard/pages").glob("[!_]*.py")]),
        (
            "families of commands",
            sorted({path.stem for path in (CORE / "cli").glob("[!_]*.py")} - OF_NO_FAMILY),
        ),
        ("kinds of alerts", [str(kind) for kind in AlertKind]),
    ],
)
def test_names_are_made_of_words_of_the_glossary(what: str, names: list[str]) -> None:
    nouns = {name: words(re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name)) for name in names}
    strange = [name for name, of_name in nouns.items() if not of_name & vocabulary()]
    assert len(names) > 5
    assert not strange, f"{what} without a word of docs/glossary.md: {strange}"


def test_a_file_of_sql_is_named_after_its_folder_or_a_store_beside_it_or_a_page() -> None:
    pages = {path.stem for path in (AIRFLOW / "dashboard/pages").glob("[!_]*.py")}
    for path in CORE.rglob("*.sql"):
        beside = {module.stem.removesuffix("_store") for module in path.parent.glob("*.py")}
        assert (
            path.stem == path.parent.name
            or words(path.stem) in [words(name) for name in beside]
            or path.stem == "locks"
            or path.stem.startswith("schema")
            or (path.parent == CORE / "reports/pages" and path.stem in pages)
        ), path
        if not path.stem.startswith("schema"):
            assert load(str(path.parent / "store.py"), path.stem)


def test_no_two_classes_of_the_core_share_a_name() -> None:
    places: dict[str, list[Path]] = defaultdict(list)
    for name, path in classes("include/kraken_recon", "include/session_lint"):
        if not name.startswith("_"):
            places[name].append(path.relative_to(ROOT))
    assert {name: found for name, found in places.items() if len(found) > 1} == {}


def test_no_name_says_nothing() -> None:
    names = [(path.stem, path) for path in modules(*SOURCES)]
    names += [
        (folder.name, folder) for top in SOURCES for folder in (ROOT / top).rglob("*") if folder.is_dir()
    ]
    names += [(re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name), path) for name, path in classes(*SOURCES)]
    found = [f"{path.relative_to(ROOT)}: {name}" for name, path in names if words(name) & SAY_NOTHING]
    assert not found


def test_an_order_book_is_bids_and_asks() -> None:
    folders = [ROOT / folder for folder in (*SOURCES, "docs", "deploy")]
    pages = [*ROOT.glob("*.md"), *(path for folder in folders for path in folder.rglob("*"))]
    texts = {".py", ".sql", ".md", ".html", ".js", ".yaml", ".toml", ".json"}
    found = []
    for path in pages:
        name = path.relative_to(ROOT).as_posix()
        if path.suffix in texts and name not in TELL_OF_BIDS_AND_ASKS and "/static/" not in name:
            found += [
                f"{name}: {line.strip()}"
                for line in path.read_text().splitlines()
                if re.search(r"order[ _-]?books?", THE_TABLE.sub("", line), re.IGNORECASE)
            ]
    assert not found, "Kraken's records of our orders are no order book; call them orders"


def test_a_page_and_its_template_have_one_name() -> None:
    pages = (AIRFLOW / "dashboard/pages").glob("*.py")
    rendered = [
        (page.stem, name) for page in pages for name in re.findall(r'"(\w+)\.html"', page.read_text())
    ]
    assert len(rendered) > 5
    assert [one for one in rendered if one[0] != one[1]] == []
    assert all((AIRFLOW / f"dashboard/templates/{name}.html").is_file() for _, name in rendered)
