-- Sessions of the database, sampled, and what leaked. Filters that are null let everything pass; each page begins after
-- the key of the last row of the page before.

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
    cast(:before_taken_at as timestamptz) is null
    or (taken_at, sample_id) < (cast(:before_taken_at as timestamptz), cast(:before_sample_id as bigint))
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
    cast(:before_last_seen_at as timestamptz) is null
    or (f.last_seen_at, f.finding_id) < (cast(:before_last_seen_at as timestamptz), cast(:before_finding_id as bigint))
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
