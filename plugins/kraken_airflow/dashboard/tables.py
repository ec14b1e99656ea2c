"""Tables: a row is a dataclass whose fields are the columns of its page and of its CSV, declared once.

A field is a column of the CSV unless it is marked ``JSON_ONLY``, and of the page where it has a ``Column``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, get_type_hints

JSON_ONLY: Final = "not in the CSV"
# Classes of cells: an exact amount, and a count that is grey where it is zero.
AMOUNT: Final = "number amount"
COUNT: Final = "number zero"


@dataclass(frozen=True, slots=True)
class Column:
    """What stands above a column of a page, and how its cells look.

    ``classes``: ``number`` stands to the right, ``zero`` is grey where there is nothing. ``label`` stands
    beside a cell where a row is a card.
    """

    title: str
    classes: str = ""
    label: str | None = None

    @property
    def is_number(self) -> bool:
        """Say whether its title stands to the right."""
        return not {"number", "priced"}.isdisjoint(self.classes.split())


def _marks(row_type: type) -> dict[str, tuple[Any, ...]]:
    hints = get_type_hints(row_type, include_extras=True)
    return {name: getattr(hint, "__metadata__", ()) for name, hint in hints.items()}


def csv_fields(row_type: type) -> list[str]:
    """Name the columns of a CSV."""
    return [name for name, marks in _marks(row_type).items() if JSON_ONLY not in marks]


def page_columns(rows: list[Any], order: str = "") -> dict[str, Column]:
    """Give the columns of a page by their fields, in another order than the CSV's where one is named."""
    marks = _marks(type(rows[0])) if rows else {}
    shown = {name: mark for name in marks for mark in marks[name] if isinstance(mark, Column)}
    return {name: shown[name] for name in order.split() or shown if rows}
