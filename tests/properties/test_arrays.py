"""What is written as the text of an array arrives in the database as it was."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from kraken_recon.database.arrays import array_literal

if TYPE_CHECKING:
    import psycopg

# The characters that the text of an array gives a meaning, and a few others.
TEXTS = st.text('",\\{} \nNULL\u00e9\u20bf', max_size=4)


@given(values=st.lists(TEXTS) | st.lists(TEXTS | st.none()))
def test_an_array_arrives_as_it_was(postgres_admin: psycopg.Connection, values: list[str | None]) -> None:
    row = postgres_admin.execute("select cast(%s::text as text[])", [array_literal(values)]).fetchone()
    assert row == (values,)
