-- What differed. Filters that are null let everything pass; each page begins after the
-- key of the last row of the page before.

-- name: outstanding_runs
-- Name each active account's newest run that succeeded where it may have left a difference standing.
select r.run_id
from trading.accounts a
cross join lateral (
  select r.run_id, r.may_differ
  from trading.reconciliation_runs r
  where r.account_id = a.account_id
    and r.status = 'succeeded'
  order by r.recorded_as_of desc
  limit 1
) r
where a.is_active
  and r.may_differ;

-- name: differences
-- Read a page of what differed, what was found last first. What a dry run would have written is outstanding too.
with page as (
  select d.*, r.mode, r.trigger, r.recorded_as_of, r.interval_start, r.interval_end, r.dag_id, r.dag_run_id
  from trading.discrepancies d
  join trading.reconciliation_runs r using (run_id)
  where (cast(:account_id as bigint) is null or d.account_id = :account_id)
    and (cast(:asset as text) is null or d.asset = :asset)
    and (cast(:action as text) is null or d.action = :action)
    and (cast(:since as timestamptz) is null or d.found_at >= :since)
    and (cast(:until as timestamptz) is null or d.found_at < :until)
    and (cast(:is_explained as boolean) is null or (d.unexplained = 0) = :is_explained)
    and (cast(:run_id as uuid) is null or d.run_id = :run_id)
    and (
      cast(:run_ids as uuid[]) is null
      or (
        d.run_id = any(cast(:run_ids as uuid[]))
        and d.unexplained <> 0
        and (r.mode = 'dry_run' or d.action <> all(cast(:written as text[])))
      )
    )
    and (
      cast(:before_found_at as timestamptz) is null
      or (d.found_at, d.run_id, d.asset, d.wallet)
        < (cast(:before_found_at as timestamptz), cast(:before_run_id as uuid), :before_asset, :before_wallet)
    )
  order by d.found_at desc, d.run_id desc, d.asset desc, d.wallet desc
  limit :most
)
select
  p.found_at, a.name as account, a.quote_currency, p.asset, p.wallet, p.db_quantity, p.exchange_quantity, p.drift, p.explained,
  p.unexplained, p.database_drift, p.residual, p.action, p.ledger_ids, p.run_id, p.mode, p.trigger,
  p.recorded_as_of, p.interval_start, p.interval_end, p.dag_id, p.dag_run_id,
  coalesce(entries.types, '{}') as entry_types
from page p
join trading.accounts a using (account_id)
left join lateral (
  select array_agg(distinct e.type order by e.type) as types
  from trading.ledger_entries e
  where e.account_id = p.account_id
    and e.ledger_id = any(p.ledger_ids)
) entries on true
order by p.found_at desc, p.run_id desc, p.asset desc, p.wallet desc;
