"""What a desk's column holds is kept as JSON and put back exactly, whatever a database gives."""

from __future__ import annotations

import json
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kraken_recon.desk_books.rules.kept_values import is_same, keep, put_back

VALUES: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.decimals(allow_nan=False),
    st.text(st.characters()),
    st.datetimes(timezones=st.none() | st.timezones()),
    st.dates(),
    st.times(),
    st.uuids(),
    st.binary(),
)


@given(st.dictionaries(st.text(), VALUES))
def test_what_is_kept_is_put_back_exactly(values: dict[str, Any]) -> None:
    kept = json.loads(json.dumps(keep(values)))
    assert put_back(kept) == values
    assert is_same(values, kept)
    assert "\x00" not in json.dumps([text for _, text in kept.values()], ensure_ascii=False)


@given(st.datetimes(), st.integers(1, 10_000))
def test_a_moment_is_the_same_without_its_fraction_and_never_another_second(
    moment: Any, seconds: int
) -> None:
    kept = keep({"at": moment})
    assert is_same({"at": moment.replace(microsecond=0)}, kept, is_rounded=True)
    if moment.year < 9000:
        assert not is_same({"at": moment + timedelta(seconds=seconds, microseconds=1)}, kept, is_rounded=True)
        assert not is_same({"at": moment + timedelta(microseconds=1)}, kept)


@pytest.mark.parametrize(
    ("found", "written", "are_same"),
    [
        (1.5, Decimal("1.50000000"), True),
        ("1.50", Decimal("1.5"), True),
        (1, True, True),
        ("v1", "v1 ", False),
        (None, 0, False),
        (0, None, False),
        (0.1, Decimal("0.10000001"), False),
    ],
)
def test_numbers_are_the_same_however_they_are_typed(found: Any, written: Any, *, are_same: bool) -> None:
    assert is_same({"q": found}, keep({"q": written})) is are_same


def test_what_cannot_be_put_back_says_so() -> None:
    with pytest.raises(ValueError, match="tags"):
        put_back(keep({"tags": ["a", "b"]}))
