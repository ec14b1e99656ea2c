"""One field of an answer that is not what Kraken says: gone, of another type, beyond bounds, or another's.

A path names the field from the envelope on, as in ``result.*.balance``; ``*`` is the first member of a map or
a list.
"""

from __future__ import annotations

import copy
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, Final

from kraken_sim.errors import ControlError

if TYPE_CHECKING:
    from collections.abc import Callable

ANY: Final = "*"
LONG: Final = 5000
HUGE: Final = Decimal(10) ** 9
FINE: Final = Decimal("0.0000000000000000001")


def alter(answer: dict[str, Any], path: str, how: str) -> dict[str, Any] | None:
    """Copy an answer with one field altered; None where there is no such field to alter.

    Raises:
        ControlError: for a way of altering that is not known.
    """
    if how not in WAYS:
        raise ControlError(f"expected how out of {sorted(WAYS)}, was {how!r}")
    altered = copy.deepcopy(answer)
    found = _find(altered, path.split("."))
    if found is None:
        return None
    WAYS[how](*found, altered, path)
    return altered


def _find(place: Any, steps: list[str]) -> tuple[Any, Any] | None:  # noqa: ANN401 - JSON
    """Find the object or list that holds a field, and the field's name or number there."""
    for number, step in enumerate(steps):
        if isinstance(place, list) and place:
            key: Any = 0 if step == ANY else int(step)
        elif isinstance(place, dict) and place:
            key = next(iter(place)) if step == ANY else step
        else:
            return None
        if isinstance(place, dict) and key not in place:
            return None
        if number == len(steps) - 1:
            return place, key
        place = place[key]
    return None


def _number(value: object) -> Decimal | None:
    if isinstance(value, bool) or not isinstance(value, (str, int, Decimal)):
        return None
    try:
        return Decimal(value)
    except InvalidOperation:
        return None


def _like(value: object, number: Decimal) -> object:
    """Write a number as the field has it: as text or as a number."""
    if isinstance(value, str):
        return format(number, "f")
    return int(number) if isinstance(value, int) else number


def _scaled(factor: Decimal) -> Callable[[Any], Any]:
    def scale(value: Any) -> Any:  # noqa: ANN401 - JSON
        number = _number(value)
        if number is not None:
            return _like(value, (number or Decimal(1)) * factor)
        return value * LONG if isinstance(value, (str, list)) and value else "x" * LONG

    return scale


def _of_another_type(value: Any) -> Any:  # noqa: ANN401 - JSON
    number = _number(value)
    if isinstance(value, str):
        return number if number is not None else 7
    return str(value) if number is not None else "true"


def _emptied(value: Any) -> Any:  # noqa: ANN401 - JSON
    return type(value)() if isinstance(value, (list, dict)) else ""


def _endless(value: Any) -> Any:  # noqa: ANN401 - JSON
    """Go on and on: digits of a number, characters of a text."""
    number = _number(value)
    if number is None:
        return "x" * LONG
    return "9" * LONG if isinstance(value, str) else int("9" * (LONG // 2))


def _negative(value: Any) -> Any:  # noqa: ANN401 - JSON
    number = _number(value)
    return _like(value, -number or Decimal(-1)) if number is not None else f"-{value}"


def _replaced(change: Callable[[Any], Any]) -> Callable[[Any, Any, Any, str], None]:
    def replace(place: Any, key: Any, answer: Any, path: str) -> None:  # noqa: ANN401 - JSON
        del answer, path
        place[key] = change(place[key])

    return replace


def _dropped(place: Any, key: Any, answer: Any, path: str) -> None:  # noqa: ANN401 - JSON
    del answer, path
    del place[key]


def _swapped(place: Any, key: Any, answer: Any, path: str) -> None:  # noqa: ANN401 - JSON
    """Change places with the same field of the next row, or with the next field of a row that is alone."""
    steps = path.split(".")
    for depth in range(len(steps) - 2, -1, -1):
        if steps[depth] != ANY:
            continue
        rows = _find(answer, [*steps[: depth + 1]])
        if rows is None:
            return
        members = rows[0] if isinstance(rows[0], list) else list(rows[0].values())
        for other in members[1:]:
            twin = _find(other, steps[depth + 1 :])
            if twin is not None and twin[0][twin[1]] != place[key]:
                place[key], twin[0][twin[1]] = twin[0][twin[1]], place[key]
                return
    if isinstance(place, dict):
        keys = [name for name in place if name != key and place[name] != place[key]]
        if keys:
            place[key], place[keys[0]] = place[keys[0]], place[key]


#: Every way in which a field may be altered, by its name.
WAYS: Final[dict[str, Callable[[Any, Any, Any, str], None]]] = {
    "dropped": _dropped,
    "null": _replaced(lambda _: None),
    "type": _replaced(_of_another_type),
    "empty": _replaced(_emptied),
    "zero": _replaced(lambda value: _like(value, Decimal(0)) if _number(value) is not None else "0"),
    "huge": _replaced(_scaled(HUGE)),
    "tiny": _replaced(_scaled(FINE)),
    "endless": _replaced(_endless),
    "negative": _replaced(_negative),
    "swapped": _swapped,
}
