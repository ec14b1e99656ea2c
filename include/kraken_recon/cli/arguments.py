"""What may be typed after an option: the types of the command line's values, and what no value may hold."""

from __future__ import annotations

import argparse
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

from kraken_recon.errors import ConfigurationError
from kraken_recon.plain_text import can_be_kept, one_line
from kraken_recon.values.money import ZERO, parse_amount

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from decimal import Decimal
    from typing import TypeVar

    Read = TypeVar("Read")

ROW_ID_MAX: Final = 2**63 - 1
COUNT_MAX: Final = 100_000
DAYS_MAX: Final = 3_660
MINUTES_MAX: Final = 525_600
WAIT_SECONDS_MAX: Final = 7 * 86_400.0
_FREE_TEXTS: Final = frozenset({"ai_answer", "note", "reason"})
_FREE_TEXT_CHARACTERS_MAX: Final = 20_000
_TEXT_CHARACTERS_MAX: Final = 4_096
_YEARS: Final = range(1970, 2200)


class ArgumentParser(argparse.ArgumentParser):
    """A parser that refuses what cannot be kept, by the option's name and in a short line."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong, and end with status 2."""
        super().error(one_line(message))

    def check_texts(self, parsed: argparse.Namespace) -> None:
        """Refuse values that are too long, or that no file name or database can hold."""
        for option, value in _texts(parsed):
            if isinstance(value, Path):
                is_kept = "\x00" not in str(value) and _is_file_name(value)
            else:
                is_kept = can_be_kept(value)
            if not is_kept:
                self.error(f"argument {option}: holds characters that cannot be kept: {one_line(str(value))}")
            if len(str(value)) > (
                _FREE_TEXT_CHARACTERS_MAX if option in _FREE_TEXTS else _TEXT_CHARACTERS_MAX
            ):
                self.error(f"argument {option}: is longer than can be taken, {len(str(value))} characters")


def _texts(parsed: argparse.Namespace) -> Iterator[tuple[str, str | Path]]:
    for option, value in vars(parsed).items():
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, (str, Path)):
                yield option, one


def _is_file_name(path: Path) -> bool:
    try:
        os.fsencode(path)
    except UnicodeEncodeError:
        return False
    return True


def moment(text: str) -> datetime:
    """Read a time; without a time zone it is UTC."""
    try:
        read = datetime.fromisoformat(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"expected a time such as 2026-01-31T12:00:00Z, was {one_line(text, 60)}"
        ) from error
    if read.year not in _YEARS:
        raise argparse.ArgumentTypeError(f"expected a time of these days, was {text}")
    return read if read.tzinfo else read.replace(tzinfo=UTC)


def amount(text: str, *, above_zero: bool = False) -> Decimal:
    """Read an amount of zero or more.

    Raises:
        ConfigurationError: it is none.
    """
    try:
        number = parse_amount(text)
    except ValueError as error:
        raise ConfigurationError(str(error)) from error
    if number < ZERO or (above_zero and number == ZERO):
        raise ConfigurationError(f"expected {'more than zero' if above_zero else 'zero or more'}, was {text}")
    return number


def typed(read: Callable[[str], Read]) -> Callable[[str], Read]:
    """Make the type of an argument of a reader that refuses with an error of the project."""

    def refused(text: str) -> Read:
        try:
            return read(text)
        except (ValueError, ConfigurationError) as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return refused


def row_id(text: str) -> int:
    """Read the number of an order, an alert or the like."""
    return whole_number(1, ROW_ID_MAX)(text)


def whole_number(least: int, most: int) -> Callable[[str], int]:
    """Make the type of a whole number within bounds."""

    def read(text: str) -> int:
        digits = text.removeprefix("-")
        if not (digits.isascii() and digits.isdigit() and len(digits) <= len(str(ROW_ID_MAX))):
            raise argparse.ArgumentTypeError(f"expected a whole number, was {one_line(text, 60)!r}")
        if not least <= (number := int(text)) <= most:
            raise argparse.ArgumentTypeError(f"expected {least} to {most}, was {number}")
        return number

    return read


def seconds(text: str) -> float:
    """Read how long to wait."""
    try:
        number = float(text) if text.isascii() else -1.0
    except ValueError:
        number = -1.0
    # A number that is none is not at most anything.
    if not 0 <= number <= WAIT_SECONDS_MAX:
        raise argparse.ArgumentTypeError(
            f"expected 0 to {WAIT_SECONDS_MAX:.0f} seconds, was {one_line(text, 60)!r}"
        )
    return number
