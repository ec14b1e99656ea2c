"""What every store is: the named queries of one capability, inside one unit of work."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeVar

from kraken_recon.database.arrays import array_literal
from kraken_recon.database.named_sql import load
from kraken_recon.database.statement_spans import named_clauses

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from sqlalchemy import TextClause
    from sqlalchemy.engine import CursorResult, Row

    from kraken_recon.database.unit_of_work import UnitOfWork


SCHEMA: Final = "trading"

Made = TypeVar("Made")


def named_queries(module_file: str, name: str, **lists: str) -> Mapping[str, TextClause]:
    """Read ``<name>.sql`` beside a store's module into its queries by name.

    Args:
        module_file: of the store.
        name: of the file.
        lists: what stands in it for a name in braces, where a list of columns is kept in Python.
    """
    queries = {}
    for query, text in load(module_file, name).items():
        for placeholder, columns in lists.items():
            text = text.replace(f"{{{placeholder}}}", columns)  # noqa: PLW2901
        queries[query] = text
    return named_clauses(name, queries)


class Store:
    """Rows of one capability; it lives as long as the unit of work that it is made of."""

    queries: ClassVar[Mapping[str, TextClause]]

    def __init__(self, unit: UnitOfWork) -> None:
        self._unit = unit
        self._connection = unit.connection

    def _execute(self, query: str, **values: object) -> CursorResult[Any]:
        """Run a query; a list travels as the text of an array, which the query casts to its type."""
        written = {
            name: array_literal(value) if isinstance(value, list) else value for name, value in values.items()
        }
        return self._connection.execute(self.queries[query], written)

    def _run(self, query: str, **values: object) -> Sequence[Row[Any]]:
        """Run a query and read all its rows; none where it returns no rows."""
        result = self._execute(query, **values)
        return result.all() if result.returns_rows else ()

    def _rows(self, query: str, **values: object) -> list[dict[str, Any]]:
        """Run a query and read all its rows as mappings."""
        return [dict(row) for row in self._execute(query, **values).mappings()]

    def _value(self, make: Callable[[Any], Made], query: str, **values: object) -> Made:
        """Run a query that gives one value, and read that."""
        return make(self._execute(query, **values).scalar_one())
