-- The books as of a past moment. What is read here is only ever added to, so that an answer stays what it is.

-- name: coverage
-- Read since when accounts have books here, and up to when their ledger was read without a hole.
select
  a.account_id,
  case when a.opened_at is not null then greatest(a.opened_at, a.ledger_floor) end as begins_at,
  a.ledger_read_until as read_until
from trading.accounts a
where a.account_id = any(cast(:account_ids as bigint[]));

-- name: holdings_then
-- Read every holding as of a moment: what had happened, what was believed, and the entries that differ. Entries that
-- a dry run has read and nobody has recorded are counted as happened, in the same snapshot. What a later import took
-- from the opening for the entries that it brought explains them: together they come to nothing.
with read as (
  select *
  from unnest(
    cast(:ledger_ids as text[]),
    cast(:assets as text[]),
    cast(:wallets as text[]),
    cast(:entry_times as timestamptz[]),
    cast(:changes as numeric[])
  ) as r(ledger_id, asset, wallet, entry_time, change)
),
entries as (
  select
    e.ledger_id,
    e.asset,
    e.wallet,
    e.entry_time,
    e.amount - e.fee as change,
    e.entry_time < :at as happened,
    coalesce(v.recorded_at < :at, false) as believed
  from trading.ledger_entries e
  left join trading.position_events v
    on v.account_id = e.account_id
    and v.ledger_id = e.ledger_id
    and v.cause = 'ledger'
  where e.account_id = :account_id
  union all
  select r.ledger_id, r.asset, r.wallet, r.entry_time, r.change, r.entry_time < :at, false
  from read r
  where not exists (
    select
    from trading.ledger_entries k
    where (k.account_id, k.ledger_id) = (:account_id, r.ledger_id)
  )
),
moved as (
  select
    asset,
    wallet,
    coalesce(sum(change) filter (where happened), 0) as happened,
    coalesce(sum(change) filter (where happened and not believed), 0)
      - coalesce(sum(change) filter (where believed and not happened), 0) as explained,
    array_agg(ledger_id order by entry_time, ledger_id) filter (where happened <> believed) as ledger_ids
  from entries
  where happened or believed
  group by asset, wallet
),
events as (
  select
    asset,
    wallet,
    sum(quantity_after - quantity_before) filter (where recorded_at < :at) as recorded,
    sum(quantity_after - quantity_before) filter (where cause = 'opening') as opened,
    sum(quantity_after - quantity_before) filter (where cause = 'opening' and recorded_at >= :at) as opened_later,
    sum(quantity_after - quantity_before) filter (
      where cause = 'adjustment'
        and recorded_at < :at
        and reason <> all(cast(:residual_reasons as text[]))
    ) as corrected
  from trading.position_events
  where account_id = :account_id
  group by asset, wallet
)
select
  asset,
  wallet,
  coalesce(events.opened, 0) + coalesce(moved.happened, 0) as reported,
  coalesce(events.recorded, 0) as recorded,
  coalesce(moved.explained, 0) + coalesce(events.opened_later, 0) as explained,
  coalesce(events.corrected, 0) as corrected,
  coalesce(moved.ledger_ids, '{}') as ledger_ids
from moved
full join events using (asset, wallet)
where moved.asset is not null
  or events.opened is not null
  or events.recorded is not null;

-- name: head_then
-- Name the newest recorded entry before a moment, as far as times tell.
select ledger_id
from trading.ledger_entries
where account_id = :account_id
  and entry_time < :at
order by entry_time desc, ledger_id desc
limit 1;

-- name: record_run_then
-- Write a run as of the end of its interval, replacing an earlier try that did not succeed; return the id written.
insert into trading.reconciliation_runs (
  run_id, account_id, interval_start, interval_end, mode, status, trigger, recorded_as_of, reported_as_of,
  reported_head, checked, matched, explained, failed, entries_ingested, api_calls, seconds, lock_hold_ms, note, error
)
values (
  :run_id, :account_id, :interval_start, :interval_end, :mode, :status, :trigger, :interval_end, :reported_as_of,
  :reported_head, :checked, :matched, :explained, :failed, :entries_ingested, :api_calls, :seconds, :lock_hold_ms,
  :note, :error
)
on conflict (run_id) do update
set status = excluded.status,
    trigger = excluded.trigger,
    recorded_as_of = excluded.recorded_as_of,
    reported_as_of = excluded.reported_as_of,
    reported_head = excluded.reported_head,
    checked = excluded.checked,
    matched = excluded.matched,
    within_tolerance = 0,
    explained = excluded.explained,
    updated = 0,
    added = 0,
    removed = 0,
    held = 0,
    awaiting = 0,
    failed = excluded.failed,
    entries_ingested = excluded.entries_ingested
      + case when reconciliation_runs.mode = 'repair' then reconciliation_runs.entries_ingested else 0 end,
    api_calls = reconciliation_runs.api_calls + excluded.api_calls,
    seconds = excluded.seconds,
    lock_hold_ms = excluded.lock_hold_ms,
    note = excluded.note,
    error = excluded.error
where reconciliation_runs.status <> 'succeeded'
returning run_id;

-- name: forget_findings
-- Forget what an earlier try at the same run found: a finding as of the past is whole, and is not added to.
delete from trading.discrepancies
where run_id = :run_id;

-- name: insert_findings
-- Write what differed.
insert into trading.discrepancies (
  run_id, account_id, asset, wallet, db_quantity, exchange_quantity, explained, database_drift, residual, action,
  ledger_ids
)
values (
  :run_id, :account_id, :asset, :wallet, :recorded, :reported, :explained, :database_drift, :residual, :action,
  :ledger_ids
);
