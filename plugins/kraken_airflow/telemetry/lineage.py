"""Which tables and which of Kraken's books a task reads and writes: inlets and outlets for OpenLineage.

They are lineage and nothing else. As assets, tables would have an event whenever a task succeeds, whatever it
found, and look like something to wait for; what is worth waiting for is in ``proven_assets.py``.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, ClassVar, Final

from airflow.providers.common.compat.lineage.entities import File, Table

from kraken_airflow.telemetry.data_quality import Agreement, quality_lineage
from kraken_recon.database.store import SCHEMA
from kraken_recon.desk_books.address import Dialect
from kraken_recon.desk_books.declaration import WriteBack
from kraken_recon.settings import LINEAGE_DATABASE

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from airflow.providers.openlineage.extractors import OperatorLineage

    from kraken_recon.desk_books.address import DeskAddress
    from kraken_recon.desk_books.declaration import DeskBook
    from kraken_recon.desk_books.judging import AccountInBook

KRAKEN: Final = "kraken://api.kraken.com"
# What booking ledger entries writes, whoever books them.
BOOKED: Final = ("ledger_entries", "position_events", "positions", "asset_costs", "realised_results")


class Lineage:
    """What tasks of a class read and write; ``BOOKS`` are endpoints of Kraken that they read, or write to."""

    READS: ClassVar[Sequence[str]] = ()
    WRITES: ClassVar[Sequence[str]] = ()
    BOOKS: ClassVar[Sequence[str]] = ()
    ORDERS: ClassVar[Sequence[str]] = ()
    inlets: list[Any]
    outlets: list[Any]
    #: What a running task compared, once it has.
    agreements: Sequence[Agreement] = ()

    @classmethod
    def lineage(cls) -> dict[str, list[Any]]:
        """Give the arguments ``inlets`` and ``outlets`` of a task of this class."""
        return {
            "inlets": [*map(book, cls.BOOKS), *map(table, cls.READS)],
            "outlets": [*map(book, cls.ORDERS), *map(table, cls.WRITES)],
        }

    def get_openlineage_facets_on_complete(self, _: object) -> OperatorLineage[Any, Any]:
        """Tell OpenLineage, whose provider calls this, what was compared; nothing where nothing was."""
        # Of a table of which nothing could be compared, nothing is said.
        compared = [one for one in self.agreements if one.agreed or one.differed]
        return quality_lineage(self.inlets, self.outlets, compared)


def table(name: str) -> Table:
    """Name a table as OpenLineage names those of Postgres: ``postgres://host:port``, database.schema.table.

    No connection is read while DAG files are parsed, so where the database lies is a variable of the
    environment, written as its clients would: ``postgres://host:port/database``.
    """
    address = os.environ.get(LINEAGE_DATABASE.name, LINEAGE_DATABASE.default)
    server, _, database = address.rpartition("/")
    return Table(cluster=server, database=database, name=f"{SCHEMA}.{name}")


def desk_lineage(declared: DeskBook, address: DeskAddress) -> dict[str, list[Table]]:
    """Name the tables of a desk's that a book reads as inlets, and those that it may write as outlets.

    A query is named by its book: which tables it reads is for the desk's database to say.
    """
    amounts = [part for part in (declared.positions, declared.cash) if part]
    read = [part.table or declared.name for part in (*amounts, declared.orders) if part]
    written = [part.table for part in amounts if part.table and part.write_back is not WriteBack.NONE]
    return {
        "inlets": [_desk_table(address, name) for name in dict.fromkeys(read)],
        "outlets": [_desk_table(address, name) for name in dict.fromkeys(written)],
    }


def desk_agreements(
    declared: DeskBook, address: DeskAddress, judged: Iterable[AccountInBook]
) -> list[Agreement]:
    """Count, for each table of a desk's that holds amounts, the assets that agreed and that differed."""
    judgements = [one.judgement for one in judged]
    found = []
    for part, is_cash in ((declared.positions, False), (declared.cash, True)):
        if part and judgements:
            cash = sum(one.agreed_cash for one in judgements)
            agreed = cash if is_cash else sum(one.agreed for one in judgements) - cash
            differed = sum(d.compared.is_cash is is_cash for one in judgements for d in one.differences)
            found.append(Agreement(_desk_table(address, part.table or declared.name), agreed, differed))
    return found


def _desk_table(address: DeskAddress, name: str) -> Table:
    if address.dialect is Dialect.SQLITE:
        return Table(cluster=f"sqlite://{address.file}", database="main", name=name)
    is_postgres = address.dialect is Dialect.POSTGRESQL
    kind, port, schema = ("postgres", 5432, "public.") if is_postgres else ("mysql", 3306, "")
    server = f"{kind}://{address.host or 'localhost'}:{address.port or port}"
    return Table(cluster=server, database=address.database or "", name=name if "." in name else schema + name)


def book(endpoint: str) -> File:
    """Name a private book of Kraken's by the endpoint that shows it."""
    return File(url=f"{KRAKEN}/0/private/{endpoint}")
