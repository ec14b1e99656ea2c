-- Decisions and orders, and what came of them. Filters that are null let everything pass; each page begins after the
-- key of the last row of the page before.

-- name: decided
-- Read orders, and decisions that became none, since a moment and before a key, newest first. Orders have odd
-- places, decisions even ones, so that one key sorts both.
with placed as (
  select
    o.decided_at as at, 2 * o.order_id + 1 as place, d.decision_id, d.decision_key,
    coalesce(d.received_via, 'Kraken') as received_via, o.order_id, a.name as account, o.source, o.pair, o.side,
    o.order_type, coalesce(trim_scale(o.volume)::text, trim_scale(o.portion)::text || ' of what is available') as volume,
    o.limit_price::text as limit_price, o.status as state, v.verdict,
    coalesce(o.status_reason, case when v.verdict <> 'verified' then v.message end) as reason
  from trading.orders o
  join trading.accounts a using (account_id)
  left join trading.order_decisions d on d.order_id = o.order_id
  left join trading.order_verifications v on v.order_id = o.order_id
  where o.decided_at >= cast(:since as timestamptz)
    and (cast(:before_at as timestamptz) is null or o.decided_at <= cast(:before_at as timestamptz))
    and (
      cast(:before_at as timestamptz) is null
      or (o.decided_at, 2 * o.order_id + 1) < (cast(:before_at as timestamptz), cast(:before_place as bigint))
    )
    and (cast(:account as text) is null or a.name = :account)
    and (cast(:state as text) is null or o.status = :state)
    and (cast(:source as text) is null or o.source = :source)
    and (cast(:verdict as text) is null or coalesce(v.verdict, 'none') = :verdict)
  order by o.decided_at desc, o.order_id desc
  limit :most
),
unplaced as (
  select
    d.received_at as at, 2 * d.decision_id as place, d.decision_id, d.decision_key, d.received_via, f.order_id,
    d.payload ->> 'account' as account, coalesce(d.payload ->> 'source', 'manual') as source,
    d.payload ->> 'pair' as pair, d.payload ->> 'side' as side, d.payload ->> 'type' as order_type,
    coalesce(d.payload ->> 'volume', (d.payload ->> 'portion') || ' of what is available') as volume,
    d.payload ->> 'limit_price' as limit_price, d.status as state, cast(null as text) as verdict,
    coalesce(d.refusal, 'repeats decision ' || d.first_decision_id) as reason
  from trading.order_decisions d
  left join trading.order_decisions f on f.decision_id = d.first_decision_id and d.status = 'repeated'
  where d.order_id is null
    and d.received_at >= cast(:since as timestamptz)
    and (
      cast(:before_at as timestamptz) is null
      or (d.received_at, 2 * d.decision_id) < (cast(:before_at as timestamptz), cast(:before_place as bigint))
    )
    and (cast(:account as text) is null or d.payload ->> 'account' = :account)
    and (cast(:state as text) is null or d.status = :state)
    and (cast(:source as text) is null or coalesce(d.payload ->> 'source', 'manual') = :source)
    and (cast(:verdict as text) is null or 'none' = :verdict)
  order by d.received_at desc, d.decision_id desc
  limit :most
)
select *
from (
  select * from placed
  union all
  select * from unplaced
) listed
order by at desc, place desc
limit :most;

-- name: decision_of_key
-- Read what a key stands for, and what became of it.
select
  d.decision_id, d.decision_key, d.received_via, d.received_at, d.status as decision, d.refusal, d.order_id,
  o.status as state, o.status_reason as reason, o.kraken_txid, o.volume_executed, o.cost_executed, o.settled_at,
  v.verdict
from trading.order_decisions d
left join trading.orders o using (order_id)
left join trading.order_verifications v using (order_id)
where d.decision_key = :key
  and d.first_decision_id is null
order by d.status = 'new', d.decision_id
limit 1;
