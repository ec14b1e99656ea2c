"""The one way in which rows leave for people and programs: JSON, CSV, pages and the terminal alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from functools import cache
from typing import Any, Final
from uuid import UUID

from kraken_recon.values.money import format_amount

# Most of what rows hold; asked first, because a download has millions of values.
_KEPT: Final = frozenset({str, int, bool, float, type(None)})


def plain(value: Any, timespec: str = "auto") -> Any:  # noqa: ANN401 - whatever a row holds
    """Turn a row, or what it holds, into what JSON knows.

    Amounts become exact text without an exponent, times ISO text in UTC (as precise as ``timespec`` says to
    ``isoformat``), ids text, enums their values, dataclasses objects of their fields.
    """
    kind: Any = type(value)
    written = value
    if kind in _KEPT:
        pass
    elif kind is dict or isinstance(value, Mapping):
        written = {
            name: inner if type(inner) in _KEPT else plain(inner, timespec) for name, inner in value.items()
        }
    elif kind is Decimal:
        written = format_amount(value)
    elif isinstance(value, datetime):
        written = value.astimezone(UTC).isoformat(timespec=timespec)
    elif isinstance(value, (list, tuple)):
        written = [plain(inner, timespec) for inner in value]
    elif kind is UUID:
        written = str(value)
    elif isinstance(value, Enum):
        written = value.value
    elif names := _names(kind):
        written = plain({name: getattr(value, name) for name in names}, timespec)
    return written


@cache
def _names(kind: Any) -> tuple[str, ...]:  # noqa: ANN401 - a type
    return tuple(field.name for field in fields(kind)) if is_dataclass(kind) else ()
