-- What maintenance forgets and keeps. Deletes take at most :most rows that nobody holds, so that a run may stop
-- after any of them; every one of them may be repeated.

-- name: lock_partitions
-- Let one session at a time make and drop partitions; give up quickly rather than let readers queue behind us.
select
  set_config('lock_timeout', '2s', true),
  pg_advisory_xact_lock(7031993);

-- name: partitions
-- Name the partitions of a table.
select c.relname::text as name
from pg_inherits i
join pg_class c on c.oid = i.inhrelid
where i.inhparent = to_regclass(:parent);

-- name: thin_snapshots
-- Of snapshots, keep the last of each day. What is older than two months beyond was thinned by earlier runs.
with chosen as (
  select s.account_id, s.hour
  from trading.asset_snapshots s
  where s.hour < :before
    and s.hour >= cast(:before as timestamptz) - interval '62 days'
    and exists (
      select
      from trading.asset_snapshots n
      where n.account_id = s.account_id
        and n.hour > s.hour
        and n.hour < date_trunc('day', s.hour, 'UTC') + interval '1 day'
    )
  order by s.account_id, s.hour
  limit :most
  for update skip locked
),
rows as (
  delete from trading.asset_snapshot_rows r
  using chosen c
  where r.account_id = c.account_id
    and r.hour = c.hour
)
delete from trading.asset_snapshots s
using chosen c
where s.account_id = c.account_id
  and s.hour = c.hour;

-- name: thin_session_samples
-- Of session samples, keep the last of each hour.
with chosen as (
  select s.sample_id
  from trading.session_samples s
  where s.taken_at < :before
    and exists (
      select
      from trading.session_samples n
      where n.source = s.source
        and n.taken_at > s.taken_at
        and n.taken_at < date_trunc('hour', s.taken_at, 'UTC') + interval '1 hour'
    )
  order by s.sample_id
  limit :most
  for update skip locked
)
delete from trading.session_samples s
using chosen c
where s.sample_id = c.sample_id;

-- name: forget_dry_runs
-- Forget what dry runs planned; a plan that was written, held or decided is kept for ever.
with chosen as (
  select p.plan_id
  from trading.repair_plans p
  where p.status = 'planned'
    and p.created_at < :before
    and not exists (select from trading.repair_plans u where u.undoes = p.plan_id)
  order by p.plan_id
  limit :most
  for update skip locked
),
rows as (
  delete from trading.repair_plan_rows r
  using chosen c
  where r.plan_id = c.plan_id
)
delete from trading.repair_plans p
using chosen c
where p.plan_id = c.plan_id;

-- name: forget_notifications
-- Forget messages that were sent; what still waits to be sent is kept however old it is.
with chosen as (
  select n.notification_id
  from trading.alert_notifications n
  where n.created_at < :before
    and n.sent_at < :before
  order by n.notification_id
  limit :most
  for update skip locked
)
delete from trading.alert_notifications n
using chosen c
where n.notification_id = c.notification_id;

-- name: forget_rates
-- Forget the failure rates of windows that began long ago.
with chosen as (
  select r.window_seconds, r.window_start, r.account_id, r.source
  from trading.verification_rates r
  where r.window_start < :before
  order by 1, 2, 3, 4
  limit :most
  for update skip locked
)
delete from trading.verification_rates r
using chosen c
where (r.window_seconds, r.window_start, r.account_id, r.source)
  = (c.window_seconds, c.window_start, c.account_id, c.source);

-- name: release_claims
-- Give back orders whose claim ran out long ago: whoever took them is gone, and cannot record a verdict any more.
with orphaned as (
  select order_id
  from trading.order_verifications
  where claimed_until < :before
  order by order_id
  for no key update skip locked
)
update trading.order_verifications v
set claimed_by = null,
    claimed_until = null
from orphaned
where v.order_id = orphaned.order_id;

-- name: accounts_to_value
-- List the open accounts without a snapshot of this hour.
select a.account_id, a.name, a.kraken_conn_id, a.quote_currency
from trading.accounts a
where a.is_active
  and a.opened_at is not null
  and not exists (
    select from trading.asset_snapshots s where s.account_id = a.account_id and s.hour = :hour
  )
order by a.name;

-- name: quantities
-- Read what accounts hold, all wallets of an asset together.
select account_id, asset, sum(quantity) as quantity
from trading.positions
where account_id = any(cast(:account_ids as bigint[]))
group by account_id, asset
having sum(quantity) <> 0
order by account_id, asset;

-- name: write_snapshots
-- Keep what accounts are worth; the first snapshot of an hour stays.
insert into trading.asset_snapshots (account_id, hour, taken_at, quote_currency, value, assets, unpriced)
select s.account_id, :hour, :taken_at, :quote_currency, s.value, s.assets, s.unpriced
from unnest(
  cast(:account_ids as bigint[]), cast(:values as numeric[]), cast(:assets as int[]), cast(:unpriced as int[])
) as s(account_id, value, assets, unpriced)
order by s.account_id
on conflict (account_id, hour) do nothing
returning account_id;

-- name: write_snapshot_rows
-- Keep what each asset of a snapshot is worth.
insert into trading.asset_snapshot_rows (account_id, hour, asset, quantity, price, value)
select r.account_id, :hour, r.asset, r.quantity, r.price, r.value
from unnest(
  cast(:account_ids as bigint[]),
  cast(:assets as text[]),
  cast(:quantities as numeric[]),
  cast(:prices as numeric[]),
  cast(:values as numeric[])
) as r(account_id, asset, quantity, price, value);

-- name: curve
-- Read what an account was worth since a moment, oldest first.
select taken_at, quote_currency, value, assets, unpriced
from trading.asset_snapshots
where account_id = :account_id
  and hour >= :since
order by hour;
