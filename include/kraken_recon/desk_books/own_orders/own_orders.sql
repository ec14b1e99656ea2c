-- What desks say of their own orders, and which orders at Kraken they are. Locks: desk_orders, then orders, then
-- order_verifications, then alerts.

-- name: accounts_of_runs
-- Read the active accounts that these runs could look at and were to repair, whether they proved them or not.
select distinct a.account_id, a.name, a.kraken_conn_id, a.quote_currency
from trading.reconciliation_runs r
join trading.accounts a using (account_id)
where r.run_id = any(cast(:run_ids as uuid[]))
  and r.mode = 'repair'
  and r.status <> 'failed'
  and a.is_active
order by a.name;

-- name: read_until
-- Say how far the orders of accounts were read in a book.
select account_id, read_until
from trading.desk_order_reads
where book = :book
  and account_id = any(cast(:account_ids as bigint[]));

-- name: unsettled
-- Read the orders of a book that are looked for.
select account_id, desk_order_id, said::text as said, changed_at, state, candidates, order_id, first_seen_at
from trading.desk_orders
where book = :book
  and account_id = any(cast(:account_ids as bigint[]))
  and state in ('waiting', 'ambiguous', 'unmatched', 'open');

-- name: known
-- Read what is on record of some of a desk's orders.
select account_id, desk_order_id, said::text as said, changed_at, state, candidates, order_id, first_seen_at
from trading.desk_orders
where book = :book
  and account_id = :account_id
  and desk_order_id = any(cast(:desk_order_ids as text[]));

-- name: taken
-- Name the desk's order that each of these at Kraken was found to be.
select o.kraken_txid, d.desk_order_id
from trading.orders o
join trading.desk_orders d using (order_id)
where d.book = :book
  and d.account_id = :account_id
  and o.account_id = :account_id
  and o.kraken_txid = any(cast(:txids as text[]));

-- name: on_record
-- Read the orders at Kraken that are on record: those that bear these ids, and all that were there since a moment.
select *
from trading.orders
where account_id = :account_id
  and kraken_txid is not null
  and status in ('open', 'closed', 'canceled', 'expired')
  and (
    kraken_txid = any(cast(:txids as text[]))
    or cl_ord_id = any(cast(:cl_ord_ids as text[]))
    or status = 'open'
    or ended_at >= cast(:since as timestamptz)
  )
order by order_id;

-- name: complete
-- Say between which moments every order at Kraken is on record.
select read_from, read_until
from trading.order_books
where account_id = :account_id
  and read_from is not null
  and read_until is not null;

-- name: lock_row
-- Keep others from settling one of the desk's orders, and read what is on record of it.
select account_id, desk_order_id, said::text as said, changed_at, state, candidates, order_id, first_seen_at
from trading.desk_orders
where book = :book
  and account_id = :account_id
  and desk_order_id = :desk_order_id
for no key update;

-- name: keep_new
-- Keep an order that is on record for the first time; whoever comes second waits for the first, and adds nothing.
insert into trading.desk_orders (book, account_id, desk_order_id, said, changed_at, state, first_seen_at)
values (:book, :account_id, :desk_order_id, cast(:said as jsonb), :changed_at, 'waiting', :now)
on conflict (book, account_id, desk_order_id) do nothing;

-- name: keep
-- Keep what the desk says of a locked order, and what was found of it.
update trading.desk_orders
set said = cast(:said as jsonb),
    changed_at = :changed_at,
    state = :state,
    candidates = cast(:candidates as text[]),
    order_id = :order_id
where book = :book
  and account_id = :account_id
  and desk_order_id = :desk_order_id;

-- name: forget
-- Forget orders that are looked for and that the desk's table has no more.
delete from trading.desk_orders
where book = :book
  and account_id = :account_id
  and desk_order_id = any(cast(:desk_order_ids as text[]))
  and state <> 'matched';

-- name: verify_again
-- Have an order verified with what the desk says of it; whoever works on it without that writes nothing.
update trading.order_verifications v
set source = o.source,
    due_at = :now,
    deadline = :deadline,
    attempts = 0,
    claimed_by = null,
    claimed_until = null,
    verdict = null,
    failed_levels = '{}',
    message = null,
    judged_at = null,
    judged_by = null
from trading.orders o
where v.order_id = :order_id
  and o.order_id = v.order_id;

-- name: read_through
-- Say how far the orders of accounts were read in a book.
insert into trading.desk_order_reads as b (book, account_id, read_until, looked_at)
select :book, account_id, cast(:read_until as timestamptz), cast(:now as timestamptz)
from unnest(cast(:account_ids as bigint[])) as a(account_id)
order by account_id
on conflict (book, account_id) do update
set read_until = greatest(b.read_until, excluded.read_until),
    looked_at = excluded.looked_at;

-- name: problems
-- Read the orders that were not found, and those that Kraken tells otherwise, newest first, of all books or of one.
with found as (
  select d.book, d.account_id, d.desk_order_id, d.state, d.candidates, d.changed_at, d.order_id, null as mismatch
  from trading.desk_orders d
  where d.state in ('ambiguous', 'unmatched', 'open')
  union all
  select d.book, d.account_id, d.desk_order_id, d.state, d.candidates, d.changed_at, d.order_id, l.message
  from trading.order_verifications v
  join trading.desk_orders d using (order_id)
  join trading.order_verification_levels l on l.order_id = v.order_id and l.level = 'desk' and l.verdict = 'mismatch'
  where v.verdict = 'mismatch'
)
select f.*, a.name as account
from found f
join trading.accounts a using (account_id)
where (cast(:book as text) is null or f.book = :book)
  and (cast(:account as text) is null or a.name = :account)
order by f.changed_at desc, f.book, f.desk_order_id
limit :most;
