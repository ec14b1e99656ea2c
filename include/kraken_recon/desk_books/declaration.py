"""How a desk book is declared: which table or query of the desk's says what, and what may be written there.

Every value comes as text (``declaring.py`` reads YAML so), or as None where the file says ``null``.
``docs/how-to/adopt-a-desk.md`` shows whole declarations.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Final, Literal
from zoneinfo import ZoneInfo

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from kraken_recon.plain_text import is_plain
from kraken_recon.values.money import SCALE_MAX, ZERO, parse_amount

LATE_SECONDS_MAX: Final = 30 * 24 * 3600
_SCALE_DIGITS_MAX: Final = 18
_NAME_CHARACTERS_MAX: Final = 200
_BOOK_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
_SELECT: Final = re.compile(r"\s*(?:select|with)\b", re.IGNORECASE)


def _named(value: object) -> object:
    if not isinstance(value, str) or not value.strip():
        raise ValueError("expected a name")
    if not is_plain(value) or len(value) > _NAME_CHARACTERS_MAX:
        raise ValueError(f"expected a name of one line and at most {_NAME_CHARACTERS_MAX} characters")
    return value.strip()


def _book_name(value: object) -> object:
    if not isinstance(value, str) or not _BOOK_NAME.fullmatch(value):
        raise ValueError("expected up to 63 letters, digits, `.`, `_` and `-`")
    return value


def _whole(least: int, most: int) -> BeforeValidator:
    def read(value: object) -> object:
        if isinstance(value, str) and re.fullmatch(r"\s*\d{1,20}\s*", value):
            value = int(value)
        if not isinstance(value, int) or not least <= value <= most:
            raise ValueError(f"expected a whole number from {least} to {most}")
        return value

    return BeforeValidator(read)


def _quantity(value: object) -> Decimal:
    amount = parse_amount(value)
    if amount < ZERO:
        raise ValueError(f"expected zero or more, was {value}")
    return amount


def _query(value: object) -> object:
    if not isinstance(value, str) or not _SELECT.match(value):
        raise ValueError("expected one query that begins with select (or with)")
    if ";" in value.strip().rstrip(";"):
        raise ValueError("expected one query, without `;` in it")
    return value.strip().rstrip(";")


def _scale(value: object) -> object:
    if isinstance(value, str) and re.fullmatch(rf"\s*[1-9]\d{{0,{_SCALE_DIGITS_MAX}}}\s*", value):
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return value
    raise ValueError("expected by what the column's whole numbers are divided, such as 1000000")


def _zone(name: object) -> str:
    try:
        return ZoneInfo(str(name)).key
    except (ValueError, OSError, KeyError) as error:
        raise ValueError("expected a time zone, such as Europe/Berlin") from error


def _listed(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _only_updated(value: object) -> object:
    if value not in ("none", "update"):
        raise ValueError("expected none or update")
    return value


def _under(key: str) -> BeforeValidator:
    """Take a plain text for a mapping with this one key."""
    return BeforeValidator(lambda value: {key: value} if isinstance(value, str) else value)


Name = Annotated[str, BeforeValidator(_named)]
BookName = Annotated[str, BeforeValidator(_book_name)]
Query = Annotated[str, BeforeValidator(_query)]
Decimals = Annotated[int, _whole(0, SCALE_MAX)]
Scale = Annotated[int, BeforeValidator(_scale)]
Seconds = Annotated[int, _whole(0, LATE_SECONDS_MAX)]
Quantity = Annotated[Decimal, BeforeValidator(_quantity)]


class Spelling(StrEnum):
    """How a desk writes the names of assets."""

    PLAIN = "plain"
    KRAKEN = "kraken"
    PAIR = "pair"


class WriteBack(StrEnum):
    """How much of a book may be written."""

    NONE = "none"
    UPDATE = "update"
    UPDATE_INSERT = "update+insert"
    UPDATE_INSERT_REMOVE = "update+insert+remove"

    @property
    def allowed(self) -> frozenset[str]:
        """Name what may be done to rows: of ``update``, ``insert``, ``remove``."""
        return frozenset() if self is WriteBack.NONE else frozenset(self.value.split("+"))


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Accounts(_Part):
    """Which of the desk's accounts is which of ours: by name, or by a query with ``:account``."""

    values: dict[Name, Name] = Field(default_factory=dict)
    by: Query | None = None

    @model_validator(mode="before")
    @classmethod
    def _by_name_or_query(cls, given: object) -> object:
        if not isinstance(given, Mapping):
            return given
        query = given.get("by")
        if isinstance(query, str) and len(given) == 1 and _SELECT.match(query):
            if not re.search(r"(?<![:\w]):account\b", query):
                raise ValueError("expected a query that names our account as :account")
            return {"by": query}
        if not given:
            raise ValueError("expected at least one account, as `our name: the desk's value`")
        return {"values": dict(given)}


class AssetColumn(_Part):
    """The column that names the asset, and how; ``also`` maps names of the desk's to ours."""

    column: Name
    spelled: Spelling = Spelling.PLAIN
    also: dict[Name, Name] = Field(default_factory=dict)


