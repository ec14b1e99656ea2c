"""The form of a position certificate: which fields there are, and how each value is written.

Invariants:
1. Every leaf is text, true, false or null, never a JSON number: no reader can round an amount.
2. A value has one spelling (amounts without trailing zeros, times in UTC to the microsecond), so that equal
   facts are equal bytes.
3. A field that is missing, unknown or written in another way is a problem, named by its place.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, NoReturn
from uuid import UUID

from kraken_recon.ledger.entries import HoldingKey
from kraken_recon.values.money import format_amount, parse_amount

KIND: Final = "kraken-recon position certificate"
FORMAT: Final = "1"
DIGEST_PREFIX: Final = "sha256:"
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_SHOWN_CHARACTERS_MAX: Final = 60


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that does not hold in a certificate, and where; ``where`` is empty for the whole document."""

    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}" if self.where else self.what


@dataclass(frozen=True, slots=True)
class Leaf:
    """A value that is read as one; ``is_well_written`` may also raise ``ValueError``."""

    expected: str
    is_well_written: Callable[[object], bool]


@dataclass(frozen=True, slots=True)
class ListOf:
    """A list; ``name_of`` names one of its items for people, from that item's own text fields."""

    item: Mapping[str, Spec]
    name_of: Callable[[Mapping[str, Any]], str]


@dataclass(frozen=True, slots=True)
class OrNull:
    """A value that may be absent, as null."""

    spec: Spec


Spec = Leaf | ListOf | OrNull | Mapping[str, Any]


def write_time(moment: datetime) -> str:
    """Write a time in its one spelling, such as ``2026-01-31T12:00:00.000000Z``."""
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def read_time(text: str) -> datetime:
    """Read a time as ``write_time`` writes it.

    Raises:
        ValueError: it is no time.
    """
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)


def holding_name(view: Mapping[str, Any]) -> str:
    """Name the holding that a part of the document is about."""
    return f"holding {HoldingKey(view['asset'], view['wallet'])}"


def _text(expected: str, is_well_written: Callable[[str], bool]) -> Leaf:
    def check(value: object) -> bool:
        # Text that UTF-8 cannot carry (half a surrogate pair) raises: it could not have been a fact.
        return isinstance(value, str) and len(value.encode()) >= len(value) and is_well_written(value)

    return Leaf(expected, check)


TEXT: Final = _text("text", lambda text: bool(text) and text.isprintable())
ANY_TEXT: Final = _text("text", lambda text: not text or text.isprintable())
AMOUNT: Final = _text(
    "an amount as text without needless zeros", lambda text: format_amount(parse_amount(text)) == text
)
TIME: Final = _text(
    "a time such as 2026-01-31T12:00:00.000000Z", lambda text: write_time(read_time(text)) == text
)
RUN_ID: Final = _text("the id of a run", lambda text: str(UUID(text)) == text)
DIGEST: Final = _text("sha256: and 64 hexadecimal digits", lambda text: bool(_DIGEST.fullmatch(text)))
NUMBER: Final = _text("an id made of digits", lambda text: text.isascii() and text.isdigit())
FLAG: Final = Leaf("true or false", lambda value: isinstance(value, bool))
TEXTS: Final = Leaf(
    "a list of texts",
    lambda value: isinstance(value, list) and all(TEXT.is_well_written(item) for item in value),
)

ENTRY: Final[Mapping[str, Spec]] = {
    **dict.fromkeys(("ledger_id", "type"), TEXT),
    **dict.fromkeys(("refid", "subtype"), ANY_TEXT),
    "time": TIME,
    **dict.fromkeys(("amount", "fee", "balance"), AMOUNT),
    "late": FLAG,
    "link": DIGEST,
}
FINDING: Final[Mapping[str, Spec]] = {
    **dict.fromkeys(("asset", "wallet", "action"), TEXT),
    **dict.fromkeys(
        ("recorded", "reported", "drift", "explained", "database_drift", "residual"),
        AMOUNT,
    ),
    "ledger_ids": TEXTS,
}
RUN: Final[Mapping[str, Spec]] = {
    "run_id": RUN_ID,
    **dict.fromkeys(("mode", "status"), TEXT),
    "trigger": ANY_TEXT,
    **dict.fromkeys(("interval_start", "interval_end", "recorded_as_of", "reported_as_of"), TIME),
    "reported_head": OrNull(TEXT),
    "findings": ListOf(FINDING, holding_name),
}
ADJUSTMENT: Final[Mapping[str, Spec]] = {
    "event_id": NUMBER,
    "time": TIME,
    "reason": TEXT,
    "amount": AMOUNT,
    "run_id": OrNull(RUN_ID),
}
HOLDING: Final[Mapping[str, Spec]] = {
    **dict.fromkeys(("asset", "wallet"), TEXT),
    **dict.fromkeys(("opening", "opening_moved_later"), AMOUNT),
    "entries": ListOf(ENTRY, lambda view: f"entry {view['ledger_id']}"),
    "head": OrNull({"ledger_id": TEXT, "time": TIME, "balance": AMOUNT}),
    "adjustments": ListOf(ADJUSTMENT, lambda view: f"adjustment {view['event_id']}"),
    **dict.fromkeys(
        (
            "closing",
            "outstanding_adjustments",
            "recorded",
            "unwritten_residual",
            "explained_later",
            "residual",
        ),
        AMOUNT,
    ),
    "digest": DIGEST,
}
DOCUMENT: Final[Mapping[str, Spec]] = {
    **dict.fromkeys(("certificate", "format", "account", "opening_source"), TEXT),
    **dict.fromkeys(("code_version", "schema_version"), TEXT),
    **dict.fromkeys(("at", "issued_at"), TIME),
    "runs": ListOf(RUN, lambda view: f"run {view['run_id']}"),
    "holdings": ListOf(HOLDING, holding_name),
    "digest": DIGEST,
}


