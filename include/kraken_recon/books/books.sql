-- The rows of position_sync. Keys always travel as parallel arrays, so that one statement serves one account
-- or a thousand. Locks are taken in primary-key order by every writer: ledger_entries, then positions (all of a
-- transaction's in one statement), then accounts, then residuals, then plans, then alerts. Only the opening of an account
-- takes its row of accounts before its positions: whoever meets it there has nothing of that account yet.

-- name: find_explained
-- Lock the alerts about holdings of these accounts whose adjustments are all explained and taken back by now; what somebody
-- holds is left to the next run.
select a.alert_id
from trading.alerts a
where a.account_id = any(cast(:account_ids as bigint[]))
  and a.kind = :kind
  and a.status <> 'resolved'
  and coalesce(
    (
      select sum(v.quantity_after - v.quantity_before)
      from trading.position_events v
      where (v.account_id, v.asset, v.wallet) = (a.account_id, a.asset, a.wallet)
        and v.cause <> 'ledger'
        and v.reason = any(cast(:residual_reasons as text[]))
    ),
    0
  ) = 0
order by a.account_id, a.asset, a.wallet
for no key update of a skip locked;

-- name: entries_after
-- Read the recorded entries of an account later than a moment.
select ledger_id, refid, entry_time, type as entry_type, subtype, asset, wallet, amount, fee, balance
from trading.ledger_entries
where account_id = :account_id
  and (cast(:after as timestamptz) is null or entry_time > cast(:after as timestamptz))
order by entry_time, ingest_seq;

-- name: balances_at
-- Sum openings and recorded entries up to a moment, per holding; without a moment the openings alone.
select asset, wallet, sum(change) as balance
from (
  select asset, wallet, quantity_after - quantity_before as change
  from trading.position_events
  where account_id = :account_id
    and cause = 'opening'
  union all
  select asset, wallet, amount - fee
  from trading.ledger_entries
  where account_id = :account_id
    and entry_time <= cast(:at as timestamptz)
) as changes
group by asset, wallet;

-- name: respell_history
-- Call the wallets of holdings by other names in entries and events, all at once. Not one quantity changes.
select trading.respell(
  :account_id, cast(:assets as text[]), cast(:old as text[]), cast(:new as text[])
);

-- name: seal_respelled
-- Note that events are to be sealed again: they are told by other names than they were sealed by.
insert into trading.seals_due (subject, keys, note)
select 'position_events', array_agg(v.event_id::text order by v.event_id), 'wallets are called otherwise'
from trading.position_events v
where v.account_id = :account_id
  and (v.asset, v.wallet) in (
    select n.asset, n.new
    from unnest(cast(:assets as text[]), cast(:old as text[]), cast(:new as text[])) as n(asset, old, new)
  )
having count(*) > 0;

-- name: respell_positions
-- Let the locked positions stand under the new names, added up where one has several, and nothing under the old.
with names as (
  select n.asset, n.old, n.new
  from unnest(cast(:assets as text[]), cast(:old as text[]), cast(:new as text[])) as n(asset, old, new)
),
touched as (
  select asset, old as wallet from names
  union
  select asset, new from names
),
stood as (
  select
    p.asset,
    coalesce(n.new, p.wallet) as wallet,
    sum(p.quantity) as quantity,
    sum(p.available_quantity) as available_quantity,
    max(p.avg_cost) as avg_cost
  from trading.positions p
  join touched using (asset, wallet)
  left join names n on (n.asset, n.old) = (p.asset, p.wallet)
  where p.account_id = :account_id
  group by 1, 2
)
update trading.positions p
set quantity = coalesce(s.quantity, 0),
    available_quantity = coalesce(s.available_quantity, 0),
    avg_cost = coalesce(s.avg_cost, p.avg_cost),
    updated_at = now()
from touched t
left join stood s using (asset, wallet)
where (p.account_id, p.asset, p.wallet) = (:account_id, t.asset, t.wallet);

-- name: outdate_respelled
-- Close the open plans that are held under a wallet's old name, and say why: what they would write is called otherwise.
with named as (
  select distinct p.plan_id
  from trading.repair_plans p
  join trading.repair_plan_rows r using (plan_id)
  join unnest(cast(:assets as text[]), cast(:old as text[]), cast(:new as text[])) as n(asset, old, new)
    on (n.asset, n.old) = (r.asset, r.wallet)
  where p.account_id = :account_id
    and p.kind = 'held'
    and p.closed_at is null
)
update trading.repair_plans p
set closed_at = now(),
    status = case when p.status in ('held', 'approved') then 'outdated' else p.status end,
    note = concat_ws('; ', p.note, 'Kraken calls a wallet of it otherwise by now: what still differs is asked about anew')
from named
where p.plan_id = named.plan_id;

-- name: correct_entry
-- Replace one telling of a recorded entry by another, where the record still is the old one.
select ledger_id
from trading.correct_entry(
  :account_id,
  :ledger_id,
  jsonb_build_object(
    'refid', cast(:old_refid as text), 'entry_time', cast(:old_entry_time as timestamptz),
    'type', cast(:old_entry_type as text), 'subtype', cast(:old_subtype as text),
    'asset', cast(:old_asset as text), 'wallet', cast(:old_wallet as text),
    'amount', cast(:old_amount as numeric), 'fee', cast(:old_fee as numeric), 'balance', cast(:old_balance as numeric)
  ),
  jsonb_build_object(
    'refid', cast(:refid as text), 'entry_time', cast(:entry_time as timestamptz),
    'type', cast(:entry_type as text), 'subtype', cast(:subtype as text),
    'asset', cast(:asset as text), 'wallet', cast(:wallet as text),
    'amount', cast(:amount as numeric), 'fee', cast(:fee as numeric), 'balance', cast(:balance as numeric)
  )
) as corrected(ledger_id);

-- name: ingest
-- Insert the entries that are not recorded yet and return them; whoever comes first wins, the other does nothing.
insert into trading.ledger_entries (
  account_id, ledger_id, refid, entry_time, type, subtype, asset, wallet, amount, fee, balance, run_id
)
select *
from unnest(
  cast(:account_ids as bigint[]),
  cast(:ledger_ids as text[]),
  cast(:refids as text[]),
  cast(:entry_times as timestamptz[]),
  cast(:types as text[]),
  cast(:subtypes as text[]),
  cast(:assets as text[]),
  cast(:wallets as text[]),
  cast(:amounts as numeric[]),
  cast(:fees as numeric[]),
  cast(:balances as numeric[]),
  cast(:run_ids as uuid[])
) as e(account_id, ledger_id, refid, entry_time, type, subtype, asset, wallet, amount, fee, balance, run_id)
order by e.account_id, e.ledger_id
on conflict (account_id, ledger_id) do nothing
returning account_id, ledger_id;

-- name: known_ids
-- Tell which entries are recorded.
select e.account_id, e.ledger_id
from trading.ledger_entries e
join unnest(cast(:account_ids as bigint[]), cast(:ledger_ids as text[])) as k(account_id, ledger_id)
  using (account_id, ledger_id);

-- name: arrived_meanwhile
-- Sum the entries later than each reading's start that the reading did not see. Lateral, and fenced by the offset,
-- so that each account is one short walk of the index by time, however long all ledgers together have grown.
select e.account_id, e.asset, e.wallet, sum(e.amount - e.fee) as change
from unnest(cast(:replied as bigint[]), cast(:after as timestamptz[])) as r(account_id, after)
cross join lateral (
  select *
  from trading.ledger_entries
  where account_id = r.account_id
    and entry_time > coalesce(r.after, '-infinity')
  offset 0
) e
where not exists (
  select
  from unnest(cast(:account_ids as bigint[]), cast(:ledger_ids as text[])) as seen(account_id, ledger_id)
  where seen.account_id = e.account_id
    and seen.ledger_id = e.ledger_id
)
group by e.account_id, e.asset, e.wallet;

-- name: create_positions
-- Create the positions that do not exist yet, at zero.
insert into trading.positions (account_id, asset, wallet)
select k.account_id, k.asset, k.wallet
from unnest(cast(:account_ids as bigint[]), cast(:assets as text[]), cast(:wallets as text[]))
  as k(account_id, asset, wallet)
where not exists (
  select
  from trading.positions p
  where (p.account_id, p.asset, p.wallet) = (k.account_id, k.asset, k.wallet)
)
order by k.account_id, k.asset, k.wallet
on conflict do nothing;

-- name: lock_positions
-- Lock exactly these positions, in key order; NO KEY, because child rows may go on referring to them.
select p.account_id
from trading.positions p
join unnest(cast(:account_ids as bigint[]), cast(:assets as text[]), cast(:wallets as text[]))
  as k(account_id, asset, wallet) using (account_id, asset, wallet)
order by p.account_id, p.asset, p.wallet
for no key update of p;

-- name: recorded
-- Read positions with the totals of their events, entries and outstanding adjustments. Lateral, and fenced by the offset,
-- so that each is one short walk of an index.
select
  account_id,
  asset,
  wallet,
  coalesce(p.quantity, 0) as quantity,
  coalesce(events.event_total, 0) as event_total,
  coalesce(events.opening_total, 0) + coalesce(entries.entry_total, 0) as ledger_total,
  coalesce(events.adjustment_total, 0) as adjustment_total,
  events.adjusted_at
from unnest(cast(:account_ids as bigint[]), cast(:assets as text[]), cast(:wallets as text[]))
  as k(account_id, asset, wallet)
left join trading.positions p using (account_id, asset, wallet)
cross join lateral (
  select
    sum(v.quantity_after - v.quantity_before) as event_total,
    sum(v.quantity_after - v.quantity_before) filter (where v.cause = 'opening') as opening_total,
    sum(v.quantity_after - v.quantity_before)
      filter (where v.reason = any(cast(:residual_reasons as text[]))) as adjustment_total,
    max(v.effective_at) filter (where v.reason = any(cast(:residual_reasons as text[]))) as adjusted_at
  from trading.position_events v
  where (v.account_id, v.asset, v.wallet) = (k.account_id, k.asset, k.wallet)
  offset 0
) events
cross join lateral (
  select sum(e.amount - e.fee) as entry_total
  from trading.ledger_entries e
  where (e.account_id, e.asset, e.wallet) = (k.account_id, k.asset, k.wallet)
  offset 0
) entries;

-- name: insert_events
-- Append the events, in the order given.
insert into trading.position_events (
  account_id, asset, wallet, quantity_before, quantity_after, cause, reason, ledger_id, run_id, effective_at, plan_id
)
select account_id, asset, wallet, quantity_before, quantity_after, cause, reason, ledger_id, run_id, effective_at,
  plan_id
from unnest(
  cast(:account_ids as bigint[]),
  cast(:assets as text[]),
  cast(:wallets as text[]),
  cast(:before as numeric[]),
  cast(:after as numeric[]),
  cast(:causes as text[]),
  cast(:reasons as text[]),
  cast(:ledger_ids as text[]),
  cast(:run_ids as uuid[]),
  cast(:effective_at as timestamptz[]),
  cast(:plan_ids as uuid[])
) with ordinality as e(
  account_id, asset, wallet, quantity_before, quantity_after, cause, reason, ledger_id, run_id, effective_at, plan_id,
  place
)
order by e.place;

-- name: move_positions
-- Move locked positions to where their events end, and bring what is available up to date where it differs and this
-- reading is newer: one new version of each row. Without a quantity, or a reading, that part stays.
update trading.positions p
set quantity = coalesce(n.quantity, p.quantity),
    updated_at = case when n.quantity is null then p.updated_at else now() end,
    available_quantity = case when n.is_news then n.available else p.available_quantity end,
    available_as_of = case when n.is_news then n.as_of else p.available_as_of end
from (
  select k.*, old.available_quantity <> k.available
    and (old.available_as_of is null or old.available_as_of < k.as_of) as is_news
  from unnest(
    cast(:account_ids as bigint[]),
    cast(:assets as text[]),
    cast(:wallets as text[]),
    cast(:quantities as numeric[]),
    cast(:available as numeric[]),
    cast(:as_of as timestamptz[])
  ) as k(account_id, asset, wallet, quantity, available, as_of)
  join trading.positions old using (account_id, asset, wallet)
) as n
where (p.account_id, p.asset, p.wallet) = (n.account_id, n.asset, n.wallet)
  and (n.quantity is not null or n.is_news)
returning n.quantity is not null as is_moved;

-- name: forget_residuals
-- Forget residuals that went away.
delete from trading.residuals r
using unnest(cast(:account_ids as bigint[]), cast(:assets as text[]), cast(:wallets as text[]))
  as k(account_id, asset, wallet)
where (r.account_id, r.asset, r.wallet) = (k.account_id, k.asset, k.wallet);
