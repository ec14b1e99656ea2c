"""Hand rows out as CSV and JSON, piece by piece; no cell runs as a formula in a spreadsheet."""

from __future__ import annotations

import csv
import io
import json
import re
from datetime import datetime
from decimal import Decimal
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from fastapi.responses import StreamingResponse

from kraken_recon.plain_text import visible
from kraken_recon.values.money import format_amount

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

ROWS_PER_PIECE: Final = 1_000
# What a spreadsheet would run as a formula.
FORMULA_STARTS: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
NUMBER: Final = re.compile(r"-?\d+(\.\d+)?")


def csv_response(
    file_name: str, rows: Iterable[Mapping[str, Any]], fields: Sequence[str]
) -> StreamingResponse:
    """Send rows as a file of comma-separated values, however many there are.

    The first rows are read before anything is sent, so that what cannot be read at all is told as an error.
    """
    pieces = csv_pieces(rows, fields)
    whole = chain([next(pieces)], pieces)
    named = {"Content-Disposition": f'attachment; filename="{file_name}"'}
    return StreamingResponse(whole, media_type="text/csv; charset=utf-8", headers=named)


def csv_pieces(rows: Iterable[Mapping[str, Any]], fields: Sequence[str]) -> Iterator[str]:
    """Write the header and these fields of every row, some rows at a time."""
    left = iter(rows)
    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerow(fields)
    while True:
        some = list(islice(left, ROWS_PER_PIECE))
        writer.writerows([_cell(row[name]) for name in fields] for row in some)
        yield file.getvalue()
        if len(some) < ROWS_PER_PIECE:
            return
        file.seek(0)
        file.truncate()


def json_response(head: Mapping[str, Any], name: str, rows: Iterable[Mapping[str, Any]]) -> StreamingResponse:
    """Send an object with ``rows`` under ``name`` behind what ``head`` says, however many there are."""
    pieces = json_pieces(head, name, rows)
    return StreamingResponse(chain([next(pieces)], pieces), media_type="application/json")


def json_pieces(head: Mapping[str, Any], name: str, rows: Iterable[Mapping[str, Any]]) -> Iterator[str]:
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


def plain(row: Mapping[str, Any]) -> dict[str, Any]:
    """Turn a row into what JSON knows: times as ISO text, amounts as exact text."""
    return {name: _plain(value) for name, value in row.items()}


def _plain(value: Any) -> Any:  # noqa: ANN401 - a column's value
    if isinstance(value, datetime):
        return value.isoformat(timespec="seconds")
    if isinstance(value, UUID):
        return str(value)
    return format_amount(value) if isinstance(value, Decimal) else value


def _cell(value: Any) -> str:  # noqa: ANN401 - a column's value
    text = visible(_text(_plain(value)))
    return f"'{text}" if text.lstrip(" ").startswith(FORMULA_STARTS) and not NUMBER.fullmatch(text) else text


def _text(value: Any) -> str:  # noqa: ANN401 - the same
    if value is None:
        return ""
    if isinstance(value, (list, tuple)) and all(isinstance(part, str) for part in value):
        return " ".join(value)
    return json.dumps(value) if isinstance(value, (bool, list, tuple, dict)) else str(value)
