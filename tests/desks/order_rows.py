"""Rows of orders and of sessions as they stand after days of work, written by SQL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import psycopg

if TYPE_CHECKING:
    from collections.abc import Sequence

# What a page must show as text.
HOSTILE: Final = "</script><!--<script>alert(1)</script>\"'=1+1"

_ORDERS: Final = """
with placed as (
  insert into trading.orders
    (account_id, source, pair, base, quote, side, order_type, volume, expected_price, cl_ord_id, kraken_txid,
     status, deadline, submitted_at, ended_at, volume_executed, cost_executed)
  select
    a.account_id, 'manual', %(pair)s, 'BTC', 'USD', %(side)s, 'market', 1, 50000, gen_random_uuid()::text,
    'O-' || %(pair)s || %(side)s || %(days_ago)s::int || '-' || w.n, 'closed', now(), now(),
    now() - make_interval(days => %(days_ago)s, mins => w.n::int), 1,
    case %(side)s when 'buy' then 50000 + w.worse else 50000 - w.worse end
  from trading.accounts a
  cross join unnest(%(worse)s::numeric[]) with ordinality as w(worse, n)
  where a.name = %(account)s
  returning order_id, account_id, source, side, cost_executed, ended_at
),
judged as (
  insert into trading.order_verifications
    (order_id, account_id, source, enlisted_at, due_at, deadline, verdict, failed_levels, message, judged_at,
     judged_by)
  select
    order_id, account_id, source, ended_at, ended_at, ended_at, %(verdict)s,
    case when %(verdict)s = 'mismatch' then array[%(level)s] else '{}' end, %(message)s, ended_at,
    %(judged_by)s
  from placed
)
insert into trading.order_verification_levels
  (order_id, level, verdict, expected, observed, message, judged_at)
select
  order_id, 'slippage', 'passed', jsonb_build_object('price', '50000', 'cost', '50000'),
  jsonb_build_object(
    'worse_by',
    trim_scale(case side when 'buy' then cost_executed - 50000 else 50000 - cost_executed end)::text
  ),
  'within what was expected', ended_at
from placed
union all
select
  order_id, %(level)s, 'mismatch', jsonb_build_object('fee', '1.25'),
  jsonb_build_object('fee', %(message)s::text), %(message)s, ended_at
from placed
where %(verdict)s = 'mismatch'
"""


def add_account(url: str, name: str) -> None:
    """Open an account that nothing happened on."""
    with psycopg.connect(url) as connection:
        connection.execute(
            "insert into trading.accounts (name, kraken_conn_id) values (%(name)s, %(name)s)", {"name": name}
        )


def add_orders(  # noqa: PLR0913 - by name
    url: str,
    account: str,
    worse: Sequence[str],
    *,
    side: str = "buy",
    pair: str = "XBTUSD",
    verdict: str = "verified",
    level: str = "fills",
    message: str = "the fee differs",
    judged_by: str | None = "order_verification|scheduled__1|verify_orders|1",
    days_ago: int = 0,
) -> None:
    """Write ended orders of 50,000 USD, a minute apart, each that many USD worse than expected."""
    values = {
        "account": account,
        "worse": list(worse),
        "side": side,
        "pair": pair,
        "verdict": verdict,
        "level": level,
        "message": message,
        "judged_by": judged_by,
        "days_ago": days_ago,
    }
    with psycopg.connect(url) as connection:
        connection.execute(_ORDERS, values)


def add_rates(url: str, account: str, hours: int) -> None:
    """Count verdicts for each of the hours up to now, one mismatch in ten of them."""
    query = """
    insert into trading.verification_rates
    select
      3600, date_trunc('hour', now()) - n * interval '1 hour', account_id, 'manual', 20 + n %% 7,
      (n %% 10 = 3)::int, n %% 3, now()
    from trading.accounts, generate_series(0, %(hours)s - 1) as n
    where name = %(account)s
    """
    with psycopg.connect(url) as connection:
        connection.execute(query, {"account": account, "hours": hours})


def add_samples(url: str, count: int, *, source: str = "trading_db", audited_by: str | None = None) -> None:
    """Write samples five minutes apart, the newest with the most connections."""
    query = """
    insert into trading.session_samples (
      source, taken_at, connections, connections_limit, sessions, ours, active, idle, idle_in_transaction,
      waiting, unattributed, by_owner, usages, findings, longest_wait_seconds, pool_sessions, pool_limit,
      audited_by
    )
    select
      %(source)s,
      date_bin('5 minutes', now(), timestamptz '2000-01-01 00:00:00+00') - n * interval '5 minutes',
      10 + (%(count)s - n) %% 30, 100, 4, 2 + n %% 9, 1, 1, n %% 4, n %% 3, 0, '{}', '{}', 0, 7 * (n %% 3),
      2 + n %% 5, 12, %(audited_by)s
    from generate_series(0, %(count)s - 1) as n
    """
    with psycopg.connect(url) as connection:
        connection.execute(query, {"source": source, "count": count, "audited_by": audited_by})


def add_finding(  # noqa: PLR0913 - by name
    url: str,
    message: str = "idle for 90 s in a transaction",
    *,
    rule: str = "idle_in_transaction",
    severity: str = "critical",
    dag_id: str | None = "position_sync",
    task_id: str | None = "reconcile",
    returned: bool = False,
    outcome: str | None = None,
    seen_minutes_ago: int = 0,
    source: str = "trading_db",
    seen_by: str = "session_leak_audit scheduled__1",
) -> None:
    """Write a finding, and what was done about it."""
    query = """
    with found as (
      insert into trading.session_findings
        (source, rule, severity, subject, message, application_name, dag_id, run_id, task_id, map_index,
         try_number, evidence, first_seen_at, last_seen_at, returned_at, last_seen_by)
      select
        %(source)s, %(rule)s, %(severity)s, 's' || (select count(*) from trading.session_findings),
        %(message)s, 'af1|x', %(dag_id)s, 'manual__1/a', %(task_id)s, -1, 1,
        jsonb_build_object('call_site', %(message)s::text),
        t.at - interval '10 minutes', t.at, case when %(returned)s then t.at + interval '5 minutes' end,
        %(seen_by)s
      from (
        select date_bin('5 minutes', now(), timestamptz '2000-01-01 00:00:00+00')
          - make_interval(mins => %(ago)s) as at
      ) t
      returning finding_id
    )
    insert into trading.session_actions (finding_id, action, outcome, acted_by)
    select finding_id, 'terminate', %(outcome)s::text, 'session_leak_audit manual__2/b'
    from found
    where %(outcome)s::text is not null
    """
    values = {
        "message": message,
        "rule": rule,
        "severity": severity,
        "dag_id": dag_id,
        "task_id": task_id,
        "returned": returned,
        "outcome": outcome,
        "ago": seen_minutes_ago,
        "source": source,
        "seen_by": seen_by,
    }
    with psycopg.connect(url) as connection:
        connection.execute(query, values)
