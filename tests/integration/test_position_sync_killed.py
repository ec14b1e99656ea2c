"""A worker that is killed between any two steps of a sync leaves nothing behind, and the next one finishes.

Each child is a fork of the test, kills itself with SIGKILL at one step, and is followed by an undisturbed run
of the same interval; the rows must be those of an account whose run was never killed.
"""

from __future__ import annotations

import os
import re
import signal
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from desks.fake_exchange import Desk
from desks.interruptions import Steps, stepped_ports
from desks.logins import as_writer
from kraken_recon.database.unit_of_work import create_engine
from kraken_recon.ledger.entries import HoldingKey
from kraken_recon.values.intervals import RUN_INTERVAL
from local_stack.processes import poll_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from desks.fakes import FakeBooks

STEPS_MAX = 60
APPLICATION = "a worker to be killed"
ETH, BTC = HoldingKey("ETH", "spot"), HoldingKey("BTC", "spot")
COMPARED = {
    "accounts": "opened_at is not null, opening_source, ledger_floor",
    "positions": "asset, wallet, quantity, available_quantity, available_as_of, avg_cost",
    "asset_costs": "asset, quantity_known, quantity_unknown, quantity_moving, cost, avg_cost, realised,"
    " as_of",
    "realised_results": "asset, refid, quantity, proceeds, cost, result, unknown_share, effective_at",
    "ledger_entries": "ledger_id, refid, entry_time, type, asset, wallet, amount, fee, balance",
    "position_events": "asset, wallet, row_number() over (partition by asset, wallet order by event_id),"
    " quantity_before, quantity_after, cause, reason, ledger_id, effective_at",
    "reconciliation_runs": "interval_start, mode, status, reported_as_of, reported_head, checked, matched,"
    " within_tolerance, explained, updated, added, removed, held, awaiting, failed, entries_ingested,"
    " api_calls, note, error",
    "discrepancies": "asset, wallet, db_quantity, exchange_quantity, explained, database_drift, residual,"
    " action, ledger_ids",
    "residuals": "asset, wallet, residual, first_seen_at, last_seen_at, confirmations, is_settled",
    "alerts": "kind, asset, wallet, status, message, occurrences",
}


@pytest.fixture
def desk(database_url: str) -> Desk:
    return Desk(database_url)


def rows(desk: Desk, name: str) -> dict[str, list[str]]:
    """Read what must be equal for two accounts with the same history."""
    account = desk.account_id(name)
    return {
        table: [
            re.sub(rf"\b{name}\b", "NAME", str(tuple(row.values())))
            for row in desk.rows(
                f"select {columns} from trading.{table} where account_id = :account order by 1, 2, 3",
                account=account,
            )
        ]
        for table, columns in COMPARED.items()
    }


def history(books: FakeBooks) -> None:
    books.add("USD", "10000", entry_type="deposit")
    books.add("BTC", "2", entry_type="deposit")
    books.add("ETH", "30", entry_type="deposit")


def life_until_the_run(desk: Desk, names: list[str]) -> None:
    """Bring every account to where one run has to do all that a run can do."""
    for name in names:
        history(desk.account(name))
        desk.exchanges[name].price_list = {"USD": Decimal(1), "BTC": Decimal(40000), "ETH": Decimal(3000)}
    desk.sync(*names)
    for name in names:
        desk.books[name].residuals[ETH] = Decimal("-0.1")
    desk.sync(*names)
    desk.execute("update trading.positions set quantity = 1 where asset = 'BTC'")
    for name in names:
        desk.books[name].add("BTC", "0.5", fee="0.001")
        desk.books[name].add("USD", "-500")
        desk.books[name].holds[BTC] = Decimal("0.25")


def life_before_the_opening(desk: Desk, names: list[str]) -> None:
    for name in names:
        books = desk.account(name)
        books.openings[ETH] = Decimal(5)
        history(books)
    desk.execute(
        "insert into trading.positions (account_id, asset, quantity)"
        " select account_id, 'BTC', 2 from trading.accounts"
    )


def killed_at(desk: Desk, name: str, at: int) -> bool:
    """Sync in a child that kills itself at a step; say whether it got that far."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            # Kept, because the parent's sessions would end if this process let go of them.
            inherited = desk.engine
            desk.engine = engine = create_engine(as_writer(desk.url), application_name=APPLICATION)

            def kill(number: int, _: str) -> None:
                if number == at:
                    os.kill(os.getpid(), signal.SIGKILL)

            desk.sync_again(name, ports=stepped_ports(desk, engine, Steps(kill)))
            status = int(inherited is engine)
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.waitstatus_to_exitcode(status) == 0
    return False


@pytest.mark.parametrize("life", [life_until_the_run, life_before_the_opening])
def test_killed_anywhere_and_run_again_leaves_the_same_rows(
    desk: Desk, life: Callable[[Desk, list[str]], None]
) -> None:
    names = [f"account{number:03}" for number in range(STEPS_MAX + 1)]
    life(desk, names)
    desk.now += RUN_INTERVAL
    undisturbed, *others = names
    before = rows(desk, undisturbed)
    desk.sync_again(undisturbed)
    expected = rows(desk, undisturbed)
    assert expected["position_events"] != before["position_events"]
    assert len(expected["discrepancies"]) >= len(before["discrepancies"])
    for number, name in enumerate(others, start=1):
        assert rows(desk, name) == before
        was_killed = killed_at(desk, name, number)
        poll_until(
            lambda: (
                not desk.rows(
                    "select pid from pg_stat_activity where application_name = :name", name=APPLICATION
                )
            ),
            timeout_seconds=5,
        )
        assert rows(desk, name) in (before, expected), f"half done at step {number}"
        desk.sync_again(name)
        assert rows(desk, name) == expected, f"killed at step {number}"
        if not was_killed:
            break
    else:
        pytest.fail(f"a sync has more than {STEPS_MAX} steps: raise STEPS_MAX")
    assert number > 15
