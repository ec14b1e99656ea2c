"""Build the database that the pages are measured on: a desk of 10,000 accounts after two years.

1. Every row satisfies the schema's own constraints; no check and no foreign key is switched off.
2. The rows are a function of the scale and of the moment of building, nothing is random.
"""

from __future__ import annotations

import json
import re
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import psycopg
from psycopg import sql

from kraken_recon.database.migrate import migrate
from kraken_recon.database.unit_of_work import UnitOfWork, create_engine
from kraken_recon.maintenance.retention import Month
from kraken_recon.maintenance.store import MaintenanceStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from local_stack.databases import Database

STEPS: Final = Path(__file__).with_name("data.sql")
BY_ACCOUNT: Final = "(by account)"
# A range is sorted in memory.
ENTRIES_PER_RANGE: Final = 300_000
# Their further indexes are made once the rows are there.
LARGE_TABLES: Final = ("ledger_entries", "position_events", "reconciliation_runs")
SESSION: Final = (
    "set synchronous_commit = off",
    "set work_mem = '256MB'",
    "set maintenance_work_mem = '1GB'",
    "set jit = off",
)
COUNTED: Final = (
    *("accounts", "ledger_entries", "positions", "position_events", "reconciliation_runs", "discrepancies"),
    *("residuals", "repair_plans", "repair_plan_rows", "alerts", "orders", "order_events", "fills"),
    *("order_verifications", "order_verification_levels", "verification_rates", "session_samples"),
    *("session_findings", "session_actions", "asset_prices", "asset_snapshots", "asset_snapshot_rows"),
)


@dataclass(frozen=True, slots=True)
class Scale:
    """How large the desk is; ``days`` of runs, one every quarter of an hour and account."""

    name: str
    accounts: int
    entries: int
    days: int


SCALES: Final = {
    scale.name: scale for scale in (Scale("full", 10_000, 10_000_000, 2), Scale("small", 300, 200_000, 1))
}


def ensure_data(trading: Database, scale: Scale, say: Callable[[str], None]) -> dict[str, Any]:
    """Build the database unless it was built before; bring its schema up to date, and count its rows."""
    trading.ensure()
    built: dict[str, Any] = json.loads(trading.marking() or "{}")
    if not built:
        trading.recreate()  # perhaps half-built
    migrate(create_engine(trading.url))
    if not built:
        started = time.monotonic()
        now = datetime.now(UTC)
        _make_months(trading, now)
        _build(trading.url, scale, now, say)
        built = asdict(scale) | {
            "built_at": now.isoformat(timespec="seconds"),
            "built_in_seconds": round(time.monotonic() - started),
        }
        trading.mark(json.dumps(built))
    elif built["name"] != scale.name:
        raise SystemExit(f"this directory holds the data of --scale {built['name']}")
    return built | counts(trading.url)


def counts(url: str) -> dict[str, Any]:
    """Count the rows of every table, and the bytes of the database."""
    with psycopg.connect(url) as session:
        rows = {
            table: session.execute(
                sql.SQL("select count(*) from trading.{}").format(sql.Identifier(table))
            ).fetchone()
            for table in COUNTED
        }
        size = session.execute("select pg_database_size(current_database())").fetchone()
    return {
        "rows": {table: row[0] for table, row in rows.items() if row},
        "database_bytes": size[0] if size else None,
    }


def _make_months(trading: Database, now: datetime) -> None:
    """Make the partitions of the snapshots' months, as maintenance does."""
    with UnitOfWork(create_engine(trading.url)) as unit:
        store = MaintenanceStore(unit)
        for month in sorted({Month.of(now - timedelta(days=days)) for days in range(32)}):
            store.make_month(month)
        unit.commit()


def _build(url: str, scale: Scale, now: datetime, say: Callable[[str], None]) -> None:
    with psycopg.connect(url, autocommit=True) as session:
        for setting in SESSION:
            session.execute(setting.encode())
        for name, value in (
            ("accounts", scale.accounts),
            ("entries", scale.entries),
            ("days", scale.days),
            ("now", now.isoformat()),
        ):
            session.execute("select set_config(%s, %s, false)", [f"bench.{name}", str(value)])
        indexes = _drop_indexes(session)
        for name, statement in _steps():
            started = time.monotonic()
            if name.endswith(BY_ACCOUNT):
                _run_by_account(session, statement, scale)
            else:
                session.execute(statement)
            say(f"  {name:<32} {time.monotonic() - started:7.1f} s")
            table = name.removesuffix(BY_ACCOUNT).strip()
            for definition in indexes.pop(table, ()):
                session.execute(definition.encode())
            if table in COUNTED:
                session.execute(sql.SQL("analyze trading.{}").format(sql.Identifier(table)))
        for definition in [definition for left in indexes.values() for definition in left]:
            session.execute(definition.encode())
        say("  vacuum ...")
        session.execute("vacuum (analyze)")
        session.execute("checkpoint")


def _steps() -> Iterator[tuple[str, bytes]]:
    for block in re.split(r"(?m)^-- name: ", STEPS.read_text())[1:]:
        name, _, statement = block.partition("\n")
        yield name, statement.encode()


def _run_by_account(session: psycopg.Connection, statement: bytes, scale: Scale) -> None:
    """Run a step for ranges of accounts; the ten largest go one by one."""
    step = max(1, ENTRIES_PER_RANGE * scale.accounts // scale.entries)
    firsts = [*range(1, 11), *range(11, scale.accounts + 1, step)]
    for first, following in zip(firsts, [*firsts[1:], scale.accounts + 1], strict=True):
        session.execute(
            "select set_config('bench.first', %s, false), set_config('bench.last', %s, false)",
            [str(first), str(following - 1)],
        )
        session.execute(statement)


def _drop_indexes(session: psycopg.Connection) -> dict[str, list[str]]:
    """Drop the large tables' indexes that no constraint needs; return how to make them again, by table."""
    found = session.execute(
        """
        select i.tablename, i.indexname, i.indexdef
        from pg_indexes i
        where i.schemaname = 'trading'
          and i.tablename = any(%s)
          and not exists (select from pg_constraint c where c.conname = i.indexname)
        """,
        [list(LARGE_TABLES)],
    ).fetchall()
    indexes: dict[str, list[str]] = {}
    for table, name, definition in found:
        session.execute(sql.SQL("drop index trading.{}").format(sql.Identifier(name)))
        indexes.setdefault(table, []).append(definition)
    return indexes
