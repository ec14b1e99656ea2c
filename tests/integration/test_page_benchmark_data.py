"""The desk that the pages are measured on: every table has rows that the schema accepts."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import psycopg
import pytest
from benchmarks.pages.data import COUNTED, Scale, ensure_data

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
