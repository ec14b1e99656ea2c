-- What a person says about accounts: which there are, and what is asked of each.

-- name: add_account
-- Add an account, unless one has its name or its connection.
insert into trading.accounts (name, kraken_conn_id, quote_currency)
select cast(:name as text), cast(:kraken_conn_id as text), cast(:quote_currency as text)
where not exists (
  select
  from trading.accounts a
  where a.kraken_conn_id = :kraken_conn_id
)
on conflict (name) do nothing
returning account_id;

-- name: namesakes
-- Find the accounts that have a name or a connection already.
select name, kraken_conn_id, quote_currency, is_active
from trading.accounts
where name = :name or kraken_conn_id = :kraken_conn_id
order by name;

-- name: change_account
-- Change what is given of an account, and leave the rest.
update trading.accounts
set
  is_active = coalesce(cast(:is_active as boolean), is_active),
  kraken_conn_id = coalesce(cast(:kraken_conn_id as text), kraken_conn_id),
  freshness_limit_minutes = coalesce(cast(:freshness_limit_minutes as integer), freshness_limit_minutes)
where name = :name;

-- name: set_tolerance
-- Set the tolerance of one asset of an account.
insert into trading.tolerances (account_id, asset, quantity, value)
select account_id, cast(:asset as text), cast(:quantity as numeric), cast(:value as numeric)
from trading.accounts
where name = :name
on conflict (account_id, asset) do update set quantity = excluded.quantity, value = excluded.value;

-- name: drop_tolerance
-- Go back to the tolerance that a run is given.
delete from trading.tolerances t
using trading.accounts a
where a.account_id = t.account_id and a.name = :name and t.asset = :asset;

-- name: list_accounts
-- List every account with what was set for it.
select
  a.name,
  a.kraken_conn_id,
  a.quote_currency,
  a.is_active,
  a.opened_at,
  a.opening_source,
  a.freshness_limit_minutes,
  coalesce(
    (
      select jsonb_agg(
        jsonb_build_object('asset', t.asset, 'quantity', t.quantity::text, 'value', t.value::text)
        order by t.asset
      )
      from trading.tolerances t
      where t.account_id = a.account_id
    ),
    '[]'::jsonb
  ) as tolerances
from trading.accounts a
order by a.name;

-- name: find_accounts
-- List active accounts by name.
select account_id, name, kraken_conn_id, quote_currency
from trading.accounts
where is_active
  and (cast(:names as text[]) is null or name = any(cast(:names as text[])))
order by name;
