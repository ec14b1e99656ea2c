"""What the documents point to exists: pages, headings, files, commands and targets of make."""

from __future__ import annotations

import re
import shlex
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kraken_recon.alerts.kinds import AlertKind
from kraken_recon.cli.main import make_parser

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("docs", "include", "benchmarks", "deploy")
PAGES = sorted([*ROOT.glob("*.md"), *(page for folder in FOLDERS for page in (ROOT / folder).rglob("*.md"))])
LINK = re.compile(r"(?<!`)\[(?:[^\[\]]|\[[^\]]*\])*\]\(([^()\s]+)\)")
FENCED = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
HEADING = re.compile(r"^#{1,6} +(.+?) *$", re.MULTILINE)
COMMAND = re.compile(r"python -m kraken_recon ((?:[^`\n\\]|\\\n)+)")
TARGET = re.compile(r"(?:^|`)make ([a-z-]+)(?:`|$|\s)", re.MULTILINE)
REPOSITORY_PATH = re.compile(
    r"`((?:benchmarks|config|dags|deploy|docs|include|plugins|scripts|tests)/[\w./-]+)`"
)
# What stands in a command for something of the reader's own.
EXAMPLES = {
    "PLAN": "00000000-0000-0000-0000-000000000000",
    "ID": "1",
    "START": "2026-01-01T00:00Z",
    "END": "2026-01-02T00:00Z",
    "$(date -u +%FT%TZ)": "2026-01-01T00:00Z",
}


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


def commands(page: Path) -> Iterator[list[str]]:
    """Cut the commands out of a page; brackets around what may be left out, and what follows a pipe, go."""
    for text in COMMAND.findall(page.read_text()):
        plain = re.sub(r"[\[\]]|\\\n", " ", text.split(" | ")[0])
        words = shlex.split(plain, comments=True)
        if words and words != ["COMMAND"]:
            yield [EXAMPLES.get(word, word) for word in words]


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
