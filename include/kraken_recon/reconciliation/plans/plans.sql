-- Repair plans. Written set-based for a batch of accounts, after positions, accounts and residuals and before alerts.
-- A written plan's rows are its events; rows of their own have only plans that are not written (yet).

-- name: last_repairs
-- Read what the last repair of each holding changed, unless a run since (and since it was undone) found the holding in
-- agreement: then that repair lasted. Fenced: the planner would rather read all differences once than look one up.
with keys as materialized (
  select *
  from unnest(cast(:account_ids as bigint[]), cast(:assets as text[]), cast(:wallets as text[]))
    as k(account_id, asset, wallet)
)
select k.account_id, k.asset, k.wallet, array_agg(v.quantity_after - v.quantity_before) as changes
from keys k
cross join lateral (
  select run_id
  from trading.position_events
  where (account_id, asset, wallet) = (k.account_id, k.asset, k.wallet)
    and reason = any(cast(:repair_reasons as text[]))
  order by event_id desc
  limit 1
) last
cross join lateral (
  select recorded_at
  from trading.position_events
  where (account_id, asset, wallet) = (k.account_id, k.asset, k.wallet)
    and reason = any(cast(:repair_reasons as text[]) || cast(:undo_reasons as text[]))
  order by event_id desc
  limit 1
) touched
join trading.position_events v
  on (v.account_id, v.asset, v.wallet) = (k.account_id, k.asset, k.wallet)
  and v.run_id = last.run_id
  and v.reason = any(cast(:repair_reasons as text[]))
where not exists (
  select
  from trading.reconciliation_runs r
  where r.account_id = k.account_id
    and r.recorded_as_of > touched.recorded_at
    and r.status = 'succeeded'
    and r.mode = 'repair'
    and r.reported_as_of is not null
    and not exists (
      select
      from trading.discrepancies d
      where (d.run_id, d.asset, d.wallet) = (r.run_id, k.asset, k.wallet)
      offset 0
    )
)
group by k.account_id, k.asset, k.wallet;

-- name: undone_repairs
-- Name who undid the last repair of holdings, where a person did, and where nobody repaired them since.
select k.account_id, k.asset, k.wallet, u.decided_by
from unnest(cast(:account_ids as bigint[]), cast(:assets as text[]), cast(:wallets as text[]))
  as k(account_id, asset, wallet)
join lateral (
  select v.plan_id
  from trading.position_events v
  where (v.account_id, v.asset, v.wallet) = (k.account_id, k.asset, k.wallet)
    and v.reason = any(cast(:repair_reasons as text[]) || cast(:undo_reasons as text[]))
  order by v.event_id desc
  limit 1
) touched on true
join trading.repair_plans u on u.plan_id = touched.plan_id and u.kind = 'undo';

-- name: insert_plans
-- Write plans that are only planned, or written in this transaction. What a dry run planned and a repair then writes
-- from the same reading is one and the same plan.
insert into trading.repair_plans (
  plan_id, account_id, book, kind, status, run_id, as_of, fingerprint, row_count, why, applied_at, closed_at
)
select
  plan_id, account_id, book, kind, :status, run_id, as_of, fingerprint, row_count, why,
  case when :status = 'applied' then now() end, now()
from jsonb_populate_recordset(cast(null as trading.repair_plans), cast(:plans as jsonb))
order by plan_id
on conflict (plan_id) do update
set status = excluded.status,
    run_id = excluded.run_id,
    applied_at = excluded.applied_at
where repair_plans.status = 'planned'
  and excluded.status = 'applied'
returning plan_id;

-- name: insert_plan_rows
-- Write the rows of plans that are not written.
insert into trading.repair_plan_rows
select *
from jsonb_populate_recordset(cast(null as trading.repair_plan_rows), cast(:rows as jsonb));

-- name: forget_planned
-- Forget what dry runs planned: by run, where the same dry run is tried again, or by plan, where it is now held.
delete from trading.repair_plans
where (run_id = any(cast(:run_ids as uuid[])) or plan_id = any(cast(:plan_ids as uuid[])))
  and status = 'planned';

