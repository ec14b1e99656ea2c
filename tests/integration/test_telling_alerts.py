"""Alerts from their rows to people, on a real database."""

from __future__ import annotations

import json
import re
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from desks.fake_exchange import Desk
from desks.logins import as_writer
from kraken_recon.alerts.kinds import AlertKind
from kraken_recon.alerts.run_coverage import RunOfDag
from kraken_recon.alerts.store import AlertStore
from kraken_recon.alerts.telling import deliver, desk_state, prepare_notifications, watch_freshness
from kraken_recon.cli.main import main
from kraken_recon.database.unit_of_work import UnitOfWork
from kraken_recon.errors import ExchangeUnavailableError
from kraken_recon.wiring import utc_now

if TYPE_CHECKING:
    from kraken_recon.alerts.rules import Notification

SOON = timedelta()
LATE_RUN = RunOfDag("position_sync", "run", "scheduled", datetime(2026, 3, 1, tzinfo=UTC))
LATER = timedelta(minutes=30)
STORM = """
insert into trading.accounts (name, kraken_conn_id) select 'desk-' || n, 'none' from generate_series(1, 37) n;
insert into trading.alerts (kind, account_id, asset, wallet, message, evidence)
select 'unexplained_discrepancy', account_id, 'A' || n, 'spot', name || ' differs', '{"amount": "0.5"}'
from generate_series(1, 10000) n
join trading.accounts on name = 'desk-' || (n % 37 + 1);
"""


class ChannelDownError(Exception):
    """The receiver does not answer."""


@dataclass
class People:
    """Two channels, of which either may be down, and what arrived on them."""

    desk: Desk
    down: set[str] = field(default_factory=set)
    inbox: dict[str, list[Notification]] = field(default_factory=lambda: {"mail": [], "chat": []})

    def open_unit(self) -> UnitOfWork:
        return UnitOfWork(self.desk.engine)

    def decide(self, after: timedelta = SOON) -> int:
        return prepare_notifications(self.open_unit, list(self.inbox), utc_now() + after)

    def deliver(self, after: timedelta = SOON) -> None:
        for channel in self.inbox:
            deliver(
                self.open_unit, channel, lambda n, to=channel: self.receive(to, n), lambda: utc_now() + after
            )

    def receive(self, channel: str, notification: Notification) -> None:
        if channel in self.down:
            raise ChannelDownError("https://hooks.example/secret-token")
        self.inbox[channel].append(notification)

    def told(self, after: timedelta = SOON) -> list[str]:
        """Let a moment pass; return why people were told since the last one."""
        known = len(self.inbox["mail"])
        self.decide(after)
        self.deliver(after)
        return [notification.reason for notification in self.inbox["mail"][known:]]


@pytest.fixture
def people(database_url: str) -> People:
    desk = Desk(database_url)
    desk.account().add("BTC", "1")
    desk.sync()
    return People(desk)


def unavailable(_: str) -> None:
    raise ExchangeUnavailableError("no answer", endpoint="BalanceEx")


def works(_: str) -> None:
    """Let the call through."""


def test_an_outage_of_the_exchange_is_told_once_and_so_is_its_end(people: People) -> None:
    desk = people.desk
    desk.exchanges["desk"].before_call = unavailable
    told = []
    for _ in range(5):
        desk.sync()
        told += people.told()
    assert told == ["opened"]
    assert "sync failure: desk" in people.inbox["mail"][0].subject
    desk.exchanges["desk"].before_call = works
    desk.sync()
    assert people.told() == []
    assert people.told(LATER) == ["recovered"]
    assert people.told(LATER * 2) == []
    assert [n.subject for n in people.inbox["chat"]] == [n.subject for n in people.inbox["mail"]]


def test_one_failed_call_wakes_nobody(people: People) -> None:
    people.desk.exchanges["desk"].before_call = unavailable
    people.desk.sync()
    assert people.told() == []
    people.desk.exchanges["desk"].before_call = works
    people.desk.sync()
    assert people.told(LATER) == []


