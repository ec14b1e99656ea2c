"""The page about every command of ``python -m kraken_recon``, from its parser."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Final

from kraken_recon.cli.exit_statuses import MEANINGS
from kraken_recon.cli.main import make_parser
from reference_pages.markdown import code, page, table, wrapped

if TYPE_CHECKING:
    from collections.abc import Iterator

# What an argument without a word of its own is, by what it is called.
PLAIN: Final = {
    "NAME": "name of the account",
    "FILE": "the file",
    "ID": "number of the order",
    "TEXT": "free text",
    "PRICE": "in the quote currency",
}


def command_line() -> str:
    """Write the page."""
    whole = make_parser()
    commands = list(_commands(whole))
    contents = table(
        ("command", "does"),
        ((f"[`{name}`](#{name.replace(' ', '-')})", said.description or "") for name, said in commands),
    )
    return page(
        "Command line",
        f"`{whole.prog} COMMAND`. Results go to standard output, logs and errors to standard error. With "
        "`--json` each command prints one JSON document.",
        table(
            ("exit status", "means"), ((code(str(int(status))), said) for status, said in MEANINGS.items())
        ),
        wrapped(
            "The documents of `order`, `cancel` and `amend` hold it as `exit_status`. Only `lint-sessions` "
            "tells what it found by its status: 1 for findings, 2 for files that it could not read."
        ),
        contents,
        *(_section(name, said) for name, said in commands),
    )


def _commands(
    said: argparse.ArgumentParser, before: str = ""
) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    for action in said._actions:  # noqa: SLF001 - argparse offers no other way to look at a parser
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001 - the same
            for name, below in action.choices.items():
                inner = list(_commands(below, f"{before}{name} "))
                yield from inner or [(before + name, below)]


def _section(name: str, said: argparse.ArgumentParser) -> str:
    actions = [
        action
        for action in said._actions  # noqa: SLF001 - the same
        if not isinstance(action, argparse._HelpAction) and action.dest != "json"  # noqa: SLF001 - the same
    ]
    exclusive = {
        action.dest: group
        for group in said._mutually_exclusive_groups  # noqa: SLF001 - the same
        for action in group._group_actions  # noqa: SLF001 - the same
    }
    rows = []
    for action in actions:
        group = exclusive.get(action.dest)
        others = [a.option_strings[0] for a in group._group_actions if a is not action] if group else []  # noqa: SLF001 - the same
        needed = "yes" if action.required or not action.option_strings else ""
        if others:
            needed = ("or " if group and group.required else "not with ") + ", ".join(map(code, others))
        rows.append((code(_spelling(action)), needed, action.help or PLAIN.get(str(action.metavar), "")))
    options = table(("argument", "required", "meaning"), rows) if rows else "It takes no arguments."
    return f"## {name}\n\n{said.description}\n\n{options}"


def _spelling(action: argparse.Action) -> str:
    values = (action.metavar,) if isinstance(action.metavar, str) else action.metavar or ()
    if action.choices and not values:
        values = ("|".join(map(str, action.choices)),)
    elif action.nargs != 0 and not values:
        values = (action.dest.upper(),)
    many = "..." if action.nargs in {"+", "*"} else ""
    return " ".join([*action.option_strings[:1], *values]) + many
