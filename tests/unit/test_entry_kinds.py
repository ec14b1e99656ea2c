"""The table of kinds: what is known, and that what a type is to the books does not depend on the row."""

from __future__ import annotations

from collections import defaultdict

import pytest

from kraken_recon.ledger.entry_kinds import ANY, KINDS, MOVES, SWAPS, EntryKind, Trait, is_known_kind

ROWS = [row for listed in KINDS.values() for row in listed]


def test_every_row_says_what_it_is_and_what_it_costs() -> None:
    assert [row.names for row in ROWS if not (row.shape and row.meaning and row.cost)] == []


def test_a_kind_is_the_same_to_the_books_in_whatever_shape_it_comes() -> None:
    traits: dict[tuple[str, str], set[Trait]] = defaultdict(set)
    for row in ROWS:
        for kind in row.kinds:
            traits[kind].add(row.traits)
    assert {kind: found for kind, found in traits.items() if len(found) > 1} == {}


def test_names_are_read_as_types_and_subtypes() -> None:
    row = EntryKind("earn/migration, invite bonus/*, adjustment", Trait.NONE, "1", "given", "unknown")
    assert row.kinds == (("earn", "migration"), ("invite bonus", ANY), ("adjustment", ""))


def test_what_moves_and_what_may_be_exchanged_is_in_the_table_alone() -> None:
    assert ("earn", "allocation") in MOVES - SWAPS
    assert ("earn", "migration") in MOVES & SWAPS


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
