
-- name: load_states
-- Read what a sync must know of each account before it asks Kraken. Nothing is read of the positions: whoever locks
-- their table would keep a whole run waiting.
select
  a.account_id,
  a.opened_at is not null as is_open,
  a.ledger_floor,
  a.ledger_read_until,
  a.tokenized_read_until,
  a.missing_accepted,
  a.missing_accepted_until,
  (
    select min(coalesce(before.entry_time, timestamptz '2011-01-01 00:00:00+00'))
    from trading.ledger_entries g
    left join lateral (
      select max(e.entry_time) as entry_time
      from trading.ledger_entries e
      where (e.account_id, e.asset, e.wallet) = (g.account_id, g.asset, g.wallet)
        and e.entry_time < g.entry_time
        and e.type <> 'gap'
    ) before on true
    where g.account_id = a.account_id
      and g.type = 'gap'
  ) as gaps_since,
  a.tokenized_read_until is not null
    or exists (
      select
      from trading.ledger_entries t
      where t.account_id = a.account_id
        and t.wallet = 'T'
    ) as has_tokenized,
  (
    select max(e.entry_time)
    from trading.ledger_entries e
    where e.account_id = a.account_id
      and e.ingest_seq <= a.ledger_watermark
  ) as newest_entry_at
from trading.accounts a
where a.account_id = any(cast(:account_ids as bigint[]));

-- name: load_residuals
-- Read the residuals that earlier coherent readings saw.
select account_id, asset, wallet, residual, first_seen_at, confirmations
from trading.residuals
where account_id = any(cast(:account_ids as bigint[]));

-- name: load_unexplained
-- Read which accounts have adjustments that no entry explains yet, and the newest entry that each was made on.
with adjusted as (
  select
    account_id, asset, wallet, event_id, effective_at,
    sum(quantity_after - quantity_before) over (
      partition by account_id, asset, wallet order by event_id
    ) as outstanding
  from trading.position_events
  where account_id = any(cast(:account_ids as bigint[]))
    and cause <> 'ledger'
    and reason = any(cast(:residual_reasons as text[]))
),
settled as (
  select account_id, asset, wallet, max(event_id) filter (where outstanding = 0) as event_id
  from adjusted
  group by account_id, asset, wallet
),
unexplained as (
  select a.account_id, a.asset, a.wallet, min(a.effective_at) as since
  from adjusted a
  join settled s using (account_id, asset, wallet)
  where s.event_id is null
     or a.event_id > s.event_id
  group by a.account_id, a.asset, a.wallet
)
select
  u.account_id,
  case when bool_and(e.entry_time is not null) then min(e.entry_time) end as after
from unexplained u
left join lateral (
  select max(entry_time) as entry_time
  from trading.ledger_entries
  where (account_id, asset, wallet) = (u.account_id, u.asset, u.wallet)
    and entry_time <= u.since
) e on true
group by u.account_id;

-- name: load_tolerances
-- Read the tolerances that the desk set for single assets.
select account_id, asset, quantity, value
from trading.tolerances
where account_id = any(cast(:account_ids as bigint[]));

-- name: finished_runs
-- Find the runs of an interval that succeeded.
select account_id, run_id
from trading.reconciliation_runs
where account_id = any(cast(:account_ids as bigint[]))
  and interval_start = :interval_start
  and interval_end = :interval_end
  and mode = :mode
  and status = 'succeeded';

-- name: snapshot
-- Say which transactions are over, and so seen by whoever looks now.
select cast(pg_current_snapshot() as text) as snapshot;

