-- The session audit: what the server shows, what is on record of it, and what is done about it.
-- Queries of the first part run on the audited server, which may be another than the trading database.
-- Clocks are the audited server's: now() stands still within a transaction, so clock_timestamp() is asked.

-- name: backends
-- Read every client session of this database but the auditor's own.
-- A session that holds a lock of a writer on one of the books has written to them or is about to.
with books as (
  select c.oid
  from pg_class c
  where c.relnamespace = to_regnamespace('trading')
    and c.relname = any(cast(:books as text[]))
),
locks as (
  select
    l.pid,
    bool_or(
      l.locktype = 'relation'
      and l.mode = any(cast(:modes as text[]))
      and l.relation in (select oid from books)
      and l.database = (select oid from pg_database where datname = current_database())
    ) as writes_books,
    count(*) filter (where l.locktype = 'advisory' and l.granted) as advisory_locks,
    max(extract(epoch from clock_timestamp() - l.waitstart)) as wait_seconds
  from pg_locks l
  where l.pid is not null
  group by l.pid
)
select
  a.pid,
  a.backend_start,
  coalesce(a.application_name, '') as application_name,
  coalesce(a.usename::text, '') as role,
  a.backend_type,
  a.state,
  a.state_change,
  coalesce(extract(epoch from clock_timestamp() - a.state_change), 0)::float8 as seconds_in_state,
  extract(epoch from clock_timestamp() - a.xact_start)::float8 as transaction_seconds,
  a.wait_event_type || ':' || a.wait_event as wait_event,
  coalesce(a.query, '') as statement,
  case when a.wait_event_type = 'Lock' then pg_blocking_pids(a.pid) else '{}'::int[] end as blocked_by,
  coalesce(l.wait_seconds, 0)::float8 as wait_seconds,
  coalesce(l.writes_books, false) as writes_books,
  coalesce(l.advisory_locks, 0) as advisory_locks,
  c.bytes_processed as copied_bytes
from pg_stat_activity a
left join locks l on l.pid = a.pid
left join pg_stat_progress_copy c on c.pid = a.pid
where a.datname = current_database()
  and a.pid <> pg_backend_pid()
  and a.backend_type = 'client backend'
order by a.pid;

-- name: usages
-- Count connections against each limit that holds here: the server's, the database's and this role's.
select 'the server' as limit_name,
  (select count(*) from pg_stat_activity where backend_type = 'client backend') as used,
  current_setting('max_connections')::int
    - current_setting('superuser_reserved_connections')::int
    - coalesce(current_setting('reserved_connections', true), '0')::int as limit
union all
select 'database ' || d.datname,
  (select count(*) from pg_stat_activity a where a.datid = d.oid and a.backend_type = 'client backend'),
  d.datconnlimit
from pg_database d
where d.datname = current_database()
  and d.datconnlimit >= 0
union all
select 'role ' || r.rolname,
  (select count(*) from pg_stat_activity a where a.usesysid = r.oid and a.backend_type = 'client backend'),
  r.rolconnlimit
from pg_roles r
where r.rolname = any(cast(:app_roles as text[]))
  and r.rolconnlimit >= 0;

-- name: prepared
-- Read the transactions of this database that wait for the second phase of their commit.
select gid as name, extract(epoch from clock_timestamp() - prepared)::float8 as seconds
from pg_prepared_xacts
where database = current_database();

-- name: slots
-- Read the replication slots, and what each keeps from being removed.
select
  slot_name::text as name,
  active as is_active,
  (xmin is not null or catalog_xmin is not null) as holds_horizon,
  coalesce(
    case
      when pg_is_in_recovery() then 0
      else pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)
    end,
    0
  )::bigint as kept_bytes
from pg_replication_slots;

-- name: clock
-- Ask the audited server what the time is.
select clock_timestamp();

-- name: roles
-- Name the roles under which the project works: whoever asks, who owns the schema, and who may register sessions.
select r.rolname::text
from pg_roles r
where r.rolname = current_user
  or r.oid = (select nspowner from pg_namespace where nspname = 'trading')
  or (not r.rolsuper and has_table_privilege(r.oid, to_regclass('trading.session_owners'), 'insert'));

-- name: look_again
-- Forget what this transaction saw: Postgres shows the sessions as of its first look.
select pg_stat_clear_snapshot();

-- name: act
-- Cancel the statement of exactly the session that was judged, or end it, unless it stirred since or writes to the books.
select
  case cast(:action as text)
    when 'cancel' then pg_cancel_backend(a.pid)
    when 'terminate' then pg_terminate_backend(a.pid, 2000)
  end as is_sent
from pg_stat_activity a
where a.pid = :pid
  and a.pid <> pg_backend_pid()
  and a.datname = current_database()
  and a.backend_start = :backend_start
  and a.application_name = :application_name
  and a.state = :state
  and a.state_change = :state_change
  and not exists (
    select from pg_locks l
    join pg_class c on c.oid = l.relation
    where l.pid = a.pid
      and l.locktype = 'relation'
      and l.mode = any(cast(:modes as text[]))
      and c.relnamespace = to_regnamespace('trading')
      and c.relname = any(cast(:books as text[]))
  );

-- name: owners
-- Read what sessions of these names, and of these tasks, declared of themselves.
select *
from trading.session_owners
where application_name = any(cast(:names as text[]))
   or task_instance_id = any(cast(:task_instance_ids as uuid[]));

