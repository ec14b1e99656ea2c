"""A bot that books what happened at Kraken as bots do: change by change, and not always rightly.

Nothing here knows what the product makes of a mistake; it is only made.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import ROUND_HALF_UP, Decimal
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from kraken_recon.ledger.entries import LedgerEntry


class Mistake(StrEnum):
    """What may go wrong while one entry of Kraken's ledger is booked; the value says what happened."""

    LOST = "it never arrived"
    TWICE = "it was sent again, and booked again"
    FEE_LEFT_OUT = "its fee was not subtracted"
    WRONG_WAY = "a sale was taken for a purchase, or the other way round"


class Book(Protocol):
    """Where a bot keeps what it has."""

    @property
    def digits(self) -> int:
        """Return how many digits of a quantity it can hold."""

    def move(self, asset: str, change: Decimal) -> None:
        """Add a change to what it has."""


@dataclass(frozen=True, slots=True)
class Bot:
    """A bot, its book, and what goes wrong, by the ledger's id of the entry."""

    book: Book
    mistakes: Mapping[str, Mistake] = field(default_factory=lambda: MappingProxyType({}))

    def follow(self, entries: Iterable[LedgerEntry]) -> None:
        """Book entries in the order in which they happened, each rounded to what the book can hold."""
        unit = Decimal(1).scaleb(-self.book.digits)
        for entry in entries:
            for change in _booked(entry, self.mistakes.get(entry.ledger_id)):
                self.book.move(entry.asset, change.quantize(unit, ROUND_HALF_UP))


def _booked(entry: LedgerEntry, mistake: Mistake | None) -> tuple[Decimal, ...]:
    match mistake:
        case None:
            return (entry.change,)
        case Mistake.LOST:
            return ()
        case Mistake.TWICE:
            return (entry.change, entry.change)
        case Mistake.FEE_LEFT_OUT:
            return (entry.amount,)
        case Mistake.WRONG_WAY:
            return (-entry.change,)
