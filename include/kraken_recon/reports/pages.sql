-- What the pages about accounts and their differences read. Filters that are null let everything pass; each page
-- begins after the key of the last row of the page before.

-- name: standing
-- Count the active accounts by verdict and by age of their last proof, read a page of them, and name each one's newest
-- run that succeeded where it may have left a difference standing. The facts of an account are looked up in the
-- verdicts that were handed in: they are judged by one rule, and not here.
with verdicts as (
  select v.facts, v.rank
  from unnest(cast(:facts as text[]), cast(:ranks as int[])) as v(facts, rank)
),
looks as (
  select
    a.account_id, a.name, r.status, r.mode, r.run_id, r.held, r.awaiting,
    case when r.is_proof then r.reported_as_of else p.proven_at end as proven_at,
    case when r.status = 'succeeded' then r.differing_run_id else k.differing_run_id end as differing_run_id,
    a.freshness_limit_minutes
  from trading.accounts a
  left join lateral (
    select
      n.run_id, n.status, n.mode, n.held, n.awaiting, n.reported_as_of, n.is_proof,
      case when n.may_differ then n.run_id end as differing_run_id
    from trading.reconciliation_runs n
    where n.account_id = a.account_id
    order by n.recorded_as_of desc
    limit 1
  ) r on true
  -- The newest run is a proof of most accounts, and nothing else is looked up then.
  left join lateral (
    select n.proven_at
    from trading.newest_proofs n
    where n.account_id = a.account_id
      and not coalesce(r.is_proof, false)
    limit 1
  ) p on true
  left join lateral (
    select case when n.may_differ then n.run_id end as differing_run_id
    from trading.reconciliation_runs n
    where n.account_id = a.account_id
      and n.status = 'succeeded'
      and r.status <> 'succeeded'
    order by n.recorded_as_of desc
    limit 1
  ) k on true
  where a.is_active
    and (cast(:account as text) is null or a.name = :account)
),
proofs as (
  select
    l.*,
    l.proven_at is null
      or l.proven_at < cast(:now as timestamptz) - make_interval(mins => l.freshness_limit_minutes) as is_old
  from looks l
),
standing as materialized (
  select
    p.account_id,
    p.name,
    p.proven_at,
    p.differing_run_id,
    width_bucket(
      extract(epoch from cast(:now as timestamptz) - p.proven_at)::float8, cast(:ages_seconds as float8[])
    ) as age_group,
    coalesce(p.status, 'never run')
      || coalesce(p.mode = 'dry_run', false)::int
      || p.is_old::int
      || (coalesce(p.held, 0) > 0)::int
      || (coalesce(p.awaiting, 0) > 0)::int
      || (
        coalesce(p.mode = 'dry_run', false)
        and exists (select from trading.discrepancies d where d.run_id = p.run_id)
      )::int as facts
  from proofs p
),
ranked as (
  select
    s.*,
    coalesce(v.rank, 0) as rank,
    case :order_by
      when 'stalest' then coalesce((extract(epoch from s.proven_at) * 1000000)::bigint, -1)
      when 'name' then 0
      else coalesce(v.rank, 0)
    end as place
  from standing s
  left join verdicts v using (facts)
),
page as (
  select r.name, r.rank, r.proven_at, r.place
  from ranked r
  where (cast(:rank as int) is null or r.rank = :rank)
    and (cast(:age_group as int) is null or coalesce(r.age_group, -1) = :age_group)
    and (cast(:part as text) is null or position(lower(:part) in lower(r.name)) > 0)
    and (cast(:after_name as text) is null or (r.place, r.name) > (cast(:after_place as bigint), :after_name))
  order by r.place, r.name
  limit :most
)
select
  coalesce(
    (
      select jsonb_agg(jsonb_build_object('rank', c.rank, 'age_group', c.age_group, 'accounts', c.accounts))
      from (
        select r.rank, coalesce(r.age_group, -1) as age_group, count(*) as accounts
        from ranked r
        group by 1, 2
      ) c
    ),
    '[]'
  ) as counts,
  coalesce((select jsonb_agg(to_jsonb(p) order by p.place, p.name) from page p), '[]') as accounts,
  array(select s.differing_run_id from standing s where s.differing_run_id is not null) as differing_run_ids,
  array(select r.account_id from ranked r where r.rank = any(cast(:unproven_ranks as int[]))) as unproven_ids;

-- name: outstanding_drift
-- Sum what these runs found that no entry explains and that nothing was written for, by currency and asset.
select
  a.quote_currency, d.asset, count(distinct a.account_id) as accounts, sum(d.unexplained) as net,
  sum(abs(d.unexplained)) as total
from unnest(cast(:run_ids as uuid[])) as n(run_id)
join trading.reconciliation_runs r using (run_id)
join trading.accounts a using (account_id)
join trading.discrepancies d using (run_id)
where d.unexplained <> 0
  and (r.mode = 'dry_run' or d.action <> all(cast(:written as text[])))
group by a.quote_currency, d.asset
order by a.quote_currency, d.asset;

