"""The one way in which rows leave for people and programs: JSON, CSV, pages and the terminal alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

from kraken_recon.values.money import format_amount


def plain(value: Any, timespec: str = "auto") -> Any:  # noqa: ANN401 - whatever a row holds
    """Turn a row, or what it holds, into what JSON knows.

    Amounts become exact text without an exponent, times ISO text in UTC (as precise as ``timespec`` says to
    ``isoformat``), ids text, enums their values, dataclasses objects of their fields.
    """
    written = value
    if isinstance(value, (str, int)) and not isinstance(value, Enum):
        return value
    if isinstance(value, Decimal):
        written = format_amount(value)
    elif isinstance(value, datetime):
        written = value.astimezone(UTC).isoformat(timespec=timespec)
    elif isinstance(value, UUID):
        written = str(value)
    elif isinstance(value, Enum):
        written = value.value
    elif is_dataclass(value):
        written = {field.name: plain(getattr(value, field.name), timespec) for field in fields(value)}
    elif isinstance(value, Mapping):
        written = {name: plain(inner, timespec) for name, inner in value.items()}
    elif isinstance(value, (list, tuple)):
        written = [plain(inner, timespec) for inner in value]
    return written
