"""Which tables and which of Kraken's books a task reads and writes: inlets and outlets for OpenLineage.

They are lineage and nothing else. As assets, tables would have an event whenever a task succeeds, whatever it
found, and look like something to wait for; what is worth waiting for is in ``proven_assets.py``.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, ClassVar, Final

from airflow.providers.common.compat.lineage.entities import File, Table

from kraken_recon.database.store import SCHEMA
from kraken_recon.settings import LINEAGE_DATABASE

if TYPE_CHECKING:
    from collections.abc import Sequence

KRAKEN: Final = "kraken://api.kraken.com"
# What booking ledger entries writes, whoever books them.
BOOKED: Final = ("ledger_entries", "position_events", "positions", "asset_costs", "realised_results")


class Lineage:
    """What tasks of a class read and write; ``BOOKS`` are endpoints of Kraken that they read, or write to."""

    READS: ClassVar[Sequence[str]] = ()
    WRITES: ClassVar[Sequence[str]] = ()
    BOOKS: ClassVar[Sequence[str]] = ()
    ORDERS: ClassVar[Sequence[str]] = ()

    @classmethod
    def lineage(cls) -> dict[str, list[Any]]:
        """Give the arguments ``inlets`` and ``outlets`` of a task of this class."""
        return {
            "inlets": [*map(book, cls.BOOKS), *map(table, cls.READS)],
            "outlets": [*map(book, cls.ORDERS), *map(table, cls.WRITES)],
        }


def table(name: str) -> Table:
    """Name a table as OpenLineage names those of Postgres: ``postgres://host:port``, database.schema.table.

    No connection is read while DAG files are parsed, so where the database lies is a variable of the
    environment, written as its clients would: ``postgres://host:port/database``.
    """
    address = os.environ.get(LINEAGE_DATABASE.name, LINEAGE_DATABASE.default)
    server, _, database = address.rpartition("/")
    return Table(cluster=server, database=database, name=f"{SCHEMA}.{name}")


def book(endpoint: str) -> File:
    """Name a private book of Kraken's by the endpoint that shows it."""
    return File(url=f"{KRAKEN}/0/private/{endpoint}")
