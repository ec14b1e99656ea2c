-- Run by the driver itself on a connection that has no transaction yet, so parameters are the driver's.

-- name: register_owner
-- Say who opens sessions under a name, or that it still does; the disk need not be waited for.
with settings as (
  select set_config('synchronous_commit', 'off', true) as value
)
insert into trading.session_owners (
  application_name, host, process_id, call_site, hold_seconds, pool_size, connections_max,
  task_instance_id, dag_id, run_id, task_id, map_index, try_number, is_direct
)
select
  %(application_name)s, %(host)s, %(process_id)s, %(call_site)s, %(hold_seconds)s, %(pool_size)s,
  %(connections_max)s, %(task_instance_id)s::uuid, %(dag_id)s, %(run_id)s, %(task_id)s,
  %(map_index)s::integer, %(try_number)s::integer,
  pg_backend_pid() = %(told_process_number)s::integer
from settings
on conflict (application_name) do update
set last_seen_at = now(),
    is_direct = excluded.is_direct
returning is_direct;