def canonical(document: Mapping[str, Any]) -> bytes:
    """Write a document's content in the one way that it is hashed: sorted keys, no spaces, ASCII."""
    content = {name: value for name, value in document.items() if name != "digest"}
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode("ascii")


def _unique_keys(members: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(members)
    if len(found) != len(members):
        raise ValueError("a field is given twice")
    return found


def _refuse_number(text: str) -> NoReturn:
    raise ValueError(f"it holds the bare number {text[:_SHOWN_CHARACTERS_MAX]}; every value is text")


def read_document(text: bytes) -> dict[str, Any]:
    """Read the JSON of a certificate, without judging more than that it is meant to be one.

    Raises:
        ValueError: it is no certificate; the message says why.
    """
    try:
        document = json.loads(
            text.decode("utf-8"),
            object_pairs_hook=_unique_keys,
            parse_int=_refuse_number,
            parse_float=_refuse_number,
            parse_constant=_refuse_number,
        )
    except UnicodeDecodeError as error:
        raise ValueError("it is not UTF-8 text") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"it is not JSON: {error}") from error
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if not isinstance(document, dict) or document.get("certificate") != KIND:
        raise ValueError(f'expected a JSON object with "certificate": "{KIND}"')
    if document.get("format") != FORMAT:
        raise ValueError(f"expected format {FORMAT}, was {_shown(document.get('format'))}")
    return document


def _shown(value: object) -> str:
    try:
        text = ascii(value)
    except RecursionError:
        text = f"a {type(value).__name__} of great depth"
    return text if len(text) <= _SHOWN_CHARACTERS_MAX else f"{text[:_SHOWN_CHARACTERS_MAX]}..."


def _inside(where: str, name: str) -> str:
    return f"{where}, {name}" if where else name


def _is_well_written(value: object, leaf: Leaf) -> bool:
    try:
        return leaf.is_well_written(value)
    except ValueError:
        return False


def _list_problems(items: list[object], spec: ListOf, where: str) -> Iterator[Problem]:
    for place, item in enumerate(items, start=1):
        try:
            name = spec.name_of(item) if isinstance(item, Mapping) else str(place)
        except (KeyError, TypeError):
            name = f"number {place}"
        yield from form_problems(item, spec.item, _inside(where, name))


def form_problems(value: object, spec: Spec, where: str = "") -> Iterator[Problem]:
    """Name every value of a document that is missing, unknown or not written as it must be."""
    if isinstance(spec, OrNull):
        if value is not None:
            yield from form_problems(value, spec.spec, where)
    elif isinstance(spec, Leaf):
        if not _is_well_written(value, spec):
            yield Problem(where, f"expected {spec.expected}, was {_shown(value)}")
    elif isinstance(spec, ListOf):
        if isinstance(value, list):
            yield from _list_problems(value, spec, where)
        else:
            yield Problem(where, f"expected a list, was {_shown(value)}")
    else:
        yield from _object_problems(value, spec, where)


def _object_problems(value: object, spec: Mapping[str, Spec], where: str) -> Iterator[Problem]:
    if not isinstance(value, dict):
        yield Problem(where, f"expected an object, was {_shown(value)}")
        return
    for name in sorted(value.keys() - spec.keys()):
        yield Problem(where, f"the field {_shown(name)} does not belong here")
    for name, inner in spec.items():
        if name in value:
            deeper = where if isinstance(inner, ListOf) else _inside(where, name)
            yield from form_problems(value[name], inner, deeper)
        else:
            yield Problem(where, f"the field {name} is missing")
