-- Read-only views for people: the report, the statement of an account, the dashboard.

-- name: latest_runs
-- Read the newest run of each active account, and when it was last proven; accounts never run come with nulls.
select
  a.name,
  r.*,
  p.proven_at,
  a.ledger_read_until as ledger_proven_at,
  extract(epoch from now() - a.ledger_read_until)::bigint as ledger_proof_age_seconds
from trading.accounts a
left join lateral (
  select *
  from trading.reconciliation_runs r
  where r.account_id = a.account_id
  order by r.recorded_as_of desc
  limit 1
) r on true
left join trading.newest_proofs p on p.account_id = a.account_id
where a.is_active
  and (cast(:names as text[]) is null or a.name = any(cast(:names as text[])))
order by a.name;

-- name: runs
-- Read runs by id, with their account's name.
select
  r.*,
  a.name,
  a.ledger_read_until as ledger_proven_at,
  extract(epoch from now() - a.ledger_read_until)::bigint as ledger_proof_age_seconds
from trading.reconciliation_runs r
join trading.accounts a using (account_id)
where r.run_id = any(cast(:run_ids as uuid[]))
order by a.name;

-- name: findings_of
-- Read the discrepancies of runs.
select
  d.run_id,
  a.name,
  d.asset,
  d.wallet,
  d.db_quantity,
  d.exchange_quantity,
  d.drift,
  d.explained,
  d.unexplained,
  d.database_drift,
  d.residual,
  d.action,
  d.ledger_ids,
  coalesce(entries.types, '{}') as entry_types
from trading.discrepancies d
join trading.accounts a using (account_id)
left join lateral (
  select array_agg(distinct e.type order by e.type) as types
  from trading.ledger_entries e
  where e.account_id = d.account_id
    and e.ledger_id = any(d.ledger_ids)
) entries on true
where d.run_id = any(cast(:run_ids as uuid[]))
order by a.name, d.asset, d.wallet;

-- name: account_id
-- Find an account by name, active or not.
select account_id
from trading.accounts
where name = :name;

-- name: was_held
-- Say whether anything is on record of an asset of an account.
select
  exists (select from trading.ledger_entries e where e.account_id = :account_id and e.asset = :asset)
  or exists (select from trading.positions p where p.account_id = :account_id and p.asset = :asset)
  or exists (select from trading.position_events v where v.account_id = :account_id and v.asset = :asset)
  or exists (select from trading.discrepancies d where d.account_id = :account_id and d.asset = :asset) as was_held;

-- name: statement_opening
-- Sum what an asset opened with.
select coalesce(sum(quantity_after - quantity_before), 0) as opening
from trading.position_events
where account_id = :account_id
  and asset = :asset
  and cause = 'opening'
  and effective_at <= :at;

-- name: statement_entries
-- Read an asset's ledger entries up to a moment, oldest first.
select ledger_id, refid, entry_time, type, subtype, wallet, amount, fee, balance
from trading.ledger_entries
where account_id = :account_id
  and asset = :asset
  and entry_time <= :at
order by entry_time, ingest_seq;

-- name: statement_adjustments
-- Read what was written without a ledger entry, up to a moment.
select wallet, effective_at, reason, quantity_before, quantity_after, run_id
from trading.position_events
where account_id = :account_id
  and asset = :asset
  and cause = 'adjustment'
  and effective_at <= :at
order by event_id;

-- name: statement_residual
-- Sum the residuals of an asset that are seen now and not written anywhere.
select coalesce(sum(residual), 0) as residual
from trading.residuals
where account_id = :account_id
  and asset = :asset
  and first_seen_at <= :at;

-- name: statement_wallets
-- Name the wallets of an asset's ledger entries; one look into the index for each.
with recursive wallets as (
  (
    select e.wallet
    from trading.ledger_entries e
    where e.account_id = :account_id
      and e.asset = :asset
    order by e.wallet
    limit 1
  )
  union all
  select (
    select e.wallet
    from trading.ledger_entries e
    where e.account_id = :account_id
      and e.asset = :asset
      and e.wallet > w.wallet
    order by e.wallet
    limit 1
  )
  from wallets w
  where w.wallet is not null
)
select wallet
from wallets
where wallet is not null;

