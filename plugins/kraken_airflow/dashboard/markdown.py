"""Markdown as the pages show it: HTML in it stays text, and its tables can be read on a phone."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Final

from markdown_it import MarkdownIt

if TYPE_CHECKING:
    from collections.abc import Sequence

    from markdown_it.token import Token

MARKDOWN: Final = MarkdownIt("commonmark", {"html": False}).enable("table")


def parsed(text: str) -> list[Token]:
    """Read Markdown; an alignment is a class, because no style may stand inline."""
    tokens = MARKDOWN.parse(text)
    _name_cells(tokens)
    return tokens


def written(tokens: Sequence[Token]) -> str:
    """Write HTML."""
    return str(MARKDOWN.renderer.render(tokens, MARKDOWN.options, {}))


def _name_cells(tokens: Sequence[Token]) -> None:
    """Give each cell the title of its column, which stands beside it where a row is a card."""
    titles: list[str] = []
    column = 0
    for token, inside in pairwise(tokens):
        if token.type == "thead_open":
            titles = []
        elif token.type == "tr_open":
            column = 0
        elif token.type in {"th_open", "td_open"}:
            parts = inside.children or []
            classes = ["number"] if token.attrs.pop("style", "") == "text-align:right" else []
            if token.type == "th_open":
                titles.append("".join(part.content for part in parts))
            else:
                token.attrSet("data-label", titles[column])
                # Words with marks among them are one text, not things beside each other.
                classes += ["wide"] if len([part for part in parts if part.content]) > 1 else []
            if classes:
                token.attrSet("class", " ".join(classes))
            column += 1
