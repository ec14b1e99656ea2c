"""Values of a desk's columns as they are kept in our database, as JSON, to be found again and put back.

Invariants:
1. What is kept can be put back exactly as it was, or says that it cannot.
2. Numbers are kept as their digits, never as a binary fraction of JSON's.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Kept = dict[str, list[str | None]]
"""Values by column, each as a kind and its text."""

_READERS: Final[Mapping[str, Callable[[str], Any]]] = {
    "bool": lambda text: text == "True",
    "int": int,
    "float": float,
    "decimal": Decimal,
    "text": str,
    "escaped": lambda text: bytes.fromhex(text).decode("utf-8", "surrogatepass"),
    "datetime": datetime.fromisoformat,
    "date": date.fromisoformat,
    "time": time.fromisoformat,
    "uuid": UUID,
    "bytes": bytes.fromhex,
}
_OTHER: Final = "other"
# What a column keeps of a moment may be a whole second, rounded.
_MOMENT_DIGITS: Final = timedelta(seconds=1)


def keep(values: Mapping[str, Any]) -> Kept:
    """Write values by column so that JSON holds them."""
    return {column: _kept(value) for column, value in values.items()}


def put_back(kept: Mapping[str, list[str | None]]) -> dict[str, Any]:
    """Read values by column again.

    Raises:
        ValueError: a value is of a type that cannot be written back; the message names the column.
    """
    values: dict[str, Any] = {}
    for column, (kind, text) in kept.items():
        if text is None:
            values[column] = None
        elif kind is not None and kind in _READERS:
            values[column] = _READERS[kind](text)
        else:
            raise ValueError(f"what stood in {column} is of a type that cannot be put back")
    return values


def _kept(value: Any) -> list[str | None]:  # noqa: ANN401, PLR0911 - whatever a database gives
    if value is None:
        return ["none", None]
    match value:
        case bool():
            return ["bool", str(value)]
        case int():
            return ["int", str(value)]
        case float():
            return ["float", repr(value)]
        case Decimal():
            return ["decimal", str(value)]
        case str():
            return ["text", value] if _is_storable(value) else ["escaped", _hex(value)]
        case datetime() | date() | time():
            return [type(value).__name__, value.isoformat()]
        case UUID():
            return ["uuid", str(value)]
        case bytes() | bytearray() | memoryview():
            return ["bytes", bytes(value).hex()]
    return [_OTHER, repr(value)]


def _is_storable(text: str) -> bool:
    """Say whether JSON in a database takes a text as it is: no zero byte, no half of a surrogate pair."""
    return "\x00" not in text and not any("\ud800" <= character <= "\udfff" for character in text)


def _hex(text: str) -> str:
    return text.encode("utf-8", "surrogatepass").hex()


def is_same(
    found: Mapping[str, Any], kept: Mapping[str, list[str | None]], *, is_rounded: bool = False
) -> bool:
    """Say whether a row, as a database gives it, holds these values, however they are typed.

    ``is_rounded`` says that they were written, so that a column may keep a moment without its fraction.
    """
    return not differing(found, kept, is_rounded=is_rounded)


def differing(
    found: Mapping[str, Any], kept: Mapping[str, list[str | None]], *, is_rounded: bool = False
) -> list[str]:
    """Name the columns that hold something else."""
    slack = _MOMENT_DIGITS if is_rounded else timedelta()
    return [
        column
        for column, value in kept.items()
        if column not in found or not _is_one(found[column], value, slack)
    ]


def _is_one(value: Any, kept: list[str | None], slack: timedelta) -> bool:  # noqa: ANN401 - a database's
    ours = _kept(value)
    if ours == kept:
        return True
    if ours[1] is None or kept[1] is None:
        return False
    if (one := _number(ours)) is not None and (other := _number(kept)) is not None:
        return one == other
    moment, other_moment = _moment(ours[1]), _moment(kept[1])
    return moment is not None and other_moment is not None and abs(moment - other_moment) <= slack


def _number(kept: list[str | None]) -> Decimal | None:
    """Read a number; a truth is one, because some databases keep it so."""
    kind, text = kept
    if kind == "bool":
        return Decimal(text == "True")
    if kind not in ("int", "float", "decimal", "text") or text is None:
        return None
    try:
        number = Decimal(text)
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


def _moment(text: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
