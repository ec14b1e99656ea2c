"""How every command is declared: a function whose first line of documentation says what it does.

It takes what was typed, opens the database by ``trading_db``, and returns its JSON document and its lines for
people. A document that holds ``failed`` ends in status 1, one that holds ``exit_status`` in that status.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable

    # Adds an argument to a parser or to a group of it, or a command to the commands of a parser.
    Declaration: TypeAlias = Callable[[Any], object]

Arguments: TypeAlias = argparse.Namespace
Result: TypeAlias = tuple[dict[str, Any], list[str]]


def command(name: str, *arguments: Declaration) -> Callable[[Callable[[Arguments], Result]], Declaration]:
    """Make a function a command: ``@command("report", ACCOUNT)``."""

    def declared(run: Callable[[Arguments], Result]) -> Declaration:
        def add_to(parsers: Any) -> None:  # noqa: ANN401 - argparse has no public name for it
            summary = (run.__doc__ or "").partition("\n")[0]
            parser = parsers.add_parser(name, help=summary, description=summary)
            parser.add_argument("--json", action="store_true", help="print one JSON document")
            for add in arguments:
                add(parser)
            parser.set_defaults(run=run)

        return add_to

    return declared


def group(name: str, summary: str, *commands: Declaration) -> Declaration:
    """Declare commands that share their first word."""

    def add_to(parsers: Any) -> None:  # noqa: ANN401 - the same
        parser = parsers.add_parser(name, help=summary, description=summary)
        below = parser.add_subparsers(dest=f"{name}_command", required=True, metavar="COMMAND")
        for add in commands:
            add(below)

    return add_to


def argument(*names: str, **options: Any) -> Declaration:  # noqa: ANN401 - whatever argparse takes
    """Declare one argument, as ``add_argument`` takes it."""
    return lambda container: container.add_argument(*names, **options)


def either(*arguments: Declaration, required: bool = False) -> Declaration:
    """Declare arguments that exclude each other."""

    def add_to(parser: argparse.ArgumentParser) -> None:
        exclusive = parser.add_mutually_exclusive_group(required=required)
        for add in arguments:
            add(exclusive)

    return add_to


ACCOUNT: Final = argument("--account", required=True, metavar="NAME")
