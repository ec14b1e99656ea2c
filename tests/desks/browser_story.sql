-- What a desk gathers in days: written as rows, so that the pages have something to show at once.

-- 30 days of what each account was worth, from what it is worth now.
insert into trading.asset_snapshots (
  account_id, hour, taken_at, quote_currency, value, assets, unpriced, proven_at
)
select
  account_id, hour - n * interval '6 hours', taken_at - n * interval '6 hours', quote_currency,
  round((value * (1 + 0.06 * sin((n + 7 * account_id) / 9.0) + 0.02 * cos(n / 2.0)))::numeric, 2), assets, unpriced,
  taken_at - n * interval '6 hours'
from trading.asset_snapshots, generate_series(1, 120) as n
on conflict do nothing;

-- A week of orders: every other bought or sold near the price that was expected of it.
insert into trading.orders (
  account_id, source, pair, base, quote, side, order_type, volume, expected_price, reason, cl_ord_id,
  kraken_txid, status, deadline, decided_at, submitted_at, ended_at, volume_executed, cost_executed,
  fee_reported, settled_at
)
select
  account_id, (array['matching', 'ai', 'manual'])[n % 3 + 1], base || '/USD', base, 'USD',
  case n % 2 when 0 then 'buy' else 'sell' end, 'market', volume, price, 'spread above the threshold',
  md5(n::text)::uuid::text, 'O' || upper(substr(md5(n::text), 1, 5)) || '-' || upper(substr(md5(n::text), 6, 5)) || '-'
  || upper(substr(md5(n::text), 11, 6)), 'closed', at + interval '1 minute', at, at + interval '1 second',
  at + interval '3 seconds', volume, round(volume * price * (1 + slip), 5), round(volume * price * 0.0026, 5),
  at + interval '5 seconds'
from trading.accounts,
  generate_series(1, 420) as n,
  lateral (select
    (array['BTC', 'ETH', 'SOL'])[n % 3 + 1] as base,
    (array[0.02, 0.4, 6.0])[n % 3 + 1]::numeric as volume,
    (array[61000, 3100, 145])[n % 3 + 1]::numeric as price,
    date_trunc('minute', now()) - n * interval '24 minutes' as at,
    (((n * 7919) % 101 - 50) / 50.0)::numeric * (((n * 104729) % 89) / 89.0)::numeric * 0.004 as slip
  ) as made
where name = 'alpha-market-making';

insert into trading.fills (
  account_id, trade_id, order_id, kraken_txid, pair, side, trade_time, price, volume, cost, fee, is_maker
)
select
  account_id, 'T' || substr(kraken_txid, 2), order_id, kraken_txid, pair, side, ended_at,
  cost_executed / volume_executed, volume_executed, cost_executed, fee_reported, false
from trading.orders;

insert into trading.order_verifications
  (order_id, account_id, source, enlisted_at, due_at, deadline, attempts, verdict, failed_levels, message, judged_at)
select
  order_id, account_id, source, ended_at, ended_at, ended_at + interval '15 minutes', 1,
  case when is_wrong then 'mismatch' else 'verified' end,
  case when is_wrong then '{fills}'::text[] else '{}' end,
  case when is_wrong then 'the fee differs' end,
  ended_at + interval '6 seconds'
from trading.orders, lateral (select order_id % 140 = 20 as is_wrong) as judged;

insert into trading.order_verification_levels (order_id, level, verdict, expected, observed, message, judged_at)
select
  order_id, level,
  case when v.verdict = 'mismatch' and level = 'fills' then 'mismatch' else 'passed' end,
  case level
    when 'fills' then jsonb_build_object('fee', trim_scale(o.fee_reported)::text)
    when 'slippage' then jsonb_build_object(
      'price', trim_scale(o.expected_price)::text, 'cost', trim_scale(o.expected_price * o.volume)::text)
    else '{}' end,
  case level
    when 'fills' then jsonb_build_object(
      'fee', trim_scale(case v.verdict when 'mismatch' then o.fee_reported * 2 else o.fee_reported end)::text)
    when 'slippage' then jsonb_build_object(
      'cost', trim_scale(o.cost_executed)::text, 'volume', trim_scale(o.volume)::text, 'worse_by', trim_scale(
        (o.cost_executed - o.expected_price * o.volume) * case o.side when 'buy' then 1 else -1 end)::text)
    else '{}' end,
  case when v.verdict = 'mismatch' and level = 'fills' then 'the fee of the fill is not the fee of the order'
    else 'as expected' end,
  v.judged_at
from trading.order_verifications v
join trading.orders o using (order_id),
  unnest(array['state', 'fills', 'direction', 'ledger', 'position', 'slippage']) as level;

insert into trading.verification_rates
  (window_seconds, window_start, account_id, source, verified, mismatched, inconclusive, computed_at)
select
  3600, date_trunc('hour', judged_at), account_id, source,
  round(9 + 6 * sin(extract(epoch from min(judged_at)) / 14000))::int,
  count(*) filter (where verdict = 'mismatch'), 0, now()
from trading.order_verifications
group by 2, 3, 4;

