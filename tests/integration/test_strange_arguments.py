"""Whatever is typed after an option ends in a refusal that says so, on the real database."""

from __future__ import annotations

import argparse
import io
import sys
from typing import TYPE_CHECKING

import pytest

from desks.logins import as_writer
from kraken_recon.cli.main import main, make_parser

if TYPE_CHECKING:
    from collections.abc import Iterator

TEXTS = ["a\x00b", "caf\udce9", "x" * 100_000, ""]
FIGURES = [
    "\ud800",
    "9" * 5000,
    "\uff11\uff12",
    "nan",
    "1e400000",
    "9223372036854775808",
    "2147483648",
    "-1",
    "0001-01-01T00:00:00+14:00",
    "9999-12-31T23:59:59-14:00",
]
USUAL = {
    "account": "desk",
    "asset": "BTC",
    "at": "2026-01-05T12:00Z",
    "by": "alice",
    "connection": "kraken_desk",
    "file": "certificate.json",
    "files": "ledgers.csv",
    "name": "desk",
    "note": "put right by hand",
    "order": "1",
    "pair": "BTC/USD",
    "paths": "missing.py",
    "plan": "11111111-2222-3333-4444-555555555555",
    "reason": "seen at Kraken",
    "side": "buy",
}


def commands(
    parser: argparse.ArgumentParser, words: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], list[argparse.Action]]]:
    """Find every command with its arguments that take a value."""
    for action in parser._actions:  # noqa: SLF001 - argparse has no other way to ask
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            for name, below in action.choices.items():
                yield from commands(below, (*words, name))
            return
    yield words, [action for action in parser._actions if action.nargs != 0]  # noqa: SLF001


def written(action: argparse.Action, value: str) -> list[str]:
    values = [value] * action.nargs if isinstance(action.nargs, int) else [value]
    if not action.option_strings:
        return values
    option = action.option_strings[0]
    return [f"{option}={value}"] if len(values) == 1 else [option, *values]


@pytest.fixture
def desk(database_url, monkeypatch, tmp_path):
    monkeypatch.setenv("KRAKEN_RECON_DSN", as_writer(database_url))
    monkeypatch.chdir(tmp_path)
    assert main(["account", "add", "desk", "--connection", "kraken_desk"]) == 0


@pytest.mark.usefixtures("desk")
def test_no_argument_of_any_command_ends_in_a_traceback(capsys):
    for words, actions in commands(make_parser()):
        for action in actions:
            others = [
                text
                for other in actions
                if other.required and other is not action
                for text in written(other, USUAL[other.dest])
            ]
            for value in [*TEXTS, *(FIGURES if action.type else ())]:
                try:
                    status = main([*words, *others, *written(action, value)])
                except SystemExit as refusal:
                    status = refusal.code
                told = capsys.readouterr().err
                said = (*words, action.dest, value[:30], told[:200])
                assert isinstance(status, int), said
                assert "StoreError" not in told, said
                assert "TextRefusedError" not in told, said
                assert len(told) < 10_000, said


@pytest.mark.parametrize("words", [["order"], ["verify"]])
@pytest.mark.parametrize("wait", ["nan", "inf", "-1", "1e9", "\uff11"])
def test_nobody_waits_for_ever(words, wait, capsys):
    with pytest.raises(SystemExit):
        main([*words, "--wait", wait])
    assert "expected 0 to" in capsys.readouterr().err


def test_a_name_that_the_terminal_cannot_show_is_shown_as_an_escape(monkeypatch, tmp_path):
    printed = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", printed)
    missing = tmp_path / "caf\udce9 \u20ac.py"
    assert main(["lint-sessions", str(missing)]) == 2
    printed.flush()
    assert rb"caf\udce9 \u20ac.py" in printed.buffer.getvalue()
