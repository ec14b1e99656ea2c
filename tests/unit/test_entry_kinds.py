"""The list of known kinds, and the page that explains each of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from kraken_recon.ledger.entry_kinds import ANY, KNOWN_KINDS, is_known_kind

PAGE = Path(__file__).resolve().parents[2] / "docs/reference/ledger-entries.md"


@pytest.mark.parametrize("kind", sorted(KNOWN_KINDS))
def test_every_known_kind_is_explained(kind: str) -> None:
    page = PAGE.read_text()
    named = {kind, *KNOWN_KINDS[kind]} - {"", ANY}
    assert {name for name in named if f"`{name}`" not in page} == set()


@pytest.mark.parametrize(
    ("kind", "subtype", "is_known"),
    [
        ("trade", "tradespot", True),
        ("trade", "", True),
        ("trade", "moon", False),
        ("dividend", "whatever", True),
        ("moon", "", False),
        ("", "", False),
        ("trade", ANY, False),
    ],
)
def test_a_kind_is_known_by_its_type_and_subtype(kind: str, subtype: str, *, is_known: bool) -> None:
    assert is_known_kind(kind, subtype) == is_known
