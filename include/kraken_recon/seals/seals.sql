-- Seals: what rows say, which of them are to be sealed, and the chain. What a row says is told here and not by a view of
-- the database's, which its owner could let lie.

-- name: facts
-- Tell every row that is sealed, by number or by id, with all that it says. A plan is told when it is closed, with what
-- it writes; what was decided about it at once, with what it was about. Times are told in UTC, whatever the session's
-- time zone is.
select
  'position_events' as subject, event_id as number, cast(null as uuid) as id,
  jsonb_build_array(
    account_id, asset, wallet, quantity_before, quantity_after, cause, reason, ledger_id, run_id, plan_id,
    effective_at at time zone 'UTC', recorded_at at time zone 'UTC'
  ) as content
from trading.position_events
union all
select
  'margin_position_events', event_id, null,
  jsonb_build_array(
    account_id, position_id, action, is_applied, is_explained, before, after, ledger_ids, run_id,
    effective_at at time zone 'UTC', recorded_at at time zone 'UTC'
  )
from trading.margin_position_events
union all
select
  'order_events', event_id, null,
  jsonb_build_array(
    order_id, status_before, status_after, what, detail, recorded_by, recorded_at at time zone 'UTC'
  )
from trading.order_events
union all
select
  'order_decisions', decision_id, null,
  jsonb_build_array(
    decision_key, received_via, payload, status, refusal, order_id, first_decision_id,
    received_at at time zone 'UTC', judged_at at time zone 'UTC'
  )
from trading.order_decisions
where status <> 'new'
union all
select
  'desk_writes', write_id, null,
  jsonb_build_array(
    plan_id, run_id, book, connection, table_name, account_id, asset, is_cash, kind, key, before, after, change,
    state, reason, planned_at at time zone 'UTC', ended_at at time zone 'UTC'
  )
from trading.desk_writes
where state <> 'writing'
union all
select
  'repair_plans', null, plan_id,
  jsonb_build_array(
    account_id, book, kind, status, run_id, fingerprint, row_count, why, undoes, written_by_run, decided_by, note,
    as_of at time zone 'UTC', created_at at time zone 'UTC', applied_at at time zone 'UTC',
    closed_at at time zone 'UTC', decided_at at time zone 'UTC', {rows_of_plan}
  )
from trading.repair_plans p
where closed_at is not null
  and status not in ('planned', 'writing')
union all
select
  'approvals', null, plan_id,
  jsonb_build_array(
    account_id, book, kind, row_count, why, undoes, decided_by, decided_at at time zone 'UTC',
    case when status in ('rejected', 'expired') then status else 'approved' end, {rows_of_plan}
  )
from trading.repair_plans p
where decided_by is not null

-- name: rows_of_plan
-- Tell the rows of a plan, in order.
(
  select jsonb_agg(
    jsonb_build_array(
      r.place, r.asset, r.wallet, r.quantity_before, r.quantity_after, r.cause, r.reason, r.ledger_id, r.price,
      r.effective_at at time zone 'UTC'
    )
    order by r.place
  )
  from trading.repair_plan_rows r
  where r.plan_id = p.plan_id
)

-- name: snapshot
-- See one state of the database until the transaction ends.
set transaction isolation level repeatable read;

-- name: lock
-- Let one session at a time add to the chain.
select pg_advisory_xact_lock(7031995);

-- name: head
-- Read the end of the chain.
select seal_id, digest
from trading.seals
order by seal_id desc
limit 1;

-- name: take_due
-- Take what is to be sealed, oldest first, up to about so many rows.
with oldest as (
  select due_id, keys
  from trading.seals_due
  order by due_id
  limit :most
),
taken as (
  select due_id
  from (
    select due_id, sum(cardinality(keys)) over (order by due_id) - cardinality(keys) as rows_before
    from oldest
  ) counted
  where rows_before < :most
),
due as (
  delete from trading.seals_due d
  using taken t
  where d.due_id = t.due_id
  returning d.due_id, d.subject, d.keys, d.note
)
select subject, keys, note
from due
order by due_id;

-- name: digests_by_number
-- Hash what rows say that have a number.
select f.number::text as key, sha256(convert_to(f.content::text, 'UTF8')) as digest
from ({facts}) f
where f.subject = :subject
  and f.number = any(cast(:keys as bigint[]));

-- name: digests_by_id
-- Hash what rows say that have an id.
select f.id::text as key, sha256(convert_to(f.content::text, 'UTF8')) as digest
from ({facts}) f
where f.subject = :subject
  and f.id = any(cast(:keys as uuid[]));

-- name: add_seal
-- Add a link to the chain.
insert into trading.seals (seal_id, subject, keys, digests, sealed_at, note, previous, digest)
values (:seal_id, :subject, cast(:keys as text[]), :digests, :sealed_at, :note, :previous, :digest);

-- name: now
-- Read the database's clock.
select clock_timestamp() as now;

-- name: seals_after
-- Read the next links.
select seal_id, subject, keys, digests, sealed_at, note, previous, digest
from trading.seals
where seal_id > :seal_id
order by seal_id
limit 1;

-- name: sealed_again
-- List the rows that were sealed again, each with the last link that says so.
select s.subject, k.key, max(s.seal_id) as seal_id
from trading.seals s
cross join lateral unnest(s.keys) as k(key)
where s.note is not null
group by s.subject, k.key;

-- name: sealed_twice
-- List rows that are sealed in two links neither of which says why, unless a later one does.
select s.subject, k.key, max(s.seal_id) as seal_id
from trading.seals s
cross join lateral unnest(s.keys) as k(key)
group by s.subject, k.key
having count(*) filter (where s.note is null) > 1
   and coalesce(max(s.seal_id) filter (where s.note is not null), 0) < max(s.seal_id)
order by 3, 1, 2
limit :most;

-- name: never_sealed
-- List rows that are neither sealed nor to be sealed: whoever wrote them went around the schema's triggers.
select f.subject, coalesce(f.number::text, f.id::text) as key
from ({facts}) f
left join (
  select s.subject, unnest(s.keys) as key
  from trading.seals s
  union all
  select d.subject, unnest(d.keys)
  from trading.seals_due d
) s on s.subject = f.subject and s.key = coalesce(f.number::text, f.id::text)
where s.key is null
order by 1, f.number, f.id
limit :most;

-- name: rows_due
-- Count the rows that are to be sealed.
select coalesce(sum(cardinality(keys)), 0)::bigint as rows
from trading.seals_due;

-- name: not_plain
-- List covered tables that are none any more, or that show not everybody all their rows.
select t.name
from unnest(cast(:tables as text[])) as t(name)
left join pg_class c on c.relnamespace = 'trading'::regnamespace and c.relname = t.name
where c.relkind is distinct from 'r'
  or c.relrowsecurity
order by 1;

-- name: enlist
-- Note rows to be sealed.
insert into trading.seals_due (subject, keys, note)
values (:subject, cast(:keys as text[]), :note);