-- name: holdings
-- Sum what accounts hold on record, absolute per account, by currency and asset.
select h.quote_currency, h.asset, sum(abs(h.quantity)) as total
from (
  select a.account_id, a.quote_currency, p.asset, sum(p.quantity) as quantity
  from unnest(cast(:account_ids as bigint[])) as w(account_id)
  join trading.accounts a using (account_id)
  join trading.positions p using (account_id)
  group by a.account_id, a.quote_currency, p.asset
) h
group by h.quote_currency, h.asset
having sum(abs(h.quantity)) <> 0
order by h.quote_currency, h.asset;

-- name: without_books
-- Count those of these accounts that were never opened, so that nobody can say what they hold.
select count(*) as accounts
from trading.accounts a
where a.account_id = any(cast(:account_ids as bigint[]))
  and a.opened_at is null;

-- name: put_right
-- Sum what was written since a moment, absolute, by currency and asset: from missed entries, and without any.
select
  a.quote_currency, d.asset, sum(abs(d.explained)) as explained, sum(abs(d.unexplained)) as repaired
from trading.discrepancies d
join trading.reconciliation_runs r using (run_id)
join trading.accounts a on a.account_id = d.account_id
where d.found_at >= :since
  and r.mode = 'repair'
  and d.action = any(cast(:written as text[]))
group by a.quote_currency, d.asset
order by a.quote_currency, d.asset;

-- name: outstanding_runs
-- Name each active account's newest run that succeeded where it may have left a difference standing.
select r.run_id
from trading.accounts a
cross join lateral (
  select r.run_id, r.may_differ
  from trading.reconciliation_runs r
  where r.account_id = a.account_id
    and r.status = 'succeeded'
  order by r.recorded_as_of desc
  limit 1
) r
where a.is_active
  and r.may_differ;

-- name: differences
-- Read a page of what differed, what was found last first. What a dry run would have written is outstanding too.
with page as (
  select d.*, r.mode, r.trigger, r.recorded_as_of, r.interval_start, r.interval_end, r.dag_id, r.dag_run_id
  from trading.discrepancies d
  join trading.reconciliation_runs r using (run_id)
  where (cast(:account_id as bigint) is null or d.account_id = :account_id)
    and (cast(:asset as text) is null or d.asset = :asset)
    and (cast(:action as text) is null or d.action = :action)
    and (cast(:since as timestamptz) is null or d.found_at >= :since)
    and (cast(:until as timestamptz) is null or d.found_at < :until)
    and (cast(:is_explained as boolean) is null or (d.unexplained = 0) = :is_explained)
    and (cast(:run_id as uuid) is null or d.run_id = :run_id)
    and (
      cast(:run_ids as uuid[]) is null
      or (
        d.run_id = any(cast(:run_ids as uuid[]))
        and d.unexplained <> 0
        and (r.mode = 'dry_run' or d.action <> all(cast(:written as text[])))
      )
    )
    and (
      cast(:before_found_at as timestamptz) is null
      or (d.found_at, d.run_id, d.asset, d.wallet)
        < (cast(:before_found_at as timestamptz), cast(:before_run_id as uuid), :before_asset, :before_wallet)
    )
  order by d.found_at desc, d.run_id desc, d.asset desc, d.wallet desc
  limit :most
)
select
  p.found_at, a.name as account, a.quote_currency, p.asset, p.wallet, p.db_quantity, p.exchange_quantity, p.drift, p.explained,
  p.unexplained, p.database_drift, p.residual, p.action, p.ledger_ids, p.run_id, p.mode, p.trigger,
  p.recorded_as_of, p.interval_start, p.interval_end, p.dag_id, p.dag_run_id,
  coalesce(entries.types, '{}') as entry_types
from page p
join trading.accounts a using (account_id)
left join lateral (
  select array_agg(distinct e.type order by e.type) as types
  from trading.ledger_entries e
  where e.account_id = p.account_id
    and e.ledger_id = any(p.ledger_ids)
) entries on true
order by p.found_at desc, p.run_id desc, p.asset desc, p.wallet desc;

-- name: alerts_waiting
-- Count the alerts that nobody looks after yet, by kind.
select l.kind, count(*) as alerts
from trading.alerts l
where l.status = 'open'
group by l.kind
order by l.kind;

-- name: account
-- Read what an account is.
select account_id, name, quote_currency, is_active, opened_at, opening_source, ledger_read_until,
  freshness_limit_minutes
from trading.accounts
where name = :name;

-- name: account_positions
-- Read what an account holds on record, per asset and wallet.
select
  p.asset, p.wallet, p.quantity, p.available_quantity, p.avg_cost, c.quantity_known, c.quantity_unknown, p.updated_at
from trading.positions p
left join trading.asset_costs c using (account_id, asset)
where p.account_id = :account_id
order by p.quantity = 0, p.asset, p.wallet;

-- name: account_runs
-- Read a page of an account's runs, newest first.
select *
from trading.reconciliation_runs
where account_id = :account_id
  and (
    cast(:before_recorded_as_of as timestamptz) is null
    or (recorded_as_of, run_id) < (cast(:before_recorded_as_of as timestamptz), cast(:before_run_id as uuid))
  )
