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
    # Kraken says what is under way; where it does not, the residual is one like any other.
    desk.control.post("faults", {"name": "api_error", "endpoint": "withdrawals", "text": "EService:Busy"})
    refid = str(desk.happen("withdrawal_pending", asset="ZUSD", amount="50", ledger_row="when_done")["refid"])
    desk.look()
    assert desk.look()["updated"] == 1
    assert desk.positions() == {USD: Decimal(950)}
    desk.happen("withdrawal_failed", refid=refid)
    desk.look()
    assert desk.positions() == {USD: Decimal(1000)} == desk.event_totals()
    assert entries(desk) == []


def held(desk: SimulatedDesk) -> SimulatedDesk:
    """Let a large withdrawal be out of the balance, and seen once."""
    desk.happen("withdrawal_pending", asset="ZUSD", amount="500", fee="5", ledger_row="when_done")
    assert desk.look()["awaiting"] == 1
    return desk


def test_pending_withdrawal_explains_the_residual_until_its_entry_comes(desk: SimulatedDesk) -> None:
    told = desk.happen("withdrawal_pending", asset="ZUSD", amount="500", fee="5", ledger_row="when_done")
    desk.look()
    for state in ("pending", "on_hold"):
        run = desk.look()
        assert (run["explained"], run["awaiting"], run["held"]) == (1, 0, 0)
        assert run["is_proof"]
        assert f"withdrawal {told['refid']} of 500 USD is {state} since" in run["note"]
        assert desk.findings()["USD"]["action"] == "under_way"
        desk.happen("transfer_held", refid=told["refid"])
    assert desk.positions() == {USD: Decimal(1000)}
    assert desk.rows("select * from trading.alerts") == []
    desk.happen("withdrawal_done", refid=told["refid"])
    assert desk.look()["explained"] == 1
    assert desk.positions() == {USD: Decimal(495)} == desk.event_totals()
    assert desk.rows("select * from trading.residuals") == []
    assert desk.rows("select * from trading.position_events where cause = 'adjustment'") == []


def test_answer_that_is_cut_off_once_hides_no_withdrawal(desk: SimulatedDesk) -> None:
    desk.happen("withdrawal_pending", asset="ZUSD", amount="500", fee="5", ledger_row="when_done")
    desk.look()
    for endpoint in ("withdrawals", "deposits"):
        desk.control.post("faults", {"name": "truncated_json", "endpoint": endpoint, "count": 1})
    run = desk.look()
    assert (run["explained"], run["held"]) == (1, 0)


def test_residual_beside_a_transfer_of_another_amount_is_judged_as_ever(desk: SimulatedDesk) -> None:
    desk.happen("withdrawal_pending", asset="ZUSD", amount="500", fee="5", ledger_row="when_done")
    desk.control.post("accounts/desk/residual", {"asset": "ZUSD", "amount": "-7"})
    desk.look()
    assert desk.look()["held"] == 1


def test_key_without_the_right_to_query_funding_is_judged_without_it(desk: SimulatedDesk) -> None:
    held(desk)
    desk.control.post(
        "faults",
        {"name": "api_error", "endpoint": "withdrawals", "text": "EGeneral:Permission denied"},
    )
    run = desk.look()
    assert run["held"] == 1
    desk.control.delete("faults")
    assert desk.look()["held"] == 0, "once it is known what is under way, nobody has to decide"
    assert desk.rows("select kind from trading.alerts where status <> 'resolved'") == []


def test_withdrawal_that_ends_without_an_entry_is_judged_when_it_has_ended(desk: SimulatedDesk) -> None:
    told = desk.happen("withdrawal_pending", asset="ZUSD", amount="500", fee="5", ledger_row="when_done")
    desk.look()
    assert desk.look()["explained"] == 1
    desk.happen("withdrawal_failed", refid=told["refid"])
    desk.control.post("accounts/desk/residual", {"asset": "ZUSD", "amount": "-505"})
    assert desk.look()["held"] == 1
