-- The rows of order verification. Locks: order_verifications only, in primary-key order; nothing here locks or
-- changes an order, a fill or a position.

-- name: enlist
-- Give every order that ended at Kraken its row of verification, once.
insert into trading.order_verifications (order_id, account_id, source, enlisted_at, due_at, deadline)
select o.order_id, o.account_id, o.source, :now, :now, cast(:deadline as timestamptz)
from trading.orders o
where o.ended_at is not null
  and (cast(:ended_after as timestamptz) is null or o.ended_at > cast(:ended_after as timestamptz))
  and o.status in ('closed', 'canceled', 'expired')
  and not exists (select from trading.order_verifications v where v.order_id = o.order_id)
order by o.order_id
on conflict (order_id) do nothing
returning order_id;

-- name: claim
-- Take due orders that nobody works on, for a time.
with free as (
  select v.order_id
  from trading.order_verifications v
  where (v.verdict is null or v.verdict = 'inconclusive')
    and v.due_at <= :now
    and (v.claimed_until is null or v.claimed_until <= :now)
    and (cast(:order_ids as bigint[]) is null or v.order_id = any(cast(:order_ids as bigint[])))
  order by v.order_id
  limit :most
  for no key update skip locked
)
update trading.order_verifications v
set claimed_by = :token,
    claimed_until = :until
from free
where v.order_id = free.order_id
returning v.order_id;

-- name: make_due
-- Let one order be verified again now, unless its verdict is final or somebody works on it.
update trading.order_verifications
set due_at = least(due_at, :now)
where order_id = :order_id
  and (verdict is null or verdict = 'inconclusive');

-- name: renew
-- Keep what is claimed for a longer time; what somebody holds is claimed again when its time is over.
with held as (
  select order_id
  from trading.order_verifications
  where claimed_by = :token
  order by order_id
  for no key update skip locked
)
update trading.order_verifications v
set claimed_until = :until
from held
where v.order_id = held.order_id;

-- name: claimed
-- Read the claimed orders with their accounts.
select
  o.*, a.name as account_name, a.kraken_conn_id, a.quote_currency, v.attempts, v.deadline as verified_until
from trading.order_verifications v
join trading.orders o using (order_id)
join trading.accounts a on a.account_id = o.account_id
where v.claimed_by = :token
order by o.account_id, o.order_id;

-- name: fills_of
-- Read the fills recorded of orders.
select order_id, trade_id, kraken_txid, pair, side, trade_time, price, volume, cost, fee, is_maker
from trading.fills
where order_id = any(cast(:order_ids as bigint[]))
order by trade_time, trade_id;

-- name: desk_rows_of
-- Read what books of the desk's say of orders.
select order_id, book, desk_order_id, said::text as said, changed_at
from trading.desk_orders
where order_id = any(cast(:order_ids as bigint[]))
order by book, desk_order_id;

-- name: movements
-- Read recorded entries, and what each moved its position by; null where it moved nothing.
select
  e.ledger_id, e.refid, e.entry_time, e.type as entry_type, e.subtype, e.asset, e.wallet, e.amount, e.fee,
  e.balance, v.quantity_after - v.quantity_before as moved
from trading.ledger_entries e
left join trading.position_events v
  on v.account_id = e.account_id
  and v.ledger_id = e.ledger_id
  and v.cause = 'ledger'
where e.account_id = :account_id
  and e.ledger_id = any(cast(:ledger_ids as text[]));

-- name: booked
-- Find trades in the recorded ledgers of all accounts, and in the fills of other accounts.
select found.trade_id, found.account_id, a.name
from (
  select e.refid as trade_id, e.account_id
  from trading.ledger_entries e
  join trading.accounts b on b.account_id = e.account_id
  where e.refid = any(cast(:trade_ids as text[]))
  union
  select f.trade_id, f.account_id
  from trading.fills f
  join trading.accounts b on b.account_id = f.account_id and b.account_id <> :account_id
  where f.trade_id = any(cast(:trade_ids as text[]))
) found
join trading.accounts a on a.account_id = found.account_id;

-- name: record
-- Write verdicts of orders that are still ours and not final; what is not final is let go until it is due again.
with judged as (
  select *
  from unnest(
    cast(:order_ids as bigint[]),
    cast(:verdicts as text[]),
    cast(:failed_levels as text[]),
    cast(:messages as text[]),
    cast(:due_at as timestamptz[])
  ) as j(order_id, verdict, failed_levels, message, due_at)
),
held as (
  select v.order_id
  from trading.order_verifications v
  where v.order_id = any(cast(:order_ids as bigint[]))
    and v.claimed_by = :token
    and (v.verdict is null or v.verdict = 'inconclusive')
  order by v.order_id
  for no key update
)
update trading.order_verifications v
set verdict = j.verdict,
    failed_levels = string_to_array(j.failed_levels, ' '),
    message = j.message,
    judged_at = :now,
    judged_by = v.claimed_by,
    attempts = v.attempts + 1,
    due_at = coalesce(j.due_at, v.due_at),
    claimed_by = null,
    claimed_until = null
from held
join judged j using (order_id)
where v.order_id = held.order_id
returning v.order_id;

-- name: record_levels
-- Write how each level came to its verdict, in place of an earlier look's.
insert into trading.order_verification_levels as l
  (order_id, level, verdict, expected, observed, message, judged_at)
