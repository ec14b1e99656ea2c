-- What only the pages on orders and on the database's sessions read.

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
    cast(:before_at as timestamptz) is null
    or (v.judged_at, v.order_id) < (cast(:before_at as timestamptz), cast(:before_id as bigint))
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

-- name: samples_over_time
-- Read the largest counts of each stretch of time since a moment, by source, oldest first.
select
  source,
  date_bin(make_interval(secs => :stretch_seconds), taken_at, timestamptz '2000-01-01 00:00:00+00') as begins_at,
  max(connections) as connections,
  max(connections_limit) as connections_limit,
  max(ours) as ours,
  max(idle_in_transaction) as idle_in_transaction,
  max(waiting) as waiting,
  max(longest_wait_seconds) as longest_wait_seconds,
  max(pool_sessions) as pool_sessions,
  max(pool_limit) as pool_limit
from trading.session_samples
where taken_at > cast(:since as timestamptz)
group by source, begins_at
order by source, begins_at;

-- name: samples
-- Read samples since a moment and before a key, newest first.
select
  sample_id, source, taken_at, connections, connections_limit, sessions, ours, active, idle,
  idle_in_transaction, waiting, longest_wait_seconds, pool_sessions, pool_limit, unattributed, excess,
  oldest_transaction_seconds, findings, audited_by
from trading.session_samples
where taken_at > cast(:since as timestamptz)
  and (
    cast(:before_at as timestamptz) is null
    or (taken_at, sample_id) < (cast(:before_at as timestamptz), cast(:before_id as bigint))
  )
order by taken_at desc, sample_id desc
limit :most;

-- name: newest_samples
-- Read the newest sample of each source since a moment.
select distinct on (source)
  source, taken_at, connections, connections_limit, ours, idle_in_transaction, waiting, longest_wait_seconds,
  pool_sessions, pool_limit, oldest_transaction_seconds, findings, audited_by
from trading.session_samples
where taken_at > cast(:since as timestamptz)
order by source, taken_at desc;

-- name: count_findings
-- Count the findings that have not returned by severity.
select severity, count(*) as findings
from trading.session_findings
where returned_at is null
group by severity;

-- name: findings
-- Read findings before a key, the last seen first, with what was done about each and the audit that saw it last.
select
  f.finding_id, f.source, f.rule, f.severity, f.message, f.application_name, f.dag_id, f.run_id, f.task_id,
  f.map_index, f.try_number, f.evidence, f.occurrences, f.first_seen_at, f.last_seen_at, f.returned_at,
  f.last_seen_by, acted.actions
from trading.session_findings f
left join lateral (
  select jsonb_agg(
    jsonb_build_object(
      'action', s.action, 'outcome', s.outcome, 'acted_by', s.acted_by, 'acted_at', s.acted_at
    ) order by s.action_id
  ) as actions
  from trading.session_actions s
  where s.finding_id = f.finding_id
) acted on true
where (
    cast(:before_at as timestamptz) is null
    or (f.last_seen_at, f.finding_id) < (cast(:before_at as timestamptz), cast(:before_id as bigint))
  )
  and (
    cast(:state as text) is null
    or (:state = 'open' and f.returned_at is null)
    or (:state = 'returned' and f.returned_at is not null)
    or (:state = 'acted' and acted.actions is not null)
  )
  and (cast(:rule as text) is null or f.rule = :rule)
order by f.last_seen_at desc, f.finding_id desc
limit :most;

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

-- name: decided
-- Read orders, and decisions that became none, since a moment and before a key, newest first. Orders have odd
-- places, decisions even ones, so that one key sorts both.
with placed as (
  select
    o.decided_at as at, 2 * o.order_id + 1 as place, d.decision_id, d.decision_key,
    coalesce(d.received_via, 'Kraken') as received_via, o.order_id, a.name as account, o.source, o.pair, o.side,
    o.order_type, coalesce(trim_scale(o.volume)::text, trim_scale(o.portion)::text || ' of what is available') as volume,
    o.limit_price::text as limit_price, o.status as state, v.verdict,
    coalesce(o.status_reason, case when v.verdict <> 'verified' then v.message end) as reason
  from trading.orders o
  join trading.accounts a using (account_id)
  left join trading.order_decisions d on d.order_id = o.order_id
  left join trading.order_verifications v on v.order_id = o.order_id
  where o.decided_at >= cast(:since as timestamptz)
    and (cast(:before_at as timestamptz) is null or o.decided_at <= cast(:before_at as timestamptz))
    and (
      cast(:before_at as timestamptz) is null
      or (o.decided_at, 2 * o.order_id + 1) < (cast(:before_at as timestamptz), cast(:before_id as bigint))
    )
    and (cast(:account as text) is null or a.name = :account)
    and (cast(:state as text) is null or o.status = :state)
    and (cast(:source as text) is null or o.source = :source)
    and (cast(:verdict as text) is null or coalesce(v.verdict, 'none') = :verdict)
  order by o.decided_at desc, o.order_id desc
  limit :most
),
unplaced as (
  select
    d.received_at as at, 2 * d.decision_id as place, d.decision_id, d.decision_key, d.received_via, f.order_id,
    d.payload ->> 'account' as account, coalesce(d.payload ->> 'source', 'manual') as source,
    d.payload ->> 'pair' as pair, d.payload ->> 'side' as side, d.payload ->> 'type' as order_type,
    coalesce(d.payload ->> 'volume', (d.payload ->> 'portion') || ' of what is available') as volume,
    d.payload ->> 'limit_price' as limit_price, d.status as state, cast(null as text) as verdict,
    coalesce(d.refusal, 'repeats decision ' || d.first_decision_id) as reason
  from trading.order_decisions d
  left join trading.order_decisions f on f.decision_id = d.first_decision_id and d.status = 'repeated'
  where d.order_id is null
    and d.received_at >= cast(:since as timestamptz)
    and (
      cast(:before_at as timestamptz) is null
      or (d.received_at, 2 * d.decision_id) < (cast(:before_at as timestamptz), cast(:before_id as bigint))
    )
    and (cast(:account as text) is null or d.payload ->> 'account' = :account)
    and (cast(:state as text) is null or d.status = :state)
    and (cast(:source as text) is null or coalesce(d.payload ->> 'source', 'manual') = :source)
    and (cast(:verdict as text) is null or 'none' = :verdict)
  order by d.received_at desc, d.decision_id desc
  limit :most
)
select *
from (
  select * from placed
  union all
  select * from unplaced
) listed
order by at desc, place desc
limit :most;

-- name: decision_of_key
-- Read what a key stands for, and what became of it.
select
  d.decision_id, d.decision_key, d.received_via, d.received_at, d.status as decision, d.refusal, d.order_id,
  o.status as state, o.status_reason as reason, o.kraken_txid, o.volume_executed, o.cost_executed, o.settled_at,
  v.verdict
from trading.order_decisions d
left join trading.orders o using (order_id)
left join trading.order_verifications v using (order_id)
where d.decision_key = :key
  and d.first_decision_id is null
order by d.status = 'new', d.decision_id
limit 1;
