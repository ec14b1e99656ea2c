"""What a row of the desk's orders says.

Invariants:
1. A strange row is a problem, never an exception, and stops no other.
2. A time without a zone is of the declared one; a number is seconds since 1970, or thousandths, millionths or
   billionths of them: which, its size tells for every year from 1973 to 5138.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal, DecimalException
from typing import TYPE_CHECKING, Any, Final
from zoneinfo import ZoneInfo

from kraken_recon.desk_books.rules.compare import quantity_of
from kraken_recon.desk_books.rules.orders import DeskOrder, side_of
from kraken_recon.desk_books.rules.records import DeskProblem
from kraken_recon.plain_text import one_line
from kraken_recon.values.money import SCALE_MAX, ZERO

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from kraken_recon.desk_books.declaration import Orders
    from kraken_recon.desk_books.rules.names import Names

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
SECONDS_MAX: Final = 10**11
"""Numbers from here on are thousandths of seconds, from a thousand times as much on millionths, and so on."""
UNITS_PER_SECOND: Final = (1, 10**3, 10**6, 10**9)
ID_CHARACTERS_MAX: Final = 200
_NAMED_MAX: Final = 5
_CANCELLED: Final = re.compile(r".*(cancell?ed|expired)")


@dataclass(frozen=True, slots=True)
class OrderTerms:
    """What the rows of one table of orders mean.

    ``where`` names the table in a problem; ``digits`` are those of the columns of amounts, by field.
    """

    where: str
    orders: Orders
    names: Names
    digits: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class StrangeOrder:
    """A row that cannot be understood whole: which, what is wrong, and what to do."""

    order_id: str
    what: str
    remedy: str


def moment_of(value: Any, zone: str) -> datetime | None:  # noqa: ANN401 - whatever a database gives
    """Read a time as any database gives it, in UTC; None where it is none."""
    try:
        if isinstance(value, str):
            text = value.strip()
            numeric = _number(text)
            value = datetime.fromisoformat(text) if numeric is None else numeric
        if isinstance(value, (int, float, Decimal)) and not isinstance(value, bool):
            return _since_epoch(Decimal(str(value)))
        if isinstance(value, date) and not isinstance(value, datetime):
            value = datetime.combine(value, time())
        if not isinstance(value, datetime):
            return None
        aware = value.replace(tzinfo=ZoneInfo(zone)) if value.tzinfo is None else value
        return aware.astimezone(UTC)
    except (ValueError, OverflowError, DecimalException):
        return None


def _number(text: str) -> Decimal | None:
    try:
        return Decimal(text)
    except DecimalException:
        return None


def _since_epoch(number: Decimal) -> datetime:
    units = next((unit for unit in UNITS_PER_SECOND if abs(number) < SECONDS_MAX * unit), 10**9)
    return EPOCH + timedelta(microseconds=int(number * 1_000_000 / units))


def is_ended(row: Mapping[str, Any], orders: Orders) -> bool:
    """Say whether a row's order ended: by its status, or cancelled with a part executed."""
    status = _text(row[orders.status.column]) or ""
    if status.casefold() in {word.casefold() for word in orders.status.ended}:
        return True
    executed = quantity_of(row[orders.executed], SCALE_MAX) if orders.executed else None
    return bool(executed) and _CANCELLED.fullmatch(status.casefold()) is not None


def read_order(
    row: Mapping[str, Any], terms: OrderTerms, quote_currency: str
) -> tuple[DeskOrder | None, list[StrangeOrder]]:
    """Read one row, and tell what is strange about it; None where it cannot be looked for at all.

    Args:
        row: by column.
        terms: of its table.
        quote_currency: of the account, for an asset that is named alone.
    """
    orders = terms.orders
    order_id = _text(row[orders.id])
    if order_id is None:
        return None, [StrangeOrder("", "has no id", "Give every order an id of its own.")]
    strange: list[StrangeOrder] = []
    changed_at = _moment(row, orders.changed_at, orders) or _moment(row, orders.created_at, orders)
    volume = _amount(row, "volume", terms)
    if changed_at is None:
        strange.append(StrangeOrder(order_id, "has no time of its change", "Put the row right."))
    if volume is None or volume < ZERO:
        strange.append(StrangeOrder(order_id, "has a volume that is no amount", "Put the row right."))
    if changed_at is None or volume is None or volume < ZERO:
        return None, strange
    market, side = terms.names.market(_text(row[orders.pair]) or ""), side_of(_text(row[orders.side]) or "")
    if market is None:
        strange.append(
            StrangeOrder(
                order_id,
                f"is of {one_line(repr(row[orders.pair]), 60)}, which Kraken does not know",
                "Map the name under positions.asset.also, or leave the row out by only.",
            )
        )
    if side is None:
        strange.append(StrangeOrder(order_id, "is neither bought nor sold", "Put its side right."))
    for name in ("executed", "price", "fee"):
        column = getattr(orders, name)
        if column and row[column] is not None and _amount(row, name, terms) is None:
            strange.append(StrangeOrder(order_id, f"has no number as its {name}", "Put it right."))
    return DeskOrder(
        order_id,
        market and f"{market[0]}/{market[1] or quote_currency}",
        side,
        volume,
        _text(row[orders.status.column]) or "",
        changed_at,
        orders.kraken_id and _text(row[orders.kraken_id]),
        orders.client_id and _text(row[orders.client_id]),
        _amount(row, "executed", terms),
        _amount(row, "price", terms),
        _amount(row, "fee", terms),
        _moment(row, orders.created_at, orders),
        has_quote=market is not None and market[1] is not None,
    ), strange


def _moment(row: Mapping[str, Any], column: str | None, orders: Orders) -> datetime | None:
    return moment_of(row[column], orders.zone) if column else None


def _amount(row: Mapping[str, Any], name: str, terms: OrderTerms) -> Decimal | None:
    column = getattr(terms.orders, name)
    if column is None:
        return None
    value = row[column]
    # What is scaled is whole; a price or a fee beside it may be written as what it is.
    is_scaled = name in ("volume", "executed") or isinstance(value, int)
    return quantity_of(value, terms.digits[name], terms.orders.scaled_by if is_scaled else None)


def _text(value: Any) -> str | None:  # noqa: ANN401 - whatever a database gives
    """Write a value as an id, a name or a word; None where there is none."""
    if value is None:
        return None
    if isinstance(value, (bytes, bytearray, memoryview)):
        value = bytes(value).decode(errors="replace")
    return one_line(str(value).strip(), ID_CHARACTERS_MAX) or None


def problems_of_rows(where: str, strange: Iterable[StrangeOrder]) -> list[DeskProblem]:
    """Tell of strange rows, all of one kind together."""
    by_kind: dict[tuple[str, str], list[str]] = {}
    for one in strange:
        by_kind.setdefault((one.what, one.remedy), []).append(one.order_id)
    return [
        DeskProblem(where, one_line(f"{_named(ids)} {what}"), remedy)
        for (what, remedy), ids in sorted(by_kind.items())
    ]


def _named(ids: list[str]) -> str:
    known = sorted(order_id for order_id in ids if order_id)[:_NAMED_MAX]
    if len(ids) == 1:
        return f"order {known[0]}" if known else "an order"
    more = ", ..." if len(known) < len(ids) else ""
    return f"each of {len(ids)} orders" + (f" ({', '.join(known)}{more})" if known else "")
