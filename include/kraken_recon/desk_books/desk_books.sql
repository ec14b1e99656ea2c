-- What judges a desk book: the newest proof of its accounts, and what explains a difference.

-- name: proofs
-- Read accounts by name with their newest proof and how old it may be; all of them where no name is given.
select
  a.account_id,
  a.name,
  a.kraken_conn_id,
  a.quote_currency,
  a.is_active,
  p.proven_at,
  p.proven_at >= :now - make_interval(mins => a.freshness_limit_minutes) as is_fresh,
  a.freshness_limit_minutes
from trading.accounts a
left join trading.newest_proofs p using (account_id)
where cast(:names as text[]) is null or a.name = any(cast(:names as text[]))
order by a.name;

-- name: positions
-- Read what is proven of accounts, each in one row: thousands of rows cost more than what is in them.
select account_id, array_agg(asset) as assets, array_agg(wallet) as wallets, array_agg(quantity) as quantities
from trading.positions
where account_id = any(cast(:account_ids as bigint[]))
  and quantity <> 0
group by account_id;

-- name: ledger_heads
-- Name the last ledger entry of accounts, in the order in which they were recorded; 0 where there is none.
select a.account_id, coalesce(head.ingest_seq, 0) as ledger_seq
from unnest(cast(:account_ids as bigint[])) as a(account_id)
left join lateral (
  select e.ingest_seq
  from trading.ledger_entries e
  where e.account_id = a.account_id
  order by e.ingest_seq desc
  limit 1
) head on true;

-- name: available
-- Read what Kraken makes available of assets, each of an account, in the spot wallets.
select account_id, asset, sum(available_quantity) as available
from unnest(cast(:account_ids as bigint[]), cast(:assets as text[])) as w(account_id, asset)
join trading.positions using (account_id, asset)
where wallet = any(cast(:wallets as text[]))
  and available_as_of is not null
group by account_id, asset;

-- name: entries
-- Read the ledger entries of assets, each of an account, that were recorded after one of them.
select e.account_id, e.ledger_id, e.refid, e.entry_time, e.type, e.subtype, e.asset, e.wallet, e.amount, e.fee,
  e.balance
from unnest(cast(:account_ids as bigint[]), cast(:assets as text[]), cast(:after as bigint[]))
  as w(account_id, asset, after)
join trading.ledger_entries e on e.account_id = w.account_id and e.asset = w.asset and e.ingest_seq > w.after
order by e.account_id, e.entry_time, e.ingest_seq;

-- name: entries_named
-- Read ledger entries by their ids, each of an account.
select e.account_id, e.ledger_id, e.refid, e.entry_time, e.type, e.subtype, e.asset, e.wallet, e.amount, e.fee,
  e.balance
from unnest(cast(:account_ids as bigint[]), cast(:ledger_ids as text[])) as w(account_id, ledger_id)
join trading.ledger_entries e using (account_id, ledger_id)
order by e.account_id, e.entry_time, e.ingest_seq;

-- name: judged_before
-- Read the newest run that judged each account in a book.
select a.account_id, r.read_at, r.ledger_seq, r.declaration, r.position_rows
from unnest(cast(:account_ids as bigint[])) as a(account_id)
cross join lateral (
  select b.read_at, b.ledger_seq, b.declaration, b.position_rows
  from trading.desk_book_runs b
  where b.account_id = a.account_id
    and b.book = :book
    and b.status <> 'unreadable'
  order by b.read_at desc
  limit 1
) r;

-- name: standings
-- Read what stood out of accounts in a book when they were last judged.
select account_id, asset, agreed_at, agreed_seq, difference, explanation, first_seen_at
from trading.desk_standings
where account_id = any(cast(:account_ids as bigint[]))
  and book = :book;

-- name: last_writes
-- Read our last write to each of these assets in a book, with what the run said that led to it; an undo has no run, and
-- is read as what it took back.
select
  w.account_id, w.asset, last.ended_at as written_at, b.ledger_seq,
  own.change, d.desk + own.change as quantity, d.explanation, d.ledger_ids,
  case when p.kind = 'undo' then p.decided_by end as undone_by
from unnest(cast(:account_ids as bigint[]), cast(:assets as text[])) as w(account_id, asset)
cross join lateral (
  select c.plan_id, c.ended_at
  from trading.desk_writes c
  where c.account_id = w.account_id
    and c.asset = w.asset
    and c.book = :book
    and c.state = 'written'
  order by c.write_id desc
  limit 1
) last
join trading.repair_plans p using (plan_id)
cross join lateral (
  select c.run_id, c.is_cash, sum(c.change) as change
  from trading.desk_writes c
  where c.plan_id = coalesce(p.undoes, p.plan_id)
    and c.account_id = w.account_id
    and c.asset = w.asset
    and c.book = :book
    and c.state = 'written'
  group by c.run_id, c.is_cash
  order by c.run_id
  limit 1
) own
join trading.desk_book_runs b on (b.book, b.run_id) = (:book, own.run_id)
join trading.desk_differences d on (d.run_id, d.book, d.asset, d.is_cash)
  = (own.run_id, :book, w.asset, own.is_cash);

