-- The standing of all accounts, and what is at risk. Filters that are null let everything pass; each page begins after
-- the key of the last row of the page before.

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
desk as (
  select
    b.account_id,
    bool_or(b.status = 'unreadable') as is_unreadable,
    bool_or(b.held > 0) as has_held,
    bool_or(b.differing > 0) as is_differing,
    bool_or(not b.is_fresh) as is_unjudged,
    sum(coalesce(b.waiting, 0) + coalesce(b.within_tolerance, 0)) as tolerated
  from trading.current_desk_books(
    cast(:declared_books as text[]), cast(:declared_accounts as text[]), :are_declarations_seen,
    case when cast(:account as text) is not null then array(select l.account_id from looks l) end
  ) b
  group by b.account_id
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
      )::int
      || coalesce(k.is_unreadable, false)::int
      || coalesce(k.has_held, false)::int
      || coalesce(k.is_differing, false)::int
      || coalesce(k.is_unjudged, false)::int as facts,
    k.account_id is null as is_without_desk_book,
    coalesce(k.tolerated, 0) as tolerated
  from proofs p
  left join desk k using (account_id)
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
  array(select r.account_id from ranked r where r.rank = any(cast(:unproven_ranks as int[]))) as unproven_ids,
  (select count(*) from standing s where s.is_without_desk_book) as without_desk_book,
  (select coalesce(sum(s.tolerated), 0)::int from standing s) as tolerated;

-- name: outstanding_drift
-- Sum what these runs found that no entry explains and that nothing was written for, by currency and asset.
select
  a.quote_currency as currency, d.asset, count(distinct a.account_id) as accounts, sum(d.unexplained) as net,
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
select h.quote_currency as currency, h.asset, sum(abs(h.quantity)) as total
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
  a.quote_currency as currency, d.asset, sum(abs(d.explained)) as explained, sum(abs(d.unexplained)) as repaired
from trading.discrepancies d
join trading.reconciliation_runs r using (run_id)
join trading.accounts a on a.account_id = d.account_id
where d.found_at >= :since
  and r.mode = 'repair'
  and d.action = any(cast(:written as text[]))
group by a.quote_currency, d.asset
order by a.quote_currency, d.asset;
