"""Guess from a database's tables what a desk book's declaration could be, for a person to finish.

A guess is made of names and types alone; ``book check`` says what comes of it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from kraken_recon.plain_text import one_line

if TYPE_CHECKING:
    from collections.abc import Sequence

TABLES: Final = r"(^|_)(positions?|holdings?|balances?|portfolios?|inventory)$"
ORDER_TABLES: Final = r"(^|_)orders?$"
_POSITION: Final = {
    "account": r"(account|bot|agent|wallet|user|trader|strategy)_?(id|name)?$",
    "asset": r"(asset|symbol|coin|currency|ticker|instrument|pair|market)(_?(code|name))?$",
    "quantity": r"(quantity|qty|amount|size|units|balance|position|volume)$",
}
_OPTIONAL: Final = {
    "available": r"(available|free)_?(quantity|qty|amount|balance)?$",
    "average_cost": r"(avg|average|mean)_?(cost|price|entry_?price)$|cost_basis$|entry_price$",
}
_ORDER: Final = {
    "account": _POSITION["account"],
    "id": r"(id|order_no|order_id|order_number)$",
    "kraken_id": r"(kraken_?id|txid|exchange_(order_)?id|order_txid)$",
    "client_id": r"(cl_ord_id|client_(order_)?id)$",
    "pair": r"(pair|symbol|market|instrument)$",
    "side": r"(side|direction|ft_order_side)$",
    "volume": r"(quantity|qty|amount|volume|size)$",
    "executed": r"(filled|executed)(_?(quantity|qty|amount|volume|size))?$",
    "price": r"(average|avg_price|price|fill_price)$",
    "status": r"(status|state)$",
    "created_at": r"(created_at|order_date|opened_at|placed_at)$",
    "changed_at": r"(updated_at|changed_at|modified_at|order_update_date|order_filled_date)$",
}
_ORDER_NEEDS: Final = ("account", "id", "pair", "side", "volume", "status", "changed_at")
_EXACT: Final = ("numeric", "decimal")
_TEXTUAL: Final = ("char", "text", "string", "enum", "uuid")


@dataclass(frozen=True, slots=True)
class SeenColumn:
    """One column as the database describes it; ``type`` in the database's words, in lower case."""

    name: str
    type: str
    scale: int | None = None
    is_key: bool = False
    is_required: bool = False


@dataclass(frozen=True, slots=True)
class SeenTable:
    """One table; ``is_required`` of its columns is said of those that nothing fills by itself."""

    name: str
    columns: tuple[SeenColumn, ...]


def guessed_declaration(name: str, connection: str, tables: Sequence[SeenTable]) -> str:
    """Write a declaration with what could be guessed, and with a remark wherever a person has to look."""
    lines = [
        f"# Finish this file: `book check` says what it makes of the desk's rows. Tables of {connection}:",
        f"# {', '.join(sorted(one_line(table.name) for table in tables)) or 'none that the role may see'}",
        f"name: {name}",
        f"connection: {connection}",
        "accounts:",
        "  main: 1                  # TODO our account: the desk's value; one line for each account",
        "positions:",
    ]
    chosen = _best(tables, TABLES, _POSITION)
    lines += _positions(chosen) if chosen else _no_positions()
    orders = _best(tables, ORDER_TABLES, {word: _ORDER[word] for word in _ORDER_NEEDS})
    if orders:
        lines += ["# Uncomment this to have the desk's own orders verified.", *_orders(orders)]
    return "\n".join([*lines, "late_by: 300               # seconds that a bot may be behind", ""])


def _best(tables: Sequence[SeenTable], names: str, columns: dict[str, str]) -> SeenTable | None:
    """Choose the table that has the most of the columns; its name breaks a tie."""
    ranked = [
        (len(_found(table, columns)), bool(re.search(names, table.name.lower())), table.name, table)
        for table in tables
    ]
    fitting = [one for one in ranked if one[0] == len(columns) or (one[1] and one[0] >= len(columns) - 1)]
    return max(fitting, key=lambda one: (one[1], one[0], one[2]))[3] if fitting else None


def _found(table: SeenTable, columns: dict[str, str]) -> dict[str, SeenColumn]:
    """Find a column for each word; none is taken twice, and what a pattern names first is the likeliest."""
    found: dict[str, SeenColumn] = {}
    for word, pattern in columns.items():
        free = [column for column in table.columns if column not in found.values()]
        fitting = [column for column in free if re.match(pattern, column.name.lower())]
        if fitting:
            found[word] = min(fitting, key=lambda column: _likeness(column, pattern))
    return found


def _likeness(column: SeenColumn, pattern: str) -> tuple[int, int, str]:
    begun = re.match(r"[a-z]+", column.name.lower())
    place = pattern.find(begun[0]) if begun else -1
    return (place if place >= 0 else len(pattern), len(column.name), column.name)


def _positions(table: SeenTable) -> list[str]:
    found = _found(table, _POSITION)
    optional = {
        word: column for word, column in _found(table, _OPTIONAL).items() if column not in found.values()
    }
    named = {word: _quoted(found[word].name) if word in found else "TODO" for word in _POSITION}
    if re.match("pair|market", named["asset"].lower()):
        named["asset"] = f"{{column: {named['asset']}, spelled: pair}}"
    lines = [f"  table: {_quoted(table.name)}", *(f"  {word}: {name}" for word, name in named.items())]
    lines += [f"  {word}: {_quoted(column.name)}" for word, column in optional.items()]
    quantity = found.get("quantity")
    if quantity and not (quantity.scale is not None and quantity.type.startswith(_EXACT)):
        what = "whole numbers: add scaled_by, such as 1000000" if "int" in quantity.type else quantity.type
        lines.append(f"  decimals: 8              # TODO the digits that count; the column has {what}")
    used = {*found.values(), *optional.values()}
    required = [c for c in table.columns if c.is_required and not c.is_key and c not in used]
    if required:
        lines.append("  # Before write_back may insert, these need a value:")
        lines.append("  # on_insert:")
        lines += [f"  #   {_quoted(column.name)}: {_default(column)}" for column in required]
    lines.append("  write_back: none         # begin with looking; later update, update+insert, ...")
    return lines


def _no_positions() -> list[str]:
    return [
        "  # No table looks like positions. A query that sums trades will do as well.",
        "  query: select account, asset, sum(amount) as quantity from TODO group by account, asset",
        "  account: account",
        "  asset: asset",
        "  quantity: quantity",
        "  decimals: 8",
    ]


def _orders(table: SeenTable) -> list[str]:
    found = _found(table, _ORDER)
    lines = ["# orders:", f"#   table: {_quoted(table.name)}"]
    for word in _ORDER:
        if word == "status":
            column = found["status"].name if "status" in found else "TODO"
            lines.append(f"#   status: {{column: {_quoted(column)}, ended: [FILLED, CANCELLED]}}")
        elif word in found:
            lines.append(f"#   {word}: {_quoted(found[word].name)}")
        elif word in _ORDER_NEEDS:
            lines.append(f"#   {word}: TODO")
    return lines


def _default(column: SeenColumn) -> str:
    if any(word in column.type for word in ("date", "time")):
        return "now"
    return '"{asset}"   # TODO' if any(word in column.type for word in _TEXTUAL) else "0   # TODO"


def _quoted(name: str) -> str:
    """Write a name as YAML reads it back."""
    if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.]*", name) and name.lower() not in ("null", "~"):
        return name
    return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'
