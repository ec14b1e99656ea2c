-- Writes to the rows of desks, from our side: what is intended before a desk's database is touched, and what came of it.

-- name: take_turn
-- Be the only one that writes an account's rows of a book, for as long as this session lives.
select pg_try_advisory_lock(hashtextextended('desk book ' || :book || ' of ' || :account_id, 0)) as is_mine;

-- name: intend
-- Say what is about to be written, or why it cannot be.
insert into trading.desk_writes (
  plan_id, run_id, book, connection, table_name, account_id, asset, is_cash, kind, key, before, after, change, state,
  reason, ended_at
)
select
  w.plan_id, w.run_id, w.book, w.connection, w.table_name, w.account_id, w.asset, w.is_cash, w.kind, w.key, w.before,
  w.after, w.change, w.state, w.reason, case when w.state <> 'writing' then clock_timestamp() end
from jsonb_array_elements(cast(:writes as jsonb)) with ordinality as one(told, place)
cross join lateral jsonb_populate_record(cast(null as trading.desk_writes), one.told) w
order by one.place
returning write_id;

-- name: conclude
-- Say what became of writes; what is known already stays.
update trading.desk_writes w
set state = e.state,
    reason = e.reason,
    after = coalesce(e.after, w.after),
    ended_at = clock_timestamp()
from jsonb_to_recordset(cast(:ended as jsonb)) as e(write_id bigint, state text, reason text, after jsonb)
where w.write_id = e.write_id
  and w.state = 'writing';

-- name: unfinished
-- Read the writes of which nobody knows yet what became of them.
select write_id, plan_id, book, connection, table_name, account_id, asset, kind, key, before, after
from trading.desk_writes
where state = 'writing'
  and (cast(:book as text) is null or (book, account_id) = (:book, cast(:account_id as bigint)))
order by write_id;

-- name: written_by
-- Read what a plan has written, in order.
select write_id, book, connection, table_name, account_id, asset, is_cash, kind, key, before, after, change, run_id
from trading.desk_writes
where plan_id = :plan_id
  and state = 'written'
order by write_id;
