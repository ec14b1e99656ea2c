"""The floor: the same rows in as few bare set-based statements as they need, without a rule or a check.

It knows what only this workload may know: every difference is one missed entry. There is no judgement, no
proof, no lock beyond the rows written, no dry run, no alert, no second try; one connection throughout.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import psycopg

from benchmarks.position_sync.workload import INTERVAL, REQUEST
from kraken_recon.reconciliation.transactions import ACCOUNTS_PER_TRANSACTION

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.position_sync.workload import PreparedWork

DIFFERING: Final = """
select r.account_id, count(*) filter (where p.quantity <> r.balance)
from unnest(%s::bigint[], %s::text[], %s::text[], %s::numeric[], %s::numeric[])
  as r(account_id, asset, wallet, balance, available)
join trading.positions p using (account_id, asset, wallet)
where p.quantity <> r.balance or p.available_quantity <> r.available
group by r.account_id
"""
INGEST: Final = """
insert into trading.ledger_entries (
  account_id, ledger_id, refid, entry_time, type, subtype, asset, wallet, amount, fee, balance, run_id
)
select *
from unnest(
  %s::bigint[], %s::text[], %s::text[], %s::timestamptz[], %s::text[], %s::text[], %s::text[], %s::text[],
  %s::numeric[], %s::numeric[], %s::numeric[], %s::uuid[]
)
on conflict do nothing
returning account_id, ledger_id, entry_time, asset, wallet, amount - fee, balance, run_id, ingest_seq
"""
MOVE: Final = """
update trading.positions p
set quantity = p.quantity + n.change,
    available_quantity = n.balance,
    available_as_of = %s,
    updated_at = now()
from unnest(%s::bigint[], %s::text[], %s::text[], %s::numeric[], %s::numeric[])
  as n(account_id, asset, wallet, change, balance)
where (p.account_id, p.asset, p.wallet) = (n.account_id, n.asset, n.wallet)
"""
EVENTS: Final = """
insert into trading.position_events (
  account_id, ledger_id, effective_at, asset, wallet, quantity_before, quantity_after, run_id, cause
)
select e.*, 'ledger'
from unnest(
  %s::bigint[], %s::text[], %s::timestamptz[], %s::text[], %s::text[], %s::numeric[], %s::numeric[],
  %s::uuid[]
) as e
"""
WATERMARKS: Final = """
update trading.accounts a
set ledger_watermark = n.ingest_seq
from (
  select account_id, max(ingest_seq) as ingest_seq
  from unnest(%s::bigint[], %s::bigint[]) as i(account_id, ingest_seq)
  group by account_id
) n
where a.account_id = n.account_id
"""
RUNS: Final = """
insert into trading.reconciliation_runs (
  run_id, account_id, interval_start, interval_end, mode, status, trigger, recorded_as_of, reported_as_of,
  reported_head, checked, matched, explained, entries_ingested, api_calls, seconds, lock_hold_ms
)
select
  r.run_id, r.account_id, %s, %s, %s, 'succeeded', %s, clock_timestamp(), r.as_of, r.head, r.checked,
  r.checked - r.found, r.found, r.found, r.calls, 0, 0
from unnest(%s::uuid[], %s::bigint[], %s::timestamptz[], %s::text[], %s::int[], %s::int[], %s::int[])
  as r(run_id, account_id, as_of, head, checked, found, calls)
"""
DISCREPANCIES: Final = """
insert into trading.discrepancies (
  run_id, account_id, asset, wallet, db_quantity, exchange_quantity, explained, database_drift, residual,
  action, ledger_ids
)
select
  d.run_id, d.account_id, d.asset, d.wallet, d.balance - d.change, d.balance, d.change, 0, 0, 'applied',
  array[d.ledger_id]
from unnest(%s::uuid[], %s::bigint[], %s::text[], %s::text[], %s::numeric[], %s::numeric[], %s::text[])
  as d(run_id, account_id, asset, wallet, balance, change, ledger_id)
"""


def sync(url: str, prepared: Sequence[PreparedWork]) -> None:
    """Compare everything, then write batch by batch."""
    with psycopg.connect(url) as connection:
        found = _differing(connection, prepared)
        connection.commit()
        for start in range(0, len(prepared), ACCOUNTS_PER_TRANSACTION):
            _book(connection, prepared[start : start + ACCOUNTS_PER_TRANSACTION], found)
            connection.commit()


def _columns(rows: Sequence[tuple[Any, ...]], width: int) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)] if rows else [[] for _ in range(width)]


def _differing(connection: psycopg.Connection, prepared: Sequence[PreparedWork]) -> dict[int, int]:
    reported = [
        (p.work.account_id, key.asset, key.wallet, balance.balance, balance.available)
        for p in prepared
        for key, balance in p.balances.items()
    ]
    return dict(connection.execute(DIFFERING, _columns(reported, 5)).fetchall())


def _book(connection: psycopg.Connection, batch: Sequence[PreparedWork], found: dict[int, int]) -> None:
    read = [p for p in batch if p.work.account_id in found]
    new = connection.execute(
        INGEST,
        _columns(
            [
                (
                    *(
                        p.work.account_id,
                        e.ledger_id,
                        e.refid,
                        e.entry_time,
                        e.entry_type,
                        e.subtype,
                        e.asset,
                    ),
                    *(e.wallet, e.amount, e.fee, e.balance, p.work.run_id),
                )
                for p in read
                for e in p.reading.entries
            ],
            12,
        ),
    ).fetchall()
    accounts, ids, times, assets, wallets, changes, balances, runs, places = _columns(new, 9)
    before = [balance - change for balance, change in zip(balances, changes, strict=True)]
    connection.execute(MOVE, [INTERVAL.end, accounts, assets, wallets, changes, balances])
    connection.execute(EVENTS, [accounts, ids, times, assets, wallets, before, balances, runs])
    connection.execute(WATERMARKS, [accounts, places])
    connection.execute(
        RUNS,
        [
            *(INTERVAL.start, INTERVAL.end, str(REQUEST.mode), REQUEST.trigger),
            *_columns(
                [
                    (
                        *(p.work.run_id, p.work.account_id, INTERVAL.end),
                        p.reading.entries[-1].ledger_id if p.work.account_id in found else None,
                        *(len(p.balances), found.get(p.work.account_id, 0), p.work.calls),
                    )
                    for p in batch
                ],
                7,
            ),
        ],
    )
    connection.execute(DISCREPANCIES, [runs, accounts, assets, wallets, balances, changes, ids])
