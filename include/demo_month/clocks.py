"""Move back the times that the database gives to rows, so that they agree with a clock that is behind.

The database has one clock, and its defaults follow it. What a day of the past wrote is told from all else by
its times: nothing before that day has times so new, and what has newer ones (recorded accounts live in their
own time) has them of Kraken.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import sqlalchemy as sa

from kraken_recon.database.store import SCHEMA
from kraken_recon.database.unit_of_work import UnitOfWork, create_engine

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# The budgets, nonces and checks of keys, and signs of work: they belong to processes, and processes live now.
LEFT_ALONE: Final = frozenset({"api_keys", "heartbeats"})
CLOCK: Final = sa.select(sa.func.clock_timestamp())
WHOLE_TABLES: Final = sa.text(
    f"select relname from pg_class where relnamespace = '{SCHEMA}'::regnamespace and not relispartition"
    " and relkind in ('r', 'p')"
)


def _tables(unit: UnitOfWork) -> list[sa.Table]:
    tables = sa.MetaData(schema=SCHEMA)
    tables.reflect(unit.connection, only=list(unit.connection.execute(WHOLE_TABLES).scalars()))
    return tables.sorted_tables


class Past:
    """How far behind the clocks are, and since when."""

    def __init__(self, dsn: str) -> None:
        self.behind = timedelta()
        # What was introduced before the first day, the accounts, is moved with it.
        self._since = datetime(1970, 1, 1, tzinfo=UTC)
        self._engine = create_engine(dsn, application_name="demo_month")

    def go_to(self, ago: timedelta) -> None:
        """Say how far behind the clocks are from now on."""
        self.behind = ago

    def move_back(self) -> None:
        """Move back all times that the database gave since the last call."""
        with UnitOfWork(self._engine) as unit:
            now = unit.connection.execute(CLOCK).scalar_one()
            for statement in self._statements(_tables(unit), now):
                unit.connection.execute(statement)
            unit.commit()
            self._since = unit.connection.execute(CLOCK).scalar_one()

    def _statements(self, tables: Sequence[sa.Table], now: datetime) -> Iterator[sa.Update]:
        for table in tables:
            times = [column for column in table.columns if isinstance(column.type, sa.DateTime)]
            if not times or table.name in LEFT_ALONE:
                continue
            is_new = {column: column.between(self._since, now) for column in times}
            yield (
                sa.update(table)
                .where(sa.or_(*is_new.values()))
                .values(
                    {
                        column: sa.case((condition, column - self.behind), else_=column)
                        for column, condition in is_new.items()
                    }
                )
            )
