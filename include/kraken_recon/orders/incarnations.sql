-- What an account's orders need after its database was restored to an earlier state.

-- name: note_incarnation
-- Note that an account's orders may be known here only up to some moment before now: the database is another than it was.
update trading.accounts
set incarnation = trading.incarnation(),
    restored_at = :now
where account_id = :account_id
  and incarnation <> trading.incarnation();

-- name: held_since_restore
-- Say since when an account's orders are held, and from when on Kraken's must be read: nothing here knows of those since
-- the last look, and a decided order may have been sent as soon as it was decided.
select a.restored_at, least(
  coalesce(b.read_until, a.created_at),
  (select min(o.decided_at) from trading.orders o where o.account_id = a.account_id and o.status = 'decided')
) as known_until
from trading.accounts a
left join trading.order_books b using (account_id)
where a.account_id = :account_id
  and a.restored_at is not null;

-- name: release_after_restore
-- Let the orders of an account go on.
update trading.accounts
set restored_at = null
where account_id = :account_id
  and restored_at = :restored_at;

-- name: give_decision
-- Make an order that was taken for somebody else's the order of a decision that means the same; no row where it
-- differs, or is an order of ours.
update trading.orders
set source = :source,
    reason = :reason,
    expected_price = :expected_price,
    portion = :portion,
    ai_model = :ai_model,
    ai_prompt_sha256 = :ai_prompt_sha256,
    ai_answer = :ai_answer,
    submitted_at = coalesce(submitted_at, decided_at),
    deadline = coalesce(deadline, decided_at),
    updated_at = now()
where account_id = :account_id
  and cl_ord_id = :cl_ord_id
  and source in ('external', 'desk')
  and pair = :pair
  and side = :side
  and order_type = :order_type
  and (cast(:portion as numeric) is not null or volume = :volume)
  and limit_price is not distinct from :limit_price
  and trigger_price is not distinct from :trigger_price
returning order_id;
