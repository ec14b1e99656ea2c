-- The desk's own books beside what is proven. Filters that are null let everything pass; each page begins after the
-- key of the last row of the page before.

-- name: differences
-- Read a page of what differed in desk books, what was found last first. Unexplained now is what no entry explains in
-- the newest judgement of a book, and that was not written.
with page as (
  select d.*
  from trading.told_desk_differences d
  where (cast(:account_id as bigint) is null or d.account_id = :account_id)
    and (cast(:book as text) is null or d.book = :book)
    and (cast(:asset as text) is null or d.asset = :asset)
    and (cast(:action as text) is null or d.action = :action)
    and (cast(:since as timestamptz) is null or d.found_at >= :since)
    and (cast(:until as timestamptz) is null or d.found_at < :until)
    and (cast(:is_explained as boolean) is null or (d.explanation <> 'unexplained') = :is_explained)
    and (cast(:run_id as uuid) is null or d.run_id = :run_id)
    and (
      not :is_newest
      or (
        d.write_state is distinct from 'written'
        and d.run_id = (
          select r.run_id
          from trading.desk_book_runs r
          where r.account_id = d.account_id
            and r.book = d.book
          order by r.read_at desc
          limit 1
        )
      )
    )
    and (
      cast(:before_found_at as timestamptz) is null
      or (d.found_at, d.run_id, d.book, d.asset, d.is_cash::int)
        < (
          cast(:before_found_at as timestamptz), cast(:before_run_id as uuid), :before_book, :before_asset,
          cast(:before_cash as int)
        )
    )
  order by d.found_at desc, d.run_id desc, d.book desc, d.asset desc, d.is_cash desc
  limit :most
)
select
  p.found_at, a.name as account, a.quote_currency, p.book, p.asset, p.is_cash::int as cash, p.proven, p.desk,
  p.difference, p.explanation, p.ledger_ids, p.alternatives, p.action, p.write_state, p.reason, p.run_id, r.mode,
  r.trigger, r.dag_id, r.dag_run_id
from page p
join trading.accounts a using (account_id)
join trading.reconciliation_runs r using (run_id)
order by p.found_at desc, p.run_id desc, p.book desc, p.asset desc, p.is_cash desc;

-- name: explaining_entries
-- Name the ledger entries that explain what a run found of an asset in a desk book.
select unnest(d.ledger_ids) as ledger_id
from trading.desk_differences d
where d.run_id = :run_id
  and d.book = :book
  and d.asset = :asset
  and d.account_id = :account_id;

-- name: books
-- Name the desk books that differences are on record of, one after the other.
with recursive books as (
  select min(d.book) as book from trading.desk_differences d
  union all
  select (select min(d.book) from trading.desk_differences d where d.book > b.book) from books b where b.book is not null
)
select b.book from books b where b.book is not null;

-- name: sides
-- Sum what is recorded of each asset of an account, over all wallets and over those that are traded from, beside what
-- Kraken has: what its newest run that succeeded found beyond the record and did not write. Without such a run nobody
-- knows.
with newest as (
  select n.run_id, n.mode
  from trading.reconciliation_runs n
  where n.account_id = :account_id
    and n.status = 'succeeded'
  order by n.recorded_as_of desc
  limit 1
),
held as (
  select p.asset, sum(p.quantity) as proven, sum(p.quantity) filter (where p.wallet = any(cast(:traded as text[]))) as traded
  from trading.positions p
  where p.account_id = :account_id
  group by p.asset
),
beyond as (
  select d.asset, sum(d.drift) as drift
  from newest n
  join trading.discrepancies d using (run_id)
  where n.mode = 'dry_run'
    or d.action <> all(cast(:written as text[]))
  group by d.asset
)
select
  asset, coalesce(h.proven, 0) as proven, coalesce(h.traded, 0) as traded,
  case when exists (select from newest) then coalesce(h.proven, 0) + coalesce(b.drift, 0) end as kraken
from held h
full join beyond b using (asset)
order by asset;

-- name: problems
-- List what kept current desk books of active accounts, or of one account, from being judged, each thing once.
select
  b.book, count(*)::int as accounts, min(a.name) as account, max(b.read_at) as read_at, p.problem ->> 'where' as "where",
  p.problem ->> 'what' as what, p.problem ->> 'remedy' as remedy
from trading.current_desk_books(
  cast(:declared_books as text[]), cast(:declared_accounts as text[]), :are_declarations_seen,
  case when cast(:account as text) is not null
    then array(select n.account_id from trading.accounts n where n.name = :account)
  end
) b
join trading.accounts a using (account_id)
cross join lateral jsonb_array_elements(b.problems) as p(problem)
where a.is_active
group by b.book, p.problem
order by b.book, accounts desc, "where", what
limit :most;
