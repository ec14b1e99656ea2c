"""Check sources: ``python -m session_lint PATH...``, also as a pre-commit hook."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from session_lint.linting import lint_sessions, render_lint
from session_lint.python_sources import read_sources

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def add_arguments(parser: argparse.ArgumentParser, *, path: Callable[[str], Path] = Path) -> None:
    """Say what the command takes; ``path`` reads the name of a file."""
    parser.add_argument("paths", nargs="+", type=path, metavar="PATH", help="a file, or a folder to search")
    parser.add_argument(
        "--only-in",
        action="append",
        default=[],
        type=path,
        metavar="PATH",
        help="the file or folder in which alone sessions may be opened; may be given again",
    )
    parser.add_argument(
        "--exclude",
        action="append",
        default=[],
        type=path,
        metavar="PATH",
        help="leave out; may be given again",
    )


def lint(arguments: argparse.Namespace) -> tuple[dict[str, Any], list[str]]:
    """Check what the arguments name; return the document and the lines for people."""
    view = lint_sessions(read_sources(arguments.paths, exclude=arguments.exclude), only_in=arguments.only_in)
    return view, render_lint(view)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its status: 0 without findings, 1 with, 2 for what could not be read."""
    parser = argparse.ArgumentParser(prog="session-lint", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    add_arguments(parser)
    parsed = parser.parse_args(arguments)
    view, lines = lint(parsed)
    print(json.dumps(view, indent=2) if parsed.json else "\n".join(lines))
    return int(view["exit_status"])


if __name__ == "__main__":
    sys.exit(main())
