"""What a run will take, before it starts: who fits, who does not, and why."""

from __future__ import annotations

import pytest

from kraken_recon.errors import ConfigurationError
from kraken_recon.kraken.rate_limits import least_seconds
from kraken_recon.reconciliation.forecasting import slots_of
from kraken_recon.reconciliation.rules.forecast import Forecast, forecast
from kraken_recon.reconciliation.rules.grouping import AccountCost, in_groups

QUIET = [AccountCost(f"quiet {number}", 0.1, 1) for number in range(1_000)]


def told(
    *accounts: AccountCost, slots: int = 8, left: float = 900.0, budgets: dict[str, float] | None = None
) -> Forecast:
    groups = in_groups(accounts, 4)
    return forecast(groups, side_by_side=4, slots=slots, seconds_left=left, budget_seconds=budgets)


def test_a_thousand_quiet_accounts_fit() -> None:
    found = told(*QUIET)
    assert found.late == ()
    assert found.told == "1000 accounts in 3 tasks, 8 at a time: about 16 s, of 900 s left; all fit"


def test_one_slot_takes_them_one_after_the_other_and_the_last_are_late() -> None:
    found = told(*QUIET, slots=1, left=25.0)
    assert 330 <= len(found.late) <= 340
    assert {one.why for one in found.late} == {"its task starts after 26 s"}
    assert f"{len(found.late)} will not fit" in found.told


def test_a_slow_account_is_late_alone() -> None:
    found = told(*QUIET, AccountCost("slow", 1_000.0, 40))
    assert [(one.name, one.why) for one in found.late] == [("slow", "it took 1000 s lately")]


def test_a_key_that_may_not_ask_so_often_is_late_although_it_was_quick() -> None:
    heavy = AccountCost("heavy", 30.0, 100)
    assert told(*QUIET, heavy, budgets={"heavy": least_seconds(100, "pro")}).late == ()
    assert told(*QUIET, heavy, budgets={"heavy": least_seconds(100, "unlimited")}).late == ()
    (late,) = told(*QUIET, heavy, budgets={"heavy": least_seconds(100, "starter")}).late
    assert (late.name, late.why) == ("heavy", "its key's call budget alone takes 1158 s")
    assert late.done_after_seconds > 900


def test_a_run_that_starts_after_its_deadline_says_so_of_all() -> None:
    found = told(*QUIET, left=-10.0)
    assert len(found.late) == 1_000
    assert "of 0 s left" in found.told


@pytest.mark.parametrize(
    ("calls", "tier", "seconds"), [(0, "starter", 0), (4, "starter", 0), (1, "pro", 0), (100, "pro", 377)]
)
def test_the_call_budget_bounds_from_below(calls: int, tier: str, seconds: float) -> None:
    assert least_seconds(calls, tier) == seconds


@pytest.mark.parametrize("text", ["0", "-1", "many", "1.5", "10001"])
def test_slots_that_are_no_number_are_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="KRAKEN_RECON_SYNC_SLOTS: expected a whole number"):
        slots_of({"KRAKEN_RECON_SYNC_SLOTS": text})
    assert slots_of({}) == 8