def test_a_flapping_account_is_told_once_and_so_is_its_rest(people: People) -> None:
    desk, told = people.desk, []
    for _ in range(4):
        for step in (unavailable, unavailable, works):
            desk.exchanges["desk"].before_call = step
            desk.sync()
            told += people.told()
    assert told == ["opened"]
    assert people.told(LATER) == ["recovered"]
    assert desk.rows("select count(*) as n from trading.alerts where status = 'resolved'") == [{"n": 4}]


def test_a_storm_is_one_digest_and_every_row_stays(people: People) -> None:
    desk = people.desk
    desk.execute(STORM)
    assert people.told() == ["digest"]
    assert people.inbox["mail"][0].subject == "[digest] 10,000 alerts in 37 accounts"
    assert len(people.inbox["mail"][0].alert_ids) == 10_000
    assert people.told() == []
    assert desk.rows("select count(*) as n from trading.alerts where status = 'open'") == [{"n": 10_000}]
    # What is urgent gets through meanwhile.
    with people.open_unit() as unit:
        AlertStore(unit).raise_run_alert(AlertKind.DEADLINE_MISSED, LATE_RUN, "late", {})
        unit.commit()
    assert people.told() == ["opened"]
    desk.execute("update trading.alerts set status = 'resolved', resolved_at = now()")
    assert people.told(LATER) == ["recovered", "digest"]
    assert people.told(LATER * 2) == []


def test_growth_and_a_change_of_sign_are_told_again(people: People) -> None:
    people.desk.execute(
        "insert into trading.alerts (kind, account_id, asset, wallet, message, evidence)"
        " select 'held_repair', account_id, 'BTC', 'spot', 'differs', '{\"amount\": \"1\"}'"
        " from trading.accounts"
    )
    told = [people.told()]
    for amount in ("1.5", "2", "3", "-3", "-2"):
        people.desk.execute(
            "update trading.alerts set evidence = jsonb_build_object('amount', cast(:amount as text))",
            amount=amount,
        )
        told.append(people.told())
    assert told == [["opened"], [], ["grew"], [], ["flipped"], []]
    assert people.told(timedelta(hours=13)) == ["reminded"]


def test_a_repaired_residual_says_how_much_was_wrong(people: People) -> None:
    people.desk.execute("update trading.positions set quantity = 4")
    people.desk.sync()
    alert = people.desk.rows("select kind, evidence from trading.alerts")[0]
    assert alert["kind"] == "database_drift"
    assert alert["evidence"]["amount"] == "-3"
    assert alert["evidence"]["run_id"] == str(people.desk.run()["run_id"])


def test_a_channel_that_is_down_loses_nothing_and_blocks_nothing(people: People) -> None:
    people.down = {"chat"}
    for asset in ("BTC", "ETH"):
        people.desk.execute(
            "insert into trading.alerts (kind, account_id, asset, wallet, message)"
            " select 'held_repair', account_id, :asset, 'spot', 'differs' from trading.accounts",
            asset=asset,
        )
    assert people.told() == ["opened", "opened"]
    assert people.inbox["chat"] == []
    waiting = "select distinct last_error, attempts from trading.alert_notifications where sent_at is null"
    assert people.desk.rows(waiting) == [{"last_error": "ChannelDownError", "attempts": 1}]
    people.down = set()
    people.deliver()
    assert people.inbox["chat"] == []
    people.deliver(LATER)
    assert len(people.inbox["chat"]) == 2
    people.deliver(LATER * 2)
    assert len(people.inbox["chat"]) == 2


def test_a_sender_that_died_leaves_its_messages_to_the_next(people: People) -> None:
    with people.open_unit() as unit:
        AlertStore(unit).raise_run_alert(AlertKind.DEADLINE_MISSED, LATE_RUN, "late", {})
        unit.commit()
    people.decide()
    now = utc_now()
    with people.open_unit() as unit:
        taken = AlertStore(unit).claim("mail", now, now + timedelta(minutes=5), most=20)
        unit.commit()
    people.deliver()
    assert people.inbox["mail"] == []
    people.deliver(LATER)
    assert [n.idempotency_key for n in people.inbox["mail"]] == [n.idempotency_key for n in taken]