-- name: settle_held
-- Close what was held, of positions or of one book of the desk's, of a drift that is no longer exactly the same, or gone.
-- What was approved and is being written closes with what came of that.
with now_held as (
  select *
  from unnest(cast(:account_ids as bigint[]), cast(:fingerprints as uuid[])) as h(account_id, fingerprint)
),
stale as (
  select p.plan_id
  from trading.repair_plans p
  join now_held h using (account_id)
  where p.kind = 'held'
    and p.closed_at is null
    and p.book is not distinct from :book
    and p.fingerprint is distinct from h.fingerprint
    and (p.status <> 'approved' or p.written_by_run is null)
  order by p.plan_id
  for no key update of p
)
update trading.repair_plans p
set closed_at = now(),
    status = case when p.status in ('held', 'approved') then 'outdated' else p.status end,
    note = coalesce(p.note, 'the drift changed or went away')
from stale
where p.plan_id = stale.plan_id
  and p.closed_at is null;

-- name: hold_plans
-- Hold plans of accounts that have none open; return those really held.
insert into trading.repair_plans (
  plan_id, account_id, book, kind, status, run_id, as_of, fingerprint, row_count, why
)
select plan_id, account_id, book, kind, 'held', run_id, as_of, fingerprint, row_count, why
from jsonb_populate_recordset(cast(null as trading.repair_plans), cast(:plans as jsonb))
order by plan_id
on conflict do nothing
returning plan_id;

-- name: open_held
-- Name the plan of an account in one book that is held and open.
select plan_id
from trading.repair_plans
where account_id = :account_id
  and book = :book
  and kind = 'held'
  and closed_at is null;

-- name: decide
-- Claim the decision about a held plan; nothing comes back to whoever is too late.
update trading.repair_plans
set status = :status,
    decided_by = :decided_by,
    decided_at = now(),
    note = :note
where plan_id = :plan_id
  and kind = 'held'
  and status = 'held'
  and closed_at is null
returning plan_id;

-- name: finish_approved
-- Say that what was approved is written, in the transaction that writes it.
update trading.repair_plans
set status = 'applied',
    applied_at = now(),
    closed_at = now(),
    written_by_run = :run_id
where plan_id = :plan_id
  and status = 'approved'
  and closed_at is null
returning plan_id;

-- name: begin_approved
-- Say that this run writes what was approved to a book of the desk's; it is written once that is known.
update trading.repair_plans
set written_by_run = :run_id
where plan_id = :plan_id
  and status = 'approved'
  and closed_at is null
  and written_by_run is null
returning plan_id;

-- name: finish_writing
-- Say what became of plans that write a book of the desk's, and of what a person approved of them, once each of their
-- rows is known. What was approved stays so where the run died before it wrote anything.
with ended as (
  update trading.repair_plans p
  set status = case when w.written > 0 then 'applied' else 'outdated' end,
      applied_at = case when w.written > 0 then clock_timestamp() end,
      note = coalesce(p.note, w.reasons)
  from (
    select
      plan_id,
      count(*) filter (where state = 'written') as written,
      bool_and(state <> 'writing') as is_known,
      bool_and(state = 'skipped' and reason = :not_written) as is_untouched,
      string_agg(distinct asset || ': ' || reason, '; ') filter (where state = 'skipped') as reasons
    from trading.desk_writes
    where plan_id = any(cast(:plan_ids as uuid[]))
    group by plan_id
  ) w
  where p.plan_id = w.plan_id
    and p.status = 'writing'
    and w.is_known
  returning p.plan_id, p.account_id, p.book, p.run_id, p.status, p.applied_at, w.reasons,
    w.is_untouched
),
approved as (
  update trading.repair_plans h
  set status = case when e.is_untouched then h.status else e.status end,
      applied_at = e.applied_at,
      closed_at = case when not e.is_untouched then now() end,
      written_by_run = case when not e.is_untouched then h.written_by_run end,
      note = case when e.is_untouched then h.note else concat_ws('; ', h.note, e.reasons) end
  from ended e
  where (h.account_id, h.book, h.written_by_run) = (e.account_id, e.book, e.run_id)
    and h.kind = 'held'
    and h.status = 'approved'
)
select plan_id, status from ended;

-- name: outdate
-- Close a held plan of a book that is gone.
update trading.repair_plans
set status = 'outdated',
    closed_at = now(),
    note = concat_ws('; ', note, cast(:note as text))
