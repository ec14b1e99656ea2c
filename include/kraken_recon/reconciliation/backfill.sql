-- The books as of a past moment. What is read here is only ever added to, so that an answer stays what it is.

-- name: coverage
-- Read since when accounts have books here, and up to when all their ledgers were read without a gap.
select
  a.account_id,
  case when a.opened_at is not null then greatest(a.opened_at, a.ledger_floor) end as begins_at,
  case
    when a.tokenized_read_until is not null then least(a.ledger_read_until, a.tokenized_read_until)
    when not exists (
      select
      from trading.ledger_entries t
      where t.account_id = a.account_id
        and t.wallet = 'T'
    ) then a.ledger_read_until
  end as read_until
from trading.accounts a
where a.account_id = any(cast(:account_ids as bigint[]));

-- name: holdings_then
-- Read every holding as of a moment: what had happened, what was believed, and the entries that differ. Entries that
-- a dry run has read and nobody has recorded are counted as happened, in the same snapshot. What a later import took
-- from the opening for the entries that it brought explains them: together they come to nothing.
-- What was believed is where the newest event of the time left off. What had happened is that, more what was recorded
-- later, less what was recorded early: so that an old account is not read from its first entry on for each interval.
with read as (
  select *
  from unnest(
    cast(:ledger_ids as text[]),
    cast(:assets as text[]),
    cast(:wallets as text[]),
    cast(:entry_times as timestamptz[]),
    cast(:changes as numeric[])
  ) as r(ledger_id, asset, wallet, entry_time, change)
),
-- Fenced, so that each part is a walk of the index that is made for it.
late as (
  select v.ledger_id, v.asset, v.wallet, v.effective_at, v.quantity_after - v.quantity_before as change
  from trading.position_events v
  where v.account_id = :account_id
    and v.cause = 'ledger'
    and v.recorded_at - v.effective_at > interval '01:00:00'
    and v.recorded_at >= :at
    and v.effective_at < :at
  offset 0
),
recent as (
  select e.ledger_id, e.asset, e.wallet, e.entry_time, e.amount - e.fee as change
  from trading.ledger_entries e
  join trading.position_events v
    on v.account_id = e.account_id
    and v.ledger_id = e.ledger_id
    and v.cause = 'ledger'
  where e.account_id = :account_id
    and e.entry_time >= :recent_from
    and e.entry_time < :at
    and v.recorded_at >= :at
    and not v.recorded_at - v.effective_at > interval '01:00:00'
  offset 0
),
early as (
  select v.ledger_id, v.asset, v.wallet, v.effective_at, v.quantity_before - v.quantity_after as change
  from trading.position_events v
  where v.account_id = :account_id
    and v.cause = 'ledger'
    and v.recorded_at < v.effective_at
    and v.recorded_at < :at
    and v.effective_at >= :at
  offset 0
),
unread as (
  select r.ledger_id, r.asset, r.wallet, r.entry_time, r.change
  from read r
  where r.entry_time < :at
    and not exists (
      select
      from trading.ledger_entries k
      where (k.account_id, k.ledger_id) = (:account_id, r.ledger_id)
    )
),
differing as (
  select
    asset,
    wallet,
    sum(change) as explained,
    array_agg(ledger_id order by effective_at, ledger_id) as ledger_ids
  from (
    select * from late
    union all
    select * from recent
    union all
    select * from early
    union all
    select * from unread
  ) as every
  group by asset, wallet
),
without_entry as (
  select
    asset,
    wallet,
    sum(quantity_after - quantity_before) filter (where cause = 'opening') as opened,
    sum(quantity_after - quantity_before) filter (where cause = 'opening' and recorded_at >= :at) as opened_later,
    sum(quantity_after - quantity_before) filter (where recorded_at < :at and cause = 'adjustment') as adjusted,
    sum(quantity_after - quantity_before) filter (
      where cause = 'adjustment'
        and recorded_at < :at
        and reason <> all(cast(:residual_reasons as text[]))
    ) as corrected
  from trading.position_events
  where account_id = :account_id
    and cause <> 'ledger'
  group by asset, wallet
),
believed as (
  select p.asset, p.wallet, newest.quantity_after as recorded
  from trading.positions p
  cross join lateral (
    select v.quantity_after
    from trading.position_events v
    where (v.account_id, v.asset, v.wallet) = (p.account_id, p.asset, p.wallet)
      and v.recorded_at < :at
    order by v.recorded_at desc, v.event_id desc
    limit 1
  ) newest
  where p.account_id = :account_id
)
select
  asset,
  wallet,
  coalesce(b.recorded, 0) - coalesce(w.adjusted, 0) + coalesce(w.opened_later, 0) + coalesce(d.explained, 0)
    as reported,
  coalesce(b.recorded, 0) as recorded,
  coalesce(d.explained, 0) + coalesce(w.opened_later, 0) as explained,
  coalesce(w.corrected, 0) as corrected,
  coalesce(d.ledger_ids, '{}') as ledger_ids
from believed b
full join differing d using (asset, wallet)
full join without_entry w using (asset, wallet)
where b.recorded is not null
  or d.explained is not null
  or w.opened is not null;

-- name: head_then
-- Name the newest recorded entry before a moment, as far as times tell.
select ledger_id
from trading.ledger_entries
where account_id = :account_id
  and entry_time < :at
order by entry_time desc, ledger_id desc
limit 1;
