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

-- name: make_month
-- Make the partitions of a month, where they are missing; as the schema's owner, for nobody else may.
select trading.make_month(:of_day);

-- name: drop_month
-- Drop the partitions of a month, and all their rows.
select trading.drop_month(:of_day);

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

-- name: thin_runs
-- Of the runs of a day in which nothing happened, keep the last proof of each account, and whatever anything refers to; as
-- the schema's owner, for nobody else may.
select run_id from trading.thin_runs(:before, :most) as thinned(run_id);

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
    and claimed_by is not null
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

-- name: has_tokenized
-- Say whether an account holds tokenized assets.
select exists (
  select
  from trading.positions
  where account_id = :account_id
    and wallet = 'T'
    and quantity <> 0
) as has_tokenized;

-- name: write_snapshots
-- Keep what accounts are worth; the first snapshot of an hour stays.
insert into trading.asset_snapshots (
  account_id, hour, taken_at, quote_currency, value, assets, unpriced, proven_at
)
select s.account_id, :hour, :taken_at, :quote_currency, s.value, s.assets, s.unpriced, s.proven_at
from unnest(
  cast(:account_ids as bigint[]), cast(:values as numeric[]), cast(:assets as int[]), cast(:unpriced as int[]),
  cast(:proven_at as timestamptz[])
) as s(account_id, value, assets, unpriced, proven_at)
order by s.account_id
on conflict (account_id, hour) do nothing
returning account_id;

-- name: write_snapshot_rows
-- Keep what each asset of a snapshot is worth.
insert into trading.asset_snapshot_rows (account_id, hour, asset, quantity, price, value)
select r.account_id, r.hour, r.asset, r.quantity, r.price, r.value
from unnest(
  cast(:account_ids as bigint[]),
  cast(:hours as timestamptz[]),
  cast(:assets as text[]),
  cast(:quantities as numeric[]),
  cast(:prices as numeric[]),
  cast(:values as numeric[])
) as r(account_id, hour, asset, quantity, price, value);

-- name: fresh_proofs
-- Read as of when accounts were proven whose newest run is a fresh proof, with nothing of them undone since.
select a.account_id, r.reported_as_of as proven_at
from trading.accounts a
join lateral (
  select n.is_proof, n.reported_as_of, n.recorded_as_of
  from trading.reconciliation_runs n
  where n.account_id = a.account_id
    and n.mode = 'repair'
    and (n.reported_as_of is not null or n.status <> 'succeeded')
  order by n.recorded_as_of desc
  limit 1
) r on true
where a.account_id = any(cast(:account_ids as bigint[]))
  and r.is_proof
  and r.reported_as_of >= cast(:now as timestamptz) - make_interval(mins => a.freshness_limit_minutes)
  and not exists (
    select
    from trading.repair_plans u
    where u.account_id = a.account_id
      and u.kind = 'undo'
      and u.book is null
      and u.applied_at > r.recorded_as_of
  );

-- name: snapshots_to_revise
-- List snapshots that a later proof settles, or that something recorded since concerns: the newest first. Where a
-- difference without an entry was put right before the first proof after a snapshot, nobody knows since when it was
-- there, and the hour stays a gap.
with late as (
  select v.account_id, min(v.effective_at) as since, max(v.recorded_at) as recorded_at
  from trading.position_events v
  where v.cause = 'ledger'
    and v.recorded_at - v.effective_at > interval '01:00:00'
    and v.recorded_at > now() - interval '62 days'
  group by v.account_id
),
concerned as (
  select s.account_id, s.hour, s.taken_at, s.quote_currency, s.proven_at
  from trading.asset_snapshots s
  where s.proven_at is null
     or s.proven_at < s.taken_at
  union
  select s.account_id, s.hour, s.taken_at, s.quote_currency, s.proven_at
  from trading.asset_snapshots s
  join late l using (account_id)
  where s.taken_at >= l.since
    and s.revised_at < l.recorded_at
)
select s.account_id, s.hour, s.taken_at, s.quote_currency, p.reported_as_of as proven_at
from concerned s
join lateral (
  select r.reported_as_of
  from trading.reconciliation_runs r
  where r.account_id = s.account_id
    and r.is_proof
    and r.reported_as_of >= s.taken_at
  order by r.reported_as_of
  limit 1
) p on true
where s.proven_at is not null
  or not exists (
    select
    from trading.position_events v
    where v.account_id = s.account_id
      and v.cause <> 'ledger'
      and v.reason = 'residual_repaired'
      and v.effective_at > s.taken_at
      and v.effective_at <= p.reported_as_of
  )
order by s.hour desc, s.account_id
limit :most;

