"""Exact money and time: parsing, Kraken's two ways of rounding, and fixed-scale text.

Invariants: no value here was ever a float; rounding is half-up in the books and truncating in order totals.
"""

from __future__ import annotations

from decimal import ROUND_DOWN, ROUND_HALF_UP, Context, Decimal, InvalidOperation
from typing import Final

ZERO: Final = Decimal(0)
#: Wide enough that a product of two 19-digit numbers is exact.
CONTEXT: Final = Context(prec=60, rounding=ROUND_HALF_UP)
TENTH_MILLISECOND: Final = Decimal("0.0001")


def number(text: object) -> Decimal:
    """Read a finite decimal number.

    Raises:
        ValueError: when the value is not one.
    """
    try:
        value = Decimal(str(text))
    except InvalidOperation as error:
        raise ValueError(f"expected a number, was {text!r}") from error
    if not value.is_finite():
        raise ValueError(f"expected a finite number, was {text!r}")
    return value


def half_up(amount: Decimal, decimals: int) -> Decimal:
    """Round as the books do."""
    rounded = amount.quantize(Decimal(1).scaleb(-decimals), rounding=ROUND_HALF_UP, context=CONTEXT)
    return abs(rounded) if rounded.is_zero() else rounded


def truncated(amount: Decimal, decimals: int) -> Decimal:
    """Cut off as order totals did in 2020 (1.106664 -> 1.1066)."""
    cut = amount.quantize(Decimal(1).scaleb(-decimals), rounding=ROUND_DOWN, context=CONTEXT)
    return abs(cut) if cut.is_zero() else cut


def fixed(amount: Decimal, decimals: int) -> str:
    """Write an amount with exactly this many decimals."""
    return format(half_up(amount, decimals), "f")


def plain(value: Decimal) -> str:
    """Write a number without an exponent and without trailing zeros, as JSON numbers are sent."""
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def decimals_of(value: Decimal) -> int:
    """Count the decimals that a value needs."""
    exponent = value.normalize(CONTEXT).as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0
