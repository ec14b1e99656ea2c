-- Signs of work, and the alerts about jobs that show none. Rows are locked as alerts.sql says, heartbeats first.

-- name: beat
-- Keep that a job works; whoever is late does not put the clock back.
insert into trading.heartbeats (job, beat_at, limit_minutes)
values (:job, :now, :limit_minutes)
on conflict (job) do update
set beat_at = greatest(heartbeats.beat_at, excluded.beat_at);

-- name: heartbeats
-- Read the newest heartbeat of each job.
select job, beat_at, limit_minutes, beat_at < :now - make_interval(mins => limit_minutes) as is_silent
from trading.heartbeats
order by job;

-- name: raise_silent
-- Raise an alert for each of these jobs; one that is open already stays as it is, and is not counted again.
insert into trading.alerts (kind, asset, message, evidence)
select :kind, job, message, evidence
from unnest(
  cast(:jobs as text[]), cast(:messages as text[]), cast(:evidence as jsonb[])
) as s(job, message, evidence)
order by job
on conflict (kind, account_id, asset, wallet) where status <> 'resolved' do update
set message = excluded.message,
    evidence = excluded.evidence,
    last_seen_at = now();

-- name: resolve_silent
-- Resolve the alerts of every job that is not among these.
update trading.alerts
set status = 'resolved',
    resolved_at = :now,
    resolution = asset || ' left a sign of work again'
where kind = :kind
  and status <> 'resolved'
  and asset <> all(cast(:jobs as text[]));
