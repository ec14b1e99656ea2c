"""Draw numbers over time as SVG lines; the template writes every word, so that text keeps its size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

WIDTH: Final = 1000
HEIGHT: Final = 200
TIME_FORMAT: Final = "%d %b %H:%M"


@dataclass(frozen=True, slots=True)
class Line:
    """One drawn series: ``points`` in the coordinates of the drawing, and the words for its legend."""

    number: int
    label: str
    points: str
    lowest: str
    highest: str
    newest: str


@dataclass(frozen=True, slots=True)
class Chart:
    """A drawing of ``width`` by ``height`` whose vertical axis begins at zero; times in UTC."""

    title: str
    unit: str
    lines: tuple[Line, ...]
    top: str
    begins: str
    ends: str
    width: int = WIDTH
    height: int = HEIGHT


def chart(
    title: str, unit: str, times: Sequence[datetime], series: Sequence[tuple[str, Sequence[float]]]
) -> Chart | None:
    """Draw series over common times, oldest first; None where there are fewer than two times."""
    if len(times) < 2:  # noqa: PLR2004 - one point is no line
        return None
    top = max((max(values) for _, values in series), default=0) or 1
    begin, span = times[0], (times[-1] - times[0]).total_seconds() or 1
    across = [(moment - begin).total_seconds() / span * WIDTH for moment in times]
    lines = tuple(
        Line(
            number,
            label,
            " ".join(
                f"{x:.1f},{HEIGHT - value / top * HEIGHT:.1f}"
                for x, value in zip(across, values, strict=True)
            ),
            f"{min(values):g}",
            f"{max(values):g}",
            f"{values[-1]:g}",
        )
        for number, (label, values) in enumerate(series, start=1)
    )
    return Chart(
        title, unit, lines, f"{top:g}", times[0].strftime(TIME_FORMAT), times[-1].strftime(TIME_FORMAT)
    )