-- name: books_then
-- Read what accounts held at moments, all wallets of an asset together: where their events left off, less the entries
-- after the moment, less what is about our own database alone. A difference that was put right without an entry counts
-- from then on, unless an entry explained it later and it was taken back: then it never was there.
with wanted as (
  select *
  from unnest(cast(:account_ids as bigint[]), cast(:moments as timestamptz[])) as w(account_id, moment)
),
holdings as (
  select p.account_id, p.asset, p.wallet, newest.quantity_after as quantity
  from trading.positions p
  join lateral (
    select v.quantity_after
    from trading.position_events v
    where (v.account_id, v.asset, v.wallet) = (p.account_id, p.asset, p.wallet)
    order by v.event_id desc
    limit 1
  ) newest on true
  where p.account_id = any(cast(:account_ids as bigint[]))
),
adjusted as (
  select
    v.account_id, v.asset, v.wallet, v.effective_at, v.reason, v.quantity_after - v.quantity_before as change
  from trading.position_events v
  where v.account_id = any(cast(:account_ids as bigint[]))
    and v.cause = 'adjustment'
    and v.cause <> 'ledger'  -- as the index says
),
residual as (
  select
    w.account_id, w.moment, a.asset, a.wallet,
    sum(a.change) as everything,
    coalesce(
      sum(a.change) filter (where a.reason like 'residual%' and a.effective_at <= w.moment), 0
    ) as then_there,
    coalesce(
      sum(a.change) filter (where a.reason = 'residual_reversed' and a.effective_at > w.moment), 0
    ) as taken_back
  from wanted w
  join adjusted a using (account_id)
  group by w.account_id, w.moment, a.asset, a.wallet
),
entries_after as (
  select w.account_id, w.moment, e.asset, e.wallet, sum(e.amount - e.fee) as change
  from wanted w
  join trading.ledger_entries e on e.account_id = w.account_id and e.entry_time > w.moment
  group by w.account_id, w.moment, e.asset, e.wallet
)
select
  w.account_id, w.moment, h.asset,
  sum(
    h.quantity - coalesce(e.change, 0) - coalesce(r.everything, 0) + coalesce(
      case
        when r.then_there * r.taken_back < 0
          then sign(r.then_there) * greatest(abs(r.then_there) - abs(r.taken_back), 0)
        else r.then_there
      end, 0
    )
  ) as quantity
from wanted w
join holdings h using (account_id)
left join entries_after e using (account_id, moment, asset, wallet)
left join residual r using (account_id, moment, asset, wallet)
group by w.account_id, w.moment, h.asset
order by w.account_id, w.moment, h.asset;

-- name: prices_then
-- Read the prices of snapshots.
select r.account_id, r.hour, r.asset, r.price
from trading.asset_snapshot_rows r
join unnest(cast(:account_ids as bigint[]), cast(:hours as timestamptz[])) as w(account_id, hour)
  using (account_id, hour)
where r.price is not null;

-- name: forget_snapshot_rows
-- Forget what assets of snapshots were worth, to write it anew.
delete from trading.asset_snapshot_rows r
using unnest(cast(:account_ids as bigint[]), cast(:hours as timestamptz[])) as w(account_id, hour)
where (r.account_id, r.hour) = (w.account_id, w.hour);

-- name: revise_snapshots
-- Keep what accounts were worth in hours, as it is known now.
update trading.asset_snapshots s
set value = n.value,
    assets = n.assets,
    unpriced = n.unpriced,
    proven_at = n.proven_at,
    revised_at = now()
from unnest(
  cast(:account_ids as bigint[]), cast(:hours as timestamptz[]), cast(:values as numeric[]), cast(:assets as int[]),
  cast(:unpriced as int[]), cast(:proven_at as timestamptz[])
) as n(account_id, hour, value, assets, unpriced, proven_at)
where (s.account_id, s.hour) = (n.account_id, n.hour);

-- name: curve
-- Read what an account was worth since a moment, oldest first; an hour is a gap while no proof holds for it, and when
-- something was recorded since that concerns it.
select
  s.taken_at, s.quote_currency,
  case when k.is_known then s.value end as value,
  case when k.is_known then s.assets end as assets,
  case when k.is_known then s.unpriced end as unpriced
from trading.asset_snapshots s
cross join lateral (
  select s.proven_at is not null and not exists (
    select
    from trading.position_events v
    where v.account_id = s.account_id
      and v.cause = 'ledger'
      and v.recorded_at - v.effective_at > interval '01:00:00'
      and v.recorded_at > s.revised_at
      and v.effective_at <= s.taken_at
  ) as is_known
) k
where s.account_id = :account_id
  and s.hour >= :since
order by s.hour;