-- name: statement_page
-- Read a page of an asset's ledger entries up to a moment, newest first; from each wallet, so that an index leads.
select p.*
from unnest(cast(:wallets as text[])) as w(wallet)
cross join lateral (
  select
    e.ledger_id, e.refid, e.entry_time, e.ingest_seq, e.type, e.subtype, e.wallet, e.amount, e.fee, e.balance
  from trading.ledger_entries e
  where e.account_id = :account_id
    and e.asset = :asset
    and e.wallet = w.wallet
    and e.entry_time <= :at
    and (
      cast(:time as timestamptz) is null
      or (
        e.entry_time <= cast(:time as timestamptz)
        and (e.entry_time, e.ingest_seq) < (cast(:time as timestamptz), cast(:seq as bigint))
      )
    )
  order by e.entry_time desc, e.ingest_seq desc
  limit :most
) p
order by p.entry_time desc, p.ingest_seq desc
limit :most;

-- name: statement_after
-- Read the next of an asset's ledger entries up to a moment, oldest first.
select p.*
from unnest(cast(:wallets as text[])) as w(wallet)
cross join lateral (
  select
    e.ledger_id, e.refid, e.entry_time, e.ingest_seq, e.type, e.subtype, e.wallet, e.amount, e.fee, e.balance
  from trading.ledger_entries e
  where e.account_id = :account_id
    and e.asset = :asset
    and e.wallet = w.wallet
    and e.entry_time <= :at
    and e.entry_time >= cast(:time as timestamptz)
    and (e.entry_time, e.ingest_seq) > (cast(:time as timestamptz), cast(:seq as bigint))
  order by e.entry_time, e.ingest_seq
  limit :most
) p
order by p.entry_time, p.ingest_seq
limit :most;

-- name: statement_total
-- Sum an asset's entries up to a moment.
select coalesce(sum(e.amount - e.fee), 0) as total
from trading.ledger_entries e
where e.account_id = :account_id
  and e.asset = :asset
  and e.entry_time <= :at;

-- name: statement_newer
-- Sum an asset's entries up to a moment that are newer than one of them.
select coalesce(sum(e.amount - e.fee), 0) as newer
from trading.ledger_entries e
where e.account_id = :account_id
  and e.asset = :asset
  and e.entry_time <= :at
  and e.entry_time >= cast(:time as timestamptz)
  and (e.entry_time, e.ingest_seq) > (cast(:time as timestamptz), cast(:seq as bigint));

-- name: statement_place
-- Find the newest of these entries of an asset.
select e.entry_time, e.ingest_seq
from trading.ledger_entries e
where e.account_id = :account_id
  and e.asset = :asset
  and e.ledger_id = any(cast(:ledger_ids as text[]))
order by e.entry_time desc, e.ingest_seq desc
limit 1;

-- name: explaining_entries
-- Name the ledger entries that explain what a run of an account found of an asset.
select distinct unnest(d.ledger_ids) as ledger_id
from trading.discrepancies d
where d.run_id = :run_id
  and d.account_id = :account_id
  and d.asset = :asset;

-- name: desk_books
-- Read the desk books about accounts, each with its newest judgement if there is one.
select
  a.name as account, b.book, b.is_fresh, b.run_id, b.status, b.read_at, b.as_of, b.rows, b.agreed, b.waiting,
  b.within_tolerance, b.held, b.differing, b.problems
from trading.current_desk_books(
  cast(:declared_books as text[]), cast(:declared_accounts as text[]), :are_declarations_seen,
  array(select n.account_id from trading.accounts n where n.name = any(cast(:names as text[])))
) b
join trading.accounts a using (account_id)
order by a.name, b.book;

-- name: desk_differences
-- Read what runs found in desk books, of one asset or of all, and what became of it.
select
  d.run_id, d.book, d.asset, d.is_cash, d.proven, d.desk, d.difference, d.explanation, d.ledger_ids, d.alternatives,
  d.action, d.reason, d.write_state
from unnest(cast(:run_ids as uuid[]), cast(:books as text[])) as n(run_id, book)
join trading.told_desk_differences d using (run_id, book)
where cast(:asset as text) is null or d.asset = :asset
order by d.book, d.asset, d.is_cash;

-- name: desk_book_counts
-- Count how each desk book stands over the active accounts that it is about.
select
  b.book, coalesce(sum(b.agreed), 0)::int as agreed, coalesce(sum(b.differing), 0)::int as differing,
  coalesce(sum(b.held), 0)::int as held,
  count(*) filter (where not b.is_fresh or b.status = 'unreadable') as unjudged,
  extract(epoch from now() - min(b.read_at)) as judged_age_seconds
from trading.current_desk_books(
  cast(:declared_books as text[]), cast(:declared_accounts as text[]), :are_declarations_seen, null
) b
join trading.accounts a using (account_id)
where a.is_active
group by b.book
order by b.book;
