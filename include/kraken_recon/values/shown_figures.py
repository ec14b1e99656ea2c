"""Figures as people read them: rounded, and with what they cover. Documents for programs keep every digit."""

from __future__ import annotations

import decimal
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from kraken_recon.values.money import ZERO, format_amount

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

DIGITS_SHOWN: Final = 8
DECIMALS_LEAST: Final = 2
_ROUNDING: Final = decimal.Context(prec=120, rounding=decimal.ROUND_HALF_EVEN)
_CUTTING: Final = decimal.Context(prec=120, rounding=decimal.ROUND_DOWN)


def rounded_for_people(amount: Decimal) -> str:
    """Round to eight significant digits, and never to less than two decimals."""
    decimals = max(DECIMALS_LEAST, DIGITS_SHOWN - 1 - amount.adjusted()) if amount else 0
    return format_amount(amount.quantize(Decimal(1).scaleb(-decimals), context=_ROUNDING))


def covered_share(known: Decimal, unknown: Decimal) -> str | None:
    """Say of how much of a holding the cost is known, ``all`` only if of all; None where nothing is held."""
    held = _ROUNDING.add(max(known, ZERO), max(unknown, ZERO))
    if not held:
        return None
    if known <= ZERO:
        return "none"
    if unknown <= ZERO:
        return "all"
    share = _CUTTING.divide(_CUTTING.multiply(known, Decimal(100)), held)
    tenths = share.quantize(Decimal("0.1"), context=_CUTTING)
    return f"{format_amount(tenths)} %" if tenths else "under 0.1 %"


def table(rows: Sequence[Sequence[str]], right: frozenset[int]) -> Iterator[str]:
    """Write rows as aligned columns; those of these numbers to the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        cells = (
            cell.rjust(width) if i in right else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        yield "  ".join(cells).rstrip()
