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
-- Read what is proven of accounts.
select account_id, asset, wallet, quantity
from trading.positions
where account_id = any(cast(:account_ids as bigint[]))
  and quantity <> 0;

-- name: entries
-- Read the ledger entries of assets, each of an account.
select e.account_id, e.ledger_id, e.refid, e.entry_time, e.type, e.subtype, e.asset, e.wallet, e.amount, e.fee,
  e.balance
from unnest(cast(:account_ids as bigint[]), cast(:assets as text[])) as w(account_id, asset)
join trading.ledger_entries e using (account_id, asset)
order by e.account_id, e.entry_time, e.ingest_seq;

-- name: ever_held
-- Say of assets, each of an account, which one ever had an entry or a position.
select w.account_id, w.asset
from unnest(cast(:account_ids as bigint[]), cast(:assets as text[])) as w(account_id, asset)
where exists (
    select from trading.ledger_entries e where e.account_id = w.account_id and e.asset = w.asset
  )
  or exists (
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
-- Read what assets cost on average, where that is known for all there is.
select account_id, asset, avg_cost
from trading.asset_costs
where account_id = any(cast(:account_ids as bigint[]))
  and quantity_unknown = 0
  and quantity_moving = 0
  and avg_cost is not null;

-- name: recorded_assets
-- Name every asset that is on record.
select asset from trading.asset_prices
union
select asset from trading.positions;
