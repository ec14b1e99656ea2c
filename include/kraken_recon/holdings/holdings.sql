-- The newest price of every asset in each currency.

-- name: keep_prices
-- Keep the newest price of every asset in a currency.
insert into trading.asset_prices (quote_currency, asset, price, taken_at)
select :quote_currency, p.asset, p.price, :taken_at
from unnest(cast(:assets as text[]), cast(:prices as numeric[])) as p(asset, price)
order by p.asset
on conflict (quote_currency, asset) do update
set price = excluded.price,
    taken_at = excluded.taken_at
where asset_prices.taken_at < excluded.taken_at;

-- name: newest_prices
-- Read the newest prices of assets, each in a currency, that are not older than a moment.
select p.quote_currency, p.asset, p.price, p.taken_at
from trading.asset_prices p
join unnest(cast(:currencies as text[]), cast(:assets as text[])) as w(quote_currency, asset)
  using (quote_currency, asset)
where p.taken_at >= :since;
