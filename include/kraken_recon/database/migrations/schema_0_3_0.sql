-- What release 0.3.0 adds to the trading schema. The revision beside this file runs it; docs/reference/tables.md is made
-- from it.

-- Whether anything refers to a run that is to be forgotten is asked for each of them.
create index ix_desk_writes_run_id on trading.desk_writes (run_id);

-- The newest is what was written last, by the database's clock: one that a wrong clock dates ahead gives way to the next.
create or replace view trading.newest_proofs as
select a.account_id, r.run_id, r.reported_as_of as proven_at, r.dag_id, r.dag_run_id
from trading.accounts a
cross join lateral (
  select p.run_id, p.reported_as_of, p.dag_id, p.dag_run_id
  from trading.reconciliation_runs p
  where p.account_id = a.account_id
    and p.is_proof
  order by p.recorded_as_of desc
  limit 1
) r;

-- Forget runs in which nothing happened, once they are old: of each day the last proof of an account stays, and whatever
-- anything refers to. Account by account: only so is the age of a run in an index. Return which.
create function trading.thin_runs(of_before timestamptz, of_most integer) returns setof uuid
language sql security definer
begin atomic
  with chosen as (
    select old.run_id
    from trading.accounts a
    cross join lateral (
      select r.run_id
      from trading.reconciliation_runs r
      where r.account_id = a.account_id
        and r.recorded_as_of < least(of_before, now() - interval '30 days')
        and r.is_proof
        and r.checked = r.matched -- so that no other count of holdings is above zero
        and r.entries_ingested = 0
        and r.note is null
        and exists (
          select
          from trading.reconciliation_runs n
          where n.account_id = r.account_id
            and n.is_proof
            and n.reported_as_of > r.reported_as_of
            and n.reported_as_of < date_trunc('day', r.reported_as_of, 'UTC') + interval '1 day'
        )
        and not exists (select from trading.discrepancies d where d.run_id = r.run_id)
        and not exists (select from trading.desk_book_runs b where b.run_id = r.run_id)
        and not exists (select from trading.desk_writes w where w.run_id = r.run_id)
        and not exists (select from trading.repair_plans p where p.run_id = r.run_id)
        and not exists (select from trading.margin_position_events e where e.run_id = r.run_id)
        and not exists (
          select
          from trading.margin_positions m
          where m.account_id = r.account_id
            and r.run_id in (m.first_seen_run_id, m.last_seen_run_id)
        )
      order by r.recorded_as_of
      limit of_most
      for update skip locked
    ) old
    limit of_most
  )
  delete from trading.reconciliation_runs r
  using chosen c
  where r.run_id = c.run_id
  returning r.run_id;
end;
comment on function trading.thin_runs is 'Forget old runs in which nothing happened; the last proof of each day stays.';

-- Seals: a chain of hashes over repairs, decisions and approvals, so that a change by whoever may do everything shows.
create table trading.seals (
  seal_id bigint,
  subject text not null,
  keys text[] not null,
  digests bytea not null,
  sealed_at timestamptz not null,
  note text,
  previous bytea not null,
  digest bytea not null,
  constraint pk_seals primary key (seal_id),
  constraint ck_seals_one_digest_for_each_key check (length(digests) = 32 * cardinality(keys)),
  constraint ck_seals_subject_is_known check (subject in ('approvals', 'desk_writes', 'margin_position_events',
    'order_decisions', 'order_events', 'position_events', 'repair_plans'))
);
comment on table trading.seals is 'One link of the chain of seals: rows that were sealed together, by their hashes and that of the link before.';
comment on column trading.seals.seal_id is 'Its place in the chain, from 1 on without a gap.';
comment on column trading.seals.subject is 'The table of the rows; `approvals` are what was decided about repair plans.';
comment on column trading.seals.keys is 'The rows, by their key.';
comment on column trading.seals.digests is 'The SHA-256 of each row''s content, 32 bytes each, in the order of the keys; zeros where there was no row.';
comment on column trading.seals.sealed_at is 'When they were sealed.';
comment on column trading.seals.note is 'Why rows are sealed again that were sealed before; empty where they are sealed for the first time.';
comment on column trading.seals.previous is 'The digest of the link before; zeros for the first.';
comment on column trading.seals.digest is 'The SHA-256 of all of this and of the link before.';

