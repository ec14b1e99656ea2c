-- The rows of orders. Whoever writes them locks in the same order as everybody: ledger_entries, then positions, then
-- accounts, then orders, then alerts; a decided order is taken under its account's lock, and never waited for.

-- name: add_decision
-- Keep a decision as it came.
insert into trading.order_decisions (decision_key, received_via, payload, received_at)
values (:key, :via, cast(:payload as jsonb), :received_at)
returning decision_id;

-- name: lock_key
-- Let one transaction at a time use a key.
select pg_advisory_xact_lock(hashtextextended('decision_key ' || :key, 0));

-- name: first_of_key
-- Find what a key stands for: the decision under it that was judged by itself, else the first that came.
select decision_id, payload::text as payload, decision_key as key, received_via as via, received_at
from trading.order_decisions
where decision_key = :key
  and first_decision_id is null
  and (
    cast(:judging as bigint) is null
    or (decision_id <> :judging and (status <> 'new' or decision_id < :judging))
  )
order by status = 'new', decision_id
limit 1;

-- name: new_decisions
-- List decisions that nobody has judged yet, oldest first.
select decision_id, payload::text as payload, decision_key as key, received_via as via, received_at
from trading.order_decisions
where status = 'new'
  and (cast(:after as bigint) is null or decision_id > :after)
order by decision_id
limit :limit;

-- name: lock_decision
-- Take a decision to judge it; no row when it is judged, or another session is at it.
select decision_id
from trading.order_decisions
where decision_id = :decision_id
  and status = 'new'
for no key update skip locked;

-- name: judge_decision
-- Say what came of a locked decision.
update trading.order_decisions
set status = case
      when cast(:refusal as text) is not null then 'refused'
      when cast(:first as bigint) is not null then 'repeated'
      else 'accepted'
    end,
    refusal = :refusal,
    order_id = :order_id,
    first_decision_id = :first,
    decision_key = coalesce(:key, decision_key),
    judged_at = now()
where decision_id = :decision_id
  and status = 'new';

-- name: decision
-- Read what came of a decision; of one that repeats another, what came of that one.
select f.status, f.refusal, f.order_id
from trading.order_decisions d
join trading.order_decisions f
  on f.decision_id = case when d.status = 'repeated' then d.first_decision_id else d.decision_id end
where d.decision_id = :decision_id;

-- name: insert_order
-- Write an order that was decided, or one that was found at Kraken; no row where its txid is known already.
insert into trading.orders (
  account_id, source, pair, base, quote, side, order_type, volume, portion, limit_price, trigger_price,
  expected_price, time_in_force, expires_at, is_post_only, is_dry_run, reason, ai_model, ai_prompt_sha256,
  ai_answer, cl_ord_id, kraken_txid, status, status_reason, decided_at, valid_until, answered_at, ended_at
)
values (
  :account_id, :source, :pair, :base, :quote, :side, :order_type, :volume, :portion, :limit_price, :trigger_price,
  :expected_price, :time_in_force, :expires_at, :is_post_only, :is_dry_run, :reason, :ai_model, :ai_prompt_sha256,
  :ai_answer, :cl_ord_id, :kraken_txid, :status, :status_reason, :decided_at, :valid_until, :answered_at, :ended_at
)
on conflict do nothing
returning order_id;

-- name: accounts_at_work
-- Name the active accounts that have orders to place or to follow.
select a.account_id, a.name, a.kraken_conn_id, a.quote_currency
from trading.accounts a
where a.is_active
  and exists (
    select
    from trading.orders o
    where o.account_id = a.account_id
      and (
        o.status in ('decided', 'submitting', 'unknown', 'open')
        or (o.ended_at is not null and o.settled_at is null)
      )
  )
order by a.account_id;

-- name: lock_account
-- Become the only one who sizes orders of this account.
select account_id
from trading.accounts
where account_id = :account_id
for no key update;

-- name: has_decided
-- Find the oldest decided order that is not among those put off.
select order_id, pair
from trading.orders
where account_id = :account_id
  and status = 'decided'
  and order_id <> all(cast(:put_off as bigint[]))
order by order_id
limit 1;

-- name: lock_expired
-- Take the decided orders of one account or of all that may no longer leave.
select *
from trading.orders
where status = 'decided'
  and valid_until <= :now
  and (cast(:account_id as bigint) is null or account_id = :account_id)
order by order_id
for no key update skip locked;

-- name: take_decided
-- Take one decided order, unless another session has taken it meanwhile.
select o.*
from trading.orders o
where o.order_id = :order_id
  and o.status = 'decided'
