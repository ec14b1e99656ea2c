-- What only the pages in Airflow's UI read.

-- name: rates_over_time
-- Count the verdicts of all accounts in each window of one length since a moment, oldest first.
select
  window_start, sum(verified) as verified, sum(mismatched) as mismatched, sum(inconclusive) as inconclusive
from trading.verification_rates
where window_seconds = :window_seconds
  and window_start >= cast(:since as timestamptz)
group by window_start
order by window_start;

-- name: mismatches
-- Read the orders that did not do what they say since a moment, newest first, with each level that failed.
select
  v.order_id, a.name as account, v.source, o.pair, o.side, o.volume_executed, o.kraken_txid, v.message,
  v.judged_at, failed.levels
from trading.order_verifications v
join trading.orders o using (order_id)
join trading.accounts a on a.account_id = v.account_id
join lateral (
  select jsonb_agg(
    jsonb_build_object(
      'level', l.level, 'message', l.message, 'expected', l.expected, 'observed', l.observed
    ) order by l.level
  ) as levels
  from trading.order_verification_levels l
  where l.order_id = v.order_id
    and l.verdict = 'mismatch'
) failed on true
where v.verdict = 'mismatch'
  and v.judged_at >= cast(:since as timestamptz)
  and (cast(:account as text) is null or a.name = :account)
order by v.judged_at desc, v.order_id desc
limit :most;
