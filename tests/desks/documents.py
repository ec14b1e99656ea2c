"""The commands that a page of the documentation names."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

COMMAND = re.compile(r"python -m kraken_recon ((?:[^`\n\\]|\\\n)+)")
# What stands in a command for something of the reader's own.
EXAMPLES = {
    "PLAN": "00000000-0000-0000-0000-000000000000",
    "ID": "1",
    "START": "2026-01-01T00:00Z",
    "END": "2026-01-02T00:00Z",
    "$(date -u +%FT%TZ)": "2026-01-01T00:00Z",
}


def commands(page: Path) -> Iterator[list[str]]:
    """Cut the commands out of a page; brackets around what may be left out, and what follows a pipe, go."""
    for text in COMMAND.findall(page.read_text()):
        plain = re.sub(r"[\[\]]|\\\n", " ", text.split(" | ")[0])
        words = shlex.split(plain, comments=True)
        if words and words != ["COMMAND"]:
            yield [EXAMPLES.get(word, word) for word in words]