-- A day of the audit's looks, with a session that is idle in a transaction since three hours.
insert into trading.session_samples (
  source, taken_at, connections, connections_limit, sessions, ours, active, idle, idle_in_transaction, waiting,
  unattributed, excess, oldest_transaction_seconds, by_owner, usages, findings, longest_wait_seconds,
  pool_sessions, pool_limit
)
select
  source, at, 22 + swing + n % 4, 100, 14 + swing, 9 + swing, 3 + n % 3, 8, leaked, (n % 29 = 3)::int * 2, 1, 0,
  4 + leaked * (36 - n) * 300, '{"position_sync.reconcile_accounts": 4, "airflow scheduler": 3}',
  jsonb_build_object('max_connections', jsonb_build_array(22 + swing + n % 4, 100)), leaked,
  (n % 29 = 3)::int * (1 + n % 5), 3 + swing / 2, 12
from (values ('trading')) as s(source),
  generate_series(0, 287) as n,
  lateral (select
    date_trunc('minute', now()) - n * interval '5 minutes' as at,
    round(5 * sin(n / 23.0) + 5)::int as swing,
    (n < 36)::int as leaked
  ) as made;

insert into trading.session_findings (
  source, rule, severity, subject, message, application_name, dag_id, run_id, task_id, map_index, try_number,
  evidence, occurrences, first_seen_at, last_seen_at, returned_at
)
values
  ('trading', 'idle_in_transaction', 'critical', 'pid 4711',
   'a session has been idle in a transaction for 3 hours and holds a lock on trading.positions', 'desk_pnl',
   'desk_pnl', 'scheduled__today', 'load_positions', -1, 1, '{"call_site": "dags/desk_pnl.py:48"}', 36,
   now() - interval '3 hours', now(), null),
  ('trading', 'never_closed', 'warning', 'pid 4802', 'a session was opened 5 hours ago and never used since',
   'notebook', null, null, null, null, null, '{}', 60, now() - interval '5 hours', now(), null),
  ('trading', 'owner_ended', 'critical', 'pid 3990',
   'the task ended 12 minutes ago and its session is still open', 'desk_pnl', 'desk_pnl', 'scheduled__yesterday',
   'load_positions', -1, 2, '{"call_site": "dags/desk_pnl.py:61"}', 2, now() - interval '20 hours',
   now() - interval '19 hours', now() - interval '19 hours');

insert into trading.session_actions (finding_id, action, outcome, acted_by, acted_at)
select finding_id, 'terminate', 'done', 'session_leak_audit', returned_at
from trading.session_findings
where returned_at is not null;

insert into trading.alerts (kind, message, evidence, occurrences, opened_at)
values ('session_leak',
  'trading: a session of desk_pnl.load_positions has been idle in a transaction for 3 hours (dags/desk_pnl.py:48)',
  '{}', 36, now() - interval '3 hours');

-- A desk's own books about two accounts: one is right but for what may still come, the other waits for a person.
with told (account, status, rows, agreed, waiting, within_tolerance, reported, held, problems) as (
  values
    ('alpha-market-making', 'agreed', 7, 4, 1, 1, 0, 0,
      jsonb_build_array(jsonb_build_object(
        'where', 'arena positions', 'what', '2 rows stand for SOL, 12.5 together: 17, 42',
        'remedy', 'Make them one row; until then nothing is written to them by itself.'
      ))),
    ('theta-otc', 'differs', 3, 1, 0, 0, 1, 1, '[]')
)
insert into trading.desk_book_runs (
  book, run_id, account_id, status, read_at, as_of, ledger_seq, declaration, rows, position_rows, agreed, waiting,
  within_tolerance, reported, held, problems
)
select
  'arena', r.run_id, account_id, t.status, now(), now(), 0, md5('arena')::uuid, t.rows, t.rows, t.agreed, t.waiting,
  t.within_tolerance, t.reported, t.held, t.problems
from told t
join trading.accounts a on a.name = t.account
cross join lateral (
  select n.run_id
  from trading.reconciliation_runs n
  where n.account_id = a.account_id
    and n.status = 'succeeded'
  order by n.recorded_as_of desc
  limit 1
) r;

insert into trading.desk_differences (
  run_id, book, account_id, asset, proven, desk, difference, explanation, ledger_ids, alternatives, action, reason,
  first_seen_at
)
select
  b.run_id, b.book, b.account_id, d.asset, h.proven, h.proven - d.difference, d.difference, d.explanation, e.ids,
  case d.explanation
    when 'missed' then jsonb_build_array(
      jsonb_build_object('explanation', 'doubled', 'ledger_ids', to_jsonb(e.ids)),
      jsonb_build_object('explanation', 'rounded', 'ledger_ids', '[]'::jsonb)
    )
    else '[]'
  end,
  d.action, d.reason, now()
from (
  values
    ('alpha-market-making', 'BTC', 0.02, 'behind', 'waiting',
      'the entries are younger than late_by: the bot may still be writing'),
    ('alpha-market-making', 'ETH', 0.000000000000000001, 'fee_left_out', 'within_tolerance', null),
    ('theta-otc', 'BTC', -1.5, 'missed', 'held', 'it is more than one run may write by itself'),
    ('theta-otc', 'DOGE', -1000000, 'unknown_row', 'report', null)
) as d(account, asset, difference, explanation, action, reason)
join trading.accounts a on a.name = d.account
join trading.desk_book_runs b using (account_id)
cross join lateral (
  select coalesce(sum(p.quantity), 0) as proven
  from trading.positions p
  where p.account_id = a.account_id
    and p.asset = d.asset
) h
cross join lateral (
  select array(
    select l.ledger_id
    from trading.ledger_entries l
    where l.account_id = a.account_id
      and l.asset = d.asset
    order by l.entry_time desc
    limit 5
  ) as ids
) e;
