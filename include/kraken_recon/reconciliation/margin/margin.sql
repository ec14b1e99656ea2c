-- Open margin positions. Written after positions, accounts and residuals in a transaction, and before alerts; rows are
-- locked in primary-key order.

-- name: states
-- Tell when accounts were last asked for their positions, and how many are on record as not closed.
select
  a.account_id,
  c.checked_at,
  (
    select count(*)
    from trading.margin_positions p
    where p.account_id = a.account_id
      and p.status <> 'closed'
  ) as on_record
from unnest(cast(:account_ids as bigint[])) as a(account_id)
left join trading.margin_checks c using (account_id);

-- name: lock
-- Lock and read the positions that are not closed, and those named.
select p.*
from trading.margin_positions p
left join unnest(cast(:named_account_ids as bigint[]), cast(:position_ids as text[]))
  as n(account_id, position_id) using (account_id, position_id)
where p.account_id = any(cast(:account_ids as bigint[]))
  and (p.status <> 'closed' or n.position_id is not null)
order by p.account_id, p.position_id
for no key update of p;

-- name: read
-- Read the same without a lock.
select p.*
from trading.margin_positions p
left join unnest(cast(:named_account_ids as bigint[]), cast(:position_ids as text[]))
  as n(account_id, position_id) using (account_id, position_id)
where p.account_id = any(cast(:account_ids as bigint[]))
  and (p.status <> 'closed' or n.position_id is not null);

-- name: entries
-- Read the entries of these types since the oldest position was opened, and those under a position's own id, as far as
-- they have explained nothing yet.
select
  e.account_id, e.ingest_seq, e.ledger_id, e.refid, e.entry_time, e.type as entry_type, e.subtype, e.asset, e.wallet,
  e.amount, e.fee, e.balance
from unnest(cast(:account_ids as bigint[]), cast(:since as timestamptz[])) as a(account_id, since)
cross join lateral (
  select *
  from trading.ledger_entries
  where account_id = a.account_id
    and entry_time >= a.since
  offset 0
) e
where e.type = any(cast(:types as text[]))
  and not exists (
    select
    from trading.margin_position_events v
    where v.account_id = e.account_id
      and v.is_applied
      and e.ledger_id = any(v.ledger_ids)
  );

-- name: newest_entries
-- Name the place up to which each account's entries are recorded.
select account_id, max(ingest_seq) as ingest_seq
from trading.ledger_entries
where account_id = any(cast(:account_ids as bigint[]))
group by account_id;

-- name: write_positions
-- Bring positions to what was found; a new one is created, and none is ever deleted.
insert into trading.margin_positions (
  account_id, position_id, status, order_id, pair, side, order_type, opened_at, volume, volume_closed, cost, fee,
  margin, terms, rollover_at, value, net, ledger_seq, doubted_since, doubt, first_seen_run_id, last_seen_run_id,
  last_seen_at
)
select
  account_id, position_id, status, order_id, pair, side, order_type, opened_at, volume, volume_closed, cost, fee,
  margin, terms, rollover_at, value, net, ledger_seq, doubted_since, doubt, last_seen_run_id, last_seen_run_id,
  last_seen_at
from jsonb_populate_recordset(cast(null as trading.margin_positions), cast(:positions as jsonb))
order by account_id, position_id
on conflict (account_id, position_id) do update
set status = excluded.status,
    order_id = excluded.order_id,
    pair = excluded.pair,
    side = excluded.side,
    order_type = excluded.order_type,
    opened_at = excluded.opened_at,
    volume = excluded.volume,
    volume_closed = excluded.volume_closed,
    cost = excluded.cost,
    fee = excluded.fee,
    margin = excluded.margin,
    ledger_seq = excluded.ledger_seq,
    doubted_since = excluded.doubted_since,
    doubt = excluded.doubt,
    updated_at = now();

-- name: write_events
-- Append what was found, in the order given.
insert into trading.margin_position_events (
  account_id, position_id, action, is_applied, is_explained, before, after, ledger_ids, run_id, effective_at
)
select
  account_id, position_id, action, is_applied, is_explained, before, after, ledger_ids, run_id, effective_at
from jsonb_populate_recordset(cast(null as trading.margin_position_events), cast(:events as jsonb)) with ordinality
order by ordinality;

-- name: see
-- Remember what changes by itself of the positions that were seen just now.
update trading.margin_positions p
set terms = n.terms,
    rollover_at = n.rollover_at,
    value = n.value,
    net = n.net,
    last_seen_run_id = n.last_seen_run_id,
    last_seen_at = n.last_seen_at
from jsonb_populate_recordset(cast(null as trading.margin_positions), cast(:positions as jsonb)) as n
where (p.account_id, p.position_id) = (n.account_id, n.position_id)
  and p.last_seen_at <= n.last_seen_at;

-- name: checked
-- Remember that accounts were asked.
insert into trading.margin_checks (account_id, checked_at, run_id)
select *
from unnest(cast(:account_ids as bigint[]), cast(:checked_at as timestamptz[]), cast(:run_ids as uuid[]))
  as c(account_id, checked_at, run_id)
order by c.account_id
on conflict (account_id) do update
set checked_at = greatest(margin_checks.checked_at, excluded.checked_at),
    run_id = excluded.run_id;

-- name: open_positions
-- Read the positions that are not closed, of these accounts.
select a.name, p.*
from trading.margin_positions p
join trading.accounts a using (account_id)
where p.status <> 'closed'
  and a.name = any(cast(:names as text[]))
order by a.name, p.opened_at, p.position_id;

-- name: changes
-- Read what runs found of margin positions.
select v.*
from trading.margin_position_events v
where v.run_id = any(cast(:run_ids as uuid[]))
order by v.event_id;