for no key update skip locked;

-- name: claims_on
-- Sum what orders may still take of an asset that a reading, begun at a moment, may not show: those whose outcome
-- is unknown, and those that Kraken took up since.
select coalesce(sum(reserved), 0) as claimed
from trading.orders
where account_id = :account_id
  and submitted_at is not null
  and not is_dry_run
  and ((side = 'sell' and base = :asset) or (side = 'buy' and quote = :asset))
  and (
    status in ('submitting', 'unknown')
    or (answered_at >= :read_from and status in ('open', 'closed', 'canceled', 'expired'))
  );

-- name: orders
-- Read orders by id.
select *
from trading.orders
where order_id = any(cast(:order_ids as bigint[]))
order by order_id;

-- name: lock_orders
-- Lock orders in key order and read them as they are now.
select *
from trading.orders
where order_id = any(cast(:order_ids as bigint[]))
order by order_id
for no key update;

-- name: unresolved
-- Read the orders of an account whose request left and whose outcome is not known.
select *
from trading.orders
where account_id = :account_id
  and status in ('submitting', 'unknown')
order by order_id;

-- name: followed
-- Read the orders of an account that are open, or have ended while their fills are not complete here.
select *
from trading.orders
where account_id = :account_id
  and (status = 'open' or (ended_at is not null and settled_at is null))
  and kraken_txid is not null
order by order_id;

-- name: known_at_kraken
-- Read the orders of an account that bear one of these ids, Kraken's or ours.
select *
from trading.orders
where account_id = :account_id
  and (
    kraken_txid = any(cast(:txids as text[]))
    or cl_ord_id = any(cast(:cl_ord_ids as text[]))
  )
order by order_id;

-- name: save_order
-- Write what became of a locked order.
update trading.orders
set status = :status,
    status_reason = :status_reason,
    cl_ord_id = :cl_ord_id,
    kraken_txid = :kraken_txid,
    volume = :volume,
    limit_price = :limit_price,
    trigger_price = :trigger_price,
    deadline = :deadline,
    submitted_at = :submitted_at,
    answered_at = :answered_at,
    absent_since = :absent_since,
    ended_at = :ended_at,
    settled_at = :settled_at,
    volume_executed = :volume_executed,
    cost_executed = :cost_executed,
    fee_reported = :fee_reported,
    reserved = :reserved,
    updated_at = now()
where order_id = :order_id
  and status = :status_before;

-- name: is_the_desks
-- Say of a locked order that was found at Kraken that it is the desk's own.
update trading.orders
set source = 'desk',
    updated_at = now()
where order_id = :order_id
  and source = 'external';

-- name: add_event
-- Append to an order's story.
insert into trading.order_events (order_id, status_before, status_after, what, detail, recorded_by)
values (:order_id, :status_before, :status_after, :what, cast(:detail as jsonb), :recorded_by);

-- name: record_fills
-- Record the fills that are not recorded yet, and give those that came before their order its id.
insert into trading.fills (
  account_id, trade_id, order_id, kraken_txid, pair, side, trade_time, price, volume, cost, fee, is_maker
)
select :account_id, trade_id, order_id, kraken_txid, pair, side, trade_time, price, volume, cost, fee, is_maker
from jsonb_populate_recordset(cast(null as trading.fills), cast(:fills as jsonb))
order by trade_id
on conflict (account_id, trade_id) do nothing
returning trade_id;

-- name: fills_of
-- Read the fills of orders, and which assets their ledger entries here touch.
select
  f.order_id, f.trade_id, f.kraken_txid, f.pair, f.side, f.trade_time, f.price, f.volume, f.cost, f.fee, f.is_maker,
  (
    select count(*)
    from trading.ledger_entries e
    where e.account_id = f.account_id
      and e.refid = f.trade_id
  ) as entries
from trading.fills f
where f.order_id = any(cast(:order_ids as bigint[]))
order by f.order_id, f.trade_time, f.trade_id;

-- name: notify_ended
-- Wake whoever verifies orders that ended; sent when the transaction commits.
select pg_notify('kraken_recon_orders_ended', '');

-- name: take_looks
-- Take the accounts whose orders at Kraken were last looked through before a moment; whoever comes second gets none.
-- What somebody holds is left to the next look, so that no account waits for another's.
with due as materialized (
  select account_id
  from trading.order_books
  where looked_at < :due_before
  order by account_id
  for no key update skip locked
),
unseen as materialized (
  select account_id
  from trading.accounts
  where is_active
    and account_id not in (select account_id from trading.order_books)
  order by account_id
  for key share skip locked
)
insert into trading.order_books (account_id, looked_at)
select a.account_id, :now
from trading.accounts a
where a.is_active
  and (cast(:names as text[]) is null or a.name = any(cast(:names as text[])))
  and (a.account_id in (select account_id from due) or a.account_id in (select account_id from unseen))