-- name: approved
-- Read what a person approved of accounts in a book, as long as no run has begun to write it.
select p.account_id, p.plan_id, r.asset, sum(r.quantity_after - r.quantity_before) as change
from trading.repair_plans p
join trading.repair_plan_rows r using (plan_id)
where p.account_id = any(cast(:account_ids as bigint[]))
  and p.book = :book
  and p.kind = 'held'
  and p.status = 'approved'
  and p.closed_at is null
  and p.written_by_run is null
group by p.account_id, p.plan_id, r.asset;

-- name: proved_by
-- Read the active accounts that these runs proved, each still by its newest proof, and that were not judged by it in a
-- book yet.
select
  a.account_id, a.name, a.kraken_conn_id, a.quote_currency, a.is_active, p.proven_at, true as is_fresh,
  a.freshness_limit_minutes, p.run_id
from trading.reconciliation_runs r
join trading.newest_proofs p using (account_id, run_id)
join trading.accounts a using (account_id)
where r.run_id = any(cast(:run_ids as uuid[]))
  and a.is_active
  and not exists (
    select
    from trading.desk_book_runs b
    where (b.book, b.run_id) = (:book, r.run_id)
      and b.status <> 'unreadable'
  )
order by a.name;

-- name: record_runs
-- Write what was said of accounts in a book; what could not be judged before is written over.
insert into trading.desk_book_runs ({run_columns})
select {run_columns}
from jsonb_populate_recordset(cast(null as trading.desk_book_runs), cast(:runs as jsonb))
on conflict (book, run_id) do update
set ({run_columns}) = row({new_run_columns});

-- name: forget_differences
-- Remove what was found by runs that could not judge a book as a whole, before they say it anew.
delete from trading.desk_differences
where book = :book
  and run_id = any(cast(:run_ids as uuid[]));

-- name: record_differences
-- Write the differences of runs.
insert into trading.desk_differences ({difference_columns})
select {difference_columns}
from jsonb_populate_recordset(cast(null as trading.desk_differences), cast(:differences as jsonb));

-- name: record_standings
-- Keep what does not agree of accounts that were judged as a whole, and nothing of what agrees.
with now_standing as materialized (
  select *
  from jsonb_populate_recordset(cast(null as trading.desk_standings), cast(:standings as jsonb))
),
over as (
  delete from trading.desk_standings s
  where s.book = :book
    and s.account_id = any(cast(:account_ids as bigint[]))
    and not exists (
      select from now_standing n where (n.account_id, n.asset) = (s.account_id, s.asset)
    )
)
insert into trading.desk_standings (
  book, account_id, asset, agreed_at, agreed_seq, difference, explanation, first_seen_at
)
select book, account_id, asset, agreed_at, agreed_seq, difference, explanation, first_seen_at
from now_standing
on conflict (book, account_id, asset) do update
set agreed_at = excluded.agreed_at,
    agreed_seq = excluded.agreed_seq,
    difference = excluded.difference,
    explanation = excluded.explanation,
    first_seen_at = excluded.first_seen_at;

-- name: ever_held
-- Say of assets, each of an account, which one ever had an entry or a position. In one question: of two the planner
-- may answer each by all there is.
select w.account_id, w.asset
from unnest(cast(:account_ids as bigint[]), cast(:assets as text[])) as w(account_id, asset)
where exists (
    select from trading.ledger_entries e where e.account_id = w.account_id and e.asset = w.asset
    union all
    select from trading.position_events v where v.account_id = w.account_id and v.asset = w.asset
  );

-- name: orders_of_trades
-- Name the order of each trade of these assets.
select f.account_id, f.trade_id, f.kraken_txid
from (
  select distinct e.account_id, e.refid
  from unnest(cast(:account_ids as bigint[]), cast(:assets as text[])) as w(account_id, asset)
  join trading.ledger_entries e using (account_id, asset)
  where e.type = 'trade'
) r
join trading.fills f on f.account_id = r.account_id and f.trade_id = r.refid;

-- name: average_costs
-- Read what assets, each of an account, cost on average, where that is known for all there is.
select account_id, asset, avg_cost
from unnest(cast(:account_ids as bigint[]), cast(:assets as text[])) as w(account_id, asset)
join trading.asset_costs using (account_id, asset)
where quantity_unknown = 0
  and quantity_moving = 0
  and avg_cost is not null;

-- name: counts_of_runs
-- Count how accounts stand in each book by what these runs proved.
select book, status, count(*) as accounts
from trading.desk_book_runs
where run_id = any(cast(:run_ids as uuid[]))
group by book, status
order by book, status;

-- name: alerted_books
-- Name the books about which an alert is open.
select distinct wallet as book
from trading.alerts
where kind = any(cast(:kinds as text[]))
  and status <> 'resolved'
  and wallet is not null;

-- name: recorded_assets
-- Name every asset that is on record.
select asset from trading.asset_prices
union
select asset from trading.positions;