where plan_id = :plan_id
  and status in ('held', 'approved')
  and closed_at is null
  and written_by_run is null;

-- name: outdate_undeclared
-- Close what is held of books that nobody declares any more; what is being written closes with what came of that. Where
-- no book is declared, a plan of none would not be in the empty list either.
update trading.repair_plans
set status = case when status in ('held', 'approved') then 'outdated' else status end,
    closed_at = now(),
    note = concat_ws('; ', note, 'book ' || book || ' is no longer declared')
where kind = 'held'
  and closed_at is null
  and book is not null
  and book <> all(cast(:books as text[]))
  and (status <> 'approved' or written_by_run is null);

-- name: close_decided
-- Let the next run ask again: a rejected or expired plan no longer speaks for its drift.
update trading.repair_plans
set closed_at = now()
where plan_id = :plan_id
  and status in ('rejected', 'expired')
  and closed_at is null
returning plan_id;

-- name: insert_undo
-- Write a plan that undoes another; nothing comes back where it is undone already.
insert into trading.repair_plans (
  plan_id, account_id, book, kind, status, run_id, as_of, row_count, undoes, applied_at, closed_at, decided_by, decided_at
)
values (
  :plan_id, :account_id, :book, 'undo', :status, :plan_id, :as_of, :row_count, :undoes,
  case when :status = 'applied' then now() end, now(), :decided_by, now()
)
on conflict do nothing
returning plan_id;

-- name: find_plans
-- Read plans with their account's name: by id, by run, by account (newest first), or those held and open.
select p.*, a.name as account, a.quote_currency, u.plan_id as undone_by, w.plan_id as written_as
from trading.repair_plans p
join trading.accounts a using (account_id)
left join trading.repair_plans u on u.undoes = p.plan_id and u.status <> 'outdated'
left join trading.repair_plans w on w.run_id = p.written_by_run and w.kind = 'repair' and w.status = 'applied'
  and w.book is not distinct from p.book
where (cast(:plan_ids as uuid[]) is null or p.plan_id = any(cast(:plan_ids as uuid[])))
  and (cast(:run_ids as uuid[]) is null or p.run_id = any(cast(:run_ids as uuid[])))
  and (cast(:names as text[]) is null or a.name = any(cast(:names as text[])))
  and (not :is_open or (p.kind = 'held' and p.closed_at is null))
order by p.created_at desc, p.kind, p.plan_id
limit :most;

-- name: plan_rows
-- Read what plans write, in order: the events of those written, the rows of the others.
select
  e.plan_id, e.asset, e.wallet, e.quantity_before, e.quantity_after, e.cause, e.reason, e.ledger_id, e.effective_at,
  null as price, e.event_id as place
from trading.position_events e
where e.plan_id = any(cast(:plan_ids as uuid[]))
union all
select
  r.plan_id, r.asset, r.wallet, r.quantity_before, r.quantity_after, r.cause, r.reason, r.ledger_id, r.effective_at,
  r.price, r.place
from trading.repair_plan_rows r
join trading.repair_plans p using (plan_id)
where r.plan_id = any(cast(:plan_ids as uuid[]))
  and not (p.kind = 'repair' and p.status = 'applied' and p.book is null)
order by plan_id, place;

-- name: desk_findings
-- Read what a run found in a book of the desk's.
select asset, proven, desk, difference, explanation, ledger_ids
from trading.desk_differences
where run_id = :run_id
  and book = :book
order by asset, is_cash;

-- name: event_totals
-- Read positions with the place where their newest event ended.
select p.account_id, p.asset, p.wallet, p.quantity, newest.quantity_after as event_total
from trading.positions p
join unnest(cast(:account_ids as bigint[]), cast(:assets as text[]), cast(:wallets as text[]))
  as k(account_id, asset, wallet) using (account_id, asset, wallet)
left join lateral (
  select v.quantity_after
  from trading.position_events v
  where (v.account_id, v.asset, v.wallet) = (p.account_id, p.asset, p.wallet)
  order by v.event_id desc
  limit 1
) newest on true;

-- name: residual_ages
-- Read since when, and in how many readings, the residuals of an account have been the same.
select asset, wallet, residual, first_seen_at, last_seen_at, confirmations
from trading.residuals
where account_id = :account_id;