order by a.account_id
on conflict (account_id) do update
set looked_at = excluded.looked_at
where order_books.looked_at < :due_before
returning account_id, read_until;

-- name: looked_through
-- Say from when and up to when an account's orders at Kraken were looked through: each look overlaps the last one.
update trading.order_books
set read_from = coalesce(read_from, :read_from),
    read_until = greatest(read_until, :read_until)
where account_id = :account_id;

-- name: recorded_holdings
-- Read what an open account should hold of some assets in the wallets that trading draws on: what is recorded, and
-- the residuals that were known before a moment, since nothing later explains them.
select
  w.asset,
  coalesce(
    (
      select sum(p.quantity)
      from trading.positions p
      where p.account_id = a.account_id
        and p.asset = w.asset
        and p.wallet in ('spot', 'F')
    ),
    0
  )
  + coalesce(
    (
      select sum(r.residual)
      from trading.residuals r
      where r.account_id = a.account_id
        and r.asset = w.asset
        and r.wallet in ('spot', 'F')
        and r.first_seen_at < :before
    ),
    0
  ) as quantity
from trading.accounts a
cross join unnest(cast(:assets as text[])) as w(asset)
where a.account_id = :account_id
  and a.opened_at is not null;

-- name: under_way
-- Sum what orders may have taken of an asset that positions do not show yet: those without a known outcome, the open
-- ones, and those whose fills are not all here.
select coalesce(
  sum(coalesce(reserved, case side when 'sell' then volume else coalesce(volume * limit_price, cost_executed) end)),
  0
)
from trading.orders
where account_id = :account_id
  and not is_dry_run
  and ((side = 'sell' and base = :asset) or (side = 'buy' and quote = :asset))
  and (
    status in ('submitting', 'unknown', 'open')
    or (status in ('closed', 'canceled', 'expired') and settled_at is null)
  );

-- name: recorded_trades
-- Name those of these trades that are recorded as fills.
select trade_id
from trading.fills
where account_id = :account_id
  and trade_id = any(cast(:trade_ids as text[]));

-- name: lately_absent
-- Read the orders that were declared not placed since a moment, because Kraken's books did not show them.
select *
from trading.orders
where account_id = :account_id
  and status = 'not_placed'
  and absent_since is not null
  and ended_at > :after
order by order_id;

-- name: give_fills
-- Let the fills of one order be those of another.
update trading.fills
set order_id = :to_order_id
where order_id = :order_id;

-- name: give_desk_orders
-- Let what books of the desk's say of one order be said of another.
update trading.desk_orders
set order_id = :to_order_id
where order_id = :order_id;

-- name: drop_waiting_verification
-- Give up the verification of an order that has no final verdict, with what it found so far: the order is verified under
-- its other number.
delete from trading.order_verifications
where order_id = :order_id
  and (verdict is null or verdict = 'inconclusive');

-- name: account_of_order
-- Find the account of an order.
select a.account_id, a.name, a.kraken_conn_id, a.quote_currency
from trading.orders o
join trading.accounts a using (account_id)
where o.order_id = :order_id;

-- name: trace_order
-- Read an order with its account's name and its decision.
select o.*, a.name as account, d.decision_id, d.received_via, d.received_at, d.payload::text as payload
from trading.orders o
join trading.accounts a using (account_id)
left join trading.order_decisions d using (order_id)
where o.order_id = :order_id;

-- name: trace_events
-- Read an order's story.
select recorded_at, status_before, status_after, what, detail::text as detail, recorded_by
from trading.order_events
where order_id = :order_id
order by event_id;

-- name: trace_entries
-- Read the ledger entries of an order's fills, each with what it did to its position.
select
  e.ledger_id, e.refid, e.entry_time, e.type, e.asset, e.wallet, e.amount, e.fee, e.balance,
  v.event_id, v.quantity_before, v.quantity_after
from trading.fills f
join trading.ledger_entries e on e.account_id = f.account_id and e.refid = f.trade_id
left join trading.position_events v on v.account_id = e.account_id and v.ledger_id = e.ledger_id
where f.order_id = :order_id
order by e.entry_time, e.ledger_id;

-- name: trace_verifications
-- Read what verifications said of an order.
select to_jsonb(v)::text as verification
from trading.order_verifications v
where v.order_id = :order_id;
