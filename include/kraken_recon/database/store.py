"""What every store is: the named queries of one capability, inside one unit of work."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from kraken_recon.database.arrays import array_literal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import TextClause
    from sqlalchemy.engine import CursorResult, Row

    from kraken_recon.database.unit_of_work import UnitOfWork


class Store:
    """Rows of one capability; it lives as long as the unit of work that it is made of."""

    def __init__(self, unit: UnitOfWork) -> None:
        self._unit = unit
        self._connection = unit.connection


class ArrayStore(Store):
    """A store whose queries take keys as parallel arrays, written as text."""

    queries: ClassVar[Mapping[str, TextClause]]

    def _run(self, query: str, **values: object) -> Sequence[Row[Any]]:
        result = self._execute(query, values)
        return result.all() if result.returns_rows else ()

    def _execute(self, query: str, values: Mapping[str, object]) -> CursorResult[Any]:
        written = {
            name: array_literal(value) if isinstance(value, list) else value for name, value in values.items()
        }
        return self._connection.execute(self.queries[query], written)
