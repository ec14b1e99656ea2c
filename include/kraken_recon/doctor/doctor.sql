-- What a look at the trading database takes; no statement waits for a lock, and none fails for want of a right.

-- name: server
-- Say what the server is, who asks, and whether there is a schema that the role may read.
select
  cast(current_setting('server_version_num') as integer) as server_version,
  cast(current_user as text) as login,
  pg_is_in_recovery() or cast(current_setting('transaction_read_only') as boolean) as takes_no_writes,
  clock_timestamp() as now,
  coalesce(
    (
      select has_schema_privilege(n.oid, 'usage') and has_table_privilege(c.oid, 'select')
      from pg_class c
      join pg_namespace n on n.oid = c.relnamespace
      where (n.nspname, c.relname) = ('trading', 'alembic_version')
    ),
    false
  ) as may_read_revision,
  exists (select from pg_namespace where nspname = 'trading') as has_schema,
  coalesce((select setting from pg_settings where name = 'data_directory'), '') as data_directory;

-- name: revision
-- Read the revision of the schema; none where nothing was ever migrated.
select version_num
from trading.alembic_version;

-- name: accounts
-- Name the active accounts and their connections.
select name, kraken_conn_id
from trading.accounts
where is_active
order by name;

-- name: traders
-- Name the accounts that have orders under way, or had some in the last days.
select distinct a.name
from trading.accounts a
join trading.orders o using (account_id)
where a.is_active
  and not o.is_dry_run
  and (o.status in ('decided', 'submitting', 'unknown', 'open') or o.decided_at > now() - interval '7 days');

-- name: audit_role
-- Say what the role may see and end of other roles' sessions.
select
  cast(current_user as text) as login,
  r.rolsuper or pg_has_role('pg_read_all_stats', 'usage') as sees_all_sessions,
  r.rolsuper or pg_has_role('pg_signal_backend', 'usage') as may_signal
from pg_roles r
where r.rolname = current_user;
