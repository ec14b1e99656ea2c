"""Rows as pages, CSV and JSON tell them: one serialiser, and columns that are declared once."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from enum import StrEnum
from typing import Annotated
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from kraken_airflow.dashboard.tables import JSON_ONLY, Column, csv_fields, page_columns
from kraken_recon.values.plain import plain

MOMENT = datetime(2026, 11, 22, 12, 0, 0, 250_000, tzinfo=timezone(timedelta(hours=2)))


class Side(StrEnum):
    BUY = "buy"


@dataclass(frozen=True, slots=True)
class Row:
    at: Annotated[datetime, Column("Time", "age")]
    side: Annotated[Side, Column("Side")]
    amount: Annotated[Decimal, Column("Amount", "number amount")]
    row_id: UUID
    parts: list[str]
    is_late: bool
    note: Annotated[str | None, JSON_ONLY]


ROW = Row(MOMENT, Side.BUY, Decimal("1E-8"), UUID(int=7), ["a", "b"], is_late=False, note=None)


def test_a_row_becomes_what_json_knows() -> None:
    assert plain(ROW) == {
        "at": "2026-11-22T10:00:00.250000+00:00",
        "side": "buy",
        "amount": "0.00000001",
        "row_id": "00000000-0000-0000-0000-000000000007",
        "parts": ["a", "b"],
        "is_late": False,
        "note": None,
    }
    assert type(plain(ROW)["side"]) is str


def test_what_a_row_holds_is_written_alike_however_deep_it_lies() -> None:
    told = plain({"rows": [{"amount": Decimal("-0.10"), "rows": (ROW,)}]}, timespec="seconds")
    assert told["rows"][0]["amount"] == "-0.1"
    assert told["rows"][0]["rows"][0]["at"] == "2026-11-22T10:00:00+00:00"


@given(
    st.recursive(
        st.one_of(
            st.none(),
            st.booleans(),
            st.text(),
            st.decimals(allow_nan=False, allow_infinity=False, places=18),
            st.integers(0, 4_000_000_000).map(lambda second: datetime.fromtimestamp(second, MOMENT.tzinfo)),
            st.uuids(),
            st.sampled_from(Side),
        ),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
        max_leaves=8,
    )
)
def test_whatever_rows_hold_is_json_and_stays_as_it_is_when_written_again(value: object) -> None:
    told = plain(value)
    assert json.loads(json.dumps(told)) == told
    assert plain(told) == told


def test_a_field_is_declared_once_for_the_page_and_the_csv() -> None:
    assert csv_fields(Row) == ["at", "side", "amount", "row_id", "parts", "is_late"]
    assert [column.title for column in page_columns([ROW]).values()] == ["Time", "Side", "Amount"]
    assert list(page_columns([ROW], "amount at")) == ["amount", "at"]
    assert not page_columns([])
