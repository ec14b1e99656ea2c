"""Exact amounts.

Invariants: an amount is a finite ``Decimal``; no ``float`` is ever accepted; it fits ``NUMERIC(38,18)``;
what is computed from amounts is exact or raises (Python's default of 28 digits would round silently).
"""

from __future__ import annotations

import decimal
import re
from contextlib import contextmanager
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Final

from kraken_recon.plain_text import one_line

if TYPE_CHECKING:
    from collections.abc import Iterator

ZERO: Final = Decimal(0)
SCALE_MAX: Final = 18
INTEGER_DIGITS_MAX: Final = 20
EXACT: Final = decimal.Context(
    prec=120,
    traps=[
        InvalidOperation,
        decimal.DivisionByZero,
        decimal.Overflow,
        decimal.Inexact,
        decimal.FloatOperation,
    ],
)
"""Room for sums of products of amounts; a result that does not fit raises instead of being rounded."""
_AMOUNT: Final = re.compile(r"\s*[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,18})?\s*")
PLAIN_AMOUNT: Final = re.compile(r"-?[0-9]+(?:\.[0-9]+)?")
_TEXT_CHARACTERS_MAX: Final = 1_000
_SHOWN_CHARACTERS_MAX: Final = 60
_UNBOUNDED: Final = decimal.Context(prec=decimal.MAX_PREC, Emax=decimal.MAX_EMAX, Emin=decimal.MIN_EMIN)


@contextmanager
def exact_arithmetic() -> Iterator[None]:
    """Compute exactly within a block, or within a function as its decorator."""
    with decimal.localcontext(EXACT):
        yield


def parse_amount(value: object) -> Decimal:
    """Read an amount from text, an integer or a ``Decimal``.

    Raises:
        ValueError: for a float, NaN, infinity, or an amount that ``NUMERIC(38,18)`` cannot hold exactly.
    """
    if isinstance(value, bool) or not isinstance(value, (str, int, Decimal)):
        raise ValueError(f"expected an amount as text, was {type(value).__name__}")  # noqa: TRY004 - callers
        # treat every unreadable amount alike
    if isinstance(value, str) and not (len(value) <= _TEXT_CHARACTERS_MAX and _AMOUNT.fullmatch(value)):
        raise ValueError(f"expected an amount, was {one_line(repr(value), _SHOWN_CHARACTERS_MAX)}")
    if isinstance(value, int) and abs(value) >= 10**INTEGER_DIGITS_MAX:
        raise ValueError(f"expected at most {INTEGER_DIGITS_MAX}+{SCALE_MAX} digits")
    try:
        amount = Decimal(value)
    except InvalidOperation as error:
        raise ValueError(f"expected an amount, was {value!r}") from error
    if not amount.is_finite():
        raise ValueError(f"expected a finite amount, was {value!r}")
    exponent = amount.normalize(_UNBOUNDED).as_tuple().exponent
    if not isinstance(exponent, int) or -exponent > SCALE_MAX or amount.adjusted() >= INTEGER_DIGITS_MAX:
        shown = one_line(repr(value), _SHOWN_CHARACTERS_MAX)
        raise ValueError(f"expected at most {INTEGER_DIGITS_MAX}+{SCALE_MAX} digits, was {shown}")
    return amount


def parse_plain_amount(text: str) -> Decimal | None:
    """Read an amount as Kraken writes it: digits and a point, no exponent; None for any other text.

    Raises:
        ValueError: for an amount that ``NUMERIC(38,18)`` cannot hold exactly.
    """
    if not PLAIN_AMOUNT.fullmatch(text):
        return None
    # So few characters hold no number that is too large or too fine, and most amounts are as short.
    return Decimal(text) if len(text) <= SCALE_MAX else parse_amount(text)


def format_amount(amount: Decimal) -> str:
    """Write an amount without an exponent and without trailing zeros."""
    text = format(amount, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text in {"", "-0"} else text
