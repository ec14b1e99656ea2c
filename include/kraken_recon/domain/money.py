"""Exact amounts.

Invariants: an amount is a finite ``Decimal``; no ``float`` is ever accepted; it fits ``NUMERIC(38,18)``.
"""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Final

ZERO: Final = Decimal(0)
SCALE_MAX: Final = 18
INTEGER_DIGITS_MAX: Final = 20


def parse_amount(value: object) -> Decimal:
    """Read an amount from text, an integer or a ``Decimal``.

    Raises:
        ValueError: for a float, NaN, infinity, or an amount that ``NUMERIC(38,18)`` cannot hold exactly.
    """
    if isinstance(value, bool) or not isinstance(value, (str, int, Decimal)):
        raise ValueError(f"expected an amount as text, was {type(value).__name__}")  # noqa: TRY004 - callers
        # treat every unreadable amount alike
    try:
        amount = Decimal(value)
    except InvalidOperation as error:
        raise ValueError(f"expected an amount, was {value!r}") from error
    if not amount.is_finite():
        raise ValueError(f"expected a finite amount, was {value!r}")
    exponent = amount.normalize().as_tuple().exponent
    if not isinstance(exponent, int) or -exponent > SCALE_MAX or amount.adjusted() >= INTEGER_DIGITS_MAX:
        raise ValueError(f"expected at most {INTEGER_DIGITS_MAX}+{SCALE_MAX} digits, was {value!r}")
    return amount


def format_amount(amount: Decimal) -> str:
    """Write an amount without an exponent and without trailing zeros."""
    text = format(amount, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text in {"", "-0"} else text
