"""The session rules find what they say, and nothing else: on a corpus and on their own examples."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from session_lint.check_module import check_source
from session_lint.rules import RULES, Rule, document_rules

ROOT = Path(__file__).resolve().parents[2]
CORPUS = Path(__file__).resolve().parent / "session_corpus"
EXPECTED = re.compile(r"# expect: (KRS\d{3})")
SNIPPETS_MIN = 40
PREAMBLE = """
import psycopg, psycopg2, requests, sqlalchemy
from contextlib import closing
from sqlalchemy import create_engine
from sqlalchemy.orm import Session, sessionmaker

def example():
"""


def files(quality: str) -> list[Path]:
    return sorted((CORPUS / quality).glob("*.py"))


def found_in(source: str) -> list[tuple[int, str]]:
    return sorted({(finding.line, finding.code) for finding in check_source(source)})


def expected_in(source: str) -> list[tuple[int, str]]:
    return [
        (number, code)
        for number, line in enumerate(source.splitlines(), 1)
        for code in EXPECTED.findall(line)
    ]


@pytest.mark.parametrize("file", files("bad"), ids=lambda file: file.stem)
def test_what_is_bad_is_found_at_its_line_and_nothing_else(file: Path) -> None:
    source = file.read_text()
    assert found_in(source) == expected_in(source)


@pytest.mark.parametrize("file", files("good"), ids=lambda file: file.stem)
def test_what_is_good_is_left_alone(file: Path) -> None:
    assert check_source(file.read_text()) == []


def test_the_corpus_is_large_and_covers_every_rule() -> None:
    expected = [code for file in files("bad") for _, code in expected_in(file.read_text())]
    assert len(expected) >= SNIPPETS_MIN
    assert set(expected) == set(RULES) - {"KRS001"}  # it depends on where the file is: below
    functions = [line for file in files("good") for line in file.read_text().splitlines() if "def " in line]
    assert len(functions) >= SNIPPETS_MIN


def test_an_opening_outside_the_one_place_is_found_however_well_it_is_closed() -> None:
    source = (
        "import sqlalchemy as sa\nENGINE = sa.create_engine('postgresql://db', poolclass=sa.NullPool)\n"
        "def read():\n    with ENGINE.connect() as connection, connection.cursor() as cursor:\n"
        "        return cursor.execute('select 1')\n"
        "def work(hook):\n    with hook.unit_of_work() as unit:\n        unit.commit()\n"
    )
    assert check_source(source) == []
    outside = check_source(source, is_the_one_place=False)
    assert [(finding.line, finding.code) for finding in outside] == [(2, "KRS001"), (4, "KRS001")]


@pytest.mark.parametrize("rule", RULES.values(), ids=lambda rule: rule.code)
def test_every_rule_finds_its_own_bad_example_and_not_its_good_one(rule: Rule) -> None:
    def codes(example: str) -> set[str]:
        source = PREAMBLE + "".join(f"    {line}\n" for line in example.splitlines())
        # Names of a module are kept on purpose, so the example about them is not put into a function.
        source = f"{PREAMBLE}    pass\n{example}\n" if example.startswith(("SESSION", "Session")) else source
        return {finding.code for finding in check_source(source, is_the_one_place=rule.code != "KRS001")}

    assert rule.code in codes(rule.bad)
    assert rule.code not in codes(rule.good)


def test_the_reference_page_is_made_from_the_rules() -> None:
    page = ROOT / "docs" / "reference" / "session-rules.md"
    assert page.read_text() == document_rules(), "write document_rules() into the page"


def test_the_place_of_a_finding_moves_with_the_code() -> None:
    for file in files("bad"):
        source = file.read_text()
        moved = [(line + 3, code) for line, code in expected_in(source)]
        assert found_in("# one\n\n# three\n" + source) == moved
        assert found_in(source.replace("\n", "\r\n")) == expected_in(source)


OPENED = "import psycopg\ndef work():\n    connection = psycopg.connect('')"


@pytest.mark.parametrize(
    ("comment", "codes"),
    [
        ("  # session: allowed - the process ends with it", []),
        ("  # session: allowed -- the process ends with it", []),
        ("  #session:allowed - reason", []),
        ("  # session: allowed", ["KRS011"]),
        ("  # session: allowed -", ["KRS011"]),
        ("  # session: allowed the process ends with it", ["KRS011"]),
        ("  # session: is allowed - reason", ["KRS003"]),
        ("  # sessions are allowed - reason", ["KRS003"]),
        ("\n    # session: allowed - this line is too late", ["KRS003"]),
    ],
)
def test_a_line_is_allowed_with_a_reason_only(comment: str, codes: list[str]) -> None:
    source = f"{OPENED}{comment}\n    connection.execute('select 1')\n"
    assert [finding.code for finding in check_source(source)] == codes


def test_a_comment_in_a_text_allows_nothing() -> None:
    source = f"{OPENED}; note = '# session: allowed - reason'\n"
    assert [finding.code for finding in check_source(source)] == ["KRS003"]


def test_only_the_allowed_line_is_allowed() -> None:
    source = f"{OPENED}  # session: allowed - reason\n    other = psycopg.connect('')\n"
    assert found_in(source) == [(4, "KRS003")]
