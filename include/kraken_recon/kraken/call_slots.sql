-- The nonce stream and call budget of an API key. Times are the server's clock_timestamp(): now() stands
-- still within a transaction, and workers' own clocks disagree.

-- name: configure_session
-- Let the server end this session if its worker hangs, and let nobody wait for a lock forever, or for the disk; say
-- which session it is.
select pg_backend_pid(),
       set_config('idle_session_timeout', %(idle_session_timeout_ms)s, false),
       set_config('lock_timeout', %(lock_timeout_ms)s, false),
       set_config('synchronous_commit', 'off', false);

-- name: register_key
-- Make the key's row on its first use.
insert into trading.api_keys (key_fingerprint, nonce, call_level, level_at)
values (%(key_fingerprint)s, 0, 0, clock_timestamp())
on conflict do nothing;

-- name: lock_key
-- Become the only session that sends with this key; say whether it is still the session of this connection.
select case when pg_backend_pid() = %(session)s then pg_advisory_lock(%(lock_number)s)::text end is not null;

-- name: unlock_key
-- Let the next session send.
select pg_advisory_unlock(%(lock_number)s);

-- name: take_slot
-- Charge the call and return its nonce and the counter's level, or return no row if the key's counter has no room for it
-- now. It leaves in one message with the lock, in a session that may turn out to be another's: then it charges nothing.
with clock as materialized (
  select clock_timestamp() as now
)
update trading.api_keys as api_key
set nonce = greatest(api_key.nonce + 1, (extract(epoch from clock.now) * 1000000)::bigint),
    call_level = %(cost)s + greatest(
      0,
      api_key.call_level
        - %(decay_per_second)s * greatest(0, extract(epoch from clock.now - api_key.level_at))
    ),
    level_at = greatest(api_key.level_at, clock.now)
from clock
where api_key.key_fingerprint = %(key_fingerprint)s
  and pg_backend_pid() = %(session)s
  and %(cost)s + greatest(
    0,
    api_key.call_level
      - %(decay_per_second)s * greatest(0, extract(epoch from clock.now - api_key.level_at))
  ) <= %(ceiling)s
returning api_key.nonce, api_key.call_level;

-- name: seconds_until_room
-- Tell how long the key's counter needs to make room for the call.
select greatest(
  0,
  (call_level + %(cost)s - %(ceiling)s) / %(decay_per_second)s
    - extract(epoch from clock_timestamp() - level_at)
)
from trading.api_keys
where key_fingerprint = %(key_fingerprint)s;

-- name: fill_counter
-- Believe the exchange when it says that the key is over its limit: someone else uses the key as well.
update trading.api_keys
set call_level = %(capacity)s,
    level_at = clock_timestamp()
where key_fingerprint = %(key_fingerprint)s;

-- name: checked_keys
-- Name the keys whose permissions were checked lately enough.
select key_fingerprint
from trading.api_keys
where checked_at >= clock_timestamp() - %(max_age)s;

-- name: needs_check
-- Tell whether the key's permissions were last checked too long ago, or never.
select coalesce(bool_and(checked_at < clock_timestamp() - %(max_age)s), true)
from trading.api_keys
where key_fingerprint = %(key_fingerprint)s
  and checked_at is not null;

-- name: mark_checked
-- Note that the key's permissions were just checked.
update trading.api_keys
set checked_at = clock_timestamp()
where key_fingerprint = %(key_fingerprint)s;
