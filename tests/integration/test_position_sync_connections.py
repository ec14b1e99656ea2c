"""However many accounts a run has, it opens as many connections as it asks accounts at a time."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from desks.fake_exchange import Desk
from desks.logins import as_writer
from desks.scripted_server import PRIVATE_KEY, Answer, Request, ScriptedServer, result
from kraken_recon.kraken.credentials import KrakenCredentials
from kraken_recon.wiring import Wiring, utc_now
from local_stack.processes import poll_until

if TYPE_CHECKING:
    from collections.abc import Iterator

ACCOUNTS = 40
ASKED_AT_A_TIME = 2
# One for each transaction: to look up the accounts, to load, to compare, to book what needs no reading.
UNITS_OF_WORK = 4
PERMISSIONS = ["query-funds", "query-ledger", "query-open-trades", "query-closed-trades"]
ANSWERS = {
    "GetApiKeyInfo": {"apiKeyName": "recon", "permissions": PERMISSIONS},
    "BalanceEx": {},
    "Ledgers": {"ledger": {}, "count": 0},
    "OpenPositions": {},
}


def told(request: Request) -> Answer:
    """Answer as Kraken does of an account that never held anything."""
    return result(ANSWERS[request.path.rpartition("/")[2]])


@pytest.fixture
def kraken() -> Iterator[ScriptedServer]:
    with ScriptedServer() as server:
        server.fallback = told
        yield server


def sessions(desk: Desk) -> int:
    """Count the sessions that the database ever had, once those that ended have told so."""
    counted = "select sessions from pg_stat_database where datname = current_database()"
    found, now = -1, desk.rows(counted)[0]["sessions"]
    while found != now:
        time.sleep(1.1)
        found, now = now, desk.rows(counted)[0]["sessions"]
    return int(found)


def test_accounts_share_the_connections_of_a_run(database_url: str, kraken: ScriptedServer) -> None:
    desk = Desk(database_url, now=utc_now())
    names = [f"account-{number}" for number in range(ACCOUNTS)]
    desk.execute(
        "insert into trading.accounts (name, kraken_conn_id)"
        " select name, name from unnest(cast(:names as text[])) as name",
        names=names,
    )
    wiring = Wiring(
        as_writer(database_url),
        lambda account: KrakenCredentials(account.name, PRIVATE_KEY, kraken.url, "pro"),
        application_name="kraken_recon:many",
    )
    # The first run opens the accounts and checks the keys; the second is of a quiet quarter of an hour.
    desk.sync_again(ports=wiring.sync_ports())
    before, lines, asked = sessions(desk), kraken.connections, len(kraken.requests)
    desk.now += timedelta(minutes=15)
    desk.sync_again(ports=wiring.sync_ports())
    quiet = kraken.requests[asked:]
    assert sorted(request.headers["api-key"] for request in quiet) == sorted(names)
    assert {request.path for request in quiet} == {"/0/private/BalanceEx"}
    assert kraken.connections - lines <= ASKED_AT_A_TIME
    assert sessions(desk) - before <= ASKED_AT_A_TIME + UNITS_OF_WORK
    statuses = desk.rows("select status, count(*) as runs from trading.reconciliation_runs group by 1")
    assert statuses == [{"status": "succeeded", "runs": 2 * ACCOUNTS}]
    left = "select pid from pg_stat_activity where starts_with(application_name, 'kraken_recon:many')"
    assert poll_until(lambda: not desk.rows(left), timeout_seconds=5)
