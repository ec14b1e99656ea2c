"""Text that came from outside, made fit to be kept and shown.

PostgreSQL's text holds no NUL and UTF-8 no half of a surrogate pair; a control character in a log or on a
page hides what stands beside it.
"""

from __future__ import annotations

import re
from typing import Final

LINE_CHARACTERS_MAX: Final = 300
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_CONTROL_BUT_TABS: Final = re.compile(f"(?!\t){_CONTROL.pattern}")
_CONTROL_BUT_LINES: Final = re.compile(f"(?![\t\n]){_CONTROL.pattern}")


def can_be_kept(text: str) -> bool:
    """Say whether PostgreSQL and UTF-8 can hold a text."""
    return "\0" not in text and (text.isascii() or not _SURROGATE.search(text))


def is_plain(text: str) -> bool:
    """Say whether a text is one line without control characters, those of writing direction included."""
    return (text.isascii() and text.isprintable()) or not _CONTROL.search(text)


def visible(text: str) -> str:
    r"""Show control characters but line breaks and tabs as escapes such as ``\x00``."""
    return _CONTROL_BUT_LINES.sub(_escaped, text)


def as_line(text: str) -> str:
    r"""Write all of a text as one line of a terminal or a log: what would end or turn it is an escape."""
    return text if text.isprintable() else _CONTROL_BUT_TABS.sub(_escaped, text)


def one_line(text: str, characters_max: int = LINE_CHARACTERS_MAX) -> str:
    r"""Cut a text to one line of a bounded length; what was a line break is shown as ``\n``."""
    shown = _CONTROL.sub(_escaped, text[: characters_max + 1])
    return shown if len(shown) <= characters_max else f"{shown[: characters_max - 3]}..."


def _escaped(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode("ascii")
