"""The page about every table of the trading database, from its metadata."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from kraken_recon.adapters.postgres.models import metadata
from kraken_recon.adapters.postgres.table_notes import COLUMNS, TABLES
from reference_pages.markdown import code, page, table

DIALECT: Final = postgresql.dialect()  # type: ignore[no-untyped-call] # SQLAlchemy's dialects are not typed


def tables() -> str:
    """Write the page."""
    found = sorted(metadata.tables.values(), key=lambda one: one.name)
    return page(
        "Tables of the trading database",
        "Schema `trading`. Read them as you like; write only what a page or runbook tells you to. "
        "Quantities are "
        "`NUMERIC(38,18)` and never NaN, times have a time zone. A name in the type column is the table "
        "referred to.",
        table(("table", "one row is"), ((f"[`{t.name}`](#{t.name})", TABLES[t.name]) for t in found)),
        *map(_section, found),
    )


def _section(one: sa.Table) -> str:
    rows = (
        (code(column.name), _kind(column), "" if column.nullable else "yes", _note(one, column))
        for column in one.columns
    )
    keys = ", ".join(code(column.name) for column in one.primary_key.columns)
    unique = "".join(f" Unique: {names}." for names in _unique(one))
    return f"## {one.name}\n\n{TABLES[one.name]} Key: {keys}.{unique}\n\n" + table(
        ("column", "type", "required", "meaning"), rows
    )


def _kind(column: sa.Column[object]) -> str:
    kind = column.type.compile(dialect=DIALECT).lower()
    kind = kind.replace("timestamp with time zone", "time").replace("numeric(38, 18)", "quantity")
    targets = sorted(key.column.table.name for key in column.foreign_keys)
    return kind + "".join(f" → [`{name}`](#{name})" for name in targets)


def _note(one: sa.Table, column: sa.Column[object]) -> str:
    note = COLUMNS.get(f"{one.name}.{column.name}") or COLUMNS.get(column.name, "")
    allowed = _allowed(one, column.name)
    return f"{note} {f'One of {allowed}.' if allowed else ''}".strip()


def _allowed(one: sa.Table, name: str) -> str:
    # A table's constraints come in no order.
    for text in sorted(str(c.sqltext) for c in one.constraints if isinstance(c, sa.CheckConstraint)):
        if text.startswith(f"{name} in ("):
            values = text.partition("(")[2].rstrip(")").split(",")
            return ", ".join(code(value.strip().strip("'")) for value in values)
    return ""


def _unique(one: sa.Table) -> list[str]:
    return sorted(
        ", ".join(code(column.name) for column in constraint.columns)
        for constraint in one.constraints
        if isinstance(constraint, sa.UniqueConstraint)
    )
