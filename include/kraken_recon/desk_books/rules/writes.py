"""What each row of the desk's becomes when it is written; how it is written is for the store.

Invariants:
1. Only columns that the declaration names are touched.
2. A quantity is written rounded down: never more than there is.
3. An average cost is written only where it is known for the whole quantity.
"""

from __future__ import annotations

import decimal
from dataclasses import dataclass, field
from decimal import Decimal
from types import MappingProxyType
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from kraken_recon.desk_books.declaration import Cash, Positions
from kraken_recon.desk_books.rules.compare import as_held, rounded
from kraken_recon.desk_books.rules.records import DeskRow, RowWrite, WriteKind
from kraken_recon.values.money import ZERO, exact_arithmetic

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from datetime import datetime

    from kraken_recon.desk_books.declaration import ColumnValue
    from kraken_recon.desk_books.rules.names import Names
    from kraken_recon.desk_books.rules.records import ComparedAsset


@dataclass(frozen=True, slots=True)
class WriteTerms:
    """What the writes to one account's rows are made of.

    Attributes:
        part: the table, as declared.
        decimals: the digits of the real quantity.
        account_value: the account, as the desk's column has it.
        quote_currency: of the account.
        written_at: the moment that ``now`` stands for, in UTC.
        names: how the desk spells assets; of cash None.
        available: by asset, what Kraken makes available of the spot wallets, where it says so.
        average_costs: by asset, in the quote currency, only where known for the whole quantity.
        cost_decimals: the digits of the column for them.
        required: columns that may not be null and that the database fills with nothing by itself.
    """

    part: Positions | Cash
    decimals: int
    account_value: Any
    quote_currency: str
    written_at: datetime
    names: Names | None = None
    available: Mapping[str, Decimal] = field(default_factory=lambda: MappingProxyType({}))
    average_costs: Mapping[str, Decimal] = field(default_factory=lambda: MappingProxyType({}))
    cost_decimals: int = 8
    required: Collection[str] = frozenset()


def columns_read(part: Positions | Cash) -> tuple[str, ...]:
    """Name the columns that have to be read with a row, so that a write can find it unchanged."""
    cost = part.average_cost if isinstance(part, Positions) else None
    named = (part.quantity, part.available, cost, *part.on_update)
    return tuple(dict.fromkeys(name for name in named if name is not None))


def why_not_writable(compared: ComparedAsset, terms: WriteTerms) -> str:
    """Say what keeps an asset's rows from being written: a column without a value, a counter that is none."""
    if not compared.rows and isinstance(terms.part, Cash):
        return "a row of cash is never added"
    if not compared.rows:
        row = _inserted(compared.asset, ZERO, terms)
        missing = sorted(column for column in terms.required if row.get(column) is None)
        return f"a new row has no value for {', '.join(missing)}; add it to on_insert" if missing else ""
    raised = [column for column, value in terms.part.on_update.items() if value.kind == "raise"]
    strange = [c for c in raised if any(_counted(row.columns[c]) is None for row in compared.rows)]
    return f"what is in {', '.join(strange)} is no number that can be raised" if strange else ""


def _counted(value: Any) -> int | None:  # noqa: ANN401 - whatever a database gives
    """Read a counter; none yet is zero."""
    try:
        return 0 if value is None else int(value)
    except (TypeError, ValueError):
        return None


@exact_arithmetic()
def writes_of(compared: ComparedAsset, terms: WriteTerms) -> tuple[RowWrite, ...]:
    """Say what is to be done to the rows of one asset, in the order of their keys."""
    if not compared.rows:
        after = _inserted(compared.asset, compared.proven, terms)
        return (RowWrite(WriteKind.INSERT, compared.asset, None, {}, after),)
    if not compared.proven and isinstance(terms.part, Positions):
        return tuple(_removed(compared.asset, row, terms) for row in compared.rows)
    return tuple(
        _updated(compared.asset, row, quantity, terms, is_only=len(compared.rows) == 1)
        for row, quantity in _spread(compared, terms.decimals)
        if quantity != row.quantity
    )