def test_many_watches_at_once_tell_once(people: People) -> None:
    people.desk.execute(STORM.replace("10000", "9"))
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: people.decide(), range(8)))
        list(pool.map(lambda _: people.deliver(), range(8)))
    for arrived in people.inbox.values():
        assert len(arrived) == 9
        assert set(Counter(n.idempotency_key for n in arrived).values()) == {1}


def test_without_a_channel_nothing_counts_as_told(people: People) -> None:
    people.desk.execute(STORM.replace("10000", "1"))
    assert prepare_notifications(people.open_unit, [], utc_now()) == 0
    assert people.told() == ["opened"]


def test_an_account_without_a_fresh_proof_is_told_though_nothing_ran(people: People) -> None:
    desk = people.desk
    desk.now = utc_now()
    desk.sync_again()
    watch_freshness(people.open_unit, desk.now + timedelta(minutes=29))
    assert desk.rows("select kind from trading.alerts") == []
    for minutes in (31, 40, 50):
        watch_freshness(people.open_unit, desk.now + timedelta(minutes=minutes))
    alert = "select kind, status, occurrences from trading.alerts"
    assert desk.rows(alert) == [{"kind": "stale_positions", "status": "open", "occurrences": 1}]
    assert people.told() == ["opened"]
    watch_freshness(people.open_unit, utc_now())
    assert desk.rows(alert) == [{"kind": "stale_positions", "status": "resolved", "occurrences": 1}]
    assert people.told(LATER) == ["recovered"]


def test_a_failed_run_and_a_run_for_the_past_prove_nothing_fresh(people: People) -> None:
    desk = people.desk
    desk.exchanges["desk"].before_call = unavailable
    desk.now = utc_now()
    desk.sync_again()
    desk.execute(
        "update trading.accounts set created_at = now() - interval '1 day', freshness_limit_minutes = 20"
    )
    watch_freshness(people.open_unit, utc_now())
    assert desk.rows("select status from trading.alerts where kind = 'stale_positions'") == [
        {"status": "open"}
    ]


