-- Alerts after they were raised: who was told, who answered, and how fresh each account's proof is. Rows are
-- locked after everything that books.sql names: alerts, then episodes, then notifications.

-- name: lock_telling
-- Let one process at a time decide what to tell.
select pg_advisory_xact_lock(7031993);

-- name: follow_alerts
-- Let an episode that goes on point to the newest alert of its identity, unless somebody holds one of the two.
with followed as (
  select e.episode_id, a.alert_id
  from trading.alert_episodes e
  join trading.alerts a
    on (e.kind, coalesce(e.account_id, 0), coalesce(e.asset, ''), coalesce(e.wallet, ''))
      = (a.kind, coalesce(a.account_id, 0), coalesce(a.asset, ''), coalesce(a.wallet, ''))
  where a.status <> 'resolved'
    and e.is_active
    and e.alert_id <> a.alert_id
  order by a.alert_id
  for key share of a skip locked
  for no key update of e skip locked
)
update trading.alert_episodes e
set alert_id = followed.alert_id
from followed
where e.episode_id = followed.episode_id;

-- name: tellable
-- Name those of these alerts that nobody else holds. What is held is told of in a later round.
select alert_id
from trading.alerts
where alert_id = any(cast(:alert_ids as bigint[]))
order by alert_id
for key share skip locked;

-- name: standings
-- Read every alert that is not resolved, and every resolved one that people still believe open.
with current as (
  select alert_id
  from trading.alerts
  where status <> 'resolved'
  union
  select alert_id
  from trading.alert_episodes
  where is_active
),
-- A notice that something opened is about one alert; the same notice on several channels counts once.
opened as (
  select o.kind, o.account_id, o.asset, o.wallet, count(distinct o.alert_id) as openings
  from trading.alert_notifications n
  join trading.alerts o on o.alert_id = n.alert_ids[1]
  where n.reason = 'opened'
    and n.created_at > cast(:since as timestamptz)
  group by o.kind, o.account_id, o.asset, o.wallet
)
select
  a.alert_id, a.kind, c.name as account, a.asset, a.wallet, a.status, a.message, a.evidence,
  cast(a.evidence ->> 'amount' as numeric) as amount, a.account_id, c.quote_currency,
  a.occurrences, a.opened_at, a.resolved_at, a.resolved_by, a.resolution, a.note,
  e.is_active, e.told_at, e.told_amount,
  coalesce(o.openings, 0) as openings
from current
join trading.alerts a using (alert_id)
left join trading.accounts c using (account_id)
left join trading.alert_episodes e
  on (e.kind, coalesce(e.account_id, 0), coalesce(e.asset, ''), coalesce(e.wallet, ''))
    = (a.kind, coalesce(a.account_id, 0), coalesce(a.asset, ''), coalesce(a.wallet, ''))
left join opened o
  on (o.kind, coalesce(o.account_id, 0), coalesce(o.asset, ''), coalesce(o.wallet, ''))
    = (a.kind, coalesce(a.account_id, 0), coalesce(a.asset, ''), coalesce(a.wallet, ''))
order by a.alert_id;

-- name: told_since
-- Read what was lately written to people, by kind: notices of single alerts, and whether digests were about it.
select
  a.kind,
  count(distinct (n.alert_ids[1], n.created_at)) filter (where n.reason <> 'digest') as notices,
  bool_or(n.reason = 'digest') as is_digested
from trading.alert_notifications n
cross join unnest(n.alert_ids) as t(alert_id)
join trading.alerts a using (alert_id)
where n.created_at > cast(:since as timestamptz)
group by a.kind;

-- name: remember_told
-- Keep what people were told of; a recovery ends the episode.
insert into trading.alert_episodes (kind, account_id, asset, wallet, alert_id, is_active, told_at, told_amount)
select a.kind, a.account_id, a.asset, a.wallet, a.alert_id, t.is_active, :now, t.amount
from unnest(
  cast(:alert_ids as bigint[]), cast(:active as boolean[]), cast(:amounts as numeric[])
) as t(alert_id, is_active, amount)
join trading.alerts a using (alert_id)
order by a.kind, a.account_id, a.asset, a.wallet
on conflict (kind, account_id, asset, wallet) do update
set alert_id = excluded.alert_id,
    is_active = excluded.is_active,
    told_at = excluded.told_at,
    told_amount = excluded.told_amount;

-- name: add_notification
-- Write a notice once for each channel.
insert into trading.alert_notifications (channel, reason, subject, body, alert_ids, details, created_at, due_at)
select channel, :reason, :subject, :body, cast(:alert_ids as bigint[]), cast(:details as jsonb), :now, :now
from unnest(cast(:channels as text[])) as c(channel);