def _spread(compared: ComparedAsset, decimals: int) -> list[tuple[DeskRow, Decimal]]:
    """Let the row with the lowest key take the difference, and the next what would bring it below zero."""
    left = as_held(compared.proven, decimals) - compared.desk
    spread = []
    for place, row in enumerate(compared.rows):
        own = row.quantity or ZERO
        is_last = place == len(compared.rows) - 1
        taken = left if is_last or left > ZERO or compared.proven < ZERO else max(left, min(-own, ZERO))
        spread.append((row, own + taken))
        left -= taken
    return spread


def _updated(asset: str, row: DeskRow, quantity: Decimal, terms: WriteTerms, *, is_only: bool) -> RowWrite:
    part = terms.part
    after: dict[str, Any] = {part.quantity: _in_column(quantity, terms)}
    if is_only and part.available is not None and asset in terms.available:
        after[part.available] = _in_column(as_held(terms.available[asset], terms.decimals), terms)
    if isinstance(part, Positions) and part.average_cost is not None and asset in terms.average_costs:
        after[part.average_cost] = rounded(terms.average_costs[asset], terms.cost_decimals)
    after |= updated_besides(part, row, terms.written_at)
    return RowWrite(WriteKind.UPDATE, asset, row.key, {name: row.columns[name] for name in after}, after)


def _removed(asset: str, row: DeskRow, terms: WriteTerms) -> RowWrite:
    part = terms.part
    if isinstance(part, Positions) and part.remove == "delete":
        return RowWrite(WriteKind.REMOVE, asset, row.key, dict(row.columns), {})
    named = [name for name in (part.quantity, part.available) if name is not None]
    after: dict[str, Any] = dict.fromkeys(named, _in_column(as_held(ZERO, terms.decimals), terms))
    after |= updated_besides(part, row, terms.written_at)
    return RowWrite(WriteKind.UPDATE, asset, row.key, {name: row.columns[name] for name in after}, after)


def _inserted(asset: str, proven: Decimal, terms: WriteTerms) -> dict[str, Any]:
    part = terms.part
    if not isinstance(part, Positions) or terms.names is None:
        raise TypeError("only rows of positions are inserted")
    quantity = as_held(proven, terms.decimals)
    new: dict[str, Any] = {**part.only}
    for column, value in part.on_insert.items():
        text = value.text
        if text is not None:
            text = text.replace("{asset}", asset).replace("{account}", str(terms.account_value))
        new[column] = _moment(value, terms.written_at) if value.kind == "now" else text
    new[part.account] = terms.account_value
    new[part.asset.column] = terms.names.written(asset, terms.quote_currency)
    new[part.quantity] = _in_column(quantity, terms)
    if part.available is not None and (asset in terms.available or part.available not in new):
        available = terms.available.get(asset, quantity)
        new[part.available] = _in_column(as_held(available, terms.decimals), terms)
    if part.average_cost is not None and asset in terms.average_costs:
        new[part.average_cost] = rounded(terms.average_costs[asset], terms.cost_decimals)
    return new


def updated_besides(part: Positions | Cash, row: DeskRow, now: datetime) -> dict[str, Any]:
    """Say what other columns get with every update of a row: a moment, a counter raised by one, a text."""
    besides: dict[str, Any] = {}
    for column, value in part.on_update.items():
        if value.kind == "now":
            besides[column] = _moment(value, now)
        elif value.kind == "raise":
            besides[column] = (_counted(row.columns[column]) or 0) + 1
        else:
            besides[column] = value.text
    return besides


def _moment(value: ColumnValue, now: datetime) -> datetime:
    return now.astimezone(ZoneInfo(value.zone))


def _in_column(quantity: Decimal, terms: WriteTerms) -> Decimal | int:
    """Write a quantity as the column counts it; a scaled whole number is rounded down as well."""
    if terms.part.scaled_by is None:
        return quantity
    return int((quantity * terms.part.scaled_by).to_integral_value(decimal.ROUND_DOWN))
