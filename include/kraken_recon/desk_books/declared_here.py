"""The desk books that are declared where this runs, as our database can be asked about them.

Whoever only shows what was judged needs no more of a declaration, and no connection to a desk's database.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kraken_recon.desk_books.declaring import folder_of, read_books
from kraken_recon.desk_books.rules.records import DeskProblem
from kraken_recon.errors import ConfigurationError
from kraken_recon.plain_text import one_line
from kraken_recon.settings import DESK_BOOKS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kraken_recon.desk_books.declaration import DeskBook


@dataclass(frozen=True, slots=True)
class DeclaredBooks:
    """Books by name, and which of our accounts each is about, None for every account.

    ``are_seen`` says whether their folder is there at all: without it nobody can say that a book is gone.
    ``unusable`` are files that declare no book, with what is wrong with them; nobody knows which accounts
    they are about, so they count for every one.
    """

    are_seen: bool
    books: Mapping[str, DeskBook]
    unusable: Mapping[str, tuple[DeskProblem, ...]]

    def as_filter(self) -> dict[str, Any]:
        """Write them as the parameters of a query about current desk books."""
        pairs: list[tuple[str, str | None]] = [(name, None) for name in self.unusable]
        for name, book in self.books.items():
            pairs += [(name, None)] if book.accounts.by else [(name, own) for own in book.accounts.values]
        return {
            "declared_books": [name for name, _ in pairs],
            "declared_accounts": [account for _, account in pairs],
            "are_declarations_seen": self.are_seen,
        }


def declared_here(environment: Mapping[str, str] = os.environ) -> DeclaredBooks:
    """Read the folder of declarations; one that cannot be read is told like a file that cannot be used."""
    folder = folder_of(environment)
    try:
        declared = read_books(folder)
    except ConfigurationError as error:
        problem = DeskProblem(DESK_BOOKS.name, one_line(str(error)), error.remedy)
        return DeclaredBooks(are_seen=False, books={}, unusable={folder.name: (problem,)})
    return DeclaredBooks(
        folder.is_dir(),
        {one.name: one.book for one in declared if one.book},
        {one.name: one.problems for one in declared if one.book is None},
    )
