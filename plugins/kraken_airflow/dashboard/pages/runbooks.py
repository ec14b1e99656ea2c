"""The runbooks and the pages they lead to, shown beside the DAGs for whoever is woken at night.

Only files of the documentation's folder can be named, and their text is shown as text: HTML in it is escaped.
"""

import posixpath
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Final
from urllib.parse import urlencode, urlsplit

from fastapi import APIRouter, HTTPException, Query
from fastapi.responses import HTMLResponse
from markdown_it.token import Token

from kraken_airflow.dashboard.markdown import parsed, written
from kraken_airflow.dashboard.pages import Link

_PACKAGE: Final = Path(__file__).resolve().parents[2]
#: A wheel has the documentation in the package, a checkout beside its folders.
FOLDERS: Final = (_PACKAGE / "docs", _PACKAGE.parents[1] / "docs")
FOLDER: Final = next(filter(Path.is_dir, FOLDERS), FOLDERS[0])
LINK: Final = Link(6, "docs?page=README.md", "Documentation")
Page = Annotated[str, Query(min_length=1, max_length=200)]


def add_routes(router: APIRouter, render: Callable[..., str], folder: Path = FOLDER) -> None:
    """Add the page; where no documentation is installed every page is unknown."""

    @router.get("/docs", response_class=HTMLResponse)
    def document(page: Page = "runbooks/position_sync.md") -> str:
        """Show one page of the documentation."""
        known = {file.relative_to(folder).as_posix(): file for file in folder.rglob("*.md")}
        if page not in known:
            raise HTTPException(404, "no such page of the documentation is installed here")
        tokens = parsed(known[page].read_text())
        _adapt(tokens, page, known)
        return render("runbooks.html", title=_title(tokens), body=written(tokens))


def document_path(page: str, fragment: str = "") -> str:
    """Write where a page of the documentation is shown, below the dashboard's address."""
    return f"docs?{urlencode({'page': page}, safe='/')}" + (f"#{fragment}" if fragment else "")


def _adapt(tokens: Sequence[Token], page: str, known: dict[str, Path]) -> None:
    """Give headings their anchors, lead links to pages shown here, and leave images out."""
    for place, token in enumerate(tokens):
        if token.type == "heading_open":
            token.attrSet("id", _anchor(tokens[place + 1].content))
        for child in token.children or ():
            if child.type == "link_open":
                child.attrSet("href", _target(str(child.attrGet("href")), page, known))
            elif child.type == "image":
                child.type = "text"


def _target(href: str, page: str, known: dict[str, Path]) -> str:
    parts = urlsplit(href)
    if parts.scheme or parts.netloc:
        return href
    target = posixpath.normpath(posixpath.join(posixpath.dirname(page), parts.path)) if parts.path else page
    return document_path(target, parts.fragment) if target in known else document_path(page)


def _anchor(heading: str) -> str:
    """Write the anchor that code hosts give a heading, by which links in the files name it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def _title(tokens: Sequence[Token]) -> str:
    headings = [tokens[n + 1].content for n, token in enumerate(tokens) if token.type == "heading_open"]
    return headings[0] if headings else "Documentation"
