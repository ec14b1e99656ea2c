-- The roles of the trading schema: what stands there, who may do what, and what it takes to change that.

-- name: schema_parts
-- Read tables, views and functions, each with what it is; partitions are reached through their table.
select
  case c.relkind when 'v' then 'view' else 'table' end as kind,
  c.relname::text as name,
  exists (select from pg_trigger t where t.tgrelid = c.oid and t.tgname = 'append_only') as is_marked
from pg_class c
where c.relnamespace = to_regnamespace(:schema)
  and c.relkind in ('r', 'p', 'v')
  and not c.relispartition
union all
select 'function', p.oid::regprocedure::text, p.prosecdef
from pg_proc p
where p.pronamespace = to_regnamespace(:schema)
  and p.prorettype <> 'trigger'::regtype;

-- name: granted
-- Read what roles were granted in the schema by name, one column at a time; and which of the functions that write
-- everybody may call, as PostgreSQL has it where nothing was said.
select coalesce(nullif(a.grantee, 0)::regrole::text, 'public') as role, r.kind, r.name, lower(a.privilege_type) as verb, r.column
from (
  select 'schema' as kind, n.nspname::text as name, '' as column, n.nspacl as acl
  from pg_namespace n
  where n.nspname = :schema
  union all
  select 'table', cast(:schema as text) || '.' || c.relname, '', c.relacl
  from pg_class c
  where c.relnamespace = to_regnamespace(:schema) and c.relkind in ('r', 'p', 'v') and not c.relispartition
  union all
  select 'table', cast(:schema as text) || '.' || c.relname, t.attname, t.attacl
  from pg_class c
  join pg_attribute t on t.attrelid = c.oid and t.attacl is not null and not t.attisdropped
  where c.relnamespace = to_regnamespace(:schema)
  union all
  select 'function', p.oid::regprocedure::text, '', coalesce(p.proacl, acldefault('f', p.proowner))
  from pg_proc p
  where p.pronamespace = to_regnamespace(:schema)
) r
cross join lateral aclexplode(r.acl) a
where a.grantee::regrole::text = any(cast(:roles as text[]))
  or (a.grantee = 0 and r.kind = 'function');

-- name: who_asks
-- Say who this session is, what it may do with roles, and which of ours exist.
select
  current_user::text as login,
  current_database()::text as database,
  r.rolsuper as is_superuser,
  r.rolsuper or r.rolcreaterole as may_create_roles,
  coalesce(pg_has_role(current_user, n.nspowner, 'usage'), false) as may_migrate,
  coalesce(n.nspowner::regrole::text, '') as schema_owner,
  array(select e.rolname::text from pg_roles e where e.rolname = any(cast(:roles as text[])) order by 1) as existing,
  array(
    select e.rolname::text
    from pg_roles e
    where e.rolname = any(cast(:roles as text[]))
      and pg_has_role(current_user, e.oid, 'usage')
    order by 1
  ) as held
from pg_roles r
left join pg_namespace n on n.nspname = :schema
where r.rolname = current_user;

-- name: lacking
-- Say which of these rights the session's role lacks, by their place. They are looked up by their numbers: names can be
-- used only by who may use the schema.
select w.place
from unnest(
  cast(:kinds as text[]), cast(:names as text[]), cast(:verbs as text[]), cast(:columns as text[])
) with ordinality as w(kind, name, verb, column_name, place)
left join pg_class c
  on w.kind = 'table' and c.relnamespace = to_regnamespace(:schema) and w.name = cast(:schema as text) || '.' || c.relname
left join pg_proc p
  on w.kind = 'function' and p.pronamespace = to_regnamespace(:schema) and w.name = p.oid::regprocedure::text
where not coalesce(
  case
    when w.kind = 'schema' then has_schema_privilege(w.name, w.verb)
    when w.kind = 'function' then has_function_privilege(p.oid, w.verb)
    when w.column_name = '' then has_table_privilege(c.oid, w.verb)
    else has_column_privilege(c.oid, w.column_name, w.verb)
  end, false
)
order by w.place;

-- name: take_over
-- Let the owner's role own the schema and all in it, where this session may do that; what it may not is told later.
do $$
declare
  part record;
  before name := (
    select r.rolname
    from pg_namespace n
    join pg_roles r on r.oid = n.nspowner
    where n.nspname = 'trading'
  );
begin
  if not pg_has_role(current_user, 'kraken_recon_owner', 'usage') then
    return;
  end if;
  if before <> 'kraken_recon_owner' then
    -- Whoever logged in as the owner until now still works.
    if not pg_has_role(before, 'kraken_recon_owner', 'usage') then
      execute format('grant kraken_recon_owner to %I', before);
    end if;
    execute format('grant create on database %I to kraken_recon_owner', current_database());
    alter schema trading owner to kraken_recon_owner;
  end if;
  for part in
    select format(
      'alter %s trading.%I owner to kraken_recon_owner', case relkind when 'v' then 'view' else 'table' end, relname
    ) as statement
    from pg_class
    where relnamespace = 'trading'::regnamespace
      and relkind in ('r', 'p', 'v')
      and relowner <> 'kraken_recon_owner'::regrole
    union all
    select format('alter function %s owner to kraken_recon_owner', oid::regprocedure)
    from pg_proc
    where pronamespace = 'trading'::regnamespace
      and proowner <> 'kraken_recon_owner'::regrole
  loop
    execute part.statement;
  end loop;
exception
  when insufficient_privilege then null;
end
$$;

-- name: join_owner
-- Make this session's login a member of the owner's role, where it may.
do $$
begin
  if not pg_has_role(current_user, 'kraken_recon_owner', 'usage') then
    execute format('grant kraken_recon_owner to %I', current_user);
  end if;
exception
  when insufficient_privilege or unique_violation then null;
end
$$;
