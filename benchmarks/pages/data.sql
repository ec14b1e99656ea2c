-- A desk of many accounts, as it looks after two years. Every step runs by itself, in this order; those marked
-- "(by account)" run once for each range of accounts bench.first to bench.last. Nothing is random: whatever varies
-- is a hash of the row's own numbers, so two builds of one size differ only by the moment they were made at.
--
-- bench.accounts, bench.entries, bench.days and bench.now are set by data.py.

-- name: rules
-- What the other steps share; gone with the session.
create function pg_temp.setting(name text) returns bigint language sql stable
  return current_setting('bench.' || name)::bigint;
create function pg_temp.built_at() returns timestamptz language sql stable
  return current_setting('bench.now')::timestamptz;
-- A number from 0 up to 1 that is always the same for the same numbers.
create function pg_temp.share(a bigint, b bigint) returns double precision language sql immutable
  return (hashint8extended(a * 1000003 + b, 20261122) & 4294967295)::double precision / 4294967296;
create function pg_temp.run_id(account_id bigint, slot bigint) returns uuid language sql immutable
  return md5(account_id || ':' || slot)::uuid;
create temporary table coins as
select place, asset, price
from unnest(
  array['BTC', 'ETH', 'SOL', 'XRP', 'ADA', 'DOT', 'LINK', 'LTC', 'DOGE', 'AVAX', 'ATOM', 'UNI', 'AAVE', 'ALGO', 'XLM',
        'TRX', 'FIL', 'NEAR', 'OP'],
  array[60000, 3000, 150, 0.6, 0.5, 6, 15, 80, 0.2, 30, 8, 9, 120, 0.2, 0.1, 0.15, 5, 5, 2]::numeric[]
) with ordinality as coin(asset, price, place);
-- One account has 3 % of all entries, nine have 1 % each, one in a hundred shares 9 %, and the rest has hundreds each.
create temporary table shapes as
select
  account_id,
  case when mod(account_id, 5) = 0 then 'EUR' else 'USD' end as quote,
  case when account_id <= 10 then 19 else 4 + mod(account_id, 9) end as coins,
  greatest(4, (pg_temp.setting('entries') / 2 * case
    when account_id = 1 then 0.03
    when account_id <= 10 then 0.01
    when account_id <= pg_temp.setting('accounts') / 100 then 0.09 / (pg_temp.setting('accounts') / 100 - 10)
    else (1 - 0.03 - 0.09 - case when pg_temp.setting('accounts') / 100 > 10 then 0.09 else 0 end)
      / (pg_temp.setting('accounts') - greatest(10, pg_temp.setting('accounts') / 100))
      * (0.2 + 1.6 * pg_temp.share(account_id, 1))
  end)::bigint) as trades
from generate_series(1, pg_temp.setting('accounts')) as account_id;
alter table shapes add primary key (account_id);
analyze shapes;

-- name: accounts
insert into trading.accounts (
  account_id, name, kraken_conn_id, quote_currency, is_active, opened_at, opening_source, ledger_floor,
  ledger_read_until, created_at
) overriding system value
select
  account_id,
  'desk-' || lpad(account_id::text, 5, '0'),
  'kraken_' || account_id,
  quote,
  mod(account_id, 100) <> 99,
  pg_temp.built_at() - interval '2 years',
  'ledger',
  pg_temp.built_at() - interval '2 years',
  pg_temp.built_at() - interval '5 minutes',
  pg_temp.built_at() - interval '2 years'
from shapes;
select setval(
  pg_get_serial_sequence('trading.accounts', 'account_id'),
  (select max(account_id) from trading.accounts)
);

-- name: ledger_entries (by account)
-- Two legs of a trade: what is bought is sold again by the next one. Fees are of the quote currency.
insert into trading.ledger_entries (
  account_id, ledger_id, refid, entry_time, type, subtype, asset, wallet, amount, fee, balance, run_id, ingested_at
)
select
  account_id,
  'L' || substr(digest, 1, 5) || '-' || substr(digest, 6, 5) || '-' || substr(digest, 11, 6),
  'T' || substr(digest_of_trade, 1, 5) || '-' || substr(digest_of_trade, 6, 5) || '-'
    || substr(digest_of_trade, 11, 6),
  entry_time,
  kind,
  '',
  asset,
  'spot',
  amount,
  fee,
  1000000 + sum(amount - fee) over (partition by account_id, asset order by trade),
  null,
  entry_time + interval '90 seconds'