-- name: claim
-- Take notifications that are due, oldest first.
with due as (
  select notification_id
  from trading.alert_notifications
  where channel = :channel
    and sent_at is null
    and due_at <= :now
  order by notification_id
  limit :most
  for no key update skip locked
),
claimed as (
  update trading.alert_notifications n
  set due_at = :until,
      attempts = n.attempts + 1
  from due
  where n.notification_id = due.notification_id
  returning n.notification_id, n.idempotency_key, n.reason, n.subject, n.body, n.alert_ids, n.details, n.created_at,
    n.attempts
)
select *
from claimed
order by notification_id;

-- name: mark_sent
-- Keep that a notification arrived.
update trading.alert_notifications
set sent_at = :now,
    last_error = null
where notification_id = :notification_id;

-- name: put_off
-- Give claimed notifications back, to be sent later.
update trading.alert_notifications
set due_at = :until,
    last_error = :error
where notification_id = any(cast(:notification_ids as bigint[]))
  and sent_at is null;

-- name: freshness
-- Read how old each active account's newest proof is.
select
  a.account_id, a.name as account, a.created_at, p.proven_at, a.freshness_limit_minutes as limit_minutes,
  coalesce(p.proven_at, a.created_at) < :now - make_interval(mins => a.freshness_limit_minutes) as is_stale
from trading.accounts a
left join trading.newest_proofs p on p.account_id = a.account_id
where a.is_active
order by a.name;

-- name: raise_alerts
-- Open alerts, or see the same open alert again, with all that was put off. It waits for nobody: what is about a row that
-- another session holds (the open alert's own; its account's, where the alert would be new) is put off, and whoever raises
-- alerts next tries it again. Of a run of a DAG the first alert says why, and is not counted again for the same run; what it
-- waits for is the run that reaches furthest.
with due as (
  delete from trading.alerts_put_off
  where put_off_id in (
    select put_off_id
    from trading.alerts_put_off
    order by put_off_id
    for update skip locked
  )
  returning kind, account_id, asset, wallet, message, evidence
),
raised as materialized (
  select distinct on (kind, account_id, asset, wallet) kind, account_id, asset, wallet, message, evidence
  from (
    select kind, account_id, asset, wallet, message, evidence, 1 as place
    from unnest(
      cast(:kinds as text[]),
      cast(:account_ids as bigint[]),
      cast(:assets as text[]),
      cast(:wallets as text[]),
      cast(:messages as text[]),
      cast(:evidence as jsonb[])
    ) as a(kind, account_id, asset, wallet, message, evidence)
    union all
    select kind, account_id, asset, wallet, message, evidence, 2
    from due
  ) a
  order by kind, account_id, asset, wallet, place
),
free_accounts as materialized (
  select account_id
  from trading.accounts
  where account_id in (select account_id from raised)
  order by account_id
  for key share skip locked
),
free as materialized (
  select a.alert_id
  from trading.alerts a
  where a.status <> 'resolved'
    and exists (
      select
      from raised r
      where r.kind = a.kind
        and r.account_id is not distinct from a.account_id
        and r.asset is not distinct from a.asset
        and r.wallet is not distinct from a.wallet
    )
  order by a.kind, a.account_id, a.asset, a.wallet
  for no key update of a skip locked
),
judged as materialized (
  select
    r.*,
    case
      when a.alert_id is not null then a.alert_id in (select alert_id from free)
      else r.account_id is null or r.account_id in (select account_id from free_accounts)
    end as is_free
  from raised r
  left join trading.alerts a
    on a.status <> 'resolved'
    and r.kind = a.kind
    and r.account_id is not distinct from a.account_id
    and r.asset is not distinct from a.asset
    and r.wallet is not distinct from a.wallet
),
put_off as (
  insert into trading.alerts_put_off (kind, account_id, asset, wallet, message, evidence)
  select kind, account_id, asset, wallet, message, evidence
  from judged
  where not is_free
)
insert into trading.alerts (kind, account_id, asset, wallet, message, evidence)
select kind, account_id, asset, wallet, message, evidence
from judged
where is_free
order by kind, account_id, asset, wallet
on conflict (kind, account_id, asset, wallet) where status <> 'resolved' do update
set occurrences = alerts.occurrences + cast(:is_counted as int),
    message = excluded.message,
    evidence = case
      when cast(alerts.evidence ->> 'reaches' as timestamptz) > cast(excluded.evidence ->> 'reaches' as timestamptz)
        then alerts.evidence
      else excluded.evidence
    end,
    last_seen_at = now()
where excluded.evidence ->> 'dag_run_id' is null
   or excluded.evidence ->> 'dag_run_id' is distinct from alerts.evidence ->> 'dag_run_id';

-- name: find_over
-- Lock the open alerts of some kinds, of some accounts (null for none) or of whatever they are about, also narrowed to one
-- subject, that are about none of what is named; what somebody holds is left to the next look.
select a.alert_id, a.account_id, a.asset
from trading.alerts a
where a.kind = any(cast(:over_kinds as text[]))
  and a.status <> 'resolved'
  and (
    cast(:over_account_ids as bigint[]) is null
    or array_position(cast(:over_account_ids as bigint[]), a.account_id) is not null
  )
  and (cast(:over_subject as text) is null or a.wallet = :over_subject)
  and not exists (
    select
    from unnest(
      cast(:kinds as text[]), cast(:account_ids as bigint[]), cast(:assets as text[]), cast(:wallets as text[])
    ) as r(kind, account_id, asset, wallet)
    where r.kind = a.kind
      and r.account_id is not distinct from a.account_id
      and r.asset is not distinct from a.asset
      and r.wallet is not distinct from a.wallet
  )
