"""Before a run: what its accounts took is read from their runs, and one alert says that not all will fit."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from desks.fake_exchange import Desk
from kraken_recon.accounts.store import AccountStore
from kraken_recon.database.unit_of_work import UnitOfWork
from kraken_recon.errors import ConfigurationError
from kraken_recon.kraken.rate_limits import least_seconds
from kraken_recon.reconciliation.forecasting import forecast_view, plan_run, render_forecast, tell_forecast
from kraken_recon.reconciliation.priority_store import PriorityStore

if TYPE_CHECKING:
    from kraken_recon.accounts.account import Account
    from kraken_recon.reconciliation.forecasting import PlannedRun

ALERTS = """
select status, asset, message, resolution from trading.alerts where kind = 'coverage_at_risk'
"""


@pytest.fixture
def desk(database_url: str) -> Desk:
    desk = Desk(database_url)
    for name in ("new", "quick", "slow"):
        desk.account(name).add("BTC", "1")
    for _ in range(7):
        desk.now += timedelta(minutes=15)
        desk.sync("quick", "slow")
    desk.execute("update trading.reconciliation_runs set seconds = 0.2, api_calls = 1")
    desk.execute(
        "update trading.reconciliation_runs set seconds = 2000, api_calls = 60 from trading.accounts a "
        "where a.account_id = reconciliation_runs.account_id and a.name = 'slow'"
    )
    # One odd run of the quick one counts for nothing.
    desk.execute(
        "update trading.reconciliation_runs set seconds = 500 where run_id = (select run_id "
        "from trading.reconciliation_runs join trading.accounts using (account_id) where name = 'quick' "
        "order by recorded_as_of desc limit 1)"
    )
    return desk


def budget_seconds_of(account: Account, calls: int) -> float:
    if account.name == "slow":
        return least_seconds(calls, "pro")
    raise ConfigurationError("not set")


def planned(desk: Desk, *, seconds_left: float) -> PlannedRun:
    with UnitOfWork(desk.engine) as unit:
        accounts = AccountStore(unit).find_accounts(None)
        found = plan_run(
            unit, accounts, seconds_left=seconds_left, slots=4, budget_seconds_of=budget_seconds_of
        )
        tell_forecast(unit, found)
        unit.commit()
    return found


def test_costs_are_those_of_the_newest_runs(desk: Desk) -> None:
    with UnitOfWork(desk.engine) as unit:
        accounts = AccountStore(unit).find_accounts(None)
        costs = PriorityStore(unit).costs([account.account_id for account in accounts])
    assert [(cost.name, cost.seconds, cost.calls) for cost in costs] == [
        ("new", None, None),
        ("quick", 0.2, 1),
        ("slow", 2000.0, 60),
    ]


def test_an_account_that_will_not_fit_is_told_of_until_it_does(desk: Desk) -> None:
    found = planned(desk, seconds_left=900)
    assert [group.names for group in found.groups] == [["new", "quick"], ["slow"]]
    view = forecast_view(found)
    assert not view["fits"]
    assert view["late"] == [{"account": "slow", "done_after_seconds": 2005.0, "why": "it took 2000 s lately"}]
    assert view["slowest"][0] == {"account": "slow", "seconds": 2000.0, "calls": 60}
    text = "\n".join(render_forecast(view))
    assert "1 WILL NOT FIT" in text
    assert "slowest: new 5.0 s, nothing on record yet" in text
    planned(desk, seconds_left=900)
    (alert,) = desk.rows(ALERTS)
    assert (alert["status"], alert["asset"]) == ("open", "position_sync")
    assert "1 will not fit: slow (it took 2000 s lately)" in alert["message"]
    planned(desk, seconds_left=3_000)
    (alert,) = desk.rows(ALERTS)
    assert (alert["status"], alert["resolution"]) == (
        "resolved",
        "a run whose accounts all fit into its time",
    )
