"""Maintenance on a real database: what it keeps, what it forgets, and that it may run at any time."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from desks.fake_exchange import Desk
from desks.logins import as_writer
from kraken_recon.accounts.store import AccountStore
from kraken_recon.cli.main import main
from kraken_recon.database.unit_of_work import UnitOfWork
from kraken_recon.errors import ExchangeUnavailableError
from kraken_recon.holdings.valuation import value_holdings
from kraken_recon.holdings.view import render_holdings
from kraken_recon.ledger.entries import HoldingKey
from kraken_recon.maintenance.maintaining import (
    MaintainingPorts,
    holdings_view,
    maintain,
    make_months,
    snapshot_assets,
    tidy,
)
from kraken_recon.maintenance.retention import (
    MONTHS_AHEAD,
    POLICY,
    QUIET_RUNS_HOUR,
    SNAPSHOT_MONTHS_KEPT,
    Month,
    months_missing,
    months_to_drop,
)
from kraken_recon.maintenance.store import MaintenanceStore
from kraken_recon.repairs.undoing import undo

if TYPE_CHECKING:
    from collections.abc import Iterator

    from desks.fakes import FakeExchange
    from kraken_recon.accounts.account import Account

PRICES = {"BTC": Decimal(50000), "USD": Decimal(1)}
BOOKS = ("ledger_entries", "position_events", "positions", "reconciliation_runs", "discrepancies", "alerts")


@pytest.fixture
def desk(database_url: str) -> Desk:
    """Return a desk with one synced account: 2 bitcoins, 100 dollars and something without a price."""
    desk = Desk(database_url)
    books = desk.account()
    books.add("BTC", "2")
    books.add("USD", "100")
    books.add("ODD", "7")
    desk.exchanges["desk"].price_list = PRICES
    desk.sync()
    return desk


def ports_of(desk: Desk, *broken: str) -> MaintainingPorts:
    @contextmanager
    def open_exchange(account: Account) -> Iterator[FakeExchange]:
        if account.name in broken:
            raise ExchangeUnavailableError("down", account=account.name, endpoint="Ticker")
        with desk.open_exchange(account) as exchange:
            yield exchange

    return MaintainingPorts(lambda: UnitOfWork(desk.engine), open_exchange, lambda: desk.now)


def count(desk: Desk, table: str) -> int:
    return int(desk.rows(f"select count(*) as n from trading.{table}")[0]["n"])


def test_a_snapshot_values_what_has_a_price_and_counts_the_rest(desk: Desk) -> None:
    assert maintain(ports_of(desk))["failed"] == []
    [snapshot] = desk.rows("select * from trading.asset_snapshots")
    assert (snapshot["value"], snapshot["assets"], snapshot["unpriced"]) == (100100, 3, 1)
    assert snapshot["quote_currency"] == "USD"
    rows = desk.rows("select asset, quantity, price, value from trading.asset_snapshot_rows order by asset")
    assert [tuple(row.values()) for row in rows] == [
        ("BTC", 2, 50000, 100000),
        ("ODD", 7, None, None),
        ("USD", 100, 1, 100),
    ]


def test_the_first_snapshot_of_an_hour_stays_and_the_next_hour_has_its_own(desk: Desk) -> None:
    desk.now = desk.now.replace(minute=1)
    assert snapshot_assets(ports_of(desk))["snapshots"] == 1
    desk.exchanges["desk"].price_list = {"BTC": Decimal(1)}
    assert snapshot_assets(ports_of(desk))["snapshots"] == 0
    desk.now += timedelta(hours=1)
    assert snapshot_assets(ports_of(desk))["snapshots"] == 1
    values = desk.rows("select value from trading.asset_snapshots order by hour")
    assert [row["value"] for row in values] == [100100, 102], "a dollar is worth a dollar"


@pytest.mark.parametrize("told", [{}, {"USD": Decimal(1)}], ids=str)
def test_prices_that_one_reply_leaves_out_are_no_dip(desk: Desk, told: dict[str, Decimal]) -> None:
    snapshot_assets(ports_of(desk))
    for told_now in (told, PRICES):
        desk.now += timedelta(hours=1)
        desk.exchanges["desk"].price_list = told_now
        assert snapshot_assets(ports_of(desk))["snapshots"] == 1
    values = desk.rows("select value, unpriced from trading.asset_snapshots order by hour")
    assert [(row["value"], row["unpriced"]) for row in values] == [(100100, 1)] * 3


def test_prices_of_long_ago_value_nothing(desk: Desk) -> None:
    snapshot_assets(ports_of(desk))
    desk.now += timedelta(hours=25)
    desk.exchanges["desk"].price_list = {"USD": Decimal(1)}
    snapshot_assets(ports_of(desk))
    values = desk.rows("select value, unpriced from trading.asset_snapshots order by hour")
    assert [(row["value"], row["unpriced"]) for row in values] == [(100100, 1), (100, 2)]


def test_the_newest_price_of_every_asset_is_kept_whether_held_or_not(desk: Desk) -> None:
    def kept() -> dict[str, Decimal]:
        rows = desk.rows("select asset, price from trading.asset_prices where quote_currency = 'USD'")
        return {row["asset"]: row["price"] for row in rows}

    desk.exchanges["desk"].price_list = PRICES | {"SOL": Decimal(1) / 3}
    snapshot_assets(ports_of(desk))
    assert kept() == PRICES | {"SOL": Decimal("0.333333333333333333")}
    desk.now += timedelta(hours=1)
    desk.exchanges["desk"].price_list = {"BTC": Decimal(40000)}
    snapshot_assets(ports_of(desk))
    assert kept()["BTC"] == 40000
    assert kept()["SOL"] == Decimal("0.333333333333333333")


def test_without_prices_nothing_is_written_and_the_rest_is_done(desk: Desk) -> None:
    view = maintain(ports_of(desk, "desk"))
    assert "1 accounts in USD: no prices" in view["failed"][0]
    assert view["done"]["months_made"] == MONTHS_AHEAD + 1
    assert count(desk, "asset_snapshots") == 0


def test_prices_come_by_another_account_where_one_is_broken(desk: Desk) -> None:
    desk.account("another").add("USD", "5")
    desk.sync()
    assert snapshot_assets(ports_of(desk, "another")) == {"snapshots": 2, "revised": 0, "failed": []}


def test_an_account_that_was_never_read_is_not_worth_nothing(desk: Desk) -> None:
    desk.account("unread")
    assert snapshot_assets(ports_of(desk))["snapshots"] == 1


def test_a_month_beyond_retention_is_dropped_with_its_rows_and_nothing_else(desk: Desk) -> None:
    snapshot_assets(ports_of(desk))
    before = {table: count(desk, table) for table in BOOKS}
    first_month = Month.of(desk.now)
    desk.now = first_month.later(SNAPSHOT_MONTHS_KEPT).start
    assert tidy(ports_of(desk))["done"]["months_dropped"] == 0
    assert count(desk, "asset_snapshots") == 1
    desk.now = first_month.later(SNAPSHOT_MONTHS_KEPT + 1).start
    view = tidy(ports_of(desk))
    assert (view["done"]["months_dropped"], view["failed"]) == (1, [])
    assert count(desk, "asset_snapshots") == count(desk, "asset_snapshot_rows") == 0
    assert {table: count(desk, table) for table in BOOKS} == before


def test_of_old_snapshots_the_last_of_each_day_is_kept(desk: Desk) -> None:
    desk.now = desk.now.replace(day=2, hour=0, minute=5)
    start = desk.now
    for hours in range(0, 48, 6):
        desk.now = start + timedelta(hours=hours)
        snapshot_assets(ports_of(desk))
    desk.now = start + timedelta(days=29)
    assert tidy(ports_of(desk))["done"]["thin_snapshots"] == 0
    desk.now = start + timedelta(days=32)
    assert tidy(ports_of(desk))["done"]["thin_snapshots"] == 6
    left = desk.rows("select hour from trading.asset_snapshots order by hour")
    assert [row["hour"].hour for row in left] == [18, 18]
    assert count(desk, "asset_snapshot_rows") == 6
    assert tidy(ports_of(desk))["done"]["thin_snapshots"] == 0


def test_of_old_session_samples_the_last_of_each_hour_is_kept(desk: Desk) -> None:
    desk.execute(
        "insert into trading.session_samples (source, taken_at, connections, connections_limit, sessions,"
        " ours, active, idle, idle_in_transaction, waiting, unattributed, by_owner, usages, findings)"
        " select source, at, 1, 1, 1, 1, 1, 0, 0, 0, 0, '{}', '{}', 0"
        " from generate_series(cast(:start as timestamptz), :start + interval '115 minutes', '5 minutes') at"
        " cross join (values ('trading_db'), ('airflow_db')) s(source)",
        start=desk.now.replace(minute=0),
    )
    desk.now += timedelta(days=3)
    assert tidy(ports_of(desk))["done"]["thin_session_samples"] == 44
    left = desk.rows("select extract(minute from taken_at)::int as minute from trading.session_samples")
    assert [row["minute"] for row in left] == [55] * 4


def test_what_was_sent_or_only_tried_is_forgotten_and_the_rest_kept(desk: Desk) -> None:
    old, recent = desk.now - timedelta(days=91), desk.now - timedelta(days=1)
    for sent_at in (old, recent, None):
        desk.execute(
            "insert into trading.alert_notifications"
            " (channel, reason, subject, body, alert_ids, created_at, due_at, sent_at)"
            " values ('mail', 'opened', '', '', '{}', :old, :old, :sent_at)",
            old=old,
            sent_at=sent_at,
        )
    for status, created_at in (("planned", old), ("planned", recent), ("applied", old)):
        desk.execute(
            "insert into trading.repair_plans (plan_id, account_id, kind, status, as_of, row_count,"
            " created_at) values (gen_random_uuid(), :account_id, 'repair', :status, :at, 0, :at)",
            account_id=desk.account_id(),
            status=status,
            at=created_at,
        )
    for start in (desk.now - timedelta(days=401), old):
        desk.execute(
            "insert into trading.verification_rates"
            " values (3600, :start, :account_id, 'ai', 1, 0, 0, :start)",
            start=start,
            account_id=desk.account_id(),
        )
    plans = count(desk, "repair_plans")
    done = tidy(ports_of(desk))["done"]
    assert [done[name] for name in ("forget_notifications", "forget_dry_runs", "forget_rates")] == [1, 1, 1]
    unsent = desk.rows("select sent_at from trading.alert_notifications order by sent_at nulls last")
    assert [row["sent_at"] for row in unsent] == [recent, None]
    assert count(desk, "repair_plans") == plans - 1
    assert count(desk, "verification_rates") == 1


def test_a_claim_of_somebody_gone_is_given_back_and_a_living_one_kept(desk: Desk) -> None:
    for number, until in ((1, desk.now - timedelta(hours=2)), (2, desk.now + timedelta(minutes=1))):
        order_id = add_order(desk, number)
        desk.execute(
            "insert into trading.order_verifications (order_id, account_id, source, enlisted_at, due_at,"
            " deadline, claimed_by, claimed_until) values (:order_id, :account_id, 'manual', :now, :now,"
            " :now, 'somebody', :until)",
            order_id=order_id,
            account_id=desk.account_id(),
            now=desk.now,
            until=until,
        )
    assert tidy(ports_of(desk))["done"]["claims_released"] == 1
    left = desk.rows("select claimed_by from trading.order_verifications order by order_id")
    assert [row["claimed_by"] for row in left] == [None, "somebody"]


def add_order(desk: Desk, number: int) -> int:
    desk.execute(
        "insert into trading.orders (account_id, cl_ord_id, source, pair, base, quote, side, order_type,"
        " volume, time_in_force, status) values (:account_id, :cl_ord_id, 'manual', 'BTC/USD', 'BTC',"
        " 'USD', 'buy', 'market', 1, 'GTC', 'decided')",
        account_id=desk.account_id(),
        cl_ord_id=f"order-{number}",
    )
    return int(desk.rows("select max(order_id) as id from trading.orders")[0]["id"])


def test_quiet_runs_are_thinned_to_a_proof_a_day_where_a_desk_says_so(desk: Desk) -> None:
    desk.execute("delete from trading.discrepancies")
    for minutes in range(0, 60 * 24 * 2, 60):
        desk.execute(
            "insert into trading.reconciliation_runs (run_id, account_id, interval_start, interval_end, mode,"
            " status, trigger, recorded_as_of, reported_as_of, checked, matched, explained, seconds,"
            " lock_hold_ms) select gen_random_uuid(), :account_id, at, at + interval '1 hour', 'repair',"
            " 'succeeded', 'test', at, at, 3, 3 - explained, explained, 1, 1"
            " from (select timestamptz '2024-01-01 00:00+00' + make_interval(mins => :minutes) as at) as t,"
            " lateral (select case when extract(hour from at) = 5 then 1 else 0 end as explained) as e",
            account_id=desk.account_id(),
            minutes=minutes,
        )
    before = count(desk, "reconciliation_runs")
    keeps_all = ports_of(desk)
    desk.now = desk.now.replace(hour=QUIET_RUNS_HOUR)
    assert "thin_runs" not in tidy(keeps_all)["done"]
    assert count(desk, "reconciliation_runs") == before
    thins = replace(keeps_all, quiet_runs_days_kept=30)
    thinned = tidy(thins)
    assert thinned["failed"] == []
    assert thinned["done"]["thin_runs"] == 2 * 22
    left = desk.rows(
        "select extract(hour from recorded_as_of at time zone 'UTC')::int as hour"
        " from trading.reconciliation_runs where trigger = 'test' order by recorded_as_of"
    )
    # What found something, and the last of each day.
    assert [row["hour"] for row in left] == [5, 23, 5, 23]
    assert tidy(thins)["done"]["thin_runs"] == 0
    desk.now = desk.now.replace(hour=QUIET_RUNS_HOUR + 1)
    assert "thin_runs" not in tidy(thins)["done"]


def test_a_step_that_fails_stops_no_other(desk: Desk) -> None:
    desk.execute("alter table trading.verification_rates rename to gone")
    view = tidy(ports_of(desk))
    assert [problem.split(":")[0] for problem in view["failed"]] == ["forget_rates"]
    assert set(view["done"]) >= {rule.name for rule in POLICY} - {"forget_rates"}
    assert "claims_released" in view["done"]


def test_side_by_side_runs_do_each_thing_once(desk: Desk) -> None:
    with ThreadPoolExecutor(4) as pool:
        views = [future.result() for future in [pool.submit(maintain, ports_of(desk)) for _ in range(4)]]
    assert [view["failed"] for view in views] == [[]] * 4
    assert sum(view["done"]["months_made"] for view in views) == MONTHS_AHEAD + 1
    assert sum(view["done"]["snapshots"] for view in views) == 1


def test_maintenance_during_a_sync_waits_for_nobody(desk: Desk) -> None:
    make_months(ports_of(desk))
    with desk.engine.begin() as busy:
        busy.exec_driver_sql("select 1 from trading.positions for no key update")
        busy.exec_driver_sql("select 1 from trading.accounts for no key update")
        desk.now = Month.of(desk.now).later(1).start
        assert maintain(ports_of(desk))["failed"] == []


def test_holdings_shows_what_lies_in_a_vault_beside_the_sum(desk: Desk) -> None:
    desk.books["desk"].add("BTC", "-0.5", entry_type="hybridearnwithdrawal")
    desk.sync()
    with UnitOfWork(desk.engine) as unit:
        [account] = AccountStore(unit).find_accounts(["desk"])
    view = holdings_view(account, 30, ports_of(desk))
    assert view["value"] == "75100"
    assert view["elsewhere"] == [{"asset": "BTC", "place": "vault", "quantity": "0.5", "value": "25000"}]
    assert any("25,000.00 USD, vault" in line for line in render_holdings(view))


def test_holdings_shows_the_value_now_and_the_curve(desk: Desk) -> None:
    snapshot_assets(ports_of(desk))
    desk.now += timedelta(hours=2)
    desk.exchanges["desk"].price_list = PRICES | {"BTC": Decimal(25000)}
    with UnitOfWork(desk.engine) as unit:
        [account] = AccountStore(unit).find_accounts(["desk"])
    view = holdings_view(account, 30, ports_of(desk))
    assert (view["value"], view["unpriced"]) == ("50100", 1)
    assert [row["value"] for row in view["curve"]] == ["100100"]
    lines = render_holdings(json.loads(json.dumps(view)))
    assert "50,100.00 USD" in lines[0]
    assert any("ODD" in line and line.endswith("no price") for line in lines)
    assert lines[-1].endswith("#" * 30)


def test_the_command_maintains(
    database_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KRAKEN_RECON_DSN", as_writer(database_url))
    assert main(["maintain", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["done"]["months_made"] == MONTHS_AHEAD + 1
    assert main(["maintain"]) == 0
    assert "months made: 0" in capsys.readouterr().out


@given(st.datetimes(datetime(2020, 1, 1), datetime(2200, 1, 1)), st.integers(0, 90))  # noqa: DTZ001 - made aware
def test_months_are_there_before_they_begin_and_go_after_their_time(
    naive: datetime, idle_months: int
) -> None:
    now = naive.replace(tzinfo=UTC)
    months = set(months_missing(now, ()))
    assert {Month.of(now + timedelta(days=days)) for days in range(29)} <= months
    later = Month.of(now).later(idle_months).start
    dropped = months_to_drop(later, months)
    oldest_kept = Month.of(later).later(-SNAPSHOT_MONTHS_KEPT)
    assert set(dropped) == {month for month in months if month < oldest_kept}
    assert all(Month.of(month.start - timedelta(microseconds=1)).later(1) == month for month in months)


AMOUNTS = st.decimals(Decimal(-(10**9)), Decimal(10**9), places=10)
ASSETS = st.sampled_from(["BTC", "ETH", "USD", "EUR", "ODD"])


@given(st.dictionaries(ASSETS, AMOUNTS), st.dictionaries(ASSETS, st.integers(1, 10**9)))
def test_a_valuation_is_the_sum_of_what_has_a_price(
    quantities: dict[str, Decimal], denominators: dict[str, int]
) -> None:
    prices = {asset: 1 / Decimal(denominator) for asset, denominator in denominators.items()}
    valuation = value_holdings(quantities, prices)
    held = {asset for asset, quantity in quantities.items() if quantity}
    assert {asset.asset for asset in valuation.assets} == held
    assert valuation.unpriced == len(held - set(prices))
    for asset in valuation.assets:
        assert (asset.value is None) == (asset.asset not in prices)
        if asset.value is not None:
            exact = quantities[asset.asset] / Decimal(denominators[asset.asset])
            assert abs(asset.value - exact) <= Decimal("1e-8")
    assert valuation.value == sum((a.value for a in valuation.assets if a.value is not None), Decimal(0))


def curve(desk: Desk) -> list[Decimal | None]:
    with UnitOfWork(desk.engine) as unit:
        rows = MaintenanceStore(unit).curve(desk.account_id(), desk.now - timedelta(days=30))
    return [row["value"] for row in rows]


def hour_passes(desk: Desk, *, is_asked: bool = True) -> None:
    desk.now += timedelta(hours=1)
    if is_asked:
        desk.sync()
    assert snapshot_assets(ports_of(desk))["failed"] == []


def unavailable(_: str) -> None:
    raise ExchangeUnavailableError("no answer", endpoint="BalanceEx")


def test_a_position_changed_by_hand_is_no_dip_of_the_curve(desk: Desk) -> None:
    desk.now = desk.now.replace(minute=7)
    snapshot_assets(ports_of(desk))
    desk.execute("update trading.positions set quantity = 0 where asset = 'BTC'")
    hour_passes(desk, is_asked=False)
    hour_passes(desk)
    assert curve(desk) == [100100, 100100, 100100]


def test_hours_that_nobody_could_prove_are_a_gap_until_entries_tell_them(desk: Desk) -> None:
    desk.now = desk.now.replace(minute=7)
    snapshot_assets(ports_of(desk))
    exchange = desk.exchanges["desk"]
    exchange.before_call = unavailable
    for hour in range(3):
        hour_passes(desk)
        if hour == 1:
            desk.books["desk"].add("BTC", "1", at=desk.now)
    assert curve(desk) == [100100, None, None, None]
    exchange.before_call = lambda _: None
    exchange.price_list = PRICES | {"BTC": Decimal(10000)}
    hour_passes(desk)
    # At the prices of then, of what was held then.
    assert curve(desk) == [100100, 100100, 150100, 150100, 30100]


def test_what_was_put_right_without_an_entry_counts_from_then_on(desk: Desk) -> None:
    desk.now = desk.now.replace(minute=7)
    snapshot_assets(ports_of(desk))
    desk.books["desk"].residuals[HoldingKey("USD", "spot")] = Decimal(50)
    hour_passes(desk)
    assert curve(desk) == [100100, None]
    desk.now += timedelta(minutes=16)
    desk.sync()
    hour_passes(desk)
    # Nobody knows whether it was there at the second hour.
    assert curve(desk) == [100100, None, 100150]


def test_an_entry_that_comes_late_changes_the_hours_since(desk: Desk) -> None:
    desk.now = desk.now.replace(minute=7)
    for _ in range(3):
        hour_passes(desk)
    assert curve(desk) == [100100] * 3
    desk.books["desk"].add("BTC", "1", at=desk.now - timedelta(minutes=90))
    desk.now += timedelta(minutes=10)
    desk.sync()
    # A gap as soon as it is known to be wrong, and right with the next maintenance.
    assert curve(desk) == [100100, None, None]
    hour_passes(desk)
    assert curve(desk) == [100100, 150100, 150100, 150100]


def test_an_undone_repair_leaves_a_gap_at_once(desk: Desk) -> None:
    desk.now = desk.now.replace(minute=7)
    snapshot_assets(ports_of(desk))
    desk.books["desk"].residuals[HoldingKey("USD", "spot")] = Decimal(50)
    for _ in range(2):
        desk.now += timedelta(minutes=16)
        desk.sync()
    hour_passes(desk)
    assert curve(desk)[-1] == 100150
    [plan] = desk.rows("select plan_id from trading.repair_plans where kind = 'repair' order by applied_at")[
        -1:
    ]
    undo(plan["plan_id"], "Ann", lambda: UnitOfWork(desk.engine), now=desk.now)
    hour_passes(desk, is_asked=False)
    assert curve(desk)[-1] is None


def test_a_gap_is_shown_as_such(desk: Desk) -> None:
    desk.now = desk.now.replace(minute=7)
    snapshot_assets(ports_of(desk))
    desk.exchanges["desk"].before_call = unavailable
    hour_passes(desk)
    desk.exchanges["desk"].before_call = lambda _: None
    with UnitOfWork(desk.engine) as unit:
        [account] = AccountStore(unit).find_accounts(["desk"])
    view = holdings_view(account, 30, ports_of(desk))
    assert [row["value"] for row in view["curve"]] == ["100100", None]
    assert render_holdings(json.loads(json.dumps(view)))[-1].endswith("not proven")