-- name: past_samples
-- Read what the newest samples counted, oldest first.
select taken_at, unattributed, excess, client_waits
from (
  select taken_at, unattributed, excess, client_waits
  from trading.session_samples
  where source = :source
    and taken_at > cast(:since as timestamptz)
  order by taken_at desc
  limit :most
) as newest
order by taken_at;

-- name: record_sample
-- Keep what one look counted.
insert into trading.session_samples (
  source, taken_at, connections, connections_limit, sessions, ours, active, idle, idle_in_transaction, waiting,
  unattributed, excess, oldest_transaction_seconds, by_owner, usages, findings, longest_wait_seconds,
  pool_sessions, pool_limit, audited_by, client_waits
)
values (
  :source, :taken_at, :connections, :connections_limit, :sessions, :ours, :active, :idle,
  :idle_in_transaction, :waiting, :unattributed, :excess, :oldest_transaction_seconds,
  cast(:by_owner as jsonb), cast(:usages as jsonb), :findings, :longest_wait_seconds, :pool_sessions,
  :pool_limit, :audited_by, cast(:client_waits as jsonb)
);

-- name: record_findings
-- Open findings, or count the same open finding again.
insert into trading.session_findings (
  source, rule, severity, subject, message, application_name, dag_id, run_id, task_id, map_index, try_number,
  evidence, first_seen_at, last_seen_at, last_seen_by
)
select
  :source, f.rule, f.severity, f.subject, f.message, f.application_name, f.dag_id, f.run_id, f.task_id,
  f.map_index, f.try_number, f.evidence, :taken_at, :taken_at, :seen_by
from jsonb_to_recordset(cast(:findings as jsonb)) as f(
  rule text, severity text, subject text, message text, application_name text, dag_id text, run_id text,
  task_id text, map_index int, try_number int, evidence jsonb
)
order by f.rule, f.subject
on conflict (source, rule, subject) where returned_at is null do update
set severity = excluded.severity,
    message = excluded.message,
    evidence = excluded.evidence,
    occurrences = session_findings.occurrences + 1,
    last_seen_at = excluded.last_seen_at,
    last_seen_by = excluded.last_seen_by
returning finding_id, rule, subject, occurrences, first_seen_at;

-- name: record_returned
-- Note what is not so any more: its rule was judged and is silent, or its session is gone.
update trading.session_findings
set returned_at = :taken_at
where source = :source
  and returned_at is null
  and last_seen_at < :taken_at
  and (
    rule = any(cast(:judged as text[]))
    or (application_name is not null and not subject = any(cast(:present as text[])))
  );

-- name: cancelled
-- Name the findings whose statement was cancelled before.
select distinct finding_id
from trading.session_actions
where finding_id = any(cast(:finding_ids as bigint[]))
  and action = 'cancel'
  and outcome = 'done';

-- name: record_action
-- Write down what is about to be done.
insert into trading.session_actions (finding_id, action, outcome, acted_by)
values (:finding_id, :action, 'intended', :acted_by)
returning action_id;

-- name: record_dry_run
-- Write down, once per finding, what would have been done.
insert into trading.session_actions (finding_id, action, outcome, acted_by)
select :finding_id, :action, 'dry_run', :acted_by
where not exists (
  select from trading.session_actions
  where finding_id = :finding_id
    and action = :action
    and outcome = 'dry_run'
);

-- name: record_outcome
-- Write down what came of an action.
update trading.session_actions
set outcome = :outcome
where action_id = :action_id;

-- name: open_findings
-- Read what is not returned, the gravest first, with the newest action.
select
  f.finding_id, f.source, f.rule, f.severity, f.subject, f.message, f.application_name, f.dag_id, f.run_id,
  f.task_id, f.map_index, f.try_number, f.evidence, f.occurrences, f.first_seen_at, f.last_seen_at,
  a.action, a.outcome
from trading.session_findings f
left join lateral (
  select action, outcome
  from trading.session_actions
  where finding_id = f.finding_id
  order by action_id desc
  limit 1
) a on true
where f.returned_at is null
order by f.severity, f.first_seen_at, f.finding_id;

-- name: forget_samples
-- Forget samples beyond the time they are kept.
delete from trading.session_samples
where taken_at < clock_timestamp() - cast(:keep as interval);

-- name: forget_actions
-- Forget what was done about findings that returned beyond the time they are kept.
delete from trading.session_actions a
using trading.session_findings f
where f.finding_id = a.finding_id
  and f.returned_at < clock_timestamp() - cast(:keep as interval);

-- name: forget_findings
-- Forget findings that returned beyond the time they are kept.
delete from trading.session_findings
where returned_at < clock_timestamp() - cast(:keep as interval);

-- name: forget_owners
-- Forget owners that have no session and have opened none for two days.
delete from trading.session_owners
where last_seen_at < clock_timestamp() - interval '2 days'
  and not application_name = any(cast(:names as text[]));

-- name: samples
-- Read what samples counted since a moment, oldest first.
select *
from trading.session_samples
where taken_at > cast(:since as timestamptz)
order by source, taken_at;

-- name: findings_since
-- Read findings since a moment, oldest first.
select source, rule, severity, first_seen_at, returned_at, message
from trading.session_findings
where last_seen_at > cast(:since as timestamptz)
order by first_seen_at;