from (
  select
    s.account_id,
    trade,
    leg,
    pg_temp.built_at() - interval '10 minutes'
      - interval '2 years' * (1 - trade::double precision / s.trades) as entry_time,
    case mod(trade, 50) when 0 then 'deposit' when 25 then 'withdrawal' else 'trade' end as kind,
    case leg when 1 then c.asset else s.quote end as asset,
    case leg
      when 1 then case mod(trade, 2) when 1 then bought else -bought end
      else round(c.price * case mod(trade, 2) when 1 then -bought else bought end, 4)
    end as amount,
    case leg when 1 then 0 else round(c.price * bought * 0.0026, 4) end as fee,
    upper(md5(s.account_id || '-' || trade || '-' || leg)) as digest,
    upper(md5(s.account_id || '-' || trade)) as digest_of_trade
  from shapes s
  cross join lateral generate_series(1, s.trades) as trade
  cross join lateral (
    select round((0.001 + pg_temp.share(s.account_id, (trade + 1) / 2))::numeric, 8) as bought
  ) as size
  join coins c
    on c.place = 1 + floor(s.coins * pg_temp.share((trade + 1) / 2, s.account_id) ^ 2)
  cross join generate_series(1, 2) as leg
  where s.account_id between pg_temp.setting('first') and pg_temp.setting('last')
) as legs
order by account_id, trade, leg;

-- name: watermarks
update trading.accounts a
set ledger_watermark = newest.ingest_seq
from (
  select account_id, max(ingest_seq) as ingest_seq from trading.ledger_entries group by account_id
) as newest
where newest.account_id = a.account_id;

-- name: positions
insert into trading.positions (account_id, asset, wallet, quantity, available_quantity, available_as_of, avg_cost)
select
  e.account_id,
  e.asset,
  e.wallet,
  1000000 + sum(e.amount - e.fee),
  1000000 + sum(e.amount - e.fee),
  pg_temp.built_at(),
  (select price from coins where coins.asset = e.asset)
from trading.ledger_entries e
group by e.account_id, e.asset, e.wallet
order by e.account_id, e.asset, e.wallet;

-- name: openings_and_adjustments
insert into trading.position_events (
  account_id, asset, wallet, quantity_before, quantity_after, cause, reason, effective_at, recorded_at
)
select account_id, asset, wallet, 0, 1000000, 'opening', null, opened, opened
from trading.positions
cross join (select pg_temp.built_at() - interval '2 years') as moment(opened)
union all
select account_id, asset, wallet, quantity, quantity + 0.5, 'adjustment', 'drift without a ledger entry', at, at
from trading.positions
cross join lateral (
  select pg_temp.built_at() - interval '2 years' * pg_temp.share(account_id, hashtext(asset))
) as moment(at)
where account_id <= 10 or mod(hashtext(asset) + account_id, 3) = 0;

-- name: ledger_events
-- The events of the one account in a hundred that has the most entries.
insert into trading.position_events (
  account_id, asset, wallet, quantity_before, quantity_after, cause, ledger_id, effective_at, recorded_at
)
select account_id, asset, wallet, balance - amount + fee, balance, 'ledger', ledger_id, entry_time, ingested_at
from trading.ledger_entries
where account_id <= greatest(10, pg_temp.setting('accounts') / 100)
order by ingest_seq;

