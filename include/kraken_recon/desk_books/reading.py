"""What was read of one book: plain values, whatever database they come from."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from kraken_recon.desk_books.rules.records import DeskProblem, DeskRow


@dataclass(frozen=True, slots=True)
class PartReading:
    """The rows of one table or query.

    Attributes:
        decimals: the digits of the real quantity, as declared, else the column's own.
        rows: by account of ours; an account without rows has none here.
        required: columns that an insert has to fill.
    """

    decimals: int
    rows: Mapping[str, Sequence[DeskRow]]
    required: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class BookReading:
    """One look at a book.

    Attributes:
        read_at: when.
        values: the desk's value of each account of ours that could be matched.
        positions, cash: None where they could not be read, or where none are declared.
        problems: about the book, or a part of it.
        of_accounts: why an account of ours could not be matched.
        rights: what the role may do to the table of ``positions`` and of ``cash``; a query is only selected.
        is_read_only: nobody may write there, whatever the role may do.
    """

    read_at: datetime
    values: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    positions: PartReading | None = None
    cash: PartReading | None = None
    problems: tuple[DeskProblem, ...] = ()
    of_accounts: Mapping[str, DeskProblem] = field(default_factory=lambda: MappingProxyType({}))
    rights: Mapping[str, Mapping[str, bool]] = field(default_factory=lambda: MappingProxyType({}))
    is_read_only: bool = False