order by recorded_as_of desc, run_id desc
limit :most;

-- name: statement_wallets
-- Name the wallets of an asset's ledger entries; one look into the index for each.
with recursive wallets as (
  (
    select e.wallet
    from trading.ledger_entries e
    where e.account_id = :account_id
      and e.asset = :asset
    order by e.wallet
    limit 1
  )
  union all
  select (
    select e.wallet
    from trading.ledger_entries e
    where e.account_id = :account_id
      and e.asset = :asset
      and e.wallet > w.wallet
    order by e.wallet
    limit 1
  )
  from wallets w
  where w.wallet is not null
)
select wallet
from wallets
where wallet is not null;

-- name: statement_page
-- Read a page of an asset's ledger entries up to a moment, newest first; from each wallet, so that an index leads.
select p.*
from unnest(cast(:wallets as text[])) as w(wallet)
cross join lateral (
  select
    e.ledger_id, e.refid, e.entry_time, e.ingest_seq, e.type, e.subtype, e.wallet, e.amount, e.fee, e.balance
  from trading.ledger_entries e
  where e.account_id = :account_id
    and e.asset = :asset
    and e.wallet = w.wallet
    and e.entry_time <= :at
    and (
      cast(:before_time as timestamptz) is null
      or (
        e.entry_time <= cast(:before_time as timestamptz)
        and (e.entry_time, e.ingest_seq) < (cast(:before_time as timestamptz), cast(:before_seq as bigint))
      )
    )
  order by e.entry_time desc, e.ingest_seq desc
  limit :most
) p
order by p.entry_time desc, p.ingest_seq desc
limit :most;

-- name: statement_after
-- Read the next of an asset's ledger entries up to a moment, oldest first.
select p.*
from unnest(cast(:wallets as text[])) as w(wallet)
cross join lateral (
  select
    e.ledger_id, e.refid, e.entry_time, e.ingest_seq, e.type, e.subtype, e.wallet, e.amount, e.fee, e.balance
  from trading.ledger_entries e
  where e.account_id = :account_id
    and e.asset = :asset
    and e.wallet = w.wallet
    and e.entry_time <= :at
    and e.entry_time >= cast(:after_time as timestamptz)
    and (e.entry_time, e.ingest_seq) > (cast(:after_time as timestamptz), cast(:after_seq as bigint))
  order by e.entry_time, e.ingest_seq
  limit :most
) p
order by p.entry_time, p.ingest_seq
limit :most;

-- name: statement_total
-- Sum an asset's entries up to a moment.
select coalesce(sum(e.amount - e.fee), 0) as total
from trading.ledger_entries e
where e.account_id = :account_id
  and e.asset = :asset
  and e.entry_time <= :at;

-- name: statement_newer
-- Sum an asset's entries up to a moment that are newer than one of them.
select coalesce(sum(e.amount - e.fee), 0) as newer
from trading.ledger_entries e
where e.account_id = :account_id
  and e.asset = :asset
  and e.entry_time <= :at
  and e.entry_time >= cast(:time as timestamptz)
  and (e.entry_time, e.ingest_seq) > (cast(:time as timestamptz), cast(:seq as bigint));

-- name: statement_place
-- Find the newest of these entries of an asset.
select e.entry_time, e.ingest_seq
from trading.ledger_entries e
where e.account_id = :account_id
  and e.asset = :asset
  and e.ledger_id = any(cast(:ledger_ids as text[]))
order by e.entry_time desc, e.ingest_seq desc
limit 1;

-- name: explaining_entries
-- Name the ledger entries that explain what a run of an account found of an asset.
select distinct unnest(d.ledger_ids) as ledger_id
from trading.discrepancies d
where d.run_id = :run_id
  and d.account_id = :account_id
  and d.asset = :asset;

-- name: alerts_page
-- Read a page of the alerts that nobody resolved, what was seen last first.
select
  l.alert_id, l.kind, a.name as account, l.asset, l.wallet, l.status, l.message, l.evidence, l.occurrences,
  l.opened_at, l.last_seen_at, l.acknowledged_at, l.acknowledged_by, l.resolved_at, l.resolved_by, l.resolution,
  l.note
from trading.alerts l
left join trading.accounts a using (account_id)
where (l.status <> 'resolved' or l.alert_id = cast(:alert_id as bigint))
  and (cast(:alert_id as bigint) is null or l.alert_id = :alert_id)
  and (cast(:kind as text) is null or l.kind = :kind)
  and (cast(:account_id as bigint) is null or l.account_id = :account_id)
  and (cast(:is_unanswered as boolean) is null or (l.status = 'open') = :is_unanswered)
  and (
    cast(:before_seen_at as timestamptz) is null
    or (l.last_seen_at, l.alert_id) < (cast(:before_seen_at as timestamptz), cast(:before_alert_id as bigint))
  )
order by l.last_seen_at desc, l.alert_id desc
limit :most;
