"""What the documents point to exists: pages, headings, files, commands and targets of make."""

from __future__ import annotations

import re
import shlex
from functools import cache
from pathlib import Path

import pytest

from desks.documents import commands
from kraken_recon.alerts.kinds import AlertKind
from kraken_recon.cli.main import make_parser

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("docs", "include", "benchmarks", "deploy")
PAGES = sorted([*ROOT.glob("*.md"), *(page for folder in FOLDERS for page in (ROOT / folder).rglob("*.md"))])
LINK = re.compile(r"(?<!`)\[(?:[^\[\]]|\[[^\]]*\])*\]\(([^()\s]+)\)")
FENCED = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
HEADING = re.compile(r"^#{1,6} +(.+?) *$", re.MULTILINE)
TARGET = re.compile(r"(?:^|`)make ([a-z-]+)(?:`|$|\s)", re.MULTILINE)
REPOSITORY_PATH = re.compile(
    r"`((?:\.ci|\.github|benchmarks|config|dags|deploy|docs|include|plugins|scripts|tests)/[\w./-]+)`"
)
CODE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
FILE = re.compile(r"[\w./-]*\w\.(?:py|sql|html|js|css|md|yaml|yml|json|toml)")
MODULE = re.compile(
    r"(?:kraken_recon|kraken_airflow|kraken_sim|session_lint|local_stack|demo_month|demo_bot)(?:\.\w+)+"
)
CLASS = re.compile(r"(?:[A-Z][a-z]+){2,}")
TABLE_NAME = re.compile(r"\btrading\.([a-z_]+)")
METRICS = "docs/reference/metrics.md"
# Files that a reader has or makes, or that a reply of Kraken's is kept in.
OF_THE_READER = {
    f"secrets/connections_{service}.json" for service in ("exchange", "default", "desk", "watch")
}
OF_RECORDINGS = {"AssetPairs.json", "Assets.json"}
# Calls of Kraken's that the simulator does not answer, and says so.
NOT_SIMULATED = {"OrderAmends"}


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@cache
def anchors(page: Path) -> frozenset[str]:
    """Name the headings as a browser of the repository links to them."""
    found: dict[str, int] = {}
    for heading in HEADING.findall(FENCED.sub("", page.read_text())):
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        slug = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
        found[slug] = found.get(slug, -1) + 1
    return frozenset(
        slug if n == 0 else f"{slug}-{n}" for slug, count in found.items() for n in range(count + 1)
    )


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_leads_somewhere(page: Path) -> None:
    broken = []
    for target in LINK.findall(FENCED.sub("", page.read_text())):
        if re.match(r"[a-z]+:", target):
            continue
        place, _, anchor = target.partition("#")
        there = (page.parent / place).resolve() if place else page
        if not there.exists() or (anchor and anchor not in anchors(there)):
            broken.append(target)
    assert not broken, f"{name_of(page)}: these lead nowhere: {broken}"


def is_understood(words: list[str]) -> bool:
    try:
        make_parser().parse_args(words)
    except SystemExit as end:
        return end.code == 0
    return True


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_command_is_understood(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in commands(page):
        # A command that a sentence names, without arguments, need only exist.
        is_named = len(words) == (2 if words[0] in {"account", "plan"} else 1)
        assert is_understood(words) or (is_named and is_understood([*words, "--help"])), (
            f"{name_of(page)}: python -m kraken_recon {shlex.join(words)}\n{capsys.readouterr().err}"
        )


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_target_of_make_and_every_file_exists(page: Path) -> None:
    text = page.read_text()
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(TARGET.findall(text)) <= targets, name_of(page)
    missing = [path for path in REPOSITORY_PATH.findall(text) if not (ROOT / path).exists()]
    assert not missing, f"{name_of(page)}: these files do not exist: {missing}"


@cache
def files() -> frozenset[str]:
    """Name every file, by each of the ways in which a page may shorten its path."""
    roots = (".github", "dags", "deploy", "docs", "include", "plugins", "scripts", "tests", "benchmarks")
    paths = [*ROOT.glob("*"), *(path for root in roots for path in (ROOT / root).rglob("*"))]
    parts = [path.relative_to(ROOT).parts for path in paths if path.is_file()]
    return frozenset("/".join(path[n:]) for path in parts for n in range(len(path)))


@cache
def words_of_code() -> frozenset[str]:
    sources = [path for root in ("include", "plugins", "tests") for path in (ROOT / root).rglob("*.py")]
    return frozenset(word for path in sources for word in re.findall(r"\w+", path.read_text()))


def is_module(name: str) -> bool:
    """Say whether a dotted name is a module, or something that a module defines."""
    places = [root / name.replace(".", "/") for root in (ROOT / "include", ROOT / "plugins")]
    if any(place.is_dir() or place.with_suffix(".py").is_file() for place in places):
        return True
    parent, _, last = name.rpartition(".")
    return bool(parent) and is_module(parent) and last in words_of_code()


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "CHANGELOG.md"], ids=name_of)
def test_every_module_class_and_table_exists(page: Path) -> None:
    text = page.read_text()
    named = CODE.findall(FENCED.sub("", text))
    folder = ROOT / "include/kraken_recon/database/migrations"
    schema = "\n".join(path.read_text() for path in folder.glob("schema*.sql"))
    tables = set(re.findall(r"^create table trading\.(\w+)", schema, re.MULTILINE)) | {"trading"}
    metrics = set(CODE.findall((ROOT / METRICS).read_text()))
    known = files() | OF_THE_READER | OF_RECORDINGS
    missing = [name for name in named if FILE.fullmatch(name) and name not in known]
    named += re.findall(r"^ *from ([\w.]+) import ", text, re.MULTILINE)
    missing += [n for n in named if MODULE.fullmatch(n) and n not in metrics and not is_module(n)]
    missing += [n for n in named if CLASS.fullmatch(n) and n not in words_of_code() | NOT_SIMULATED]
    missing += [f"trading.{name}" for name in TABLE_NAME.findall(text) if name not in tables]
    assert not missing, f"{name_of(page)}: these do not exist: {missing}"


def test_the_index_names_every_page() -> None:
    index = ROOT / "docs/README.md"
    linked = {
        (index.parent / target.partition("#")[0]).resolve() for target in LINK.findall(index.read_text())
    }
    pages = {page for page in (ROOT / "docs").rglob("*.md") if page != index and page.parent.name != "adr"}
    assert {name_of(page) for page in pages - linked} == set()


def test_the_commands_are_found() -> None:
    assert sum(1 for page in PAGES for _ in commands(page)) > 50


def test_the_glossary_has_each_term_once() -> None:
    rows = (ROOT / "docs/glossary.md").read_text().splitlines()
    terms = [row.split("|")[1].strip() for row in rows if row.startswith("| ")][1:]
    assert sorted(terms) == sorted(set(terms))


def test_every_alert_says_what_it_means_how_to_check_what_to_do_and_when_it_ends() -> None:
    sections = re.split(r"^## ", (ROOT / "docs/runbooks/alerts.md").read_text(), flags=re.MULTILINE)[1:]
    parts = {
        section.partition("\n")[0]: re.findall(r"^\*\*(Means|Check|Do|Ends)\.?\*\*", section, re.MULTILINE)
        for section in sections
    }
    assert len(parts) == len(AlertKind)
    assert {name for name, found in parts.items() if found != ["Means", "Check", "Do", "Ends"]} == set()
