-- Average costs and realised results. Keys travel as parallel arrays; lateral and fenced by an offset, so that each
-- asset is one short walk of an index, however long all ledgers together have grown. Written last in a
-- transaction, under the locks of the positions of every wallet of the assets, in primary-key order.

-- name: account
-- Find an account by name, active or not.
select account_id, quote_currency
from trading.accounts
where name = :name;

-- name: assets
-- Name the assets that an account has or had.
select asset from trading.positions where account_id = :account_id
union
select asset from trading.ledger_entries where account_id = :account_id
union
select asset from trading.asset_costs where account_id = :account_id
order by asset;

-- name: linked
-- Follow exchanges from asset to asset, but not through the quote currency, of which only the trades named are
-- followed; then find all their positions. Legs of conversions may share no refid: all that are near are followed.
with recursive touched(account_id, asset, quote) as (
  select *
  from unnest(cast(:account_ids as bigint[]), cast(:assets as text[]), cast(:quotes as text[]))
  union
  select p.account_id, e.asset, p.quote
  from unnest(cast(:paying_account_ids as bigint[]), cast(:paying_quotes as text[]), cast(:refids as text[]))
    as p(account_id, quote, refid)
  cross join lateral (
    select asset from trading.ledger_entries where (account_id, refid) = (p.account_id, p.refid)
    union all
    select other.asset
    from trading.ledger_entries leg
    cross join lateral (
      select
        case when leg.type || '/' || leg.subtype = any(cast(:renames as text[])) then cast(:far as interval)
        else cast(:near as interval) end as length
    ) reach
    join trading.ledger_entries other
      on other.account_id = leg.account_id
      and other.entry_time between leg.entry_time - reach.length and leg.entry_time + reach.length
    where (leg.account_id, leg.refid) = (p.account_id, p.refid)
      and leg.type || '/' || leg.subtype = any(cast(:conversions as text[]))
      and other.type || '/' || other.subtype = any(cast(:conversions as text[]))
    offset 0
  ) e
),
linked(account_id, asset, quote) as (
  select * from touched
  union
  select l.account_id, other.asset, l.quote
  from linked l
  cross join lateral (
    select o.asset
    from trading.ledger_entries e
    join trading.ledger_entries o on (o.account_id, o.refid) = (e.account_id, e.refid)
    where e.account_id = l.account_id
      and e.asset = l.asset
      and lower(btrim(e.refid)) <> all(cast(:no_operation as text[]))
      and l.asset <> l.quote
      and o.asset not in (l.asset, l.quote)
    union all
    select o.asset
    from trading.ledger_entries e
    cross join lateral (
      select
        case when e.type || '/' || e.subtype = any(cast(:renames as text[])) then cast(:far as interval)
        else cast(:near as interval) end as length
    ) reach
    join trading.ledger_entries o
      on o.account_id = e.account_id
      and o.entry_time between e.entry_time - reach.length and e.entry_time + reach.length
    where e.account_id = l.account_id
      and e.asset = l.asset
      and e.type || '/' || e.subtype = any(cast(:conversions as text[]))
      and o.type || '/' || o.subtype = any(cast(:conversions as text[]))
      and l.asset <> l.quote
      and o.asset not in (l.asset, l.quote)
    offset 0
  ) other
)
select l.account_id, l.asset, l.quote, array_remove(array_agg(p.wallet order by p.wallet), null) as wallets
from linked l
left join trading.positions p on (p.account_id, p.asset) = (l.account_id, l.asset)
group by l.account_id, l.asset, l.quote
order by l.account_id, l.asset;

-- name: lock
-- Lock these positions, in key order.
select p.account_id
from trading.positions p
join unnest(cast(:account_ids as bigint[]), cast(:assets as text[]), cast(:wallets as text[]))
  as k(account_id, asset, wallet) using (account_id, asset, wallet)
order by p.account_id, p.asset, p.wallet
for no key update of p;

