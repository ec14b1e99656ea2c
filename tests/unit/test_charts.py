"""What a chart says in words and in numbers, before anything is drawn."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from kraken_airflow.dashboard.charts import chart

NOON = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)
TIMES = [NOON + n * timedelta(hours=1) for n in range(3)]


def test_lines_over_times_keep_exact_values_for_readers_and_floats_for_the_drawing() -> None:
    made = chart("Worth", "EUR", TIMES, [("worth", [Decimal("0.1"), None, Decimal("12345678901234.56")])])
    assert made is not None
    [line] = made.lines
    assert line.values == ("0.1", "", "12345678901234.56")
    assert line.told == "12345678901234.56, between 0.1 and 12345678901234.56"
    assert made.labels == ("2026-01-05 12:00", "2026-01-05 13:00", "2026-01-05 14:00")
    assert made.data == {
        "labels": [],
        "points": [moment.timestamp() for moment in TIMES],
        "values": [[0.1, None, 12345678901234.56]],
        "names": ["worth"],
    }
    assert made.summary.startswith("Worth, in EUR, 2026-01-05 12:00 to 2026-01-05 14:00 UTC: worth: ")
    assert made.has_zoom


def test_words_make_bars_that_are_counted() -> None:
    made = chart("Slippage", "orders", ["worse", "better"], [("buy", [2, 0]), ("sell", [0, 1])])
    assert made is not None
    assert [line.told for line in made.lines] == ["2 in all", "1 in all"]
    assert made.data["points"] == [0, 1]
    assert not made.has_zoom


def test_times_of_another_zone_are_told_in_utc() -> None:
    east = [moment.astimezone() for moment in TIMES]
    made = chart("A", "b", east, [("c", [1, 2, 3])])
    assert made is not None
    assert made.labels[0] == "2026-01-05 12:00"


@pytest.mark.parametrize(
    ("points", "values"),
    [([], []), (TIMES[:1], [1]), (TIMES, [None, None, None]), (["a", "b"], [0, 0])],
)
def test_what_is_too_little_is_not_drawn(points: list[datetime] | list[str], values: list[int]) -> None:
    assert chart("A", "b", points, [("c", values)]) is None


def test_more_series_than_can_be_told_apart_are_refused() -> None:
    with pytest.raises(ValueError, match="no more than 2"):
        chart("A", "b", ["x"], [(str(n), [n]) for n in range(3)])
    with pytest.raises(ValueError, match="no more than 4"):
        chart("A", "b", TIMES, [(str(n), [n] * 3) for n in range(5)])
