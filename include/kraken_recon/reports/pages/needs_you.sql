-- The alerts that nobody resolved. Filters that are null let everything pass; each page begins after the
-- key of the last row of the page before.

-- name: alerts_waiting
-- Count the alerts that nobody looks after yet, by kind.
select l.kind, count(*) as alerts
from trading.alerts l
where l.status = 'open'
group by l.kind
order by l.kind;

-- name: alerts
-- Read a page of the alerts that nobody resolved, what was seen last first.
select
  l.alert_id, l.kind, a.name as account, l.asset, l.wallet, l.status, l.message, l.evidence, l.occurrences,
  l.opened_at, l.last_seen_at, l.acknowledged_at, l.acknowledged_by, l.resolved_at, l.resolved_by, l.resolution,
  l.note
from trading.alerts l
left join trading.accounts a using (account_id)
where (l.status <> 'resolved' or l.alert_id = cast(:alert_id as bigint))
  and (cast(:alert_id as bigint) is null or l.alert_id = :alert_id)
  and (cast(:kind as text) is null or l.kind = :kind)
  and (cast(:account_id as bigint) is null or l.account_id = :account_id)
  and (cast(:is_unanswered as boolean) is null or (l.status = 'open') = :is_unanswered)
  and (
    cast(:before_last_seen_at as timestamptz) is null
    or (l.last_seen_at, l.alert_id) < (cast(:before_last_seen_at as timestamptz), cast(:before_alert_id as bigint))
  )
order by l.last_seen_at desc, l.alert_id desc
limit :most;
