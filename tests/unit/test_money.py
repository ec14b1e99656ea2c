"""Amounts at their edges; the properties are in ``properties/test_exact_amounts``."""

from __future__ import annotations

import decimal
from decimal import Decimal

import pytest

from kraken_recon.values.money import EXACT, exact_arithmetic, format_amount, parse_amount

LARGEST = "99999999999999999999.999999999999999999"


@pytest.mark.parametrize("text", ["0", "-0", "1", LARGEST, f"-{LARGEST}", "1e19", "1E-18", "0e-40", "1.500"])
def test_amounts_that_the_database_can_hold(text: str) -> None:
    assert parse_amount(text) == Decimal(text)


@pytest.mark.parametrize(
    "value",
    [
        "100000000000000000000",
        "1e20",
        "1e-19",
        "12345678901234567890.1234567890123456789",
        "1e999999999",
        "1e-999999999",
        "NaN",
        "sNaN",
        "-Infinity",
        "",
        "1,5",
        "0x10",
        1.5,
        True,
        None,
        [],
    ],
)
def test_anything_else_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="expected"):
        parse_amount(value)


@pytest.mark.parametrize(
    ("amount", "text"),
    [("1E+3", "1000"), ("1.2300", "1.23"), ("-0.00", "0"), ("1E-18", "0.000000000000000001"), ("100", "100")],
)
def test_amounts_are_written_plainly(amount: str, text: str) -> None:
    assert format_amount(Decimal(amount)) == text


def test_computing_is_exact_or_raises() -> None:
    with exact_arithmetic():
        assert Decimal(LARGEST) * Decimal(LARGEST) / Decimal(LARGEST) == Decimal(LARGEST)
        with pytest.raises(decimal.Inexact):
            Decimal(1) / Decimal(3)
        with pytest.raises(decimal.FloatOperation):
            Decimal(0.5)  # noqa: RUF032 - that it is refused is the test
    assert EXACT.add(Decimal(LARGEST), Decimal("1e-18")) == Decimal("1e20")
