"""Tokenized assets: a second ledger per account, proved like the first, in units that no split changes."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from desks.fake_exchange import Desk, bring, minutes
from desks.fakes import FakeExchange
from desks.imports import bring_file
from desks.past_intervals import backfill, recorded_at
from desks.simulator import SimulatedDesk
from kraken_recon.accounts.store import AccountStore
from kraken_recon.database.unit_of_work import UnitOfWork
from kraken_recon.holdings.view import render_holdings
from kraken_recon.ledger.entries import HoldingKey
from kraken_recon.maintenance.maintaining import holdings_view
from kraken_recon.repairs.contradictions import find_contradictions
from kraken_recon.values.intervals import Interval

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from conftest import Simulator
    from kraken_recon.ledger.entries import Balance, LedgerEntry

USD, SHARES = HoldingKey("USD", "spot"), HoldingKey("NVDAx", "T")
D = Decimal
COUNTS = ("updated", "added", "removed", "held", "awaiting")


@pytest.fixture
def desk(simulator: Simulator, database_url: str) -> SimulatedDesk:
    desk = SimulatedDesk(simulator, database_url, ZUSD="1000")
    desk.look()
    return desk


def buy(desk: SimulatedDesk, cost: str, shares: str) -> None:
    desk.happen("instant_buy", asset="ZUSD", amount=cost, to_asset="NVDAx", to_amount=shares)


def is_agreed(run: dict[str, Any]) -> bool:
    return not any(run[count] for count in COUNTS)


def calls(desk: SimulatedDesk) -> int:
    made: dict[str, int] = desk.control.get("accounts/desk/statement")["calls"]
    return made["Ledgers"]


def test_positions_of_tokenized_assets_are_proved_by_their_own_ledger(desk: SimulatedDesk) -> None:
    buy(desk, "360", "2")
    run = desk.look()
    assert is_agreed(run)
    assert run["explained"] == 2
    assert desk.positions() == {USD: D(640), SHARES: D(2)} == desk.event_totals()
    [shares, dollars] = desk.rows(
        "select asset, wallet, amount, refid from trading.ledger_entries order by asset"
    )
    assert shares["refid"] == dollars["refid"], "both legs of one purchase"
    assert desk.rows("select tokenized_read_until is not null as is_read from trading.accounts") == [
        {"is_read": True}
    ]
    [cost] = desk.rows("select * from trading.asset_costs where asset = 'NVDAx'")
    assert (cost["quantity_known"], cost["cost"]) == (D(2), D(360))


def test_quiet_account_costs_no_more_calls(desk: SimulatedDesk) -> None:
    before = calls(desk)
    assert desk.look()["api_calls"] == 1
    desk.happen("deposit", asset="ZUSD", amount="1")
    desk.look()
    assert calls(desk) == before + 1, "an account without tokenized assets is asked for one class"
    buy(desk, "180", "1")
    desk.look()
    between = calls(desk)
    assert desk.look()["api_calls"] == 1
    assert calls(desk) == between


def test_a_purchase_and_sale_between_two_runs_is_found_by_its_payments(desk: SimulatedDesk) -> None:
    buy(desk, "180", "1")
    desk.happen("instant_buy", asset="NVDAx", amount="1", to_asset="ZUSD", to_amount="200")
    # Where a balance that came back to nothing is not shown, only the payments tell of it.
    desk.control.post(
        "faults",
        {"name": "partial_balances", "endpoint": "BalanceEx", "assets": ["NVDAx.T"]},
    )
    desk.look()
    assert len(desk.rows("select * from trading.ledger_entries where asset = 'NVDAx'")) == 2
    assert desk.positions() == {USD: D(1020)}


def test_split_changes_no_position(desk: SimulatedDesk) -> None:
    buy(desk, "360", "2")
    desk.look()
    desk.control.post("rebase", {"asset": "NVDAx", "multiplier": "10"})
    for _ in range(2):
        assert is_agreed(desk.look())
    assert desk.positions()[SHARES] == D(2)
    buy(desk, "18", "0.1")
    desk.now += timedelta(days=1)
    assert is_agreed(desk.look())
    assert desk.positions()[SHARES] == D("2.1") == desk.event_totals()[SHARES]


def test_what_kraken_s_pages_show_is_told_with_its_factor(desk: SimulatedDesk) -> None:
    def shown() -> list[str]:
        with UnitOfWork(desk.engine) as unit:
            [account] = AccountStore(unit).find_accounts(["desk"])
        view = holdings_view(account, 1, desk.wiring.maintaining_ports())
        return [line for line in render_holdings(view) if "NVDAx" in line]

    buy(desk, "360", "2")
    desk.look()
    assert "Kraken's pages" not in shown()[0]
    desk.control.post("rebase", {"asset": "NVDAx", "multiplier": "1.5"})
    assert shown()[0].endswith("; Kraken's pages show 3: times 1.5, for splits and dividends")


def test_missing_entry_of_the_second_ledger_is_noticed_as_one_of_the_first(desk: SimulatedDesk) -> None:
    buy(desk, "180", "1")
    desk.look()
    before = desk.rows("select tokenized_read_until from trading.accounts")
    buy(desk, "90", "0.5")
    desk.control.post("faults", {"name": "missing_row", "endpoint": "Ledgers", "row": 0})
    desk.now += timedelta(minutes=15)
    desk.control.post("clock", {"mode": "virtual", "now": str(int(desk.now.timestamp()))})
    desk.sync_again(ports=desk.wiring.sync_ports())
    assert desk.run()["status"] in {"moving", "failed"}
    assert desk.rows("select tokenized_read_until from trading.accounts") == before
    desk.control.delete("faults")
    assert is_agreed(desk.look())
    assert desk.positions()[SHARES] == D("1.5")


def test_account_opens_with_both_classes(simulator: Simulator, database_url: str) -> None:
    desk = SimulatedDesk(simulator, database_url, ZUSD="1000", NVDAx="3")
    desk.control.post("clock", {"mode": "virtual", "now": str(int(desk.now.timestamp()))})
    buy(desk, "180", "1")
    assert is_agreed(desk.look())
    assert desk.positions() == {USD: D(820), SHARES: D(4)} == desk.event_totals()
    desk.now += timedelta(days=1)
    assert is_agreed(desk.look())


class WithoutEmptied(FakeExchange):
    """Shows no balance of what is not held any more."""

    def balances(self) -> Mapping[HoldingKey, Balance]:
        return {key: balance for key, balance in super().balances().items() if balance.balance}


def by_fill(desk: Desk, entry: LedgerEntry) -> None:
    bring(desk.engine, {desk.account_id(): [entry]})


def by_import(desk: Desk, entry: LedgerEntry) -> None:
    bring_file(desk, [entry], 10)


@pytest.fixture(params=[by_fill, by_import])
def bought(request: pytest.FixtureRequest, database_url: str) -> Desk:
    """An open account to which something else than a sync brought a tokenized asset."""
    desk = Desk(database_url)
    books = desk.account()
    desk.exchanges["desk"] = WithoutEmptied(books)
    for _ in range(100):
        books.add("USD", "10", entry_type="deposit")
    books.now += minutes(1)
    desk.now += timedelta(days=1)
    desk.sync()
    recorded_at(desk, "desk", desk.now)
    bring_in: Callable[[Desk, LedgerEntry], None] = request.param
    books.now = desk.now
    bring_in(desk, books.add("NVDAx", "2", wallet="T", entry_type="deposit"))
    assert desk.positions() == {USD: D(1000), SHARES: D(2)}
    # Neither a payment nor a balance tells of what follows: only the ledger of tokenized assets does.
    books.add("NVDAx", "-2", wallet="T", entry_type="withdrawal")
    return desk


def test_second_ledger_is_read_whatever_brought_its_first_entry(bought: Desk) -> None:
    with UnitOfWork(bought.engine) as unit:
        [account] = AccountStore(unit).find_accounts(["desk"])
    assert find_contradictions(account, bought.ports) == []
    bought.sync()
    run = bought.run()
    assert (run["status"], run["error"], run["explained"]) == ("succeeded", None, 1)
    assert bought.positions() == {USD: D(1000)} == bought.event_totals()
    assert bought.rows("select tokenized_read_until is not null as is_read from trading.accounts") == [
        {"is_read": True}
    ]


def test_past_is_not_judged_before_the_second_ledger_is_read(bought: Desk) -> None:
    end = bought.now + minutes(60)
    bought.now += timedelta(days=2)
    made = bought.exchanges["desk"].made
    made.clear()
    backfill(bought, Interval(end - minutes(15), end))
    assert bought.run()["status"] == "succeeded"
    assert bought.positions() == {USD: D(1000)} == bought.event_totals()
    assert made == ["Ledgers"] * 2, "the first ledger is read on from where it was, the second from its start"
