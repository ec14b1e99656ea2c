"""Which statements read a whole large table: they would cost more with every account of the desk.

Every named statement of every store is planned without values, as a session plans what it repeats. To read a
table from end to end is priced out, and so are joins that read a side as a whole: a plan which does so all
the same, or walks an index from its first entry, has no index to serve it.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
from typing import TYPE_CHECKING, Any, Final

import psycopg

import kraken_recon
from kraken_recon.database.store import Store

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

LARGE: Final = frozenset(
    {
        *("ledger_entries", "position_events", "positions", "asset_costs", "realised_results"),
        *("reconciliation_runs", "discrepancies", "orders", "order_events", "fills"),
        *("order_verifications", "order_verification_levels"),
    }
)
PRICED_OUT: Final = ("seqscan", "mergejoin", "hashjoin", "material")
# What the benchmark's desk has none of.
MORE_ROWS: Final = """
insert into trading.asset_costs (
  account_id, asset, quantity_known, quantity_unknown, quantity_moving, cost, realised, entries_counted,
  opening_counted
)
select account_id, asset, 0, sum(quantity), 0, 0, 0, 1, 0
from trading.positions
group by account_id, asset;
insert into trading.realised_results (
  account_id, refid, asset, quantity, proceeds, cost, unknown_share, effective_at
)
select distinct on (account_id, refid, asset) account_id, refid, asset, 1, 1, 0, 1, entry_time
from trading.ledger_entries;
analyze trading.asset_costs, trading.realised_results
"""
PARTIAL: Final = """
select c.relname from pg_index i join pg_class c on c.oid = i.indexrelid where i.indpred is not null
"""
_PARAMETER: Final = re.compile(r"(?<![:\w]):(\w+)")


def statements() -> Iterator[tuple[str, str]]:
    """Yield every named statement of every store, with numbers in place of its parameters."""
    for module in pkgutil.walk_packages(kraken_recon.__path__, "kraken_recon."):
        if module.name.endswith("store"):
            importlib.import_module(module.name)
    for store in Store.__subclasses__():
        for name, clause in getattr(store, "queries", {}).items():
            numbers: dict[str, int] = {}
            text = _PARAMETER.sub(lambda m, n=numbers: f"${n.setdefault(m[1], len(n) + 1)}", clause.text)  # type: ignore[misc]
            yield f"{store.__name__}.{name}", text


def read_whole(session: psycopg.Connection, text: str) -> set[str] | None:
    """Name the large tables that a statement reads from end to end; None: it has no plan without values."""
    try:
        with session.transaction():
            row = session.execute(f"explain (generic_plan, format json) {text}".encode()).fetchone()
    except psycopg.Error:
        return None
    assert row is not None
    partial = {name for (name,) in session.execute(PARTIAL.encode())}
    return set(_whole_reads(row[0][0]["Plan"], partial))


def _whole_reads(plan: dict[str, Any], partial: Collection[str]) -> Iterator[str]:
    """Yield tables from the nodes of a plan; an index of a few rows may be walked."""
    is_index = plan["Node Type"] in {"Index Scan", "Index Only Scan"}
    is_walk = is_index and "Index Cond" not in plan and plan["Index Name"] not in partial
    if plan.get("Relation Name") in LARGE and (plan["Node Type"] == "Seq Scan" or is_walk):
        yield plan["Relation Name"]
    for part in plan.get("Plans", ()):
        yield from _whole_reads(part, partial)
