"""Orders that ended are verified against every book of a simulated Kraken, late and wrong books included."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from desks.orders import TradingDesk
from kraken_recon.database.unit_of_work import UnitOfWork
from kraken_recon.orders.changing import cancel_order
from kraken_recon.verification.alerts import RateRules, publish_rates
from kraken_recon.verification.rules.judge import Overall
from kraken_recon.verification.rules.levels import OF_EVERY_ORDER, Level
from kraken_recon.verification.run import VerifyingPorts, VerifyingRules
from kraken_recon.verification.verifying import (
    Pass,
    claim_orders,
    let_go,
    look_at,
    new_token,
    verify_claimed,
    waiting_orders,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Simulator
    from kraken_recon.verification.evidence import SeenBooks

VIEWS = ("orders", "trades", "ledger", "balance")
LAG_SECONDS_MAX = 120


@dataclass
class VerifyingDesk:
    """A trading desk whose ended orders are verified."""

    desk: TradingDesk
    rules: VerifyingRules = field(default_factory=VerifyingRules)

    @property
    def ports(self) -> VerifyingPorts:
        """The outside world of a verification on this desk."""
        return VerifyingPorts(lambda: UnitOfWork(self.desk.engine), self.desk.open_exchange, self.desk.now)

    def verify(self, **options: Any) -> Pass:
        """Claim what is due and look at it once."""
        token = new_token("test")
        claim_orders(self.ports, self.rules, token)
        return verify_claimed(self.ports, self.rules, token, **options)

    def verify_until_final(self, *, rounds: int = 40, step_seconds: float = 5) -> None:
        """Verify and follow orders while time passes, until every verdict is final."""
        for _ in range(rounds):
            self.verify()
            if not self.desk.rows(
                "select from trading.orders left join trading.order_verifications using (order_id)"
                " where verdict is distinct from 'verified' and verdict is distinct from 'mismatch'"
            ):
                return
            self.desk.pause(step_seconds)
            self.desk.execute_orders(follow_passes=0)
        raise AssertionError(f"not final after {rounds} rounds: {self.verdicts()}")

    def verdicts(self) -> list[dict[str, Any]]:
        """Read all verifications, oldest order first."""
        return self.desk.rows("select * from trading.order_verifications order by order_id")

    def verdict(self) -> dict[str, Any]:
        """Read the only verification."""
        [row] = self.verdicts()
        return row

    def levels(self, order_id: int | None = None) -> dict[str, str]:
        """Read the verdict of each level."""
        rows = self.desk.rows(
            "select level, verdict from trading.order_verification_levels"
            " where %s::bigint is null or order_id = %s",
            order_id,
            order_id,
        )
        return {row["level"]: row["verdict"] for row in rows}

    def alerts(self) -> list[tuple[str, str | None]]:
        """Read the kinds and assets of open alerts."""
        rows = self.desk.rows(
            "select kind, asset from trading.alerts where status <> 'resolved' order by 1, 2"
        )
        return [(row["kind"], row["asset"]) for row in rows]


@pytest.fixture
def at(simulator: Simulator, database_url: str) -> Iterator[VerifyingDesk]:
    desk = TradingDesk(simulator, database_url)
    desk.account()
    desk.prices(XBTUSD="50000", ETHUSD="2500")
    desk.sync()
    yield VerifyingDesk(desk)
    desk.close()


def test_a_filled_order_is_verified_with_all_its_figures(at: VerifyingDesk) -> None:
    at.desk.decide(volume="0.5", expected_price="50000")
    at.desk.execute_orders()
    done, order = at.verify(), at.desk.order()
    assert done.verdicts == {order["order_id"]: Overall.VERIFIED}
    assert done.latencies == {order["order_id"]: at.verdict()["judged_at"] - order["ended_at"]}
    assert at.levels() == {str(level): "passed" for level in OF_EVERY_ORDER}
    row = at.verdict()
    assert (row["verdict"], row["source"], row["claimed_by"], row["attempts"]) == (
        "verified",
        "manual",
        None,
        1,
    )
    [direction] = at.desk.rows("select * from trading.order_verification_levels where level = 'direction'")
    assert direction["expected"] == {"moved": "0.5"}
    assert direction["observed"] == {"before": "10", "after": "10.5", "by_others": "0", "moved": "0.5"}
    assert at.alerts() == []


def test_sells_limits_stops_and_what_is_filled_of_a_canceled_order_are_verified(at: VerifyingDesk) -> None:
    at.desk.decide(side="sell", volume="0.25", key="market")
    at.desk.decide(side="sell", volume="0.5", type="stop-loss", trigger_price="49000", key="stop")
    at.desk.decide(volume="1", type="limit", limit_price="48000", key="limit")
    at.desk.decide(volume="2", type="limit", limit_price="30000", key="partly filled")
    at.desk.execute_orders()
    partly = at.desk.orders()[3]
    for volume in ("0.75", "0.3"):
        fill = {"txid": partly["kraken_txid"], "volume": volume}
        at.desk.simulator.control.post("accounts/desk/fills", fill)
    cancel_order(partly["order_id"], at.desk.ports)
    at.desk.prices(XBTUSD="47500")
    at.desk.pause(5)
    at.desk.execute_orders()
    assert [o["status"] for o in at.desk.orders()] == ["closed", "closed", "closed", "canceled"]
    at.verify()
    assert [row["verdict"] for row in at.verdicts()] == ["verified"] * 4
    [direction] = at.desk.rows(
        "select * from trading.order_verification_levels where level = 'direction' and order_id = %s",
        partly["order_id"],
    )
    assert direction["expected"] == {"moved": "1.05"}


def test_an_order_cancelled_without_a_fill_is_verified_by_its_state(at: VerifyingDesk) -> None:
    at.desk.decide(side="buy", volume="1", type="limit", limit_price="100", time_in_force="IOC")
    at.desk.execute_orders()
    assert at.desk.order()["status"] == "canceled"
    at.verify()
    assert at.verdict()["verdict"] == "verified"
    assert at.levels() == {str(level): "not_applicable" for level in OF_EVERY_ORDER} | {"state": "passed"}


def test_external_orders_are_verified_too(at: VerifyingDesk) -> None:
    at.desk.simulator.control.post(
        "accounts/desk/events",
        {"kind": "manual_order", "pair": "XBTUSD", "side": "buy", "volume": "0.1", "ordertype": "market"},
    )
    at.desk.pause(400)
    at.desk.execute_orders()
    at.verify()
    assert [(row["source"], row["verdict"]) for row in at.verdicts()] == [("external", "verified")]


def test_fills_and_entries_that_nobody_brought_are_brought_in(at: VerifyingDesk) -> None:
    at.desk.decide(volume="0.5")
    at.desk.execute_orders()
    before = at.desk.positions()
    at.desk.execute("delete from trading.fills")
    at.desk.execute(
        "with gone as (delete from trading.position_events where cause = 'ledger'"
        "   and ledger_id in (select ledger_id from trading.ledger_entries where type = 'trade')"
        "   returning account_id, asset, wallet, quantity_before - quantity_after as change)"
        " update trading.positions p set quantity = quantity + change from gone"
        " where (p.account_id, p.asset, p.wallet) = (gone.account_id, gone.asset, gone.wallet)"
    )
    at.desk.execute("delete from trading.ledger_entries where type = 'trade'")
    assert at.desk.positions() != before
    at.verify()
    assert at.verdict()["verdict"] == "verified"
    assert at.desk.positions() == before


# --- late books


@pytest.mark.parametrize("seed", range(2))
def test_books_that_lag_in_any_order_give_no_false_mismatch(at: VerifyingDesk, seed: int) -> None:
    dice = random.Random(seed)  # noqa: S311 - must be reproducible
    for number in range(6):
        at.desk.decide(
            side=dice.choice(["buy", "sell"]), volume=f"0.{dice.randint(1, 9)}", key=f"order {seed} {number}"
        )
    for view in dice.sample(VIEWS, k=dice.randint(1, 4)):
        at.desk.fault("lag", view=view, seconds=dice.randint(1, LAG_SECONDS_MAX))
    at.desk.execute_orders(follow_passes=0)
    at.verify_until_final(step_seconds=dice.randint(5, 30))
    assert len(at.verdicts()) == 6
    assert {row["verdict"] for row in at.verdicts()} == {"verified"}
    assert not [alert for alert in at.alerts() if alert[0].startswith("verification")]


@pytest.mark.parametrize("view", ["orders", "trades", "ledger"])
def test_books_of_one_order_that_lag_keep_only_that_order_waiting(at: VerifyingDesk, view: str) -> None:
    at.desk.decide(volume="0.1", key="late")
    at.desk.decide(volume="0.2", key="on time", pair="ETH/USD")
    at.desk.execute_orders(follow_passes=0)
    first, second = at.desk.orders()
    at.desk.fault("lag", view=view, seconds=60, order=first["kraken_txid"])
    token = new_token("test")
    claim_orders(at.ports, at.rules, token)
    done = verify_claimed(at.ports, at.rules, token, keeps_watching=True)
    held = {} if view == "ledger" else {second["order_id"]: Overall.VERIFIED}
    assert (done.verdicts, done.watched) == (held, 2 - len(held))
    at.desk.pause(60)
    done = verify_claimed(at.ports, at.rules, token, keeps_watching=True)
    assert set(done.verdicts.values()) == {Overall.VERIFIED}
    assert done.watched == 0


def test_books_that_never_come_are_alerted_at_the_deadline_and_looked_for_on(at: VerifyingDesk) -> None:
    at.desk.decide(volume="0.1")
    at.desk.execute_orders()
    at.desk.fault("lag", view="orders", seconds=100_000)
    at.verify()
    row = at.verdict()
    assert (row["verdict"], row["attempts"]) == ("inconclusive", 1)
    assert row["due_at"] - row["judged_at"] == timedelta(seconds=10)
    assert at.levels()["state"] == "inconclusive"
    assert at.alerts() == []
    assert at.verify().verdicts == {}, "it is not due yet"
    at.desk.pause(at.rules.deadline.total_seconds())
    at.verify()
    assert at.alerts() == [("verification_inconclusive", "BTC")]
    at.desk.simulator.control.delete("faults")
    at.desk.pause(3600)
    at.verify()
    assert at.verdict()["verdict"] == "verified"
    assert at.alerts() == []


# --- wrong books

PLANTED = {
    "ledger_wrong_volume": {Level.DIRECTION, Level.LEDGER},
    "ledger_wrong_fee": {Level.LEDGER},
    "ledger_wrong_side": {Level.DIRECTION, Level.LEDGER},
    "ledger_missing_leg": {Level.LEDGER},
    "ledger_wrong_account": {Level.LEDGER},
    "trade_wrong_volume": {Level.FILLS, Level.DIRECTION, Level.LEDGER},
    "trade_wrong_fee": {Level.FILLS, Level.LEDGER},
    "trade_wrong_side": {Level.FILLS},
    "trade_missing": {Level.FILLS},
    "trade_wrong_account": {Level.FILLS},
}


@pytest.mark.parametrize("wrong", PLANTED)
def test_a_planted_wrong_is_found_on_its_level_and_no_sound_order_with_it(
    at: VerifyingDesk, wrong: str
) -> None:
    at.desk.account("other")
    at.desk.sync("other")
    at.desk.decide(volume="0.5", key="sound before")
    at.desk.execute_orders()
    at.desk.pause(2)
    options = {"to_account": "other"} if wrong.endswith("wrong_account") else {}
    at.desk.fault(wrong, account="desk", count=1, **options)
    at.desk.decide(volume="0.25", key="wrong")
    at.desk.execute_orders(follow_passes=0)
    at.desk.pause(5)
    at.desk.decide(volume="0.5", key="sound after")
    at.desk.execute_orders(follow_passes=0)
    at.desk.pause(60)
    at.verify()
    at.desk.sync()
    at.desk.pause(at.rules.deadline.total_seconds())
    at.verify()
    before, spoiled, after = at.verdicts()
    assert (before["verdict"], after["verdict"]) == ("verified", "verified")
    assert spoiled["verdict"] == "mismatch", spoiled["message"]
    assert {Level(level) for level in spoiled["failed_levels"]} == PLANTED[wrong], spoiled["message"]
    assert ("verification_failure", "BTC") in at.alerts()


def test_a_leg_that_later_entries_pass_by_is_missed_before_the_deadline(at: VerifyingDesk) -> None:
    at.desk.decide(volume="0.5", key="sound before")
    at.desk.execute_orders()
    at.verify()
    at.desk.pause(30)
    at.desk.fault("ledger_missing_leg", account="desk", count=1)
    at.desk.decide(volume="0.25", key="wrong")
    at.desk.execute_orders(follow_passes=0)
    at.desk.pause(5)
    at.desk.decide(volume="0.5", key="sound after")
    at.desk.execute_orders(follow_passes=0)
    at.desk.pause(1)
    at.verify()
    _, spoiled, after = at.verdicts()
    assert (spoiled["verdict"], after["verdict"]) == ("mismatch", "verified"), spoiled["message"]
    assert "is missing from the ledger" in spoiled["message"]


def test_each_order_that_failed_has_an_alert_of_its_own(at: VerifyingDesk) -> None:
    at.desk.fault("ledger_wrong_fee", account="desk", count=2)
    for key in ("one", "two"):
        at.desk.decide(volume="0.25", key=key)
    at.desk.execute_orders()
    at.desk.pause(60)
    at.verify()
    rows = at.desk.rows("select wallet, message from trading.alerts where kind = 'verification_failure'")
    assert [row["wallet"] for row in rows] == [f"order {order['order_id']}" for order in at.desk.orders()]


def test_a_failed_verification_changes_no_order_position_or_next_trade(at: VerifyingDesk) -> None:
    at.desk.fault("ledger_wrong_fee", account="desk", count=1)
    at.desk.decide(volume="0.25", key="wrong")
    at.desk.execute_orders()
    kept = (
        "select (select jsonb_agg(o order by order_id) from trading.orders o) as orders,"
        " (select jsonb_agg(f order by trade_id) from trading.fills f) as fills,"
        " (select jsonb_agg(p order by asset) from trading.positions p) as positions,"
        " (select jsonb_agg(v order by event_id) from trading.position_events v) as events"
    )
    before = at.desk.rows(kept)
    at.verify()
    assert at.verdict()["verdict"] == "mismatch"
    assert at.desk.rows(kept) == before
    at.desk.decide(volume="0.25", key="next")
    assert at.desk.execute_orders().sent == 1
    assert at.desk.orders()[1]["status"] == "closed"


# --- claims


def filled(at: VerifyingDesk, count: int) -> None:
    for number in range(count):
        at.desk.decide(volume="0.01", key=f"order {number}")
    at.desk.execute_orders()


def test_two_workers_share_the_orders_and_judge_each_once(at: VerifyingDesk) -> None:
    filled(at, 7)
    rules = replace(at.rules, orders_per_batch=4)
    tokens = [new_token("one"), new_token("two")]
    assert [len(claim_orders(at.ports, rules, token)) for token in tokens] == [4, 3]
    assert waiting_orders(at.ports, for_at_least=timedelta(0)) == 0
    done = [verify_claimed(at.ports, rules, token).verdicts for token in tokens]
    assert [len(verdicts) for verdicts in done] == [4, 3]
    assert not done[0].keys() & done[1].keys()
    assert at.verify().verdicts == {}, "a final verdict is not looked at again"


def test_what_a_killed_worker_held_comes_back_when_its_lease_ends(at: VerifyingDesk) -> None:
    filled(at, 2)
    dead = new_token("dead")
    assert len(claim_orders(at.ports, at.rules, dead)) == 2
    assert at.verify().verdicts == {}
    at.desk.pause(at.rules.lease.total_seconds() - 1)
    assert look_at(at.ports, at.rules, dead), "a look keeps the lease"
    at.desk.pause(at.rules.lease.total_seconds() - 1)
    assert at.verify().verdicts == {}
    at.desk.pause(1)
    late = new_token("late")
    assert len(claim_orders(at.ports, at.rules, late)) == 2
    assert verify_claimed(at.ports, at.rules, dead).verdicts == {}, "the claim is lost, so nothing is written"
    assert len(verify_claimed(at.ports, at.rules, late).verdicts) == 2


def test_a_batch_that_is_let_go_is_free_at_once(at: VerifyingDesk) -> None:
    filled(at, 1)
    token = new_token("test")
    claim_orders(at.ports, at.rules, token)
    let_go(at.ports, token)
    assert len(at.verify().verdicts) == 1


def test_a_failing_account_keeps_only_its_own_orders_waiting(at: VerifyingDesk) -> None:
    at.desk.account("other")
    at.desk.sync("other")
    at.desk.decide(volume="0.1", key="one")
    at.desk.decide("other", volume="0.1", key="two")
    at.desk.execute_orders()
    at.desk.fault("api_error", account="desk", text="EAPI:Invalid key")
    at.verify()
    failing, working = at.verdicts()
    assert (failing["verdict"], working["verdict"]) == ("inconclusive", "verified")
    assert "EAPI:Invalid key" in failing["message"]


def test_a_batch_costs_one_reading_per_account(at: VerifyingDesk) -> None:
    filled(at, 15)
    token = new_token("test")
    claim_orders(at.ports, at.rules, token)
    before = Counter(at.desk.truth()["calls"])
    verify_claimed(at.ports, at.rules, token)
    assert Counter(at.desk.truth()["calls"]) - before == {"QueryOrders": 1, "QueryTrades": 1, "Ledgers": 1}


def test_what_was_judged_is_not_read_again_for_what_is_left(at: VerifyingDesk) -> None:
    filled(at, 26)  # more entries than a page holds
    at.desk.pause(5)
    filled_before = len(at.desk.orders())
    at.desk.decide(volume="0.01", key="late")
    at.desk.execute_orders(follow_passes=0)
    late = at.desk.orders()[filled_before]
    at.desk.fault("lag", view="ledger", seconds=30, order=late["kraken_txid"])
    token = new_token("test")
    claim_orders(at.ports, at.rules, token)
    seen: dict[int, SeenBooks] = {}
    assert verify_claimed(at.ports, at.rules, token, seen, keeps_watching=True).watched == 1
    at.desk.pause(30)
    before = Counter(at.desk.truth()["calls"])
    assert verify_claimed(at.ports, at.rules, token, seen, keeps_watching=True).watched == 0
    assert Counter(at.desk.truth()["calls"]) - before == {"Ledgers": 1}


# --- rates


def test_failure_rates_are_counted_by_window_source_and_account_and_alerted(at: VerifyingDesk) -> None:
    filled(at, 12)
    at.verify()
    rules = RateRules(percent_max=10, judged_min=10)
    publish_rates(at.ports, rules)
    assert ("verification_rate", None) not in at.alerts()
    at.desk.execute(
        "update trading.order_verifications set verdict = 'mismatch', failed_levels = '{ledger}'"
        " where order_id in (select order_id from trading.orders order by order_id limit 3)"
    )
    counts = publish_rates(at.ports, rules)
    assert {(c.window_seconds, c.account, c.source, c.verified, c.mismatched) for c in counts} == {
        (3600, "desk", "manual", 9, 3),
        (86400, "desk", "manual", 9, 3),
    }
    assert ("verification_rate", None) in at.alerts()
    [alert] = at.desk.rows("select message from trading.alerts where kind = 'verification_rate'")
    assert "3 of 12 verified manual orders failed" in alert["message"]
    at.desk.pause(3 * 86_400)
    publish_rates(at.ports, rules)
    assert len(at.desk.rows("select * from trading.verification_rates")) == 2
