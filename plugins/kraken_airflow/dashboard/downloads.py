"""Hand rows out as CSV and JSON, piece by piece; no cell runs as a formula in a spreadsheet.

This module has no postponed annotations: FastAPI must see the real ones.
"""

import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain, islice
from typing import Annotated, Any, Final, TypeVar

from fastapi import APIRouter, Depends
from fastapi.responses import JSONResponse, StreamingResponse

from kraken_airflow.dashboard.access import Choice, open_unit
from kraken_airflow.dashboard.tables import csv_fields
from kraken_recon.database.unit_of_work import UnitOfWork
from kraken_recon.plain_text import visible
from kraken_recon.values import plain as serialiser

Row = TypeVar("Row")
ROWS_PER_PIECE: Final = 1_000
# What a spreadsheet would run as a formula.
FORMULA_STARTS: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
NUMBER: Final = re.compile(r"-?\d+(\.\d+)?")
# Of what leaves here, times have whole seconds.
plain = partial(serialiser.plain, timespec="seconds")


class AsciiJSONResponse(JSONResponse):
    """JSON in which each control character is an escape, as in downloads: terminals show it, too."""

    def render(self, content: object) -> bytes:
        """Write it."""
        return json.dumps(content, allow_nan=False).encode()


def _no_head() -> dict[str, object]:
    return {}


def filters_of(choice: type[Choice]) -> Callable[..., Mapping[str, object]]:
    """Make a head that names what the request chose."""

    def head(chosen: Annotated[Choice, Depends(choice)]) -> Mapping[str, object]:
        return {"filters": chosen.as_query()}

    return head


def add_downloads(  # noqa: PLR0913 - by name
    router: APIRouter,
    place: str,
    rows: Callable[..., Iterable[Any]],
    columns: type | Sequence[str],
    *,
    head: Callable[..., Mapping[str, object]] = _no_head,
    name: str = "",
    file_name: str = "",
    dependencies: Sequence[Any] = (),
) -> None:
    """Add ``api/<place>`` and ``api/<place>.csv``: the same rows for the same parameters.

    ``rows`` and ``head``, which stands before them in the JSON, are FastAPI's dependencies: their parameters
    are the request's. ``columns`` are the row's type, or names; ``name`` is the rows' in the JSON.
    """
    name = name or place
    fields = csv_fields(columns) if isinstance(columns, type) else columns

    @router.get(f"/api/{place}", dependencies=dependencies)
    def as_json(
        told: Annotated[Mapping[str, object], Depends(head)], found: Annotated[Iterable[Any], Depends(rows)]
    ) -> StreamingResponse:
        return json_response(told, name, found)

    @router.get(f"/api/{place}.csv", dependencies=dependencies)
    def as_csv(found: Annotated[Iterable[Any], Depends(rows)]) -> StreamingResponse:
        pieces = csv_pieces(found, fields)
        # The first rows are read before anything is sent, so that what cannot be read is told as an error.
        whole = chain([next(pieces)], pieces)
        named = {"Content-Disposition": f'attachment; filename="{file_name or name}.csv"'}
        return StreamingResponse(whole, media_type="text/csv; charset=utf-8", headers=named)


def every_row(read: Callable[[UnitOfWork, str], tuple[Sequence[Row], str | None]]) -> Iterator[Row]:
    """Read page after page, each in a transaction of its own."""
    cursor: str | None = ""
    while cursor is not None:
        with open_unit() as unit:
            rows, cursor = read(unit, cursor)
        yield from rows


def csv_pieces(rows: Iterable[object], fields: Sequence[str]) -> Iterator[str]:
    """Write the header and these fields of every row, some rows at a time."""
    left = iter(rows)
    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerow(fields)
    while True:
        some = list(islice(left, ROWS_PER_PIECE))
        writer.writerows([_cell(row[name]) for name in fields] for row in map(plain, some))
        yield file.getvalue()
        if len(some) < ROWS_PER_PIECE:
            return
        file.seek(0)
        file.truncate()


def json_response(head: Mapping[str, object], name: str, rows: Iterable[object]) -> StreamingResponse:
    """Send an object with ``rows`` under ``name`` behind what ``head`` says, however many there are."""
    pieces = json_pieces(head, name, rows)
    return StreamingResponse(chain([next(pieces)], pieces), media_type="application/json")


def json_pieces(head: Mapping[str, object], name: str, rows: Iterable[object]) -> Iterator[str]:
    """Write an object some rows at a time."""
    left = iter(rows)
    piece = f"{json.dumps(plain(head)).removesuffix('}')}{', ' if head else ''}{json.dumps(name)}: ["
    between = ""
    while True:
        some = list(islice(left, ROWS_PER_PIECE))
        for row in some:
            piece += between + json.dumps(plain(row))
            between = ", "
        if len(some) < ROWS_PER_PIECE:
            yield f"{piece}]}}"
            return
        yield piece
        piece = ""


def _cell(value: Any) -> str:  # noqa: ANN401 - a column's value
    text = visible(_text(value))
    return f"'{text}" if text.lstrip(" ").startswith(FORMULA_STARTS) and not NUMBER.fullmatch(text) else text


def _text(value: Any) -> str:  # noqa: ANN401 - the same
    if value is None:
        return ""
    if isinstance(value, (list, tuple)) and all(isinstance(part, str) for part in value):
        return " ".join(value)
    return json.dumps(value) if isinstance(value, (bool, list, tuple, dict)) else str(value)