create table trading.seals_due (
  due_id bigint generated always as identity,
  subject text not null,
  keys text[] not null,
  note text,
  constraint pk_seals_due primary key (due_id),
  constraint ck_seals_due_subject_is_known check (subject in ('approvals', 'desk_writes', 'margin_position_events',
    'order_decisions', 'order_events', 'position_events', 'repair_plans'))
);
comment on table trading.seals_due is 'Rows that were written and are not sealed yet.';
comment on column trading.seals_due.due_id is 'Its number.';
comment on column trading.seals_due.subject is 'The table of the rows; `approvals` are what was decided about repair plans.';
comment on column trading.seals_due.keys is 'The rows, by their key.';
comment on column trading.seals_due.note is 'Why they are to be sealed again; empty where they are sealed for the first time.';

create trigger append_only before update or delete or truncate on trading.seals
  for each statement execute function trading.refuse_change();

-- Note what is to be sealed in the transaction that writes it: of tables whose rows are only added, all rows of a
-- statement at once; of the others, a row when it is finished. A change of what was sealed notes nothing.
create function trading.note_added_rows() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  insert into trading.seals_due (subject, keys)
  select tg_table_name, array_agg(event_id::text order by event_id)
  from added
  having count(*) > 0;
  return null;
end
$$;

create function trading.note_finished_row() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  insert into trading.seals_due (subject, keys) values (tg_argv[0], array[to_jsonb(new) ->> tg_argv[1]]);
  return null;
end
$$;

create trigger to_be_sealed after insert on trading.position_events
  referencing new table as added for each statement execute function trading.note_added_rows();
create trigger to_be_sealed after insert on trading.margin_position_events
  referencing new table as added for each statement execute function trading.note_added_rows();
create trigger to_be_sealed after insert on trading.order_events
  referencing new table as added for each statement execute function trading.note_added_rows();

create trigger to_be_sealed after insert on trading.order_decisions
  for each row when (new.status <> 'new')
  execute function trading.note_finished_row('order_decisions', 'decision_id');
create trigger to_be_sealed_when_judged after update on trading.order_decisions
  for each row when (old.status = 'new' and new.status <> 'new')
  execute function trading.note_finished_row('order_decisions', 'decision_id');
create trigger to_be_sealed after insert on trading.desk_writes
  for each row when (new.state <> 'writing')
  execute function trading.note_finished_row('desk_writes', 'write_id');
create trigger to_be_sealed_when_ended after update on trading.desk_writes
  for each row when (old.state = 'writing' and new.state <> 'writing')
  execute function trading.note_finished_row('desk_writes', 'write_id');
create trigger to_be_sealed after insert on trading.repair_plans
  for each row when (new.closed_at is not null and new.status not in ('planned', 'writing'))
  execute function trading.note_finished_row('repair_plans', 'plan_id');
create trigger to_be_sealed_when_closed after update on trading.repair_plans
  for each row when (
    (old.closed_at is null or old.status in ('planned', 'writing'))
    and new.closed_at is not null and new.status not in ('planned', 'writing')
  )
  execute function trading.note_finished_row('repair_plans', 'plan_id');
create trigger approval_to_be_sealed after insert on trading.repair_plans
  for each row when (new.decided_by is not null)
  execute function trading.note_finished_row('approvals', 'plan_id');
create trigger approval_to_be_sealed_when_decided after update on trading.repair_plans
  for each row when (old.decided_by is null and new.decided_by is not null)
  execute function trading.note_finished_row('approvals', 'plan_id');

-- What was written before there were seals is sealed first, in the order in which it was written.
insert into trading.seals_due (subject, keys)
select subject, array_agg(key order by place)
from (
  select subject, key, place, (row_number() over (partition by subject order by place) - 1) / 5000 as batch
  from (
    select 'position_events' as subject, event_id::text as key, row_number() over (order by event_id) as place
    from trading.position_events
    union all
    select 'margin_position_events', event_id::text, row_number() over (order by event_id)
    from trading.margin_position_events
    union all
    select 'order_events', event_id::text, row_number() over (order by event_id)
    from trading.order_events
    union all
    select 'order_decisions', decision_id::text, row_number() over (order by decision_id)
    from trading.order_decisions
    where status <> 'new'
    union all
    select 'desk_writes', write_id::text, row_number() over (order by write_id)
    from trading.desk_writes
    where state <> 'writing'
    union all
    select 'repair_plans', plan_id::text, row_number() over (order by created_at, plan_id)
    from trading.repair_plans
    where closed_at is not null and status not in ('planned', 'writing')
    union all
    select 'approvals', plan_id::text, row_number() over (order by decided_at, plan_id)
    from trading.repair_plans
    where decided_by is not null
  ) written
) batched
group by subject, batch
order by subject, batch;

revoke execute on all functions in schema trading from public;
