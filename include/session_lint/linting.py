"""Check Python sources for sessions of a database that are opened wrongly or may stay open."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from session_lint.check_module import check_source
from session_lint.rules import RULES

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from session_lint.python_sources import PythonSource
    from session_lint.rules import Violation


def lint_sessions(sources: Iterable[PythonSource], *, only_in: Sequence[Path] = ()) -> dict[str, Any]:
    """Check each source; one that cannot be read or parsed is named, and the others are checked all the same.

    Args:
        sources: the files.
        only_in: files or folders in which alone sessions may be opened; empty for anywhere.
    """
    places = [place.resolve() for place in only_in]
    findings: list[dict[str, Any]] = []
    unreadable: list[dict[str, str]] = []
    files = 0
    for source in sources:
        files += 1
        problem = source.problem
        if not problem:
            where = source.path.resolve()
            is_the_place = not places or any(where.is_relative_to(place) for place in places)
            try:
                found = check_source(source.text, is_the_one_place=is_the_place)
            except SyntaxError as error:
                problem = f"line {error.lineno}: {error.msg}"
            except (ValueError, RecursionError, MemoryError) as error:  # a null byte; one that is too deep
                problem = str(error) or "too deep for Python's parser"
            else:
                findings += [_view(source.path, finding) for finding in found]
        if problem:
            unreadable.append({"path": str(source.path), "problem": problem})
    status = 2 if unreadable or not files else 1 if findings else 0
    return {"files": files, "findings": findings, "unreadable": unreadable, "exit_status": status}


def _view(path: Path, finding: Violation) -> dict[str, Any]:
    rule = RULES[finding.code]
    return {
        "path": str(path),
        "line": finding.line,
        "column": finding.column,
        "rule": finding.code,
        "name": rule.name,
        "message": finding.message,
        "remedy": rule.remedy,
    }


def render_lint(view: dict[str, Any]) -> list[str]:
    """Write one line per finding, as compilers do, and a last line that sums up."""
    lines = [
        "{path}:{line}:{column}: {rule} {message} ({remedy})".format(**found) for found in view["findings"]
    ]
    lines += [f"{unread['path']}: not checked: {unread['problem']}" for unread in view["unreadable"]]
    unread = f", {len(view['unreadable'])} files not checked" if view["unreadable"] else ""
    return [*lines, f"{view['files']} files, {len(view['findings'])} findings{unread}"]
