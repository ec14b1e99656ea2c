-- What a session may ask about locks. Both answers come at once: they wait for no lock of a table of ours.

-- name: wait_briefly
-- Wait a tenth as long for every lock from here on.
select set_config('lock_timeout', greatest(1, setting::int / 10) || 'ms', false)
from pg_settings
where name = 'lock_timeout';

-- name: locked_tables
-- Name the tables that other sessions have locked against writing or reading, or wait to: whoever asks for such a lock
-- stops all who come later.
select format(
  'table trading.%s: %s is %s by session %s (%s, %s)',
  c.relname, l.mode, case when l.granted then 'held' else 'awaited' end, l.pid, a.usename,
  coalesce(nullif(a.application_name, ''), 'no application name')
)
from pg_locks l
join pg_class c on c.oid = l.relation
left join pg_stat_activity a using (pid)
where l.locktype = 'relation'
  and l.database = (select oid from pg_database where datname = current_database())
  and c.relnamespace = 'trading'::regnamespace
  and c.relkind in ('r', 'p')
  and l.mode in ('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
  and l.pid <> pg_backend_pid()
order by c.relname, l.pid;
