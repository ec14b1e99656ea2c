"""Figures as people read them."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from kraken_recon.values.shown_figures import covered_share, rounded_for_people

DOCS = Path(__file__).resolve().parents[2] / "docs"
ONE_ROW = (
    "A fill whose other leg Kraken rounded to nothing has one row and no price: what came in is of unknown "
    "cost, and what went out leaves at cost, without a result."
)


@pytest.mark.parametrize(
    ("amount", "shown"),
    [
        ("99.99999999999999999", "100"),
        ("181.818181818181818171", "181.81818"),
        ("0.000012345678912345", "0.000012345679"),
        ("123456789.987654", "123456789.99"),
        ("-630", "-630"),
        ("0", "0"),
    ],
)
def test_figures_are_rounded_to_what_people_read(amount: str, shown: str) -> None:
    assert rounded_for_people(Decimal(amount)) == shown


@pytest.mark.parametrize(
    ("known", "unknown", "said"),
    [
        ("1", "0", "all"),
        ("0", "1", "none"),
        ("0", "0", None),
        ("10", "1", "90.9 %"),
        ("9999999", "1", "99.9 %"),
        ("1", "99999", "under 0.1 %"),
        ("0", "-1", None),
    ],
)
def test_what_an_average_covers_is_never_said_too_high(known: str, unknown: str, said: str | None) -> None:
    assert covered_share(Decimal(known), Decimal(unknown)) == said


@pytest.mark.parametrize(
    "page", ["reference/ledger-entries.md", "adr/0009-weighted-average-with-unknown-cost.md"]
)
def test_the_rule_of_one_row_is_said_in_the_same_words(page: str) -> None:
    assert ONE_ROW in " ".join((DOCS / page).read_text().split())
