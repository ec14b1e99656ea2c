-- One account: what it holds, and its runs. Filters that are null let everything pass; each page begins after the
-- key of the last row of the page before.

-- name: account
-- Read what an account is.
select account_id, name, quote_currency, is_active, opened_at, opening_source, ledger_read_until,
  freshness_limit_minutes
from trading.accounts
where name = :name;

-- name: positions
-- Read what an account holds on record, per asset and wallet.
select
  p.asset, p.wallet, p.quantity, p.available_quantity, p.avg_cost, c.quantity_known, c.quantity_unknown, p.updated_at
from trading.positions p
left join trading.asset_costs c using (account_id, asset)
where p.account_id = :account_id
order by p.quantity = 0, p.asset, p.wallet;

-- name: runs
-- Read a page of an account's runs, newest first.
select *
from trading.reconciliation_runs
where account_id = :account_id
  and (
    cast(:before_recorded_as_of as timestamptz) is null
    or (recorded_as_of, run_id) < (cast(:before_recorded_as_of as timestamptz), cast(:before_run_id as uuid))
  )
order by recorded_as_of desc, run_id desc
limit :most;