def test_people_acknowledge_and_resolve(
    people: People, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KRAKEN_RECON_DSN", as_writer(people.desk.url))

    def alerts(*arguments: str) -> Any:
        assert main(["alerts", "--json", *arguments]) == 0
        return json.loads(capsys.readouterr().out)

    with people.open_unit() as unit:
        AlertStore(unit).raise_run_alert(AlertKind.DEADLINE_MISSED, LATE_RUN, "late", {})
        unit.commit()
    assert people.told() == ["opened"]
    number = str(alerts()["alerts"][0]["alert_id"])
    assert main(["alerts", "--acknowledge", number]) == 1
    mine = alerts("--acknowledge", number, "--by", "Ann", "--note", "on it")["alerts"][0]
    assert (mine["status"], mine["acknowledged_by"], mine["note"]) == ("acknowledged", "Ann", "on it")
    assert people.told(timedelta(hours=13)) == []
    done = alerts("--resolve", number, "--by", "Ben", "--all")["alerts"][0]
    assert (done["status"], done["resolved_by"], done["note"]) == ("resolved", "Ben", "on it")
    assert people.told() == ["recovered"]
    assert main(["alerts", "--resolve", number, "--by", "Ben"]) == 1


def test_a_kind_that_is_over_is_counted_as_zero(people: People) -> None:
    desk = people.desk
    desk.execute(STORM.replace("10000", "3"))
    desk.execute(
        "insert into trading.repair_plans (plan_id, account_id, kind, status, run_id, as_of, fingerprint,"
        " row_count, why) select gen_random_uuid(), account_id, 'held', 'held', gen_random_uuid(), now(),"
        " gen_random_uuid(), 1, 'x' from trading.accounts where name = 'desk'"
    )
    people.down = {"chat"}
    people.told()
    now = utc_now()
    desk.execute("update trading.accounts set created_at = :then", then=now - timedelta(hours=2))
    desk.execute(
        "update trading.reconciliation_runs set reported_as_of = :then", then=now - timedelta(hours=1)
    )

    def state() -> dict[str, Any]:
        with people.open_unit() as unit:
            return desk_state(AlertStore(unit), now)

    assert state() == {
        "open": {"unexplained_discrepancy": 3},
        "unsent": {"chat": 3},
        "approvals": 1,
        "stale": 38,
        "oldest_proof_seconds": 7200,
    }
    desk.execute("update trading.alerts set status = 'resolved'")
    assert state()["open"] == {"unexplained_discrepancy": 0}


def test_a_paused_account_closes_its_alerts_and_a_resumed_one_has_them_again(
    people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = people.desk
    monkeypatch.setenv("KRAKEN_RECON_DSN", as_writer(desk.url))
    desk.exchanges["desk"].before_call = unavailable
    desk.account("other")
    for _ in range(2):
        desk.sync()
    desk.execute(
        "insert into trading.alerts (kind, account_id, message) select kind, account_id, kind from"
        " trading.accounts cross join"
        " (values ('held_repair'), ('unexplained_discrepancy'), ('order_unknown'))"
        " k(kind) where name = 'desk'"
    )

    def standing(account: str = "desk") -> set[str]:
        with people.open_unit() as unit:
            rows = AlertStore(unit).find_alerts(with_resolved=False, most=500)
        return {row["kind"] for row in rows if row["account"] == account}

    assert standing() == {"sync_failure", "held_repair", "unexplained_discrepancy", "order_unknown"}
    people.told()
    assert main(["account", "pause", "desk"]) == 0
    # What happened stays a person's to look at.
    assert standing() == {"unexplained_discrepancy", "order_unknown"}
    assert people.told(LATER).count("recovered") == 2
    told = [n.body for n in people.inbox["mail"] if n.reason == "recovered"]
    assert all("Ended by: its account, which was paused" in body for body in told)
    # A run that was under way raises it once more.
    desk.execute(
        "insert into trading.alerts (kind, account_id, message) select 'sync_failure', account_id, 'late'"
        " from trading.accounts"
    )
    watch_freshness(people.open_unit, utc_now())
    assert "sync_failure" not in standing()
    assert "sync_failure" in standing("other")
    assert main(["account", "resume", "desk"]) == 0
    desk.sync()
    assert "sync_failure" in standing()


def test_a_recovery_names_the_run_that_brought_it(people: People) -> None:
    desk = people.desk
    desk.exchanges["desk"].before_call = unavailable
    for _ in range(2):
        desk.sync()
    assert people.told() == ["opened"]
    first = people.inbox["mail"][0]
    assert "Account: desk" in first.body
    assert "Value: not known; the account's books: not known: no price in USD" in first.body
    desk.exchanges["desk"].before_call = works
    desk.sync()
    assert people.told(LATER) == ["recovered"]
    body = people.inbox["mail"][-1].body
    assert "Over: sync failure: desk" in body
    assert re.search(r"Open from .* UTC to .* UTC, for \d+ ", body)
    assert "Ended by: a sync (" in body


@pytest.mark.parametrize(
    ("hours", "says"),
    [(0, "Value: 30,000.00 USD at prices of"), (48, "Value: not known")],
)
def test_a_message_says_what_it_is_worth(people: People, hours: int, says: str) -> None:
    desk = people.desk
    age = f"now() - interval '{hours} h'"
    desk.execute(f"insert into trading.asset_prices values ('USD', 'BTC', 60000, {age})")
    desk.execute(
        "insert into trading.alerts (kind, account_id, asset, wallet, message, evidence)"
        " select 'held_repair', account_id, 'BTC', 'spot', 'desk: BTC differs', '{\"amount\": \"-0.5\"}'"
        " from trading.accounts"
    )
    assert people.told() == ["opened"]
    assert says in people.inbox["mail"][0].body
    assert people.inbox["mail"][0].details["account"] == "desk"