-- name: entries
-- Read the entries of these assets, and the legs of their trades and of conversions near theirs in the quote currency
-- (once for each asset).
with keys as materialized (
  select *
  from unnest(cast(:account_ids as bigint[]), cast(:assets as text[]), cast(:quotes as text[]))
    as k(account_id, asset, quote)
)
select
  e.account_id, e.ledger_id, e.refid, e.entry_time, e.type, e.subtype, e.asset, e.wallet, e.amount,
  e.fee, e.balance
from keys k
cross join lateral (
  select * from trading.ledger_entries where (account_id, asset) = (k.account_id, k.asset) offset 0
) e
union all
select
  q.account_id, q.ledger_id, q.refid, q.entry_time, q.type, q.subtype, q.asset, q.wallet, q.amount, q.fee, q.balance
from keys k
cross join lateral (
  select distinct account_id, refid
  from trading.ledger_entries
  where (account_id, asset) = (k.account_id, k.asset)
    and lower(btrim(refid)) <> all(cast(:no_operation as text[]))
  offset 0
) e
-- Fenced by refid alone: on a table that was just filled, the planner would rather walk all quote entries each time.
cross join lateral (
  select * from trading.ledger_entries where (account_id, refid) = (e.account_id, e.refid) offset 0
) q
where q.asset = k.quote
union all
select
  q.account_id, q.ledger_id, q.refid, q.entry_time, q.type, q.subtype, q.asset, q.wallet, q.amount, q.fee, q.balance
from keys k
cross join lateral (
  select
    account_id,
    entry_time,
    case when type || '/' || subtype = any(cast(:renames as text[])) then cast(:far as interval)
    else cast(:near as interval) end as reach
  from trading.ledger_entries
  where (account_id, asset) = (k.account_id, k.asset)
    and type || '/' || subtype = any(cast(:conversions as text[]))
  offset 0
) e
cross join lateral (
  select *
  from trading.ledger_entries
  where account_id = e.account_id
    and entry_time between e.entry_time - e.reach and e.entry_time + e.reach
    and type || '/' || subtype = any(cast(:conversions as text[]))
  offset 0
) q
where q.asset = k.quote;

-- name: wallets
-- Name the existing positions of these assets.
select p.account_id, p.asset, p.wallet
from trading.positions p
join unnest(cast(:account_ids as bigint[]), cast(:assets as text[])) as k(account_id, asset)
  using (account_id, asset);

-- name: progress
-- Read the stored figures of these assets, and count what is on record: an index holds all that is counted here.
select
  k.account_id,
  k.asset,
  k.quote,
  coalesce(c.quantity_known, 0) as known,
  coalesce(c.quantity_unknown, 0) as unknown,
  coalesce(c.quantity_moving, 0) as moving,
  coalesce(c.cost, 0) as cost,
  coalesce(c.realised, 0) as realised,
  c.as_of,
  coalesce(c.entries_counted, 0) as entries_counted,
  coalesce(c.opening_counted, 0) as opening_counted,
  booked.entries,
  opened.quantity as opening
from unnest(cast(:account_ids as bigint[]), cast(:assets as text[]), cast(:quotes as text[]))
  as k(account_id, asset, quote)
left join trading.asset_costs c using (account_id, asset)
cross join lateral (
  select count(*) as entries
  from trading.ledger_entries
  where (account_id, asset) = (k.account_id, k.asset)
  offset 0
) booked
cross join lateral (
  select coalesce(sum(quantity_after - quantity_before), 0) as quantity
  from trading.position_events
  where (account_id, asset) = (k.account_id, k.asset)
    and cause = 'opening'
  offset 0
) opened;