select r.order_id, r.level, r.verdict, r.expected, r.observed, r.message, :now
from unnest(
  cast(:order_ids as bigint[]),
  cast(:levels as text[]),
  cast(:verdicts as text[]),
  cast(:expected as jsonb[]),
  cast(:observed as jsonb[]),
  cast(:messages as text[])
) as r(order_id, level, verdict, expected, observed, message)
order by r.order_id, r.level
on conflict (order_id, level) do update
set verdict = excluded.verdict,
    expected = excluded.expected,
    observed = excluded.observed,
    message = excluded.message,
    judged_at = excluded.judged_at;

-- name: let_go
-- Give up what is claimed without a verdict.
with held as (
  select order_id
  from trading.order_verifications
  where claimed_by = :token
  order by order_id
  for no key update
)
update trading.order_verifications v
set claimed_by = null,
    claimed_until = null
from held
where v.order_id = held.order_id;

-- name: waiting
-- Count orders that are due and that nobody works on, and those ended lately without a row yet.
select
  (
    select count(*)
    from trading.order_verifications v
    where (v.verdict is null or v.verdict = 'inconclusive')
      and v.due_at <= :due_before
      and (v.claimed_until is null or v.claimed_until <= :now)
  )
  + (
    select count(*)
    from trading.orders o
    where o.ended_at > :ended_after
      and o.updated_at <= :due_before
      and o.status in ('closed', 'canceled', 'expired')
      and not exists (select from trading.order_verifications v where v.order_id = o.order_id)
  ) as orders;

-- name: overdue
-- Name accounts and assets with orders beyond their deadline without a final verdict, of these accounts.
select v.account_id, o.base, count(*) as orders, min(v.order_id) as first_order_id
from trading.order_verifications v
join trading.orders o using (order_id)
where v.verdict = 'inconclusive'
  and v.deadline <= :now
  and v.account_id = any(cast(:account_ids as bigint[]))
group by v.account_id, o.base;

-- name: verification
-- Read one order's verification.
select
  v.due_at, v.deadline, v.attempts, v.verdict, v.failed_levels, v.message, v.judged_at, o.source, o.kraken_txid,
  o.pair, o.side, o.status as order_status, o.ended_at, a.name as account
from trading.orders o
join trading.accounts a on a.account_id = o.account_id
left join trading.order_verifications v using (order_id)
where o.order_id = :order_id;

-- name: levels
-- Read the levels of one order.
select level, verdict, expected, observed, message, judged_at
from trading.order_verification_levels
where order_id = :order_id;

-- name: latest
-- Read the newest verdicts of an account.
select
  v.order_id, v.source, v.verdict, v.failed_levels, v.message, v.attempts, v.judged_at, v.deadline, o.pair,
  o.side, o.volume_executed, o.kraken_txid, o.ended_at
from trading.order_verifications v
join trading.orders o using (order_id)
join trading.accounts a on a.account_id = v.account_id
where a.name = :account
order by v.order_id desc
limit :most;

-- name: compute_rates
-- Count the verdicts of every window that has not ended, or ended at most one length ago, and keep the counts.
with lengths as (
  select unnest(cast(:window_seconds as integer[])) as seconds
),
windows as (
  select
    seconds,
    to_timestamp(floor(extract(epoch from cast(:now as timestamptz)) / seconds) * seconds)
      - back * make_interval(secs => seconds) as window_start
  from lengths
  cross join generate_series(0, 1) as back
),
counted as (
  select
    w.seconds,
    w.window_start,
    v.account_id,
    v.source,
    count(*) filter (where v.verdict = 'verified') as verified,
    count(*) filter (where v.verdict = 'mismatch') as mismatched,
    count(*) filter (where v.verdict = 'inconclusive' and v.deadline <= :now) as inconclusive
  from windows w
  join trading.order_verifications v
    on v.judged_at >= w.window_start
    and v.judged_at < w.window_start + make_interval(secs => w.seconds)
  group by 1, 2, 3, 4
  -- What was counted before and is verified again, or as the desk's own, is counted no more.
  union all
  select w.seconds, w.window_start, r.account_id, r.source, 0, 0, 0
  from windows w
  join trading.verification_rates r on r.window_seconds = w.seconds and r.window_start = w.window_start
)
insert into trading.verification_rates as r
  (window_seconds, window_start, account_id, source, verified, mismatched, inconclusive, computed_at)
select seconds, window_start, account_id, source, sum(verified), sum(mismatched), sum(inconclusive), :now
from counted
group by 1, 2, 3, 4
order by 1, 2, 3, 4
on conflict (window_seconds, window_start, account_id, source) do update
set verified = excluded.verified,
    mismatched = excluded.mismatched,
    inconclusive = excluded.inconclusive,
    computed_at = excluded.computed_at
where r.computed_at <= excluded.computed_at;

-- name: rates
-- Read the counts of the windows that are open now or were the last before, newest first.
select
  r.window_seconds, r.window_start, r.account_id, a.name as account, r.source, r.verified, r.mismatched,
  r.inconclusive
from trading.verification_rates r
join trading.accounts a using (account_id)
where r.window_start > cast(:now as timestamptz) - 2 * make_interval(secs => r.window_seconds)
  and (cast(:account as text) is null or a.name = :account)
order by r.window_seconds, r.window_start desc, a.name, r.source;
