-- What a stage keeps, and what it looks at after a schedule.

-- name: tables
-- Name the tables whose rows are kept, with the columns that can be written.
select
  c.oid::regclass::text as name,
  string_agg(quote_ident(a.attname), ', ' order by a.attnum) as columns
from pg_class c
join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped and a.attgenerated = ''
where c.relnamespace = 'trading'::regnamespace
  and c.relkind in ('r', 'p')
  and not c.relispartition
  and c.relname <> 'alembic_version'
group by c.oid
order by 1;

-- name: sequences
-- Name the sequences.
select schemaname || '.' || quote_ident(sequencename) from pg_sequences where schemaname = 'trading';

-- name: books
-- Read what a desk may rely on, table by table: all that speaks of money, of questions and of answers, but no clocks, no
-- numbers that sequences give, and nothing of who of two came first with the same entry.
with told(part, told) as (
  select 'positions', to_jsonb(t)
  from (select asset, wallet, quantity, available_quantity, avg_cost from trading.positions) t
  union all
  select 'ledger_entries', to_jsonb(t)
  from (select ledger_id, type, asset, wallet, amount, fee, balance from trading.ledger_entries) t
  union all
  select 'position_events', to_jsonb(t)
  from (
    select asset, wallet, quantity_after - quantity_before as change, cause, reason, ledger_id
    from trading.position_events
  ) t
  union all
  select 'accounts', to_jsonb(t)
  from (select opened_at is not null as is_open, opening_source, ledger_floor from trading.accounts) t
  union all
  select 'residuals', to_jsonb(t)
  from (select asset, wallet, residual, is_settled from trading.residuals) t
  union all
  select 'asset_costs', to_jsonb(t)
  from (
    select asset, quantity_known, quantity_unknown, quantity_moving, cost, avg_cost, realised, entries_counted
    from trading.asset_costs
  ) t
  union all
  select 'realised_results', to_jsonb(t)
  from (select asset, proceeds, result from trading.realised_results) t
  union all
  select 'repair_plans', to_jsonb(t)
  from (
    select
      kind, status, book, case when kind <> 'repair' then row_count end as rows, decided_by,
      closed_at is null as is_open, undoes is not null as is_undo
    from trading.repair_plans
  ) t
  union all
  select 'alerts', to_jsonb(t)
  from (select kind, asset, wallet, status from trading.alerts) t
  union all
  select 'order_decisions', to_jsonb(t)
  from (select decision_key, status from trading.order_decisions) t
  union all
  select 'orders', to_jsonb(t)
  from (select side, status, volume from trading.orders) t
  union all
  select 'desk_writes', to_jsonb(t)
  from (select book, asset, kind, change, state from trading.desk_writes) t
  union all
  select 'runs', to_jsonb(t)
  from (select interval_end, mode, trigger, status from trading.reconciliation_runs) t
)
select part, jsonb_agg(told order by told::text)::text
from told
group by part;

-- name: progress
-- Say up to when the account is read, and up to when it is proved.
select
  ledger_read_until::text,
  tokenized_read_until::text,
  (select entry_time::text from trading.ledger_entries e where e.ingest_seq = a.ledger_watermark)
from trading.accounts a;

-- name: wrongs
-- Say what is wrong whatever order it came about in.
with chained as (
  select v.*, coalesce(lag(quantity_after) over (partition by account_id, asset, wallet order by event_id), 0) as before
  from trading.position_events v
),
both_sides as (
  select account_id, asset, wallet, amount - fee as change from trading.ledger_entries
  union all
  select account_id, asset, wallet, quantity_before - quantity_after
  from trading.position_events
  where cause = 'ledger'
)
select 'an event does not go on where the last one ended', asset || ' ' || wallet
from chained
where quantity_before <> before
union all
select 'a position is not the sum of its events', p.asset || ' ' || p.wallet
from trading.positions p
left join trading.position_events v using (account_id, asset, wallet)
group by p.account_id, p.asset, p.wallet
having p.quantity <> coalesce(sum(v.quantity_after - v.quantity_before), 0)
union all
select 'the events of entries do not come to the entries', asset || ' ' || wallet
from both_sides
group by account_id, asset, wallet
having sum(change) <> 0
union all
select 'an entry moved a position twice', ledger_id
from trading.position_events
where ledger_id is not null
group by account_id, ledger_id
having count(*) > 1;

-- name: told
-- Name the holdings of which something tells that they differ, and say whether a run found the books moving.
select asset, wallet from trading.residuals
union
select asset, wallet from trading.alerts where status <> 'resolved' and asset is not null
union
select p.asset, p.wallet
from trading.positions p
join trading.reconciliation_runs r using (account_id)
where r.status = 'moving';

-- name: by_us
-- Sum what we wrote to a desk's rows.
select asset, sum(change) from trading.desk_writes where state = 'written' group by asset;
