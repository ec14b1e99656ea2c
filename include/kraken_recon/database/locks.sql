-- What a session may ask about locks. The answer comes at once: it waits for no lock of a table of ours.

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
