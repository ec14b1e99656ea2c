-- Which accounts come first in a run.

-- name: needs
-- Read why each account may have to come before others; each answer is one look into an index.
select
  a.account_id,
  exists (select from trading.residuals r where r.account_id = a.account_id and not r.is_settled)
    or exists (
      select
      from trading.alerts l
      where l.account_id = a.account_id
        and l.kind = 'held_repair'
        and l.status <> 'resolved'
    ) as has_open_findings,
  (select max(e.entry_time) from trading.ledger_entries e where e.account_id = a.account_id) as moved_at,
  (
    select r.recorded_as_of
    from trading.reconciliation_runs r
    where r.account_id = a.account_id
      and r.recorded_as_of >= :since
      and r.checked > r.matched
    order by r.recorded_as_of desc
    limit 1
  ) as differed_at,
  coalesce(
    (select max(r.recorded_as_of) from trading.reconciliation_runs r where r.account_id = a.account_id),
    a.created_at
  ) as waits_since,
  a.ledger_read_until as read_until
from trading.accounts a
where a.account_id = any(cast(:account_ids as bigint[]));

-- name: costs
-- Read what each account took in its newest runs: the middle one, so that a single odd run counts for nothing.
select
  a.account_id,
  a.name,
  cast(lately.seconds as double precision) as seconds,
  cast(lately.calls as integer) as calls
from trading.accounts a
cross join lateral (
  select
    percentile_disc(0.5) within group (order by r.seconds) as seconds,
    percentile_disc(0.5) within group (order by r.api_calls) as calls
  from (
    select seconds, api_calls
    from trading.reconciliation_runs
    where account_id = a.account_id
    order by recorded_as_of desc
    limit 5
  ) r
) lately
where a.account_id = any(cast(:account_ids as bigint[]));