-- name: news
-- Read the entries of these assets that are later than those counted, and whatever shares a refid with them.
with news as materialized (
  select e.*
  from unnest(cast(:account_ids as bigint[]), cast(:assets as text[])) as k(account_id, asset)
  left join trading.asset_costs c using (account_id, asset)
  cross join lateral (
    select account_id, ledger_id, refid
    from trading.ledger_entries
    where (account_id, asset) = (k.account_id, k.asset)
      and entry_time > coalesce(c.as_of, '-infinity')
    offset 0
  ) e
),
named as (
  select account_id, ledger_id from news
  union
  select r.account_id, other.ledger_id
  from (
    select distinct account_id, refid from news where lower(btrim(refid)) <> all(cast(:no_operation as text[]))
  ) as r
  cross join lateral (
    select ledger_id from trading.ledger_entries where (account_id, refid) = (r.account_id, r.refid) offset 0
  ) other
)
select
  e.account_id, e.ledger_id, e.refid, e.entry_time, e.type, e.subtype, e.asset, e.wallet, e.amount,
  e.fee, e.balance
from named
join trading.ledger_entries e using (account_id, ledger_id);

-- name: entries_of_kinds
-- Read an account's entries of these types, or types and subtypes; an index holds all that are no trades.
select ledger_id, refid, entry_time, type as entry_type, subtype, asset, wallet, amount, fee, balance
from trading.ledger_entries
where account_id = :account_id
  and type <> 'trade'
  and (type = any(cast(:kinds as text[])) or type || '/' || subtype = any(cast(:kinds as text[])))
order by entry_time, ledger_id;

-- name: balances_before
-- Sum the openings of these holdings and their entries up to a time each.
select k.asset, k.wallet, opened.quantity + booked.quantity as balance
from unnest(cast(:assets as text[]), cast(:wallets as text[]), cast(:until as timestamptz[]))
  as k(asset, wallet, until)
cross join lateral (
  select coalesce(sum(quantity_after - quantity_before), 0) as quantity
  from trading.position_events
  where (account_id, asset, wallet) = (:account_id, k.asset, k.wallet)
    and cause = 'opening'
  offset 0
) opened
cross join lateral (
  select coalesce(sum(amount - fee), 0) as quantity
  from trading.ledger_entries
  where (account_id, asset, wallet) = (:account_id, k.asset, k.wallet)
    and entry_time <= k.until
  offset 0
) booked;

-- name: openings
-- Sum what the holdings of these assets opened with.
select k.account_id, k.asset, opened.wallet, opened.quantity
from unnest(cast(:account_ids as bigint[]), cast(:assets as text[])) as k(account_id, asset)
cross join lateral (
  select wallet, sum(quantity_after - quantity_before) as quantity
  from trading.position_events
  where (account_id, asset) = (k.account_id, k.asset)
    and cause = 'opening'
  group by wallet
  offset 0
) opened;

-- name: quote_totals
-- Sum openings and entries of these quote currencies; what moves between wallets apart.
select
  k.account_id,
  opened.quantity + coalesce(booked.quantity, 0) as quantity,
  coalesce(booked.moving, 0) as moving,
  booked.as_of,
  opened.quantity as opening,
  booked.entries
from unnest(cast(:account_ids as bigint[]), cast(:assets as text[])) as k(account_id, asset)
cross join lateral (
  select coalesce(sum(quantity_after - quantity_before), 0) as quantity
  from trading.position_events
  where (account_id, asset) = (k.account_id, k.asset)
    and cause = 'opening'
  offset 0
) opened
cross join lateral (
  select
    sum(amount - fee) as quantity,
    sum(amount) filter (where type || '/' || subtype = any(cast(:moves as text[]))) as moving,
    max(entry_time) as as_of,
    count(*) as entries
  from trading.ledger_entries
  where (account_id, asset) = (k.account_id, k.asset)
  offset 0
) booked;

