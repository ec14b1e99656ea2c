"""What the fields of a declaration say together, and declarations among each other.

The checks read what was written rather than what was understood: a field that is wrong by itself hides no
other mistake.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from kraken_recon.desk_books.written_tree import Mistake, WrittenTree
from kraken_recon.ledger.asset_names import STATE_CURRENCIES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from kraken_recon.desk_books.declaration import Cash, DeskBook, Holds, Positions

_PLACEHOLDER: Final = re.compile(r"\{([^{}]*)\}")
PLACEHOLDERS: Final = ("asset", "account")
"""What a text of ``on_insert`` may name in braces: our name of the asset, the desk's value of the account."""


def mistakes_together(tree: WrittenTree) -> Iterator[Mistake]:
    """Find what contradicts something else in one file."""
    for name in ("positions", "cash", "orders"):
        if tree.block(name):
            yield from _source(name, tree.block(name))
    for name in ("positions", "cash"):
        if tree.block(name):
            yield from _columns(name, tree.block(name))
    yield from _inserted(tree.block("positions"))


def _source(name: str, block: Mapping[str, object]) -> Iterator[Mistake]:
    has_query = block.get("query") is not None
    if has_query == (block.get("table") is not None):
        yield Mistake((name,), "expected either a table or a query", "Name one of the two.")
    if has_query and block.get("only"):
        yield Mistake((name, "only"), "goes with a table alone", "Write the condition into the query.")
    if has_query and block.get("write_back", "none") != "none":
        what = "a query is only read, and cannot be written to"
        yield Mistake((name, "write_back"), what, "Name a table, or leave write_back out.")
    if block.get("scaled_by") is not None and block.get("decimals") is None:
        what = "needs decimals beside it: how many digits the real quantity has"
        yield Mistake((name, "scaled_by"), what, "Add decimals.")


def _columns(name: str, block: Mapping[str, object]) -> Iterator[Mistake]:
    """Find columns that are to be two things at once."""
    uses: dict[str, str] = {}
    asset = block.get("asset")
    fields = {
        **{field: block.get(field) for field in ("account", "quantity", "available", "average_cost")},
        "asset": asset.get("column") if isinstance(asset, dict) else asset,
    }
    for field, column in fields.items():
        if isinstance(column, str) and uses.setdefault(column, field) != field:
            what = f"the column {column} is the {uses[column]} already"
            yield Mistake((name, field), what, "Name another column.")
    filters = block.get("only")
    for part in ("on_insert", "on_update"):
        values = block.get(part)
        for column in values if isinstance(values, dict) else ():
            is_default = part == "on_insert" and uses.get(column) in ("available", "average_cost")
            if column in uses and not is_default:
                what = f"the column is written as the {uses[column]} already"
                yield Mistake((name, part, column), what, "Leave it out.")
            if isinstance(filters, dict) and column in filters:
                yield Mistake((name, part, column), "the column has the value of only", "Leave it out.")


def _inserted(positions: Mapping[str, object]) -> Iterator[Mistake]:
    values = positions.get("on_insert")
    for column, value in values.items() if isinstance(values, dict) else ():
        place = ("positions", "on_insert", column)
        if value == "raise":
            what = "a new row has nothing to raise"
            yield Mistake(place, what, "Write the first value, or {text: raise}.")
        text = value.get("text") if isinstance(value, dict) else value
        named = _PLACEHOLDER.findall(text) if isinstance(text, str) else []
        if unknown := [name for name in named if name not in PLACEHOLDERS]:
            known = " and ".join(f"{{{name}}}" for name in PLACEHOLDERS)
            yield Mistake(place, f"{{{unknown[0]}}} stands for nothing", f"There are {known}.")


def overlapping(books: Sequence[DeskBook]) -> Iterator[tuple[int, int, str]]:
    """Find books that are about the same rows: the later one, the earlier one, and what they share.

    Both are places in ``books``. Two queries are told apart by their text alone.
    """
    for later, book in enumerate(books):
        shared = ((earlier, _shared(book, other)) for earlier, other in enumerate(books[:later]))
        found = next(((earlier, what) for earlier, what in shared if what), None)
        if found:
            yield later, *found


def _shared(one: DeskBook, other: DeskBook) -> str | None:
    if one.name == other.name:
        return f"the name {one.name}"
    if one.connection != other.connection or not _share_accounts(one, other):
        return None
    if _share_positions(one.positions, other.positions):
        return f"rows of {one.positions.table or 'the same query'}"
    if one.cash and other.cash and _source_of(one.cash) == _source_of(other.cash):
        return f"cash of {one.cash.table or 'the same query'}"
    return None


def _source_of(cash: Cash) -> tuple[str | None, str | None, str]:
    return cash.table, cash.query, cash.quantity


def _share_accounts(one: DeskBook, other: DeskBook) -> bool:
    mine, theirs = one.accounts.values, other.accounts.values
    if not mine or not theirs:
        return True
    return bool({*mine.values()} & {*theirs.values()}) or bool(mine.keys() & theirs.keys())


def _share_positions(one: Positions, other: Positions) -> bool:
    if (one.table, one.query) != (other.table, other.query):
        return False
    told_apart = any(one.only[column] != other.only[column] for column in one.only.keys() & other.only.keys())
    return not told_apart and _may_share(one.holds, other.holds)


def _may_share(one: Holds, other: Holds) -> bool:
    """Say whether an asset may be kept by both."""
    if "all" in (one.which, other.which) or one.which == other.which == "crypto":
        return True
    if one.which == other.which:
        return bool({*one.assets} & {*other.assets})
    return not {*one.assets, *other.assets} <= {*STATE_CURRENCIES}