order by a.kind, a.account_id, a.asset, a.wallet
for no key update of a skip locked;

-- name: proved_by
-- Name the runs that proved accounts last.
select account_id, 'run ' || coalesce(dag_run_id || ' of ' || dag_id, run_id::text) as run
from trading.newest_proofs
where account_id = any(cast(:account_ids as bigint[]));

-- name: find_paused
-- Lock what only an active account can have of those that are paused; what somebody holds is left to the next look.
select l.alert_id
from trading.alerts l
join trading.accounts a using (account_id)
where not a.is_active
  and l.kind = any(cast(:kinds as text[]))
  and l.status <> 'resolved'
order by l.kind, l.account_id, l.asset, l.wallet
for no key update of l skip locked;

-- name: amend_late
-- Say how a run ended that was told of as late; nothing comes back where it was not.
update trading.alerts
set message = case when evidence ->> 'dag_run_id' = :run_id then :message else message end,
    last_seen_at = now()
where kind = :kind
  and asset = :dag_id
  and wallet is not distinct from cast(:thread as text)
  and status <> 'resolved'
  and cast(evidence ->> 'reaches' as timestamptz) >= :reaches
returning alert_id;

-- name: told_of_run
-- Find the open alert of a kind that tells of this very run.
select alert_id
from trading.alerts
where kind = :kind
  and asset = :dag_id
  and status <> 'resolved'
  and evidence ->> 'dag_run_id' = :run_id;

-- name: open_run_alerts
-- Lock and read what a DAG's open alerts about its runs wait for; what somebody holds waits for the next run.
select alert_id, evidence, opened_at
from trading.alerts
where kind = any(cast(:kinds as text[]))
  and asset = :dag_id
  and status <> 'resolved'
order by kind, account_id, asset, wallet
for no key update skip locked;

-- name: find_alerts
-- Read alerts, of all accounts or of those named, newest first.
select
  l.alert_id, l.kind, a.name as account, l.asset, l.wallet, l.status, l.message, l.evidence, l.occurrences,
  l.opened_at, l.last_seen_at, l.acknowledged_at, l.acknowledged_by, l.resolved_at, l.resolved_by, l.note
from trading.alerts l
left join trading.accounts a using (account_id)
where (:with_resolved or l.status <> 'resolved')
  and (cast(:names as text[]) is null or a.name = any(cast(:names as text[])))
order by l.last_seen_at desc, l.alert_id desc
limit :most;

-- name: find_open
-- Lock an open alert, or all of some kinds, also narrowed to what they are about; wait for whoever holds one.
select alert_id
from trading.alerts
where (alert_id = cast(:alert_id as bigint) or kind = any(cast(:kinds as text[])))
  and (cast(:account_id as bigint) is null or account_id = :account_id)
  and (cast(:wallet as text) is null or wallet = :wallet)
  and status <> 'resolved'
order by kind, account_id, asset, wallet
for no key update;

-- name: acknowledge
-- Keep who looks after locked alerts.
update trading.alerts
set status = 'acknowledged',
    acknowledged_at = now(),
    acknowledged_by = :by,
    note = coalesce(:note, note)
where alert_id = any(cast(:alert_ids as bigint[]));

-- name: resolve
-- Resolve locked alerts, and keep who said so or what ended each.
update trading.alerts a
set status = 'resolved',
    resolved_at = coalesce(cast(:now as timestamptz), now()),
    resolved_by = :by,
    resolution = r.resolution,
    note = coalesce(:note, a.note)
from unnest(cast(:alert_ids as bigint[]), cast(:resolutions as text[])) as r(alert_id, resolution)
where a.alert_id = r.alert_id;

-- name: account_id
-- Find an account by name.
select account_id
from trading.accounts
where name = :name;

-- name: unsent
-- Count what waits to be sent, by channel.
select channel, count(*) as waiting, max(last_error) as last_error
from trading.alert_notifications
where sent_at is null
group by channel
order by channel;

-- name: open_by_kind
-- Count what is not resolved; zero for kinds that people were told of and that are over.
with known as (
  select kind
  from trading.alert_episodes
  union
  select kind
  from trading.alerts
  where status <> 'resolved'
),
counted as (
  select kind, count(*) as alerts
  from trading.alerts
  where status <> 'resolved'
  group by kind
)
select kind, coalesce(alerts, 0) as alerts
from known
left join counted using (kind)
order by kind;

-- name: approvals_waiting
-- Count the held repairs that nobody decided yet.
select count(*) as plans
from trading.repair_plans
where kind = 'held'
  and status = 'held'
  and closed_at is null;
