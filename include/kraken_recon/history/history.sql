-- The rows that an import of Kraken's exports reads and moves beyond those of position_sync. Its locks are taken in
-- the same order as everybody's: ledger_entries, then positions, then accounts; only the opening of an account takes
-- its row of accounts before its positions.

-- name: account_history
-- Read where an account's recorded history begins. It is witnessed when a sync was there before any import gave it an
-- opening (whose run id is no run): then a holding without an opening was zero.
select
  a.opened_at is not null as is_open,
  a.opening_source,
  a.ledger_floor,
  (
    select max(e.entry_time)
    from trading.ledger_entries e
    where e.account_id = a.account_id
      and e.ingest_seq <= a.ledger_watermark
  ) as newest_entry_at,
  first_opening.effective_at as first_opening_at,
  exists (
    select
    from trading.reconciliation_runs r
    where r.account_id = a.account_id
      and r.mode = 'repair'
      and r.status <> 'failed'
  ) and (
    first_opening.event_id is null
    or exists (
      select
      from trading.reconciliation_runs r
      where r.account_id = a.account_id
        and r.mode = 'repair'
        and (r.run_id = first_opening.run_id or r.recorded_as_of < first_opening.recorded_at)
    )
  ) as is_witnessed
from trading.accounts a
left join lateral (
  select v.event_id, v.run_id, v.effective_at, v.recorded_at
  -- Fenced: of an account without an opening the planner would look for the first among all events there are.
  from (
    select *
    from trading.position_events
    where account_id = a.account_id
      and cause = 'opening'
      and cause <> 'ledger'  -- as the index says
    offset 0
  ) v
  order by v.event_id
  limit 1
) first_opening on true
where a.account_id = :account_id;

-- name: lock_account
-- Lock an account's row, and say whether it is open by now.
select opened_at is not null as is_open
from trading.accounts
where account_id = :account_id
for no key update;

-- name: openings
-- Read what each holding's history begins with, and where the newest word on it stands.
select
  asset,
  wallet,
  sum(quantity_after - quantity_before) as quantity,
  (array_agg(effective_at order by event_id desc))[1] as effective_at
from trading.position_events
where account_id = :account_id
  and cause = 'opening'
group by asset, wallet;

-- name: set_opening
-- Say where an account's history begins from now on, opening it where it was not.
update trading.accounts
set opened_at = coalesce(opened_at, now()),
    opening_source = :source,
    ledger_floor = :ledger_floor
where account_id = :account_id;
