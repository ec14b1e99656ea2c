"""What pages carry in themselves: the style sheet and the scripts, allowed by their digests.

A page loads nothing, so that it works offline and no other site is ever asked.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from markupsafe import Markup

PLACE: Final = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Vendored:
    """A file of somebody else's, byte for byte as it was published."""

    file: str
    package: str
    version: str
    license: str
    sha256: str


VENDORED: Final = (
    Vendored(
        "uPlot.iife.min.js",
        "uplot",
        "1.6.32",
        "MIT",
        "19c8d4c6ad88929a79f4ae49d6f7161566dfd0ba3d15cc495e974f787eb78f1f",
    ),
    Vendored(
        "uPlot.min.css",
        "uplot",
        "1.6.32",
        "MIT",
        "df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04",
    ),
    Vendored(
        "uPlot.LICENSE",
        "uplot",
        "1.6.32",
        "MIT",
        "8f989229699b4fe2f1a0432d0e9edc338a8a911e250e2d1b01ecd770a5f5b1bd",
    ),
)


def page_style() -> str:
    """Read the style sheet of every page."""
    return _read("static/uPlot.min.css") + "\n" + _read("style.css")


def page_script() -> str:
    """Read the script of every page, which follows the theme and the age."""
    return _read("page.js")


def chart_scripts() -> tuple[str, ...]:
    """Read the scripts of a page with charts: the library, then what draws with it."""
    return _read("static/uPlot.iife.min.js"), _read("charts.js")


def decision_script() -> str:
    """Read the script of the page on which a held repair is decided."""
    return _read("decision.js")


def script_tags(*scripts: str) -> Markup:
    """Write scripts as the elements that run them."""
    return Markup("").join(Markup("<script>{}</script>\n").format(Markup(text)) for text in scripts)  # noqa: S704 - files of this package


def digest(text: str) -> str:
    """Write the digest of an element's text as a content security policy names it."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _read(name: str) -> str:
    return (PLACE / name).read_text(encoding="utf-8")
