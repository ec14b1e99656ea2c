-- Verdicts, slippage and mismatches of orders. Filters that are null let everything pass; each page begins after the
-- key of the last row of the page before.

-- name: rates_over_time
-- Count the verdicts in each window of one length since a moment, oldest first.
select
  r.window_start, sum(r.verified) as verified, sum(r.mismatched) as mismatched,
  sum(r.inconclusive) as inconclusive
from trading.verification_rates r
where r.window_seconds = :window_seconds
  and r.window_start >= cast(:since as timestamptz)
  and (
    cast(:account as text) is null
    or r.account_id = (select a.account_id from trading.accounts a where a.name = :account)
  )
group by r.window_start
order by r.window_start;

-- name: count_mismatches
-- Count the orders that did not do what they say since a moment.
select count(*) as mismatches
from trading.order_verifications v
where v.verdict = 'mismatch'
  and v.judged_at >= cast(:since as timestamptz)
  and (
    cast(:account as text) is null
    or v.account_id = (select a.account_id from trading.accounts a where a.name = :account)
  );

-- name: mismatches
-- Read orders that did not do what they say since a moment and before a key, newest first, with the levels that
-- failed.
select
  v.order_id, a.name as account, v.source, o.pair, o.side, o.volume_executed, o.kraken_txid, v.message,
  v.judged_at, v.judged_by, failed.levels
from trading.order_verifications v
join trading.orders o using (order_id)
join trading.accounts a on a.account_id = v.account_id
join lateral (
  select jsonb_agg(
    jsonb_build_object(
      'level', l.level, 'message', l.message, 'expected', l.expected, 'observed', l.observed
    ) order by l.level
  ) as levels
  from trading.order_verification_levels l
  where l.order_id = v.order_id
    and l.verdict = 'mismatch'
) failed on true
where v.verdict = 'mismatch'
  and v.judged_at >= cast(:since as timestamptz)
  and (
    cast(:before_judged_at as timestamptz) is null
    or (v.judged_at, v.order_id) < (cast(:before_judged_at as timestamptz), cast(:before_order_id as bigint))
  )
  and (cast(:account as text) is null or a.name = :account)
  and (cast(:level as text) is null or cast(:level as text) = any(v.failed_levels))
  and (cast(:pair as text) is null or o.pair = :pair)
order by v.judged_at desc, v.order_id desc
limit :most;

-- name: slippages
-- Say how much worse than expected the newest verified prices were, in basis points: of all by side and bucket,
-- and by account and side; those of all come first, then the worst.
with newest as (
  select
    o.account_id,
    o.side,
    10000 * cast(l.observed ->> 'worse_by' as numeric) / nullif(cast(l.expected ->> 'cost' as numeric), 0)
      as basis_points
  from trading.order_verification_levels l
  join trading.orders o using (order_id)
  where l.level = 'slippage'
    and l.verdict in ('passed', 'warning')
    and l.judged_at >= cast(:since as timestamptz)
    and (
      cast(:account as text) is null
      or o.account_id = (select a.account_id from trading.accounts a where a.name = :account)
    )
  order by l.judged_at desc, l.order_id desc
  limit :most
),
placed as (
  select n.*, width_bucket(n.basis_points, cast(:edges as numeric[])) as bucket
  from newest n
  where n.basis_points is not null
)
select
  a.name as account,
  p.side,
  p.bucket,
  count(*) as orders,
  round(min(p.basis_points), 2) as best,
  round(percentile_disc(0.5) within group (order by p.basis_points), 2) as median,
  round(percentile_disc(0.95) within group (order by p.basis_points), 2) as worst_of_95_percent,
  round(max(p.basis_points), 2) as worst,
  count(a.name) over () as sides_of_accounts
from placed p
join trading.accounts a using (account_id)
group by grouping sets ((p.side, p.bucket), (a.name, p.side))
order by a.name is not null, worst desc, a.name, p.side, p.bucket
limit :rows_most;

-- name: count_refused
-- Count what was refused since a moment: decisions, and orders by us or by Kraken.
select
  (
    select count(*)
    from trading.orders o
    where o.status in ('refused', 'rejected')
      and o.decided_at >= cast(:since as timestamptz)
      and (
        cast(:account as text) is null
        or o.account_id = (select a.account_id from trading.accounts a where a.name = :account)
      )
  )
  + (
    select count(*)
    from trading.order_decisions d
    where d.order_id is null
      and d.status = 'refused'
      and d.received_at >= cast(:since as timestamptz)
      and (cast(:account as text) is null or d.payload ->> 'account' = :account)
  ) as refused;
