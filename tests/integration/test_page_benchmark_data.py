"""The desk that the pages are measured on: every table has rows that the schema accepts."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import psycopg
import pytest
from benchmarks.pages.data import COUNTED, Scale, ensure_data

from desks.whole_reads import MORE_ROWS, PRICED_OUT, read_whole, statements
from local_stack.databases import Database

if TYPE_CHECKING:
    from collections.abc import Iterator

TINY = Scale("tiny", 40, 4_000, 1)
# A missed entry explains a difference by exactly what it moved.
UNTRUE_EXPLANATIONS = """
select count(*)
from trading.discrepancies d
join lateral (
  select sum(e.amount - e.fee) as moved
  from trading.ledger_entries e
  where e.account_id = d.account_id and e.asset = d.asset and e.ledger_id = any(d.ledger_ids)
) entries on true
where d.explained <> coalesce(entries.moved, 0)
"""

READ_WHOLE = {
    "DeskBookStore.recorded_assets": "positions are what accounts hold, not what happened to them",
    "PageStore.differences.differences": "newest first, and it ends with the page",
    "VerificationStore.latest": "newest first, and it ends with the page",
    "SealStore.facts": "whoever verifies seals reads all that was sealed",
    "SealStore.digests_by_id": "whoever verifies seals reads all that was sealed",
    "SealStore.never_sealed": "whoever verifies seals reads all that was sealed",
}
# Begin a transaction, are a part of others, or have a moment whose type their values tell.
WITHOUT_A_PLAN = {
    *("AlertStore.freshness", "HeartbeatStore.heartbeats", "DeskBookStore.proofs"),
    *("CertificateStore.snapshot", "SealStore.rows_of_plan", "SealStore.snapshot"),
}


@pytest.fixture(scope="module")
def trading(postgres_url: str) -> Iterator[Database]:
    database = Database(postgres_url, f"recon_pages_{secrets.token_hex(6)}")
    yield database
    with psycopg.connect(postgres_url, autocommit=True) as administrator:
        administrator.execute(f"drop database if exists {database.name} with (force)".encode())


def test_every_table_has_rows_and_they_stay(trading: Database) -> None:
    told: list[str] = []
    data = ensure_data(trading, TINY, told.append)
    assert set(data["rows"]) == set(COUNTED)
    assert min(data["rows"].values()) > 0
    assert data["rows"]["accounts"] == TINY.accounts
    assert 0.9 < data["rows"]["ledger_entries"] / TINY.entries < 1.1
    assert data["rows"]["reconciliation_runs"] == 96 * TINY.accounts - 96
    assert told
    told.clear()
    again = ensure_data(trading, TINY, told.append)
    assert again["rows"] == data["rows"]
    assert not told
    with pytest.raises(SystemExit):
        ensure_data(trading, Scale("other", 40, 4_000, 1), told.append)
    with psycopg.connect(trading.url) as session:
        assert session.execute(UNTRUE_EXPLANATIONS).fetchone() == (0,)


def test_no_statement_reads_a_whole_large_table(trading: Database) -> None:
    ensure_data(trading, TINY, lambda _: None)
    with psycopg.connect(trading.url, autocommit=True) as session:
        if session.info.server_version < 160000:
            pytest.skip("a plan without values is PostgreSQL 16's")
        session.execute(MORE_ROWS.encode())
        for way in PRICED_OUT:
            session.execute(f"set enable_{way} = off".encode())
        found = {name: read_whole(session, text) for name, text in statements()}
        # A statement that does it is seen: this one has no index to go by.
        assert read_whole(session, "select from trading.ledger_entries where amount = $1") == {
            "ledger_entries"
        }
    assert len(found) > 300
    assert {name for name, tables in found.items() if tables is None} == WITHOUT_A_PLAN
    assert {name for name, tables in found.items() if tables} == READ_WHOLE.keys()