-- name: compare
-- Compare balance replies with positions, and positions with their newest event (which is the sum of them all);
-- a settled residual counts as agreement and is named apart, and so does what Kraken shows under another wallet.
-- What was written by a transaction that was not over when Kraken was asked agrees with nothing: what it booked may
-- come to as much as something else that was missed.
with asked as materialized (
  select
    a.snapshot,
    pg_snapshot_xmax(a.snapshot) as next,
    age(cast(pg_snapshot_xmin(a.snapshot) as xid)) as oldest_age,
    age(cast(pg_snapshot_xmax(a.snapshot) as xid)) as next_age
  from (select cast(:asked_in as pg_snapshot) as snapshot) a
),
reported as (
  select *
  from unnest(
    cast(:account_ids as bigint[]),
    cast(:assets as text[]),
    cast(:wallets as text[]),
    cast(:balances as numeric[]),
    cast(:available as numeric[])
  ) as r(account_id, asset, wallet, balance, available)
),
recorded as (
  select
    p.account_id, p.asset, p.wallet, p.quantity, p.available_quantity,
    case
      when age(p.xmin) between 0 and a.oldest_age then not pg_visible_in_snapshot(
        -- A row keeps the lower half of a transaction's number.
        cast(cast(cast(cast(a.next as text) as bigint) - (age(p.xmin) - a.next_age) as text) as xid8),
        a.snapshot
      )
      else false
    end as is_new
  from trading.positions p
  cross join asked a
  where p.account_id = any(cast(:replied as bigint[]))
),
settled as (
  select s.account_id, s.asset, s.wallet, s.residual
  from trading.residuals s
  where s.account_id = any(cast(:replied as bigint[]))
    and s.is_settled
),
joined as (
  select
    account_id,
    asset,
    wallet,
    coalesce(p.quantity, 0) as quantity,
    coalesce(r.balance, 0) - coalesce(p.quantity, 0) as drift,
    coalesce(r.available, 0) <> p.available_quantity as available_differs,
    coalesce(p.is_new, false) as is_new
  from reported r
  full join recorded p using (account_id, asset, wallet)
),
-- Materialized, because the look at the newest event would otherwise be repeated wherever its result is used.
traced as materialized (
  select
    j.*,
    j.quantity <> coalesce(
      (
        select v.quantity_after
        from trading.position_events v
        where (v.account_id, v.asset, v.wallet) = (j.account_id, j.asset, j.wallet)
        order by v.event_id desc
        limit 1
      ),
      0
    ) as changed_silently
  from joined j
),
-- What agrees in every way is only counted.
noted as materialized (
  select *
  from traced
  where drift <> 0 or changed_silently or available_differs or is_new
),
neutral as (
  select account_id, asset
  from noted
  where drift <> 0
  group by account_id, asset
  having sum(drift) = 0
),
known as (
  select
    t.*,
    t.drift <> 0 and t.drift is not distinct from s.residual and not t.changed_silently as is_known,
    n.asset is not null as is_neutral
  from noted t
  left join settled s using (account_id, asset, wallet)
  left join neutral n using (account_id, asset)
),
judged as (
  select
    *,
    is_known and not is_neutral as is_settled,
    is_known and is_neutral as is_folded,
    (drift <> 0 and not is_known) or changed_silently or is_new as is_differing
  from known
),
named as (
  select
    account_id,
    array_agg(asset) filter (where is_differing) as differing_assets,
    array_agg(wallet) filter (where is_differing) as differing_wallets,
    array_agg(drift) filter (where is_differing) as differing_drifts,
    array_agg(asset) filter (where is_settled) as settled_assets,
    array_agg(wallet) filter (where is_settled) as settled_wallets,
    array_agg(drift) filter (where is_settled) as settled_drifts,
    array_agg(asset) filter (where is_folded) as folded_assets,
    array_agg(wallet) filter (where is_folded) as folded_wallets,
    array_agg(asset) filter (where available_differs) as available_assets,
    array_agg(wallet) filter (where available_differs) as available_wallets
  from judged
  group by account_id
),
counted as (
  select account_id, count(*) as checked, count(*) filter (where quantity <> 0) as all_positions
  from traced
  group by account_id
)
select *
from counted
left join named using (account_id);

-- name: open_account
-- Claim the opening of an account; no row when it is open already.
update trading.accounts
set opened_at = now(),
    opening_source = :source,
    ledger_floor = :ledger_floor
where account_id = :account_id
  and opened_at is null
returning account_id;

