"""Pages of long tables: each link to the next page carries the key of the last row shown.

A key comes back from a browser, so it is read like anything a stranger sends: exactly the types that the page
sorts by, or the request is refused with 400.
"""

from __future__ import annotations

import base64
import binascii
import json
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import urlencode
from uuid import UUID

from fastapi import HTTPException

from kraken_recon.reports.page_store import PageStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from kraken_recon.database.unit_of_work import UnitOfWork

Row = TypeVar("Row")
BIGINT_MAX: Final = 2**63 - 1
CURSOR_LENGTH_MAX: Final = 1_000
REFUSAL: Final = "this is no link to another page of ours; begin at the first page"


def cursor_of(*key: datetime | UUID | str | int) -> str:
    """Write a row's key as a part of a link."""
    parts = [part if isinstance(part, (int, str)) else str(part) for part in key]
    return base64.urlsafe_b64encode(json.dumps(parts).encode()).decode().rstrip("=")


def key_of(cursor: str | None, *types: type) -> tuple[Any, ...] | None:
    """Read a row's key of exactly these types (datetime, UUID, str, int) back; None without a cursor.

    Raises:
        HTTPException: 400, it is none that a page of this table gives.
    """
    if not cursor:
        return None
    try:
        return tuple(_part(part, type_) for part, type_ in zip(_parts(cursor), types, strict=True))
    except (ValueError, OverflowError, RecursionError, binascii.Error):
        raise HTTPException(400, REFUSAL) from None


def _parts(cursor: str) -> list[object]:
    if len(cursor) > CURSOR_LENGTH_MAX:
        raise ValueError("too long")
    parts = json.loads(base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True))
    if not isinstance(parts, list):
        raise ValueError("no list")  # noqa: TRY004 - every wrong cursor is refused alike
    return parts


def _part(part: object, type_: type) -> Any:  # noqa: ANN401 - as its type says
    if type_ is int:
        if type(part) is int and abs(part) <= BIGINT_MAX:
            return part
    elif isinstance(part, str) and "\0" not in part:
        if type_ is str:
            return part
        if type_ is UUID:
            return UUID(part)
        moment = datetime.fromisoformat(part)
        if moment.tzinfo:
            return moment
    raise ValueError("another type")


def read_page(  # noqa: PLR0913 - by name
    unit: UnitOfWork,
    query: str,
    make: Callable[..., Row],
    *,
    key: Mapping[str, type],
    cursor: str,
    most: int,
    **filters: object,
) -> tuple[list[Row], str | None]:
    """Read a page of ``<page>.<query>``, and the cursor of the next page.

    The query knows the columns of the ``key`` of the last row shown as ``before_`` and their names.
    """
    found = key_of(cursor, *key.values()) or (None,) * len(key)
    before = {f"before_{name}": part for name, part in zip(key, found, strict=True)}
    rows = PageStore(unit).rows(query, make, **filters, **before, most=most + 1)
    return page_of(rows, most, key)


def page_of(rows: Sequence[Row], most: int, key: Iterable[str]) -> tuple[list[Row], str | None]:
    """Split rows, read with a limit of ``most + 1``, into those of a page and the cursor of the next page."""
    shown = list(rows[:most])
    following = cursor_of(*(_of(shown[-1], name) for name in key)) if len(rows) > most else None
    return shown, following


def _of(row: object, name: str) -> Any:  # noqa: ANN401 - a column's value
    return row[name] if isinstance(row, dict) else getattr(row, name)


def query_of(values: Mapping[str, object]) -> str:
    """Write what is filled in as the query of a link, with its question mark."""
    filled = {name: value for name, value in values.items() if value not in (None, "")}
    return f"?{urlencode(filled)}" if filled else ""
