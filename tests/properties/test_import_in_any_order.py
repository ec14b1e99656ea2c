"""An import commutes: overlapping files, in any order and number, lead to the rows of one straight sync."""

from __future__ import annotations

from datetime import timedelta
from itertools import groupby, pairwise
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from desks.exports import LEDGER_HEADERS
from desks.histories import (
    Movement,
    adjustments,
    at_exchange,
    fresh_account,
    happen,
    movements,
    on_database,
)
from desks.imports import books_on_record, bring_file, is_sound
from kraken_recon.errors import ImportRefusedError

if TYPE_CHECKING:
    from desks.fake_exchange import Desk
    from desks.fakes import FakeBooks
    from kraken_recon.ledger.entries import LedgerEntry


def live(books: FakeBooks, history: list[Movement]) -> list[list[LedgerEntry]]:
    """Let a history happen with fractions of seconds, and return it second by second."""
    for movement in history:
        if not movement.together:
            books.now += timedelta(microseconds=137_000)
        happen(books, movement)
    return [list(g) for _, g in groupby(books.entries, key=lambda e: e.entry_time.replace(microsecond=0))]


@on_database
@given(st.lists(movements, min_size=1, max_size=25), st.data())
def test_overlapping_files_in_any_order_lead_to_the_rows_of_one_straight_sync(
    desk: Desk, history: list[Movement], data: st.DataObject
) -> None:
    straight, books = fresh_account(desk)
    seconds = live(books, history)
    desk.sync(straight)
    imported, same_books = fresh_account(desk)
    same_books.entries, same_books.made, same_books.now = list(books.entries), books.made, books.now
    cuts = sorted(data.draw(st.sets(st.integers(0, len(seconds)), max_size=3)) | {0, len(seconds)})
    pieces = [
        [entry for second in seconds[max(0, start - data.draw(st.integers(0, 2))) : end] for entry in second]
        for start, end in pairwise(cuts)
    ]
    waiting = data.draw(st.permutations(pieces + data.draw(st.lists(st.sampled_from(pieces), max_size=2))))
    syncs_at = data.draw(st.integers(0, len(waiting)) | st.none())
    _bring_all(desk, imported, waiting, syncs_at, data)
    assert books_on_record(desk, imported) == books_on_record(desk, straight)
    assert desk.positions(imported) == at_exchange(books)
    assert is_sound(desk, imported)
    for movement in data.draw(st.lists(movements, max_size=3)):
        happen(same_books, movement)
    desk.sync(imported)
    assert desk.run(imported)["status"] == "succeeded", desk.run(imported)["error"]
    assert desk.positions(imported) == at_exchange(same_books)
    assert is_sound(desk, imported)
    assert adjustments(desk, imported) == []


def _bring_all(
    desk: Desk, name: str, waiting: list[list[LedgerEntry]], syncs_at: int | None, data: st.DataObject
) -> None:
    """Import every file; one that leaves a gap is refused and comes again once its neighbours are there."""
    done = 0
    while waiting:
        refused = []
        for piece in waiting:
            if done == 0 and syncs_at == 0:
                desk.sync(name)
            try:
                bring_file(desk, piece, data.draw(st.sampled_from(sorted(LEDGER_HEADERS))), name)
            except ImportRefusedError:
                refused.append(piece)
            done += 1
        assert len(refused) < len(waiting), "every file that is left was refused"
        waiting = refused