-- name: insert_openings
-- Write the opening events of locked positions. A position that somebody filled in without any event stays as it
-- is, and is judged against its opening like any other.
with opened as (
  select
    o.asset,
    o.wallet,
    o.quantity,
    (
      select v.quantity_after
      from trading.position_events v
      where (v.account_id, v.asset, v.wallet) = (:account_id, o.asset, o.wallet)
      order by v.event_id desc
      limit 1
    ) as before
  from unnest(
    cast(:assets as text[]), cast(:wallets as text[]), cast(:quantities as numeric[])
  ) as o(asset, wallet, quantity)
),
moved as (
  update trading.positions p
  set quantity = p.quantity + o.quantity,
      updated_at = now()
  from opened o
  where (p.account_id, p.asset, p.wallet) = (:account_id, o.asset, o.wallet)
    and (p.quantity = 0 or o.before is not null)
)
insert into trading.position_events (
  account_id, asset, wallet, quantity_before, quantity_after, cause, run_id, effective_at
)
select
  :account_id, asset, wallet, coalesce(before, 0), coalesce(before, 0) + quantity, 'opening', :run_id, :effective_at
from opened
order by asset, wallet;

-- name: advance_proofs
-- Move on, in account order, up to where each ledger is proved: its watermark, to the newest entry up to which a sync
-- found nothing missing; and up to when it was read without a gap, of currencies and of tokenized assets. A stretch that
-- begins beyond that leaves a gap, in which missed entries may cancel out, and does not count. One new version of a row.
with newest as (
  select account_id, max(ingest_seq) as ingest_seq
  from trading.ledger_entries
  join unnest(cast(:account_ids as bigint[]), cast(:ledger_ids as text[])) as i(account_id, ledger_id)
    using (account_id, ledger_id)
  group by account_id
  union all
  select m.account_id, e.ingest_seq
  from unnest(cast(:matched as bigint[]), cast(:matched_at as timestamptz[])) as m(account_id, matched_at)
  cross join lateral (
    select ingest_seq
    from trading.ledger_entries
    where account_id = m.account_id
      and entry_time <= m.matched_at
    order by entry_time desc
    limit 1
  ) e
),
proved as (
  select account_id, n.ingest_seq, c.after, c.read_until, t.read_until as tokenized_until
  from newest n
  full join unnest(
    cast(:covered as bigint[]), cast(:covered_after as timestamptz[]), cast(:covered_until as timestamptz[])
  ) as c(account_id, after, read_until) using (account_id)
  full join unnest(cast(:tokenized as bigint[]), cast(:tokenized_until as timestamptz[]))
    as t(account_id, read_until) using (account_id)
),
locked as (
  select
    a.account_id,
    greatest(a.ledger_watermark, p.ingest_seq) as ledger_watermark,
    case when p.after is null or p.after <= coalesce(a.ledger_read_until, a.ledger_floor)
      then greatest(a.ledger_read_until, p.read_until)
      else a.ledger_read_until end as ledger_read_until,
    greatest(a.tokenized_read_until, p.tokenized_until) as tokenized_read_until
  from trading.accounts a
  join proved p using (account_id)
  where a.ledger_watermark < p.ingest_seq
     or (
       (p.after is null or p.after <= coalesce(a.ledger_read_until, a.ledger_floor))
       and (a.ledger_read_until is null or a.ledger_read_until < p.read_until)
       and p.read_until is not null
     )
     or (
       (a.tokenized_read_until is null or a.tokenized_read_until < p.tokenized_until)
       and p.tokenized_until is not null
     )
  order by a.account_id
  for no key update of a
)
update trading.accounts a
set ledger_watermark = locked.ledger_watermark,
    ledger_read_until = locked.ledger_read_until,
    tokenized_read_until = locked.tokenized_read_until
from locked
where a.account_id = locked.account_id;

-- name: accept_missing
-- Keep how many entries Kraken counts and does not show, as a person accepted; none ends that.
update trading.accounts
set missing_accepted = cast(:entries as int),
    missing_accepted_until = cast(:until as timestamptz)
where account_id = :account_id;

