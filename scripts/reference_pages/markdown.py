"""Tables and headings in Markdown."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_WIDTH: Final = 120
_NOTE: Final = "This page is written from the code by `make reference`; a test compares."


def page(title: str, introduction: str, *parts: str) -> str:
    """Put a page together; the introduction is wrapped."""
    said = wrapped(introduction)
    return "\n\n".join([f"# {title}", f"{said}\n{_NOTE}", *parts]).rstrip() + "\n"


def wrapped(text: str) -> str:
    """Break a paragraph into lines."""
    return textwrap.fill(text, _WIDTH, break_on_hyphens=False, break_long_words=False)


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Write a table; a cell may hold anything but a line break."""
    lines = [[cell or " " for cell in header], ["---"] * len(header), *(map(_cell, row) for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("``", "`").replace("|", "\\|") or "-"


def code(text: str) -> str:
    """Write a text as code; nothing stays nothing."""
    return f"`{text}`" if text else ""
