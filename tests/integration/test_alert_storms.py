"""Bad days from the sync to a real webhook: the right messages once, few of them, and the recovery."""

from __future__ import annotations

import asyncio
import json
import threading
from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from desks.fake_exchange import Desk, minutes
from desks.logins import as_writer
from kraken_airflow.alerting.channels import send
from kraken_airflow.dag_parts.deadlines import record_missed_deadline, resolve_missed_deadlines
from kraken_recon.alerts.telling import deliver, prepare_notifications, watch_freshness
from kraken_recon.cli.main import main
from kraken_recon.database.unit_of_work import UnitOfWork
from kraken_recon.errors import ExchangeUnavailableError
from kraken_recon.ledger.entries import SPOT, HoldingKey
from kraken_recon.values.intervals import RUN_INTERVAL
from kraken_recon.wiring import utc_now
from local_stack.databases import postgres_connection

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import timedelta

CHANNEL = "hook"
ACCOUNTS = [f"desk-{number:02}" for number in range(40)]


class Receiver(BaseHTTPRequestHandler):
    """A webhook's receiver; it keeps what it was sent."""

    messages: ClassVar[list[dict[str, Any]]]

    def do_POST(self) -> None:
        self.messages.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Stay silent."""


@dataclass
class Watched:
    """A desk whose time runs in steps, a watch beside it, and what the webhook received."""

    desk: Desk
    messages: list[dict[str, Any]]
    read: int = field(default=0)

    def open_unit(self) -> UnitOfWork:
        return UnitOfWork(self.desk.engine)

    def look(self) -> list[str]:
        """Let the watch do a round; return why it sent messages since the last one."""
        # The database resolves by its own clock, the desk lives ahead of it.
        self.desk.execute(
            "update trading.alerts set resolved_at = :now where resolved_at <= clock_timestamp()",
            now=self.desk.now,
        )
        watch_freshness(self.open_unit, self.desk.now)
        prepare_notifications(self.open_unit, [CHANNEL], self.desk.now)
        while deliver(
            self.open_unit, CHANNEL, lambda notification: send(CHANNEL, notification), lambda: self.desk.now
        ):
            pass
        new, self.read = self.messages[self.read :], len(self.messages)
        return [message["reason"] for message in new]

    def wait(self, length: timedelta) -> list[str]:
        """Let time pass without a sync, the watch looking now and then."""
        told, until = [], self.desk.now + length
        while self.desk.now < until:
            self.desk.now += minutes(5)
            told += self.look()
        return told

    def told_of(self) -> Counter[int]:
        """Count how many messages were about each alert."""
        return Counter(number for message in self.messages for number in message["alert_ids"])


@pytest.fixture
def watched(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Watched]:
    handler = type("Handler", (Receiver,), {"messages": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    serving.start()
    address = {"conn_type": "http", "host": f"http://127.0.0.1:{server.server_address[1]}"}
    monkeypatch.setenv("AIRFLOW_CONN_HOOK", json.dumps(address))
    monkeypatch.setenv("AIRFLOW_CONN_TRADING_DB", postgres_connection(database_url))
    monkeypatch.setenv("KRAKEN_RECON_DSN", as_writer(database_url))
    yield Watched(Desk(database_url, now=utc_now()), handler.messages)  # type: ignore[attr-defined]
    server.shutdown()
    serving.join()
    server.server_close()


def unavailable(_: str) -> None:
    raise ExchangeUnavailableError("no answer", endpoint="BalanceEx")


def works(_: str) -> None:
    """Let the call through."""


def test_an_outage_of_the_exchange_for_many_accounts(watched: Watched) -> None:
    desk = watched.desk
    for name in ACCOUNTS:
        desk.account(name).add("BTC", "1")
    groups = [ACCOUNTS[first::4] for first in range(4)]

    def run(step: Any) -> None:
        """Sync all accounts as mapped tasks do, group by group, the watch looking all the time."""
        desk.now += RUN_INTERVAL
        for name in ACCOUNTS:
            desk.exchanges[name].before_call = step
        for group in groups:
            desk.sync_again(*group)
            watched.look()

    run(works)
    run(unavailable)
    assert watched.messages == []
    for _ in range(5):
        run(unavailable)
    rows = desk.rows("select alert_id, kind from trading.alerts where status = 'open'")
    assert Counter(row["kind"] for row in rows) == {"sync_failure": 40, "stale_positions": 40}
    # Each account once, however long the outage lasts: ten by name, the others in digests.
    assert watched.told_of() == dict.fromkeys((row["alert_id"] for row in rows), 1)
    assert Counter(message["reason"] for message in watched.messages) == {"opened": 10, "digest": 3}
    assert "stale positions" in watched.messages[-1]["body"] + watched.messages[-2]["body"]
    run(works)
    assert watched.wait(minutes(15)) == []
    assert watched.wait(minutes(10)) == ["digest", "digest"]
    assert watched.told_of() == dict.fromkeys((row["alert_id"] for row in rows), 2)
    assert watched.wait(minutes(5)) == []


def test_an_account_that_flaps_all_day(watched: Watched) -> None:
    desk = watched.desk
    desk.account().add("BTC", "1")
    desk.sync()
    told: list[str] = []
    for _ in range(8):
        for step in (unavailable, unavailable, works, works, works):
            desk.exchanges["desk"].before_call = step
            desk.sync()
            told += watched.look()
    assert desk.rows("select kind, count(*) as n from trading.alerts group by kind") == [
        {"kind": "sync_failure", "n": 8}
    ]
    # Half an hour without an error is a recovery once; after that it takes longer.
    assert told == ["opened", "recovered", "opened"]
    # Once it rests, that is told too.
    told = []
    for _ in range(6):
        desk.sync()
        told += watched.look()
    assert told == ["recovered"]


def test_a_storm_of_ten_thousand_discrepancies(watched: Watched, capsys: pytest.CaptureFixture[str]) -> None:
    desk = watched.desk
    for name in ACCOUNTS[:25]:
        holdings = {HoldingKey(f"A{number:03}", SPOT): Decimal(5) for number in range(400)}
        desk.account(name).openings.update(holdings)
    desk.sync()
    desk.execute("update trading.positions set quantity = quantity + 1")
    desk.sync()
    count = "select status, count(*) as n from trading.alerts where kind = 'database_drift' group by status"
    assert desk.rows(count) == [{"status": "open", "n": 10_000}]
    assert watched.look() == ["digest"]
    (message,) = watched.messages
    assert message["subject"] == "[digest] 10,000 alerts in 25 accounts"
    assert len(message["body"].splitlines()) < 20
    assert len(set(message["alert_ids"])) == 10_000
    # What is urgent is not drowned.
    late(desk)
    assert watched.look() == ["opened"]
    assert "deadline missed" in watched.messages[-1]["subject"]
    desk.sync()
    assert watched.look() == []
    assert main(["alerts", "--resolve", "database_drift", "--by", "Ann", "--note", "a script"]) == 0
    assert "10,000" in capsys.readouterr().out
    assert watched.look() == ["digest"]
    assert desk.rows(count) == [{"status": "resolved", "n": 10_000}]
    assert "10,000 recovered: database drift" in watched.messages[-1]["body"]


def late(desk: Desk) -> None:
    """Let Airflow call back about a run that is late."""
    run = {
        "run_after": desk.now.isoformat(),
        "end_date": None,
        "conf": {},
        "dag_id": "position_sync",
        "dag_run_id": "scheduled__1",
        "state": "running",
        "run_type": "scheduled",
    }
    context = {"dag_run": run, "deadline": {"deadline_time": desk.now.isoformat()}}
    asyncio.run(record_missed_deadline(limit_minutes=15, context=context))


def test_a_missed_deadline_and_the_run_that_made_it_up(watched: Watched) -> None:
    late(watched.desk)
    assert watched.look() == ["opened"]
    late(watched.desk)
    assert watched.wait(minutes(60)) == []
    succeeded = SimpleNamespace(
        dag_id="position_sync",
        run_id="scheduled__2",
        run_type="scheduled",
        run_after=watched.desk.now,
        conf={},
    )
    resolve_missed_deadlines({"dag_run": succeeded, "dag": SimpleNamespace(deadline=[])})
    assert watched.wait(minutes(15)) == []
    assert watched.wait(minutes(10)) == ["recovered"]
    assert watched.wait(minutes(60)) == []
