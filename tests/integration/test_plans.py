"""Repair plans on a real database: their names, the promise of a dry run, undoing, what does not converge."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest

from desks.fake_exchange import Desk
from kraken_recon.database.unit_of_work import UnitOfWork
from kraken_recon.errors import PlanRefusedError
from kraken_recon.ledger.entries import HoldingKey
from kraken_recon.reconciliation.plans.store import PlanStore
from kraken_recon.reconciliation.rules.policy import Mode
from kraken_recon.repairs.undoing import undo
from kraken_recon.repairs.view import list_plans, plans_of_runs, render_plan, show_plan
from kraken_recon.reports.report import report
from kraken_recon.reports.report_store import ReportStore

if TYPE_CHECKING:
    from collections.abc import Sequence

BTC, USD, ETH = HoldingKey("BTC", "spot"), HoldingKey("USD", "spot"), HoldingKey("ETH", "spot")
PRICES = {"USD": Decimal(1), "BTC": Decimal(40000), "ETH": Decimal(3000)}
LOSE_A_BITCOIN = "update trading.positions set quantity = quantity - 1 where asset = 'BTC'"
OPEN_HELD = (
    "select kind, message from trading.alerts where status <> 'resolved'"
    " and kind in ('held_repair', 'repair_not_converging')"
)
COLUMNS = ("asset", "wallet", "before", "after", "cause", "reason", "ledger_id")


@pytest.fixture
def desk(database_url: str) -> Desk:
    desk = Desk(database_url)
    books = desk.account()
    books.add("USD", "10000", entry_type="deposit")
    books.add("BTC", "5", entry_type="deposit")
    books.add("ETH", "2", entry_type="deposit")
    desk.exchanges["desk"].price_list = PRICES
    desk.sync()
    return desk


def plans(desk: Desk, run_ids: Sequence[UUID] | None = None) -> list[dict[str, Any]]:
    with UnitOfWork(desk.engine) as unit:
        if run_ids is not None:
            return plans_of_runs(PlanStore(unit), run_ids, with_rows=True)
        return [
            show_plan(PlanStore(unit), UUID(p["plan_id"])) for p in list_plans(PlanStore(unit), None)["plans"]
        ]


def lines(view: dict[str, Any]) -> list[tuple[str, ...]]:
    return [tuple(row[name] for name in COLUMNS) for row in view["rows"]]


def events_of(desk: Desk, plan_id: str) -> list[str]:
    return [
        row["reason"] or row["cause"]
        for row in desk.rows(
            "select * from trading.position_events where plan_id = :plan order by event_id", plan=plan_id
        )
    ]


def take_back(desk: Desk, plan_id: str, by: str = "alice") -> tuple[str, bool]:
    undone_by, is_new = undo(UUID(plan_id), by, lambda: UnitOfWork(desk.engine), now=desk.now)
    return str(undone_by), is_new


def open_alerts(desk: Desk) -> list[tuple[str, int]]:
    return [
        (row["kind"], row["occurrences"])
        for row in desk.rows(
            "select kind, occurrences from trading.alerts where status <> 'resolved' order by kind"
        )
    ]


def test_a_run_that_writes_nothing_makes_no_plan(desk: Desk) -> None:
    before = plans(desk)
    desk.sync()
    desk.sync(mode=Mode.DRY_RUN)
    assert plans(desk) == before


def test_a_dry_run_prints_the_plan_that_the_repair_then_is(desk: Desk) -> None:
    desk.books["desk"].add("BTC", "1")
    desk.execute("update trading.positions set quantity = 7 where asset = 'ETH'")
    dry = plans(desk, desk.sync(mode=Mode.DRY_RUN))
    assert [(p["kind"], p["status"]) for p in dry] == [("repair", "planned")]
    assert lines(dry[0]) == [
        ("BTC", "spot", "5", "6", "ledger", None, "L00004"),
        ("ETH", "spot", "2", "7", "adjustment", "found_changed", None),
        ("ETH", "spot", "7", "2", "adjustment", "drift_repaired", None),
    ]
    assert render_plan(dry[0])[2:] == [
        "    BTC: 5 -> 6 (1), ledger entry L00004",
        "    ETH: 2 -> 7 (5), found changed",
        "    ETH: 7 -> 2 (-5), drift repaired",
    ]
    assert events_of(desk, dry[0]["plan_id"]) == []
    done = plans(desk, desk.sync_again())
    assert [(p["kind"], p["status"], p["plan_id"]) for p in done] == [
        ("repair", "applied", dry[0]["plan_id"])
    ]
    assert lines(done[0]) == lines(dry[0])
    assert events_of(desk, dry[0]["plan_id"]) == ["ledger", "found_changed", "drift_repaired"]


def test_a_dry_run_tried_again_leaves_one_plan(desk: Desk) -> None:
    desk.books["desk"].add("BTC", "1")
    runs = desk.sync(mode=Mode.DRY_RUN)
    desk.execute("update trading.reconciliation_runs set status = 'moving' where mode = 'dry_run'")
    desk.books["desk"].add("BTC", "2")
    assert desk.sync_again(mode=Mode.DRY_RUN) == runs
    assert [[row["ledger_id"] for row in p["rows"]] for p in plans(desk, runs)] == [["L00004", "L00005"]]


def test_a_repair_that_did_not_last_is_refused_and_alerted_once(desk: Desk) -> None:
    desk.execute(LOSE_A_BITCOIN)
    desk.sync()
    assert desk.positions()[BTC] == 5
    desk.execute(LOSE_A_BITCOIN)
    desk.books["desk"].add("ETH", "3")
    for _ in range(3):
        desk.sync()
        assert desk.findings()["BTC"]["action"] == "held"
        assert desk.positions() == desk.event_totals()
    assert desk.positions() == {BTC: Decimal(4), ETH: Decimal(5), USD: Decimal(10000)}
    assert ("repair_not_converging", 3) in open_alerts(desk)
    held = [p for p in plans(desk) if p["kind"] == "held"]
    assert [(p["status"], p["closed_at"]) for p in held] == [("held", None)]
    assert lines(held[0]) == [("BTC", "spot", "4", "5", "adjustment", "drift_repaired", None)]
    assert held[0]["why"] == "the same repair of BTC was made before and did not last"


def test_another_drift_is_repaired_and_resolves_the_alert(desk: Desk) -> None:
    for _ in range(2):
        desk.execute(LOSE_A_BITCOIN)
        desk.sync()
    assert desk.positions()[BTC] == 4
    desk.execute("update trading.positions set quantity = 3.5 where asset = 'BTC'")
    desk.sync()
    assert desk.positions()[BTC] == 5
    assert "repair_not_converging" not in dict(open_alerts(desk))
    assert [p["status"] for p in plans(desk) if p["kind"] == "held"] == ["outdated"]


def test_a_repair_that_lasted_may_be_made_again(desk: Desk) -> None:
    desk.execute(LOSE_A_BITCOIN)
    desk.sync()
    desk.sync()
    desk.execute(LOSE_A_BITCOIN)
    desk.sync()
    assert desk.positions()[BTC] == 5
    assert "repair_not_converging" not in dict(open_alerts(desk))


def test_an_undo_is_a_new_plan_and_the_next_run_does_not_flip_it_back(desk: Desk) -> None:
    desk.execute(LOSE_A_BITCOIN)
    [repair] = plans(desk, desk.sync())
    undone_by, is_new = take_back(desk, repair["plan_id"])
    assert is_new
    assert desk.positions()[BTC] == 4
    assert desk.positions() == desk.event_totals()
    [undone] = [p for p in plans(desk) if p["plan_id"] == undone_by]
    assert (undone["kind"], undone["undoes"], undone["decided_by"]) == ("undo", repair["plan_id"], "alice")
    assert lines(undone) == [("BTC", "spot", "5", "4", "adjustment", "repair_undone", None)]
    assert events_of(desk, undone_by) == ["repair_undone"]
    for _ in range(3):
        desk.sync()
        assert desk.positions()[BTC] == 4
        assert desk.findings()["BTC"]["action"] == "held"


def test_an_undo_is_told_at_once_and_is_no_repair_that_did_not_last(desk: Desk) -> None:
    desk.execute(LOSE_A_BITCOIN)
    [repair] = plans(desk, desk.sync())
    desk.sync()
    undone_by, _ = take_back(desk, repair["plan_id"])

    def told() -> tuple[dict[str, Any], list[tuple[str, str]]]:
        with UnitOfWork(desk.engine) as unit:
            [account] = report(ReportStore(unit), ["desk"])["accounts"]
        return account, [(row["kind"], row["message"]) for row in desk.rows(OPEN_HELD)]

    account, alerts = told()
    assert (account["run_id"], account["held"], account["reported_as_of"]) == (undone_by, 1, None)
    assert "was undone by alice; Kraken was not asked" in account["note"]
    [finding] = account["findings"]
    assert (finding["db_quantity"], finding["exchange_quantity"], finding["action"]) == ("4", "5", "held")
    wrong = "desk: BTC is wrong again, because alice undid its repair: recorded 4, Kraken 5"
    assert [(kind, text.partition(";")[0]) for kind, text in alerts] == [("held_repair", wrong)]
    for _ in range(2):
        desk.sync()
        account, alerts = told()
        assert account["held"] == 1
        assert [(kind, text.partition(";")[0]) for kind, text in alerts] == [("held_repair", wrong)]
    [held] = desk.rows("select why from trading.repair_plans where kind = 'held' and closed_at is null")
    assert held["why"] == "the repair of BTC was undone by alice"
    take_back(desk, undone_by)
    desk.sync()
    assert desk.rows(OPEN_HELD) == []


def test_an_undo_counts_for_no_other_holding(desk: Desk) -> None:
    """It asks Kraken nothing, so that no other repair is found to have lasted."""
    desk.books["desk"].residuals[ETH] = Decimal("-0.1")
    desk.execute(LOSE_A_BITCOIN)
    for _ in range(2):
        desk.sync()
    eth, btc = (
        desk.rows(
            "select plan_id::text from trading.position_events where asset = :asset and cause = 'adjustment'"
            " and plan_id is not null order by event_id desc limit 1",
            asset=asset,
        )[0]["plan_id"]
        for asset in ("ETH", "BTC")
    )
    assert eth != btc
    take_back(desk, btc)
    with UnitOfWork(desk.engine) as unit:
        assert (desk.account_id(), ETH) in PlanStore(unit).last_repairs([(desk.account_id(), ETH)])


def test_an_undone_residual_repair_is_held_even_after_it_had_lasted(desk: Desk) -> None:
    desk.books["desk"].residuals[ETH] = Decimal("-0.1")
    desk.sync()
    [repair] = plans(desk, desk.sync())
    desk.sync()
    take_back(desk, repair["plan_id"])
    desk.books["desk"].add("ETH", "1")
    for _ in range(3):
        desk.sync()
        assert desk.positions()[ETH] == 3
        assert desk.positions() == desk.event_totals()
    assert desk.findings()["ETH"]["action"] == "held"
    del desk.books["desk"].residuals[ETH]
    desk.sync()
    assert desk.findings() == {}
    assert desk.rows("select * from trading.repair_plans where kind = 'held' and closed_at is null") == []


def test_undoing_twice_does_nothing_the_second_time(desk: Desk) -> None:
    desk.execute(LOSE_A_BITCOIN)
    [repair] = plans(desk, desk.sync())
    first = take_back(desk, repair["plan_id"])
    before = desk.rows("select *, xmin::text from trading.position_events order by event_id")
    assert take_back(desk, repair["plan_id"], "bob") == (first[0], False)
    assert desk.rows("select *, xmin::text from trading.position_events order by event_id") == before


def test_an_undo_can_be_undone(desk: Desk) -> None:
    desk.execute(LOSE_A_BITCOIN)
    [repair] = plans(desk, desk.sync())
    undone_by, _ = take_back(desk, repair["plan_id"])
    take_back(desk, undone_by)
    assert desk.positions()[BTC] == 5
    desk.sync()
    assert desk.findings() == {}


def test_ledger_entries_are_not_undone(desk: Desk) -> None:
    desk.books["desk"].add("BTC", "1")
    [applied] = plans(desk, desk.sync())
    with pytest.raises(PlanRefusedError, match="ledger entries only; they are facts of the exchange"):
        take_back(desk, applied["plan_id"])
    desk.books["desk"].add("BTC", "1")
    desk.execute(LOSE_A_BITCOIN)
    [both] = plans(desk, desk.sync())
    assert both["facts"] == 2
    take_back(desk, both["plan_id"])
    assert desk.positions()[BTC] == 6


def test_an_undo_is_refused_when_a_position_moved_on(desk: Desk) -> None:
    desk.execute(LOSE_A_BITCOIN)
    [repair] = plans(desk, desk.sync())
    desk.books["desk"].add("BTC", "0.25")
    desk.sync()
    before = desk.rows("select * from trading.repair_plans order by plan_id")
    with pytest.raises(PlanRefusedError, match=r"BTC was left at 5 and stands at 5\.25"):
        take_back(desk, repair["plan_id"])
    assert desk.rows("select * from trading.repair_plans order by plan_id") == before


def test_what_was_not_written_cannot_be_undone(desk: Desk) -> None:
    desk.execute(LOSE_A_BITCOIN)
    [dry] = plans(desk, desk.sync(mode=Mode.DRY_RUN))
    with pytest.raises(PlanRefusedError, match="is planned: it wrote nothing"):
        take_back(desk, dry["plan_id"])
    with pytest.raises(PlanRefusedError, match="no plan has the id"):
        take_back(desk, str(uuid4()))
