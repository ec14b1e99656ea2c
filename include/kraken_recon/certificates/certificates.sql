-- What a certificate is built from: everything on record of one account up to a moment. All of it is read in
-- one snapshot, so that no sync can change the books between two statements.

-- name: snapshot
-- See one and the same state of the database for the rest of the transaction, and write nothing.
set transaction isolation level repeatable read, read only;

-- name: schema_version
-- Read which migration the database is at.
select version_num
from trading.alembic_version;

-- name: account
-- Find an account by name, active or not, with the way it was opened.
select account_id, opening_source
from trading.accounts
where name = :name;

-- name: proving_runs
-- Find the newest run that compared balances and succeeded, and the newest of those that read the ledger: one and
-- the same, unless the balances alone settled the newest. A run proves nothing beyond the moment it asked at, and
-- one whose newest entry is later than that moment saw books that are later.
with candidates as (
  select r.*
  from trading.reconciliation_runs r
  where r.account_id = :account_id
    and r.status = 'succeeded'
    and r.mode = 'repair'
    and r.reported_as_of <= :at
    and not exists (
      select
      from trading.ledger_entries e
      where e.account_id = r.account_id
        and e.ledger_id = r.reported_head
        and e.entry_time > :at
    )
),
newest as (
  (select * from candidates order by reported_as_of desc, run_id limit 1)
  union
  (select * from candidates where reported_head is not null order by reported_as_of desc, run_id limit 1)
)
select
  run_id, mode, status, trigger, interval_start, interval_end, recorded_as_of, reported_as_of, reported_head
from newest
order by reported_as_of desc, run_id;

-- name: findings
-- Read what these runs found.
select
  run_id, asset, wallet, db_quantity, exchange_quantity, explained, database_drift, residual, action, ledger_ids
from trading.discrepancies
where run_id = any(cast(:run_ids as uuid[]))
order by run_id, asset, wallet;

-- name: holdings
-- Sum the events of each holding up to a moment, and its openings apart: an import moves an opening back, so some
-- of it may have been recorded only after a run.
select
  asset,
  wallet,
  sum(quantity_after - quantity_before) as recorded,
  coalesce(sum(quantity_after - quantity_before) filter (where cause = 'opening'), 0) as opening,
  coalesce(
    sum(quantity_after - quantity_before) filter (where cause = 'opening' and recorded_at > :recorded_as_of), 0
  ) as opening_moved_later
from trading.position_events
where account_id = :account_id
  and effective_at <= :at
group by asset, wallet
order by asset, wallet;

-- name: entries
-- Read the entries up to a moment. An entry is late where a run was recorded before it although it had asked after
-- the time that the entry carries.
select
  ledger_id, refid, entry_time, type as entry_type, subtype, asset, wallet, amount, fee, balance,
  entry_time <= :reported_as_of and ingested_at > :recorded_as_of as is_late
from trading.ledger_entries
where account_id = :account_id
  and entry_time <= :at
order by asset, wallet, entry_time, ingest_seq;

-- name: adjustments
-- Read what moved positions without an entry, up to a moment.
select event_id, asset, wallet, effective_at, reason, quantity_after - quantity_before as amount, run_id
from trading.position_events
where account_id = :account_id
  and cause = 'adjustment'
  and effective_at <= :at
order by event_id;
