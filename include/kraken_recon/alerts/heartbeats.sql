-- Signs of work. Rows are locked before those of alerts.sql.

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
