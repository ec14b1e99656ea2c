"""`lint-sessions`: what it reads, what it prints, how it ends."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from kraken_recon.cli.main import main

LEAK = """import psycopg


def work():
    connection = psycopg.connect('')
    connection.execute('select 1')
"""
REMEDY = "(open it in a with block)"


def lint(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    status = main(["lint-sessions", *map(str, arguments)])
    return status, capsys.readouterr().out


def lint_as_json(capsys: pytest.CaptureFixture[str], *arguments: object) -> Any:
    return json.loads(lint(capsys, "--json", *arguments)[1])


def test_nothing_found_ends_with_0(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "good.py").write_text("print('no session')\n")
    assert lint(capsys, tmp_path) == (0, "1 files, 0 findings\n")


def test_a_finding_names_file_line_rule_and_remedy_and_ends_with_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "leak.py"
    file.write_text(LEAK)
    expected = f"{file}:5:18: KRS003 this connection is never closed {REMEDY}\n1 files, 1 findings\n"
    assert lint(capsys, file) == (1, expected)


def test_json_says_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "leak.py"
    file.write_text(LEAK)
    finding = {
        "path": str(file),
        "line": 5,
        "column": 18,
        "rule": "KRS003",
        "name": "never closed",
        "message": "this connection is never closed",
        "remedy": "open it in a with block",
    }
    expected = {"files": 1, "findings": [finding], "unreadable": [], "exit_status": 1}
    assert lint_as_json(capsys, file) == expected


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"def broken(:\n", "line 1: "),
        (b"x = '\xff'\n", "not readable as text: "),
        (b"# coding: nonsense\n", "not readable as text: "),
        (b"x = 1\x00\n", "null bytes"),
        (b"x = " + b"(" * 5000 + b")" * 5000, ""),
    ],
    ids=["syntax", "bytes", "encoding", "null", "depth"],
)
def test_a_file_that_cannot_be_read_is_named_and_the_others_are_checked(
    content: bytes, problem: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a_broken.py").write_bytes(content)
    (tmp_path / "leak.py").write_text(LEAK)
    view = lint_as_json(capsys, tmp_path)
    assert [finding["rule"] for finding in view["findings"]] == ["KRS003"]
    assert [unread["path"] for unread in view["unreadable"]] == [str(tmp_path / "a_broken.py")]
    assert problem in view["unreadable"][0]["problem"]
    assert view["exit_status"] == 2
    status, text = lint(capsys, tmp_path)
    assert status == 2
    assert f"{tmp_path / 'a_broken.py'}: not checked: " in text
    assert text.endswith("2 files, 1 findings, 1 files not checked\n")


@pytest.mark.parametrize("what", ["missing", "empty"])
def test_a_path_without_python_is_no_success(
    what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    assert lint(capsys, tmp_path / what)[0] == 2


def test_a_folder_is_searched_once_and_without_hidden_folders(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder in ("dags/team", "dags/.venv/lib"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "leak.py").write_text(LEAK)
    (tmp_path / "dags" / "notes.txt").write_text(LEAK)
    file = tmp_path / "dags" / "team" / "leak.py"
    view = lint_as_json(capsys, tmp_path / "dags", file, tmp_path / "dags" / "team")
    assert [finding["path"] for finding in view["findings"]] == [str(file)]
    assert view["files"] == 1
    assert lint_as_json(capsys, tmp_path, "--exclude", file.parent)["files"] == 0


def test_the_one_place_may_be_a_file_or_a_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    source = "import psycopg\nwith psycopg.connect('') as connection:\n    connection.execute('select 1')\n"
    for folder in ("store", "dags"):
        Path(folder).mkdir()
        Path(folder, "work.py").write_text(source)
    for place in ("store", "store/work.py", tmp_path / "store"):
        view = lint_as_json(capsys, "--only-in", place, "store", "dags")
        assert [(f["path"], f["rule"]) for f in view["findings"]] == [("dags/work.py", "KRS001")]
    assert lint_as_json(capsys, "--only-in", "store", "--only-in", "dags", ".")["exit_status"] == 0