class Lock(_Part):
    """What is locked before rows are changed.

    ``columns`` name the rows' key, none for the table's primary key. ``table`` and ``key`` name the account's
    row in another table, which whoever changes the account's rows locks first.
    """

    columns: tuple[Name, ...] = ()
    table: Name | None = None
    key: Name | None = None

    @model_validator(mode="before")
    @classmethod
    def _column_or_parent(cls, given: object) -> object:
        if isinstance(given, str):
            return {} if given == "primary_key" else {"columns": (given,)}
        if isinstance(given, list) and given:
            return {"columns": tuple(given)}
        if isinstance(given, Mapping) and {*given} in (set(), {"table", "key"}):
            return given
        raise ValueError("expected primary_key, the key's columns, or {table: accounts, key: id}")


class ColumnValue(_Part):
    """What a column gets: the moment of the write, one more than it was, or a text; None is null.

    ``zone`` is the time zone that the column means where it gets the moment.
    """

    kind: Literal["now", "raise", "text"] = "text"
    text: str | None = None
    zone: str = "UTC"

    @model_validator(mode="before")
    @classmethod
    def _word_or_text(cls, given: object) -> object:
        if given is None:
            return {"text": None}
        if isinstance(given, str):
            return {"kind": given} if given in ("now", "raise") else {"text": given}
        if isinstance(given, Mapping) and {*given} == {"text"} and isinstance(given["text"], str | None):
            return {"text": given["text"]}
        if isinstance(given, Mapping) and {*given} == {"zone"}:
            return {"kind": "now", "zone": _zone(given["zone"])}
        raise ValueError("expected a text, now, raise, {text: ...} or {zone: Europe/Berlin}")


class Holds(_Part):
    """Which assets a table is meant to keep: all, all but state currencies (``crypto``), or those listed."""

    which: Literal["all", "crypto", "listed"] = "all"
    assets: tuple[Name, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _word_or_list(cls, given: object) -> object:
        if isinstance(given, str) and given in ("all", "crypto"):
            return {"which": given}
        if isinstance(given, list) and given:
            return {"which": "listed", "assets": tuple(given)}
        if given == {}:
            return given
        raise ValueError("expected all, crypto, or a list of assets")


class RowSource(_Part):
    """Where rows come from: a table, or a query that is only read."""

    table: Name | None = None
    query: Query | None = None
    account: Name
    only: dict[Name, str | None] = Field(default_factory=dict)


class Amounts(RowSource):
    """A source that has a column with quantities.

    ``decimals`` are the digits of the real quantity, None for the column's own scale; ``scaled_by`` is by
    what the column's whole numbers are divided.
    """

    quantity: Name
    available: Name | None = None
    decimals: Decimals | None = None
    scaled_by: Scale | None = None
    locked_by: Lock = Field(default_factory=Lock)
    write_back: WriteBack = WriteBack.NONE
    on_update: dict[Name, ColumnValue] = Field(default_factory=dict)


class Positions(Amounts):
    """The rows that say how much of which asset an account holds."""

    asset: Annotated[AssetColumn, _under("column")]
    average_cost: Name | None = None
    holds: Holds = Field(default_factory=Holds)
    wallets: Literal["sum", "spot"] = "sum"
    on_insert: dict[Name, ColumnValue] = Field(default_factory=dict)
    remove: Literal["delete", "zero"] = "delete"


class Cash(Amounts):
    """One column of the desk's accounts that holds one currency."""

    currency: Name
    write_back: Annotated[WriteBack, BeforeValidator(_only_updated)] = WriteBack.NONE


class StatusColumn(_Part):
    """The column with an order's status, and the values that mean that it ended."""

    column: Name
    ended: Annotated[tuple[Name, ...], Field(min_length=1), BeforeValidator(_listed)]


class Orders(RowSource):
    """The desk's own orders, read only; columns that the desk does not keep are left out.

    ``zone`` is the time zone that its times mean where they name none.
    """

    id: Name
    kraken_id: Name | None = None
    client_id: Name | None = None
    pair: Name
    side: Name
    volume: Name
    executed: Name | None = None
    price: Name | None = None
    fee: Name | None = None
    status: StatusColumn
    created_at: Name | None = None
    changed_at: Name
    decimals: Decimals | None = None
    scaled_by: Scale | None = None
    zone: Annotated[str, BeforeValidator(_zone)] = "UTC"


class BookTolerance(_Part):
    """The largest difference that is recorded and left alone, in units of the asset."""

    quantity: Quantity = Decimal("0.001")
    assets: dict[Name, Quantity] = Field(default_factory=dict)

    def of(self, asset: str) -> Decimal:
        """Look up the tolerance of one asset."""
        return self.assets.get(asset, self.quantity)


class DeskBook(_Part):
    """One desk book as its file declares it."""

    name: BookName
    connection: Name
    accounts: Accounts
    positions: Positions
    cash: Cash | None = None
    orders: Orders | None = None
    tolerance: BookTolerance = Field(default_factory=BookTolerance)
    late_by: Seconds = 300
