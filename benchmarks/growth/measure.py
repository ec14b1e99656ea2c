"""A year of ten thousand accounts on paper: what a row takes on the disk, times how many come in a day.

1. Bytes are measured on rows that the schema accepted, heap and indexes apart, in tables just filled.
2. How many rows come in a day is an assumption, and stands beside each figure.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import psycopg

from benchmarks.figures import RESULTS, ROOT, keep, surroundings, taken
from benchmarks.pages.data import SCALES, Scale, ensure_data
from benchmarks.servers import running_server
from kraken_recon.maintenance.retention import SNAPSHOT_MONTHS_KEPT
from local_stack.databases import Database

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PAGE: Final = ROOT / "docs" / "reference" / "growth.md"
ACCOUNTS: Final = 10_000
DAYS: Final = 365
ASSETS: Final = 10
GIB: Final = 2**30


@dataclass(frozen=True, slots=True)
class Growth:
    """How many rows of a table come for an account in a day, why, and how many of a year's stay."""

    rows_a_day: float
    why: str
    rows_after_a_year: float | None = None

    @property
    def kept(self) -> float:
        """How many rows are there after a year, for an account."""
        return self.rows_a_day * DAYS if self.rows_after_a_year is None else self.rows_after_a_year


THINNED: Final = 30 * 24 + (DAYS - 30)
TABLES: Final[Mapping[str, Growth]] = {
    "reconciliation_runs": Growth(96, "one every quarter of an hour"),
    "discrepancies": Growth(10, "one for each holding that moved between two runs"),
    "ledger_entries": Growth(10, "five trades of two legs"),
    "position_events": Growth(10, "one for each ledger entry"),
    "asset_snapshots": Growth(24, "one an hour; after 30 days one a day", THINNED),
    "asset_snapshot_rows": Growth(
        24 * ASSETS, f"one for each of {ASSETS} assets; thinned alike", THINNED * ASSETS
    ),
    "repair_plans": Growth(5, "one for each run that wrote something"),
    "orders": Growth(5, "one for each trade"),
    "order_events": Growth(15, "three for each order"),
    "fills": Growth(5, "one for each order"),
    "order_verifications": Growth(5, "one for each order"),
    "order_verification_levels": Growth(30, "six for each order"),
    "alerts": Growth(0.1, "one in ten days"),
}
SIZES: Final = """
select sum(pg_table_size(c.oid)), sum(pg_indexes_size(c.oid))
from pg_class c
where c.oid = to_regclass('trading.' || %(table)s)
  or c.oid in (select inhrelid from pg_inherits where inhparent = to_regclass('trading.' || %(table)s))
"""
INTRODUCTION: Final = """\
# What the database grows by

<!-- Written by `make bench-growth`. -->
{taken} Bytes are those of {entries:,} ledger entries and what
belongs to them, measured in tables that were just filled; how many rows come in a day is an assumption, which
the table names.

| table | heap, bytes a row | indexes | rows a day, account | because | bytes a day, account | GiB a year, {accounts:,} |
|---|--:|--:|--:|---|--:|--:|
"""  # noqa: E501 - a row of a table
END: Final = """

Together {total:,.0f} GiB after a year of {accounts:,} accounts, of which runs are {share:.0%}. Snapshots are
thinned after 30 days and dropped by the month after {months} months. Session samples are those of servers,
not of accounts: 288 a day each, thinned after two days. All else is kept, unless the desk says otherwise
([why](../adr/0023-only-snapshots-are-partitioned.md)).

## At ten times that

- **Ask less often where little happens.** A run leaves {run_bytes:,.0f} bytes whatever it finds. Quiet
  accounts that are synced once an hour leave a quarter; `freshness_limit_minutes` says how old a proof of
  theirs may become.
- **Thin runs in which nothing happened**: `KRAKEN_RECON_QUIET_RUNS_DAYS_KEPT`
  ([settings](configuration.md)). Of a day that is older the last proof of each account stays.
- **Disk before partitions.** Pages and runs read by account, newest first, from indexes whose upper pages
  stay in memory: what was measured with 10 million entries and 1.9 million runs
  ([pages](../../benchmarks/README.md#the-pages)) grows with an account's own rows, not with the tables. A
  test holds every hot statement to that.
- **Several databases.** Accounts share nothing here but keys of Kraken: a group of them with a `trading_db`
  of its own is a complete installation.
"""


@dataclass(frozen=True, slots=True)
class Measured:
    """Bytes that one row of a table takes."""

    rows: int
    heap: float
    indexes: float

    @property
    def bytes(self) -> float:
        """All of them."""
        return self.heap + self.indexes


def sizes(url: str, rows: Mapping[str, int]) -> dict[str, Measured]:
    """Measure every table that grows."""
    found = {}
    with psycopg.connect(url) as session:
        for table in TABLES:
            row = session.execute(SIZES, {"table": table}).fetchone()
            assert row is not None
            found[table] = Measured(rows[table], *(float(part) / rows[table] for part in row))
    return found


def page(figures: Mapping[str, Any], measured: Mapping[str, Measured]) -> str:
    """Write the page of the reference."""
    lines, total = [], 0.0
    for table, growth in TABLES.items():
        of = measured[table]
        a_year = growth.kept * of.bytes * ACCOUNTS
        total += a_year
        cells = (
            f"{of.heap:,.0f}",
            f"{of.indexes:,.0f}",
            f"{growth.rows_a_day:g}",
            growth.why,
            f"{growth.rows_a_day * of.bytes:,.0f}",
            f"{a_year / GIB:,.1f}",
        )
        lines.append(f"| `{table}` | {' | '.join(cells)} |")
    runs = measured["reconciliation_runs"].bytes
    head = INTRODUCTION.format(
        taken=taken(figures), entries=figures["rows"]["ledger_entries"], accounts=ACCOUNTS
    )
    share = TABLES["reconciliation_runs"].kept * runs * ACCOUNTS / total
    return (
        head
        + "\n".join(lines)
        + END.format(
            total=total / GIB, accounts=ACCOUNTS, share=share, months=SNAPSHOT_MONTHS_KEPT, run_bytes=runs
        )
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Fill a database, measure its tables, and write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scale", choices=("usual", "short"), default="usual", help="short writes no page")
    parser.add_argument("--server", metavar="URL", help="a superuser's URL; default: a server of its own")
    options = parser.parse_args(arguments)
    is_short = options.scale == "short"
    with running_server(options.server) as server_url:
        trading = Database(server_url, "recon_growth")
        scale = Scale("growth", 40, 4_000, 1) if is_short else SCALES["small"]
        try:
            figures = surroundings(server_url) | ensure_data(trading, scale, print)
            measured = sizes(trading.url, figures["rows"])
        finally:
            with psycopg.connect(server_url, autocommit=True) as administrator:
                administrator.execute(f"drop database if exists {trading.name} with (force)".encode())
    text = page(figures, measured)
    print(text)
    if not is_short:
        keep(json.loads(json.dumps(figures, default=str)), RESULTS / "growth.json")
        PAGE.write_text(text, encoding="utf-8")
