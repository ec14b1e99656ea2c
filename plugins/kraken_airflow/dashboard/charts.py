"""Say what a chart shows; ``charts.js`` draws it, and the same values stand beside it as a table."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from kraken_recon.values.money import format_amount

if TYPE_CHECKING:
    from collections.abc import Sequence

# As many colours as the style sheet has.
SERIES_MAX: Final = 4
# Beside each other on one place of the axis; the library draws no more.
BARS_MAX: Final = 2
TIME_FORMAT: Final = "%Y-%m-%d %H:%M"

Value: TypeAlias = int | float | Decimal | None


@dataclass(frozen=True, slots=True)
class Line:
    """One series: its values as text, and what its legend says as long as no pointer is over the chart."""

    number: int
    label: str
    values: tuple[str, ...]
    told: str


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart: ``summary`` for those who do not see it, ``data`` for the script, ``labels`` for the table."""

    title: str
    unit: str
    across: str
    labels: tuple[str, ...]
    lines: tuple[Line, ...]
    summary: str
    data: dict[str, Any]
    has_zoom: bool


def chart(
    title: str,
    unit: str,
    points: Sequence[datetime] | Sequence[str],
    series: Sequence[tuple[str, Sequence[Value]]],
) -> Chart | None:
    """Make a chart of series over common points; None where there is nothing to draw.

    Over times, oldest first, the series are lines, and None is a gap. Over words they are bars.
    """
    times = [point for point in points if isinstance(point, datetime)]
    words = [point for point in points if isinstance(point, str)]
    most = BARS_MAX if words else SERIES_MAX
    if len(series) > most:
        raise ValueError(f"{title}: {len(series)} series, and no more than {most} can be told apart")
    known = [value for _, values in series for value in values if value is not None]
    # One point in time is no line, and bars of nothing are no bars.
    if len(times) == 1 or not known or (words and not any(known)):
        return None
    labels = tuple(words or (moment.astimezone(UTC).strftime(TIME_FORMAT) for moment in times))
    lines = tuple(
        _line(number, label, values, is_counted=bool(words))
        for number, (label, values) in enumerate(series, start=1)
    )
    data = {
        "labels": words,
        "points": [moment.timestamp() for moment in times] or list(range(len(words))),
        "values": [[None if value is None else float(value) for value in values] for _, values in series],
        "names": [label for label, _ in series],
    }
    over = "" if words else f", {labels[0]} to {labels[-1]} UTC"
    summary = f"{title}, in {unit}{over}: " + "; ".join(f"{line.label}: {line.told}" for line in lines)
    return Chart(title, unit, "From" if words else "Time, UTC", labels, lines, summary, data, bool(times))


def _line(number: int, label: str, values: Sequence[Value], *, is_counted: bool) -> Line:
    known = [value for value in values if value is not None]
    if is_counted:
        told = f"{_text(sum(known))} in all"
    elif known:
        told = f"{_text(known[-1])}, between {_text(min(known))} and {_text(max(known))}"
    else:
        told = "not known"
    return Line(number, label, tuple(_text(value) for value in values), told)


def _text(value: Value) -> str:
    if value is None:
        return ""
    return format_amount(value) if isinstance(value, Decimal) else f"{value:.12g}"
