"""The counts of a run: the one table of them, from which all that writes, reads or shows counts takes them.

Each is a column of ``reconciliation_runs`` of the same name. The schema has the columns, ``run_summary``
counts; everything else about a count is said here.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Count:
    """One count of a run, in holdings.

    Attributes:
        name: of the column, and of the figure in JSON and CSV.
        title: the heading of its column on the pages, where counts with one title are summed; None for none.
        total: the figure of the sum of counts of which lists of accounts show only that; empty for none.
        is_agreement: whether it counts what agreed; all others count what differed, by what became of it.
        is_told: whether reports, logs, metrics and downloads tell it.
    """

    name: str
    title: str | None = None
    total: str = ""
    is_agreement: bool = False
    is_told: bool = True

    @property
    def words(self) -> str:
        """Name it for people."""
        return self.name.replace("_", " ")


COUNTS: Final = (
    Count("checked", "Checked", is_agreement=True),
    Count("matched", "Agreed", is_agreement=True),
    Count("within_tolerance"),
    Count("explained", "Explained"),
    Count("updated", "Repaired", total="repaired"),
    Count("added", "Repaired", total="repaired"),
    Count("removed", "Repaired", total="repaired"),
    Count("held", "Held"),
    Count("awaiting", "Awaiting"),
    Count("failed", is_told=False),
)
TOLD: Final = tuple(count for count in COUNTS if count.is_told)
#: What a terminal has room for, in its order: the heading, and the figure below it.
TERMINAL_COLUMNS: Final = {
    "EXPLAINED": "explained",
    "REPAIRED": "repaired",
    "WAITING": "awaiting",
    "HELD": "held",
}


def figures_of(run: Mapping[str, Any]) -> dict[str, int]:
    """Give the counts of a run for a list of accounts, summed where it shows only their total."""
    figures: Counter[str] = Counter()
    for count in TOLD:
        figures[count.total or count.name] += run[count.name]
    return dict(figures)


def figure_names(*, is_agreement: bool) -> tuple[str, ...]:
    """Name the figures of a list of accounts that count what agreed, or those that count what differed."""
    named = (count.total or count.name for count in TOLD if count.is_agreement is is_agreement)
    return tuple(dict.fromkeys(named))


def titles(*, is_agreement: bool) -> tuple[str, ...]:
    """Name the columns of the pages that count what agreed, or those that count what differed."""
    named = (count.title for count in COUNTS if count.title and count.is_agreement is is_agreement)
    return tuple(dict.fromkeys(named))


def columns_of(run: Mapping[str, Any]) -> dict[str, int]:
    """Give the counts of a run by the title of their column on the pages."""
    columns: Counter[str] = Counter()
    for count in COUNTS:
        if count.title:
            columns[count.title] += run[count.name]
    return dict(columns)
