"""What is checked of an order, level by level, and what each level finds."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from kraken_recon.values.money import ZERO, format_amount

if TYPE_CHECKING:
    from collections.abc import Mapping
    from decimal import Decimal


class Level(StrEnum):
    """What is checked of an order, in this order."""

    STATE = "state"
    FILLS = "fills"
    DIRECTION = "direction"
    LEDGER = "ledger"
    POSITION = "position"
    SLIPPAGE = "slippage"
    DESK = "desk"  # only of an order that a desk keeps in a table of its own


class Verdict(StrEnum):
    """What a level came to."""

    PASSED = "passed"
    WARNING = "warning"
    MISMATCH = "mismatch"
    INCONCLUSIVE = "inconclusive"
    NOT_APPLICABLE = "not_applicable"


OF_EVERY_ORDER: Final = tuple(level for level in Level if level is not Level.DESK)
"""The levels of any order, whoever decided on it."""


@dataclass(frozen=True, slots=True)
class LevelResult:
    """One level's verdict with its figures, and whose books an inconclusive one waits for."""

    level: Level
    verdict: Verdict
    expected: Mapping[str, str]
    observed: Mapping[str, str]
    message: str
    awaits_kraken: bool = False
    awaits_us: bool = False


def amounts_told(**figures: Decimal) -> dict[str, str]:
    """Write amounts as figures of a level."""
    return {name: format_amount(amount) for name, amount in figures.items()}


class LevelFindings:
    """Collects what a level finds; the gravest decides, and the first of its kind is told."""

    def __init__(self, level: Level) -> None:
        self.level = level
        self.expected: dict[str, str] = {}
        self.observed: dict[str, str] = {}
        self._wrong: list[str] = []
        self._awaited: list[tuple[str, bool]] = []

    def wrong(self, message: str) -> None:
        """Keep what can only be wrong."""
        self._wrong.append(message)

    def awaited(self, message: str, *, from_kraken: bool = True) -> None:
        """Keep what is not there yet, in Kraken's books or in ours."""
        self._awaited.append((message, from_kraken))

    def compare(self, name: str, expected: Decimal, observed: Decimal, *, allowance: Decimal = ZERO) -> None:
        """Compare two amounts."""
        self.expected |= amounts_told(**{name: expected})
        self.observed |= amounts_told(**{name: observed})
        if abs(expected - observed) > allowance:
            self.wrong(f"expected {name} {format_amount(expected)}, was {format_amount(observed)}")

    def end(self, passed: str) -> LevelResult:
        """Say what the level came to."""
        if self._wrong:
            return self._made(Verdict.MISMATCH, "; ".join(self._wrong))
        if self._awaited:
            text = "; ".join(message for message, _ in self._awaited)
            sides = {from_kraken for _, from_kraken in self._awaited}
            return self._made(
                Verdict.INCONCLUSIVE, text, awaits_kraken=True in sides, awaits_us=False in sides
            )
        return self._made(Verdict.PASSED, passed)

    def not_applicable(self, message: str) -> LevelResult:
        """Say that there is nothing to check."""
        return self._made(Verdict.NOT_APPLICABLE, message)

    def warning(self, message: str) -> LevelResult:
        """Say what a person may want to know."""
        return self._made(Verdict.WARNING, message)

    def _made(
        self, verdict: Verdict, message: str, *, awaits_kraken: bool = False, awaits_us: bool = False
    ) -> LevelResult:
        return LevelResult(
            self.level, verdict, self.expected, self.observed, message, awaits_kraken, awaits_us
        )