-- name: remember_residuals
-- Keep the residuals that a coherent reading saw.
insert into trading.residuals
select r.*
from jsonb_populate_recordset(cast(null as trading.residuals), cast(:residuals as jsonb)) as r
order by r.account_id, r.asset, r.wallet
on conflict (account_id, asset, wallet) do update
set residual = excluded.residual,
    first_seen_at = excluded.first_seen_at,
    last_seen_at = excluded.last_seen_at,
    confirmations = excluded.confirmations,
    is_settled = excluded.is_settled;

-- name: record_runs
-- Write runs, replacing an earlier try at the same interval that did not succeed; return the ids written. The counts are
-- those of the table of counts; only a run as of the past says as of when its books are.
insert into trading.reconciliation_runs (
  run_id, account_id, interval_start, interval_end, mode, status, trigger, recorded_as_of, reported_as_of,
  reported_head, {counts}, entries_ingested, api_calls, seconds, lock_hold_ms, note, error, dag_id, dag_run_id
)
select
  run_id, account_id, interval_start, interval_end, mode, status, trigger, coalesce(recorded_as_of, clock_timestamp()),
  reported_as_of, reported_head, {counts}, entries_ingested, api_calls, seconds, lock_hold_ms, note, error, dag_id,
  dag_run_id
from jsonb_populate_recordset(cast(null as trading.reconciliation_runs), cast(:runs as jsonb))
order by run_id
on conflict (run_id) do update
set status = excluded.status,
    trigger = excluded.trigger,
    recorded_as_of = excluded.recorded_as_of,
    reported_as_of = excluded.reported_as_of,
    reported_head = excluded.reported_head,
    ({counts}) = row({new_counts}),
    entries_ingested = excluded.entries_ingested
      + case when reconciliation_runs.mode = 'repair' then reconciliation_runs.entries_ingested else 0 end,
    api_calls = reconciliation_runs.api_calls + excluded.api_calls,
    seconds = excluded.seconds,
    lock_hold_ms = excluded.lock_hold_ms,
    note = excluded.note,
    error = excluded.error,
    dag_id = excluded.dag_id,
    dag_run_id = excluded.dag_run_id
where reconciliation_runs.status <> 'succeeded'
returning run_id;

-- name: forget_discrepancies
-- Forget what earlier tries at these runs found.
delete from trading.discrepancies
where run_id = any(cast(:run_ids as uuid[]));

-- name: insert_discrepancies
-- Write what differed; a later try at the same run adds to what an earlier one found.
insert into trading.discrepancies (
  run_id, account_id, asset, wallet, db_quantity, exchange_quantity, explained, database_drift, residual, action,
  ledger_ids
)
select
  d.run_id, d.account_id, d.asset, d.wallet, d.db_quantity, d.exchange_quantity, d.explained, d.database_drift,
  d.residual, d.action, coalesce(string_to_array(nullif(d.ledger_ids, ''), ' '), '{}')
from unnest(
  cast(:run_ids as uuid[]),
  cast(:account_ids as bigint[]),
  cast(:assets as text[]),
  cast(:wallets as text[]),
  cast(:db_quantities as numeric[]),
  cast(:exchange_quantities as numeric[]),
  cast(:explained as numeric[]),
  cast(:database_drifts as numeric[]),
  cast(:residuals as numeric[]),
  cast(:actions as text[]),
  cast(:ledger_ids as text[])
) as d(
  run_id, account_id, asset, wallet, db_quantity, exchange_quantity, explained, database_drift, residual, action,
  ledger_ids
)
on conflict (run_id, asset, wallet) do update
set exchange_quantity = excluded.exchange_quantity,
    explained = discrepancies.explained + excluded.explained,
    database_drift = discrepancies.database_drift + excluded.database_drift,
    residual = excluded.exchange_quantity - discrepancies.db_quantity
      - discrepancies.explained - excluded.explained
      - discrepancies.database_drift - excluded.database_drift,
    action = excluded.action,
    ledger_ids = discrepancies.ledger_ids || excluded.ledger_ids;
