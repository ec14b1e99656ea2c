"""The commands about desk books as a person gives them, on a desk whose one account was proved."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from desks.desk_databases import HOW_TO

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from desks.fake_exchange import Desk

ACCOUNT = "gpt-trader"
DECLARED = re.findall(r"```yaml\n(.*?)```", HOW_TO.read_text(), re.DOTALL)
"""The declarations of the page, as they stand there."""
ARENA, FREQTRADE, HUMMINGBOT = DECLARED[:3]


@dataclass
class Commands:
    """The commands, the folder of declarations, and the desk that they are about."""

    run: Callable[..., tuple[int, str, str]]
    folder: Path
    desk: Desk

    def json(self, *arguments: str, status: int = 0) -> Any:
        """Run `book ...` and read what it says."""
        ended, out, complaint = self.run("book", *arguments, "--json")
        assert ended == status, f"{out}\n{complaint}"
        return json.loads(out)

    def declare(self, text: str, name: str = "arena.yaml") -> Path:
        """Write a declaration into the folder."""
        self.folder.mkdir(exist_ok=True)
        (self.folder / name).write_text(text)
        return self.folder / name

    def diff(self, *, status: int = 0) -> Any:
        """Say how the account stands in its one book."""
        [book] = self.json("diff", "--account", ACCOUNT, status=status)["books"]
        return book


def words(book: Any) -> dict[str, str]:
    """Name the explanation of each asset that differs."""
    return {one["asset"]: one["explanation"] for one in book["differences"]}
