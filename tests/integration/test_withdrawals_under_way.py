"""Withdrawals that take their time: out of the balance at once, in the ledger when Kraken likes."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from desks.simulator import SimulatedDesk
from kraken_recon.ledger.entries import HoldingKey

if TYPE_CHECKING:
    from conftest import Simulator

USD = HoldingKey("USD", "spot")


@pytest.fixture
def desk(simulator: Simulator, database_url: str) -> SimulatedDesk:
    desk = SimulatedDesk(simulator, database_url, ZUSD="1000")
    desk.look()
    return desk


def pending(desk: SimulatedDesk, ledger_row: str) -> str:
    told = desk.happen("withdrawal_pending", asset="ZUSD", amount="100", fee="5", ledger_row=ledger_row)
    return str(told["refid"])


def entries(desk: SimulatedDesk) -> list[tuple[Decimal, Decimal]]:
    rows = desk.rows("select amount, fee from trading.ledger_entries order by entry_time")
    return [(row["amount"], row["fee"]) for row in rows]


def is_whole_again(desk: SimulatedDesk) -> bool:
    return (
        desk.positions() == {USD: Decimal(1000)} == desk.event_totals()
        and desk.rows("select * from trading.residuals") == []
        and desk.rows("select * from trading.position_events where cause = 'adjustment'") == []
        and desk.rows("select * from trading.alerts") == []
    )


@pytest.mark.parametrize("ending", ["withdrawal_failed", "withdrawal_reversed"])
def test_shown_at_request_it_leaves_and_comes_back_by_its_two_entries(
    desk: SimulatedDesk, ending: str
) -> None:
    refid = pending(desk, "at_request")
    desk.look()
    assert desk.positions() == {USD: Decimal(895)}
    desk.happen(ending, refid=refid)
    desk.look()
    assert entries(desk) == [(Decimal(-100), Decimal(5)), (Decimal(100), Decimal(-5))]
    assert is_whole_again(desk)


def test_failing_before_the_ledger_shows_it_it_was_a_residual_that_went_away(desk: SimulatedDesk) -> None:
    refid = pending(desk, "when_done")
    assert desk.look()["awaiting"] == 1
    assert desk.positions() == {USD: Decimal(1000)}
    desk.happen("withdrawal_failed", refid=refid)
    desk.look()
    assert entries(desk) == []
    assert is_whole_again(desk)


def test_reversed_before_the_ledger_shows_it_both_entries_come_at_once(desk: SimulatedDesk) -> None:
    refid = pending(desk, "when_done")
    assert desk.look()["awaiting"] == 1
    desk.happen("withdrawal_reversed", refid=refid)
    desk.look()
    assert desk.positions() == {USD: Decimal(1000)}
    # They cancel out, so no balance tells of them; the next reading of the ledger brings them.
    desk.happen("deposit", asset="ZUSD", amount="1")
    desk.happen("withdrawal", asset="ZUSD", amount="0.5")
    desk.look()
    assert [amount for amount, _ in entries(desk)] == [-100, 100, 1, Decimal("-0.5")]
    assert desk.positions() == {USD: Decimal("1000.5")} == desk.event_totals()
    assert desk.rows("select * from trading.residuals") == []


def test_a_residual_that_was_repaired_is_taken_back_when_the_withdrawal_fails(desk: SimulatedDesk) -> None:
    desk.execute(
        "insert into trading.tolerances (account_id, asset, quantity) select account_id, 'USD', 0"
        " from trading.accounts"
    )
    refid = str(desk.happen("withdrawal_pending", asset="ZUSD", amount="50", ledger_row="when_done")["refid"])
    desk.look()
    assert desk.look()["updated"] == 1
    assert desk.positions() == {USD: Decimal(950)}
    desk.happen("withdrawal_failed", refid=refid)
    desk.look()
    assert desk.positions() == {USD: Decimal(1000)} == desk.event_totals()
    assert entries(desk) == []
