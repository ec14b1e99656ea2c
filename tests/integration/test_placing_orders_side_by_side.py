"""BUY and SELL of one account from eight processes, with the sync running.

All processes share one API key, so its nonces and calls are shared through the database as well. The
decisions want more than the account has: what is left must be refused here, never by Kraken.
"""

from __future__ import annotations

import json
import multiprocessing
import random
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

import psycopg
import pytest

from desks.logins import as_writer
from desks.orders import SECRET, TRADING
from kraken_recon.accounts.store import AccountStore
from kraken_recon.errors import KrakenReconError
from kraken_recon.kraken.credentials import credentials_from_connection
from kraken_recon.orders.exchange import OrderSettings
from kraken_recon.orders.executing import execute_orders
from kraken_recon.reconciliation.rules.policy import Mode, Policy
from kraken_recon.reconciliation.run import SyncRequest
from kraken_recon.reconciliation.sync import sync_accounts
from kraken_recon.values.connection_fields import ConnectionFields
from kraken_recon.values.intervals import Interval
from kraken_recon.wiring import Wiring

if TYPE_CHECKING:
    from multiprocessing.queues import Queue

    from conftest import Simulator
    from kraken_recon.accounts.account import Account
    from kraken_recon.kraken.credentials import KrakenCredentials

WORKERS, ORDERS = 8, 48
SETTINGS = OrderSettings(balance_lag=timedelta(milliseconds=300), wait_seconds=0.1, follow_passes=0)


def wiring(url: str, base_url: str, name: str) -> Wiring:
    def credentials_of(_: Account) -> KrakenCredentials:
        fields = ConnectionFields(
            login="key-of-desk", password=SECRET, host=base_url, extra={"tier": "unlimited"}
        )
        return credentials_from_connection("kraken_desk", fields, allowed_hosts={"127.0.0.1"})

    return Wiring(as_writer(url), credentials_of, application_name=name)


def work(url: str, base_url: str, number: int, results: Queue[str]) -> None:
    """Execute orders until none is decided any more."""
    ports = wiring(url, base_url, f"worker {number}").order_ports()
    sent = 0
    with psycopg.connect(url, autocommit=True) as session:
        left = "select exists (select from trading.orders where status = 'decided')"
        left += " or exists (select from trading.order_decisions where status = 'new')"
        for _ in range(200):
            try:
                done = execute_orders(ports, SETTINGS)
                sent += done.sent
                for name, reason in done.failures.items():
                    results.put(f"failed: {name}: {reason}")
            except KrakenReconError as error:
                results.put(f"failed: {type(error).__name__}: {error}")
            if session.execute(left).fetchone() == (False,):
                break
    results.put(f"sent {sent}")


def sync(
    url: str, base_url: str, number: int, ended: multiprocessing.synchronize.Event, results: Queue[str]
) -> None:
    """Sync again and again, every time for another interval."""
    ports = wiring(url, base_url, f"sync {number}").sync_ports()
    runs = 0
    while not ended.is_set():
        start = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=runs)
        with ports.open_unit_of_work() as unit:
            accounts = AccountStore(unit).find_accounts(None)
        sync_accounts(
            accounts, SyncRequest(Interval(start, start + timedelta(hours=1)), Mode.REPAIR, Policy()), ports
        )
        runs += 1
    results.put(f"synced {runs}")


@pytest.fixture
def base_url(simulator: Simulator, database_url: str) -> str:
    simulator.control.post(
        "accounts",
        {
            "name": "desk", "api_key": "key-of-desk", "api_secret": SECRET, "tier": "unlimited",
            "permissions": list(TRADING), "answers_at_once": True,
            "opening": {"XXBT": "2", "ZUSD": "80000"},
        },
    )  # fmt: skip
    simulator.control.post("prices", {"XBTUSD": "50000"})
    chance = random.Random(7)  # noqa: S311 - not for secrecy
    with psycopg.connect(database_url) as session:
        session.execute("insert into trading.accounts (name, kraken_conn_id) values ('desk', 'kraken_desk')")
        for _ in range(ORDERS):
            side = chance.choice(["buy", "sell"])
            decision = {
                "account": "desk",
                "pair": "BTC/USD",
                "side": side,
                "volume": f"0.{chance.randint(10, 60)}",
            }
            if chance.random() < 0.5:
                # It rests, and holds what it wants.
                decision |= {"type": "limit", "limit_price": "40000" if side == "buy" else "60000"}
            session.execute(
                "insert into trading.order_decisions (payload) values (%s)", [json.dumps(decision)]
            )
    return simulator.base_url


def test_eight_processes_and_a_sync_oversell_lose_and_double_nothing(
    simulator: Simulator, base_url: str, database_url: str
) -> None:
    results = run_together(database_url, base_url)
    assert [result for result in results if result.startswith("failed")] == []
    ports = wiring(database_url, base_url, "last").order_ports()
    for _ in range(20):
        execute_orders(ports, SETTINGS)
        time.sleep(0.1)
    truth = simulator.control.get("accounts/desk/statement")
    with psycopg.connect(database_url) as session:
        orders = session.execute(
            "select cl_ord_id, kraken_txid, status, status_reason, side from trading.orders"
        ).fetchall()
        positions = dict(session.execute("select asset, quantity from trading.positions").fetchall())
        [(deadlocks,)] = session.execute(
            "select deadlocks from pg_stat_database where datname = current_database()"
        ).fetchall()
        twice = session.execute(
            "select ledger_id from trading.position_events group by account_id, ledger_id"
            " having ledger_id is not null and count(*) > 1"
        ).fetchall()
        adjusted = session.execute(
            "select reason from trading.position_events where cause = 'adjustment'"
        ).fetchall()
    statuses = [status for _, _, status, _, _ in orders]
    assert len(orders) == ORDERS
    assert set(statuses) <= {"closed", "open", "refused"}, [
        row for row in orders if row[2] not in {"closed", "open", "refused"}
    ]
    assert min(statuses.count(status) for status in ("closed", "open", "refused")) > 0
    assert {o["cl_ord_id"]: o["txid"] for o in truth["orders"]} == {
        ours: theirs for ours, theirs, *_ in orders if theirs
    }
    assert len(truth["orders"]) == ORDERS - statuses.count("refused")
    assert positions["BTC"] == Decimal(truth["balances"]["XXBT"])
    assert positions["USD"] == Decimal(truth["balances"]["ZUSD"])
    assert Decimal(truth["holds"].get("XXBT", "0")) <= positions["BTC"]
    assert (deadlocks, twice, adjusted) == (0, [], [])


def run_together(url: str, base_url: str) -> list[str]:
    """Run workers and a sync side by side, and collect what they report."""
    context = multiprocessing.get_context("fork")
    results: Queue[str] = context.Queue()
    ended = context.Event()
    workers = [
        context.Process(target=work, args=(url, base_url, number, results), daemon=True)
        for number in range(WORKERS)
    ]
    syncing = context.Process(target=sync, args=(url, base_url, 0, ended, results), daemon=True)
    for process in (syncing, *workers):
        process.start()
    reports: list[str] = []
    while sum(report.startswith("sent") for report in reports) < WORKERS:
        reports.append(results.get(timeout=120))
        assert not reports[-1].startswith("failed"), reports[-1]
    ended.set()
    while not any(report.startswith("synced") for report in reports):
        reports.append(results.get(timeout=60))
    for process in (syncing, *workers):
        process.join(timeout=30)
        assert process.exitcode == 0
    return reports