-- name: reconciliation_runs (by account)
-- One every quarter of an hour. One account in 500 never ran, one in 300 fails since two hours.
insert into trading.reconciliation_runs (
  run_id, account_id, interval_start, interval_end, mode, status, trigger, recorded_as_of, reported_as_of,
  reported_head, checked, matched, entries_ingested, api_calls, seconds, lock_hold_ms, note, error, dag_id,
  dag_run_id
)
select
  pg_temp.run_id(s.account_id, slot),
  s.account_id,
  ends - interval '15 minutes',
  ends,
  'repair',
  status,
  'scheduled',
  ends + interval '2 seconds' + interval '40 seconds' * pg_temp.share(s.account_id, slot),
  case when status <> 'failed' then ends + interval '1 second' end,
  case when status <> 'failed' then 'L' || substr(upper(md5(s.account_id || '-' || slot)), 1, 16) end,
  case when status = 'failed' then 0 else s.coins + 1 end,
  case when status = 'failed' then 0 else s.coins + 1 end,
  mod(slot, 4),
  1 + mod(slot, 3),
  0.8,
  2.5,
  case when status = 'moving' then 'the account moved while it was read' end,
  case when status = 'failed' then 'EService:Unavailable' end,
  'position_sync',
  'scheduled__' || to_char(ends at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"+00:00"')
from shapes s
cross join generate_series(0, 96 * pg_temp.setting('days') - 1) as slot
cross join lateral (
  select
    date_bin('15 minutes', pg_temp.built_at() - interval '2 minutes', 'epoch') - slot * interval '15 minutes',
    case
      when mod(s.account_id, 300) = 7 and slot < 8 then 'failed'
      when pg_temp.share(s.account_id, slot) < 0.005 then 'failed'
      when pg_temp.share(s.account_id, slot) < 0.015 then 'moving'
      else 'succeeded'
    end
) as run(ends, status)
where s.account_id between pg_temp.setting('first') and pg_temp.setting('last')
  and mod(s.account_id, 500) <> 3
order by slot desc, s.account_id;

-- name: discrepancies
-- Six of ten are missed entries, whose ids they name; the others are drift of the database and residuals.
with differing as (
  select
    r.run_id, r.account_id, r.status, r.interval_end, r.recorded_as_of,
    pg_temp.share(r.account_id, hashtext(r.run_id::text)) as dice
  from trading.reconciliation_runs r
  where r.status <> 'failed'
    and pg_temp.share(r.account_id, hashtext(r.run_id::text))
      < case when r.run_id = pg_temp.run_id(r.account_id, 0) then 0.05 else 0.008 end
),
pieces as (
  select
    d.run_id, d.account_id, d.status, d.recorded_as_of, p.asset, p.wallet, p.quantity,
    mod(abs(hashtext(d.run_id || p.asset)), 10) as kind, missed.ids, missed.total
  from differing d
  cross join lateral (
    select asset, wallet, quantity
    from trading.positions p
    where p.account_id = d.account_id
    order by hashtext(p.asset || d.run_id)
    limit 1 + mod(abs(hashtext(d.run_id::text)), 3)
  ) as p
  cross join lateral (
    select coalesce(array_agg(ledger_id), '{}') as ids, coalesce(sum(amount - fee), 0) as total
    from (
      select ledger_id, amount, fee
      from trading.ledger_entries e
      where e.account_id = d.account_id
        and e.asset = p.asset
        and e.wallet = p.wallet
        and e.entry_time <= d.interval_end
      order by e.entry_time desc
      limit 1 + mod(abs(hashtext(p.asset || d.run_id)), 5)
    ) as newest
  ) as missed
),
parts as (
  select
    *,
    case when kind < 6 then total else 0 end as explained,
    case when kind = 6 then 0.25 else 0 end as database_drift,
    case when kind = 7 then 0.00000001 when kind > 7 then -1.5 else 0 end as residual
  from pieces
)
insert into trading.discrepancies (
  run_id, account_id, asset, wallet, db_quantity, exchange_quantity, explained, database_drift, residual, action,
  ledger_ids, found_at
)
select
  run_id,
  account_id,
  asset,
  wallet,
  quantity - explained - database_drift - residual,
  quantity,
  explained,
  database_drift,
  residual,
  case
    when status = 'moving' then 'moving'
    when kind < 6 then 'applied'
    when kind = 6 then 'update'
    when kind = 7 then 'within_tolerance'
    when kind = 8 then 'awaiting_confirmation'
    else 'held'
  end,
  case when kind < 6 then ids else '{}' end,
  recorded_as_of
from parts;

-- name: counts_of_runs
update trading.reconciliation_runs r
set matched = r.checked - found.differed,
    within_tolerance = found.within_tolerance,
    explained = found.explained,
    updated = found.updated,
    held = found.held,
    awaiting = found.awaiting
from (
  select
    run_id,
    count(*) as differed,
    count(*) filter (where action = 'within_tolerance') as within_tolerance,
    count(*) filter (where action = 'applied') as explained,
    count(*) filter (where action = 'update') as updated,
    count(*) filter (where action = 'held') as held,
    count(*) filter (where action = 'awaiting_confirmation') as awaiting
  from trading.discrepancies
  group by run_id
) as found
where found.run_id = r.run_id;

-- name: residuals
insert into trading.residuals (
  account_id, asset, wallet, residual, first_seen_at, last_seen_at, confirmations, is_settled
)
select distinct on (d.account_id, d.asset, d.wallet)
  d.account_id, d.asset, d.wallet, d.residual, r.interval_end - interval '30 minutes', r.interval_end, 2,
  d.action = 'within_tolerance'
from trading.discrepancies d
join trading.reconciliation_runs r using (run_id)
where d.residual <> 0
order by d.account_id, d.asset, d.wallet, r.interval_end desc;

-- name: repair_plans
-- Forty are held and wait; thousands were written.
insert into trading.repair_plans (
  plan_id, account_id, kind, status, run_id, as_of, fingerprint, row_count, why, created_at, applied_at
)
select
  md5('plan:' || r.run_id)::uuid, r.account_id, 'repair', 'applied', r.run_id, r.recorded_as_of, md5('print')::uuid, 2,
  null, r.recorded_as_of, r.recorded_as_of
from trading.reconciliation_runs r
where r.explained > 0
union all
select
  md5('held:' || s.account_id)::uuid, s.account_id, 'held', 'held', pg_temp.run_id(s.account_id, 0),
  pg_temp.built_at(), md5('print')::uuid, 3, 'more than one position of the account changed by half',
  pg_temp.built_at() - interval '1 minute' * s.account_id, null
from shapes s
where s.account_id between 11 and 50;

-- name: repair_plan_rows
insert into trading.repair_plan_rows (
  plan_id, place, asset, wallet, quantity_before, quantity_after, cause, reason, effective_at
)
select
  p.plan_id, place, c.asset, 'spot', 1000000, 1000000 + place, 'adjustment', 'drift without a ledger entry',
  p.created_at
from trading.repair_plans p
cross join lateral generate_series(1, p.row_count) as step(place)
join coins c using (place);

-- name: alerts
-- Two thirds are resolved; of the others, one in three is acknowledged.
insert into trading.alerts (
  kind, account_id, asset, wallet, status, message, evidence, occurrences, opened_at, last_seen_at, resolved_at,
  acknowledged_at, acknowledged_by, resolved_by
)
select
  kinds.kind,
  1 + mod(n * 7, pg_temp.setting('accounts')),
  c.asset,
  'spot',
  status,
  'desk: ' || c.asset || ' differs by ' || n || ' beyond what the ledger explains',
  jsonb_build_object('amount', n::text),
  1 + mod(n, 40),
  opened,
  opened + interval '15 minutes',
  case when status = 'resolved' then opened + interval '1 hour' end,
  case when status = 'acknowledged' then opened + interval '5 minutes' end,
  case when status = 'acknowledged' then 'somebody' end,
  case when status = 'resolved' then 'the next reading' end
from generate_series(1, greatest(300, pg_temp.setting('accounts') * 3 / 10)) as n
join coins c on c.place = 1 + mod(n, 19)
cross join lateral (
  select
    (array['unexplained_drift', 'sync_failure', 'stale_proof', 'repair_held'])[1 + mod(n / 19, 4)],
    case when mod(n, 3) < 2 then 'resolved' when mod(n, 9) = 2 then 'acknowledged' else 'open' end,
    pg_temp.built_at() - n * interval '10 minutes'
) as kinds(kind, status, opened);

-- name: orders
-- The past thirty days; few accounts place most of them.
insert into trading.orders (
  account_id, source, pair, base, quote, side, order_type, volume, expected_price, cl_ord_id, kraken_txid, status,
  deadline, decided_at, submitted_at, ended_at, volume_executed, cost_executed, fee_reported, answered_at, settled_at
)
select
  account_id,
  (array['ai', 'ai', 'ai', 'matching', 'manual'])[1 + mod(n, 5)],
  c.asset || '/USD',
  c.asset,
  'USD',
  case mod(n, 2) when 0 then 'buy' else 'sell' end,
  case mod(n, 3) when 0 then 'limit' else 'market' end,
  volume,
  c.price,
  'order-' || n,
  'O' || substr(upper(md5('order-' || n)), 1, 5) || '-' || substr(upper(md5('order-' || n)), 6, 12),
  'closed',
  decided + interval '1 minute',
  decided,
  decided + interval '1 second',
  decided + interval '4 seconds',
  volume,
  round(c.price * volume * (1 + (pg_temp.share(n, 5) + pg_temp.share(n, 6) - 1) * 0.006)::numeric, 8),
  round(c.price * volume * 0.0026, 8),
  decided + interval '2 seconds',
  decided + interval '6 seconds'
from generate_series(1, pg_temp.setting('entries') / 50) as n
join coins c on c.place = 1 + mod(n, 19)
cross join lateral (
  select
    1 + floor(pg_temp.setting('accounts') * pg_temp.share(n, 2) ^ 3)::bigint,
    round((0.01 + pg_temp.share(n, 3))::numeric, 8),
    pg_temp.built_at() - interval '1 minute' - interval '30 days' * pg_temp.share(n, 4)
) as placed(account_id, volume, decided)
order by decided;

-- name: order_events
insert into trading.order_events (order_id, status_before, status_after, what, recorded_by, recorded_at)
select order_id, before, after, what, 'benchmark', decided_at + step * interval '1 second'
from trading.orders
cross join (
  values (null, 'decided', 'decided', 0), ('decided', 'submitting', 'sent', 1), ('submitting', 'closed', 'filled', 4)
) as steps(before, after, what, step)
order by order_id, step;

-- name: fills
insert into trading.fills (
  account_id, trade_id, order_id, kraken_txid, pair, side, trade_time, price, volume, cost, fee, is_maker
)
select
  account_id, 'T' || substr(upper(md5('trade-' || order_id)), 1, 16), order_id, kraken_txid, pair, side, ended_at,
  cost_executed / volume_executed, volume_executed, cost_executed, fee_reported, false
from trading.orders
order by order_id;

-- name: order_verifications
-- Three of a thousand are mismatches, five stay inconclusive.
insert into trading.order_verifications (
  order_id, account_id, source, enlisted_at, due_at, deadline, attempts, verdict, failed_levels, message, judged_at,
  judged_by
)
select
  order_id,
  account_id,
  source,
  ended_at,
  ended_at + interval '1 second',
  ended_at + interval '10 minutes',
  1,
  verdict,
  case when verdict = 'mismatch' then array[(array['fills', 'ledger', 'position', 'direction'])[1 + mod(order_id, 4)]]
    else '{}' end,
  case verdict when 'verified' then 'every book agrees' when 'mismatch' then 'the fee differs' else 'no answer' end,
  ended_at + interval '3 seconds',
  'order_verification|scheduled__' || to_char(date_trunc('hour', ended_at), 'YYYY-MM-DD"T"HH24') || '|verify|1'
from trading.orders
cross join lateral (
  select case
    when pg_temp.share(order_id, 7) < 0.003 then 'mismatch'
    when pg_temp.share(order_id, 7) < 0.008 then 'inconclusive'
    else 'verified'
  end
) as judged(verdict)
order by order_id;

-- name: order_verification_levels
insert into trading.order_verification_levels (
  order_id, level, verdict, expected, observed, message, judged_at
)
select
  v.order_id,
  l.level,
  case when l.level = any(v.failed_levels) then 'mismatch' when v.verdict = 'inconclusive' then 'inconclusive'
    else 'passed' end,
  case l.level
    when 'slippage' then jsonb_build_object(
      'price', trim_scale(o.expected_price)::text, 'cost', trim_scale(o.expected_price * o.volume_executed)::text
    )
    else jsonb_build_object('fee', trim_scale(o.fee_reported)::text)
  end,
  case l.level
    when 'slippage' then jsonb_build_object(
      'cost', trim_scale(o.cost_executed)::text,
      'volume', trim_scale(o.volume_executed)::text,
      'worse_by', trim_scale(
        (o.cost_executed - o.expected_price * o.volume_executed) * case o.side when 'buy' then 1 else -1 end
      )::text
    )
    else jsonb_build_object('fee', trim_scale(o.fee_reported)::text)
  end,
  case when l.level = any(v.failed_levels) then 'the fee differs' else 'as expected' end,
  v.judged_at
from trading.order_verifications v
join trading.orders o using (order_id)
cross join unnest(array['state', 'fills', 'direction', 'ledger', 'position', 'slippage']) as l(level)
order by v.order_id, l.level;

-- name: verification_rates
insert into trading.verification_rates (
  window_seconds, window_start, account_id, source, verified, mismatched, inconclusive, computed_at
)
select
  window_seconds,
  date_bin(window_seconds * interval '1 second', judged_at, 'epoch') as window_start,
  account_id,
  source,
  count(*) filter (where verdict = 'verified'),
  count(*) filter (where verdict = 'mismatch'),
  count(*) filter (where verdict = 'inconclusive'),
  max(judged_at)
from trading.order_verifications
cross join (values (3600), (86400)) as windows(window_seconds)
group by 1, 2, 3, 4;

-- name: session_samples
-- A week, one every five minutes of two servers.
insert into trading.session_samples (
  source, taken_at, connections, connections_limit, sessions, ours, active, idle, idle_in_transaction, waiting,
  unattributed, excess, oldest_transaction_seconds, by_owner, usages, findings, longest_wait_seconds,
  pool_sessions, pool_limit, audited_by
)
select
  source,
  pg_temp.built_at() - n * interval '5 minutes',
  30 + mod(n, 17),
  200,
  20 + mod(n, 11),
  12 + mod(n, 7),
  2 + mod(n, 5),
  8,
  mod(n, 2),
  mod(n, 3),
  1,
  0,
  mod(n, 40),
  jsonb_build_object('position_sync.sync', 8 + mod(n, 4), 'order_verification.verify', 4),
  jsonb_build_object('max_connections', jsonb_build_array(30 + mod(n, 17), 200)),
  0,
  mod(n, 3) * 2,
  10 + mod(n, 5),
  40,
  'session_leak_audit scheduled__' || n
from generate_series(0, 7 * 288) as n
cross join (values ('trading'), ('airflow')) as sources(source)
order by n desc;

-- name: session_findings
-- Some hundred that returned, and a dozen that did not.
insert into trading.session_findings (
  source, rule, severity, subject, message, application_name, dag_id, run_id, task_id, map_index, try_number, evidence,
  occurrences, first_seen_at, last_seen_at, returned_at, last_seen_by
)
select
  'trading',
  (array['idle_in_transaction', 'never_closed', 'over_pool', 'lock_kept'])[1 + mod(n, 4)],
  case when mod(n, 5) = 0 then 'critical' else 'warning' end,
  'session ' || n,
  'a session of position_sync.sync waited ' || n || ' s in a transaction',
  'kraken_recon:' || n,
  'position_sync',
  'scheduled__' || n,
  'sync',
  mod(n, 50),
  1,
  jsonb_build_object('process_id', n, 'query', 'select 1'),
  1 + mod(n, 9),
  pg_temp.built_at() - n * interval '20 minutes',
  pg_temp.built_at() - n * interval '20 minutes' + interval '10 minutes',
  case when n > 12 then pg_temp.built_at() - n * interval '20 minutes' + interval '15 minutes' end,
  'session_leak_audit scheduled__' || n
from generate_series(1, 500) as n;
insert into trading.session_actions (finding_id, action, outcome, acted_by, acted_at)
select finding_id, 'terminate', 'done', 'session_leak_audit', last_seen_at
from trading.session_findings
where mod(finding_id, 3) = 0;

-- name: asset_prices
-- One asset has none.
insert into trading.asset_prices (quote_currency, asset, price, taken_at)
select quote_currency, asset, price, pg_temp.built_at()
from (values ('USD'), ('EUR')) as quotes(quote_currency)
cross join (select asset, price from coins where asset <> 'OP' union all values ('USD', 1), ('EUR', 1)) as priced;

-- name: asset_snapshots
-- Thirty days: hourly for the newest day and for the largest accounts, four a day for the others.
insert into trading.asset_snapshots (
  account_id, hour, taken_at, quote_currency, value, assets, unpriced, proven_at
)
select
  s.account_id,
  hour,
  hour + interval '5 minutes',
  s.quote,
  round((1000000 * (1 + 0.1 * pg_temp.share(s.account_id, extract(epoch from hour)::bigint)))::numeric, 2),
  s.coins + 1,
  case when mod(s.account_id, 9) = 0 then 1 else 0 end,
  hour + interval '5 minutes'
from shapes s
cross join generate_series(0, 30 * 24) as back
cross join lateral (
  select date_trunc('hour', pg_temp.built_at()) - back * interval '1 hour'
) as moment(hour)
where mod(s.account_id, 100) <> 99
  and (back < 24 or s.account_id <= 100 or mod(extract(hour from hour at time zone 'UTC')::int, 6) = 0)
order by hour, s.account_id;

-- name: asset_snapshot_rows
-- Of the newest day for every account; some assets have no price.
insert into trading.asset_snapshot_rows (account_id, hour, asset, quantity, price, value)
select
  n.account_id,
  n.hour,
  p.asset,
  p.quantity,
  priced.price,
  round(priced.price * p.quantity, 2)
from trading.asset_snapshots n
join trading.positions p using (account_id)
join shapes s using (account_id)
left join coins c on c.asset = p.asset
cross join lateral (
  select case when p.asset = s.quote then 1 when p.asset = 'OP' then null else c.price end
) as priced(price)
where n.hour > pg_temp.built_at() - interval '24 hours'
order by n.hour, n.account_id, p.asset;