-- name: write_costs
-- Write the figures that differ; a row that is right is not even locked.
insert into trading.asset_costs (
  account_id, asset, quantity_known, quantity_unknown, quantity_moving, cost, avg_cost, realised, as_of,
  entries_counted, opening_counted
)
select n.*
from unnest(
  cast(:account_ids as bigint[]),
  cast(:assets as text[]),
  cast(:known as numeric[]),
  cast(:unknown as numeric[]),
  cast(:moving as numeric[]),
  cast(:costs as numeric[]),
  cast(:averages as numeric[]),
  cast(:realised as numeric[]),
  cast(:as_of as timestamptz[]),
  cast(:entries_counted as bigint[]),
  cast(:openings_counted as numeric[])
) as n(
  account_id, asset, quantity_known, quantity_unknown, quantity_moving, cost, avg_cost, realised, as_of,
  entries_counted, opening_counted
)
left join trading.asset_costs c using (account_id, asset)
where c.account_id is null
  or (
    c.quantity_known, c.quantity_unknown, c.quantity_moving, c.cost, c.avg_cost, c.realised, c.as_of,
    c.entries_counted, c.opening_counted
  ) is distinct from (
    n.quantity_known, n.quantity_unknown, n.quantity_moving, n.cost, n.avg_cost, n.realised, n.as_of,
    n.entries_counted, n.opening_counted
  )
order by n.account_id, n.asset
on conflict (account_id, asset) do update
set quantity_known = excluded.quantity_known,
    quantity_unknown = excluded.quantity_unknown,
    quantity_moving = excluded.quantity_moving,
    cost = excluded.cost,
    avg_cost = excluded.avg_cost,
    realised = excluded.realised,
    as_of = excluded.as_of,
    entries_counted = excluded.entries_counted,
    opening_counted = excluded.opening_counted,
    updated_at = now();

-- name: forget_results
-- Remove the results of these assets that their entries no longer give.
delete from trading.realised_results r
using unnest(cast(:account_ids as bigint[]), cast(:assets as text[])) as k(account_id, asset)
where (r.account_id, r.asset) = (k.account_id, k.asset)
  and not exists (
    select
    from unnest(
      cast(:result_account_ids as bigint[]), cast(:refids as text[]), cast(:result_assets as text[])
    ) as n(account_id, refid, asset)
    where (n.account_id, n.refid, n.asset) = (r.account_id, r.refid, r.asset)
  );

-- name: write_results
-- Write the results that differ; a row that is right is not even locked.
insert into trading.realised_results (
  account_id, refid, asset, quantity, proceeds, cost, result, unknown_share, effective_at
)
select n.*
from unnest(
  cast(:account_ids as bigint[]),
  cast(:refids as text[]),
  cast(:assets as text[]),
  cast(:quantities as numeric[]),
  cast(:proceeds as numeric[]),
  cast(:costs as numeric[]),
  cast(:results as numeric[]),
  cast(:unknown_shares as numeric[]),
  cast(:effective_at as timestamptz[])
) as n(account_id, refid, asset, quantity, proceeds, cost, result, unknown_share, effective_at)
left join trading.realised_results r using (account_id, refid, asset)
where r.account_id is null
  or (r.quantity, r.proceeds, r.cost, r.result, r.unknown_share, r.effective_at)
    is distinct from (n.quantity, n.proceeds, n.cost, n.result, n.unknown_share, n.effective_at)
order by n.account_id, n.refid, n.asset
on conflict (account_id, refid, asset) do update
set quantity = excluded.quantity,
    proceeds = excluded.proceeds,
    cost = excluded.cost,
    result = excluded.result,
    unknown_share = excluded.unknown_share,
    effective_at = excluded.effective_at;

-- name: set_averages
-- Set the average of every wallet of these assets where it differs.
update trading.positions p
set avg_cost = n.avg_cost
from unnest(cast(:account_ids as bigint[]), cast(:assets as text[]), cast(:averages as numeric[]))
  as n(account_id, asset, avg_cost)
where (p.account_id, p.asset) = (n.account_id, n.asset)
  and p.avg_cost is distinct from n.avg_cost;

-- name: costs
-- Read the stored figures of an account's assets, or of one.
select asset, quantity_known, quantity_unknown, quantity_moving, cost, avg_cost, realised, as_of
from trading.asset_costs
where account_id = :account_id
  and (cast(:asset as text) is null or asset = cast(:asset as text))
order by asset;
