"""Deciding about held plans: on a real database, also by two people at once and across a killed process."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from desks.fake_exchange import Desk
from desks.interruptions import Steps, stepped_ports
from kraken_recon.accounts.tolerance import Tolerance
from kraken_recon.database.unit_of_work import UnitOfWork
from kraken_recon.errors import ExchangeUnavailableError, PlanNotWrittenError, PlanRefusedError
from kraken_recon.holdings.pricing import price_list
from kraken_recon.holdings.store import PriceStore
from kraken_recon.ledger.entries import HoldingKey
from kraken_recon.reconciliation.plans.store import PlanStore
from kraken_recon.reconciliation.rules.policy import Mode, Policy
from kraken_recon.repairs.deciding import PlanDecision, approve, expire, reject, reopen
from kraken_recon.repairs.question import case_markdown, case_subject, escaped
from kraken_recon.repairs.undoing import undo
from kraken_recon.repairs.view import case_of, list_plans, with_values
from kraken_recon.reports.page_store import PageStore
from kraken_recon.reports.report_store import ReportStore
from kraken_recon.reports.value_at_risk import drift_view

if TYPE_CHECKING:
    from uuid import UUID

    from kraken_recon.reconciliation.run import SyncPorts

BTC, USD, ETH = HoldingKey("BTC", "spot"), HoldingKey("USD", "spot"), HoldingKey("ETH", "spot")
HELD = "select * from trading.repair_plans where kind = 'held' order by created_at"
PAGES = "/kraken-recon/"
OPEN = "select plan_id from trading.repair_plans where kind = 'held' and closed_at is null"


@pytest.fixture
def desk(database_url: str) -> Desk:
    """An account of which Kraken has lost half the dollars without a ledger line: held."""
    desk = Desk(database_url)
    books = desk.account()
    books.add("USD", "10000", entry_type="deposit")
    books.add("BTC", "0.05", entry_type="deposit")
    books.add("ETH", "2", entry_type="deposit")
    desk.exchanges["desk"].price_list = {"USD": Decimal(1), "BTC": Decimal(40000), "ETH": Decimal(3000)}
    desk.sync()
    books.residuals[USD] = Decimal(-5000)
    desk.sync()
    desk.sync()
    return desk


def later(desk: Desk) -> SyncPorts:
    """The outside world a minute later, when a person answers."""
    desk.now += timedelta(minutes=1)
    return desk.ports


def held(desk: Desk) -> dict[str, Any]:
    return desk.rows(HELD)[-1]


def plan_id(desk: Desk) -> UUID:
    found: UUID = held(desk)["plan_id"]
    return found


def case(desk: Desk) -> dict[str, Any]:
    with UnitOfWork(desk.engine) as unit:
        return case_of(PlanStore(unit), ReportStore(unit), PriceStore(unit), plan_id(desk), desk.now)


def keep(desk: Desk, **prices: int) -> None:
    """Keep prices as maintenance does."""
    with UnitOfWork(desk.engine) as unit:
        PriceStore(unit).keep("USD", {asset: Decimal(price) for asset, price in prices.items()}, desk.now)
        unit.commit()


def alert(desk: Desk, kind: str) -> dict[str, Any]:
    [found] = [row for row in desk.rows("select * from trading.alerts") if row["kind"] == kind]
    return dict(found)


def test_a_held_repair_is_told_with_what_it_is_worth_and_one_unpriced_asset_hides_nothing(desk: Desk) -> None:
    told = alert(desk, "held_repair")
    assert told["message"].endswith("recorded 10000, Kraken 5000; worth 5,000.00 USD")
    assert (told["evidence"]["value"], told["evidence"]["currency"]) == ("5000", "USD")
    desk.books["desk"].add("ODD", "7", entry_type="deposit")
    desk.sync()
    desk.books["desk"].residuals[HoldingKey("ODD", "spot")] = Decimal(-3)
    desk.books["desk"].residuals[BTC] = Decimal("-0.01")
    desk.sync()
    desk.sync()
    shown = case(desk)
    assert (shown["value"], shown["unpriced"]) == ("5400", ["ODD"])
    assert "5,400.00 USD at prices of" in shown["worth"]
    assert "without ODD, which have no price" in shown["worth"]


def test_what_a_run_asked_prices_for_is_valued_alike_everywhere(desk: Desk) -> None:
    """The prices by which a run judged are on record, without maintenance."""
    kept = {row["asset"]: row["price"] for row in desk.rows("select * from trading.asset_prices")}
    assert kept == {"USD": 1, "BTC": 40000, "ETH": 3000}
    with UnitOfWork(desk.engine) as unit:
        plans = list_plans(PlanStore(unit), None, is_open=True)["plans"]
        [listed] = with_values(plans, PlanStore(unit), PriceStore(unit), desk.now)
        [at_risk] = drift_view(PageStore(unit), PriceStore(unit), [held(desk)["run_id"]], desk.now)["values"]
    assert listed["value"] == at_risk["value"] == case(desk)["value"] == "5000"
    day_later = desk.now + timedelta(hours=25)
    with UnitOfWork(desk.engine) as unit:
        assert price_list(PriceStore(unit), [("USD", "BTC")], day_later).of("USD", "BTC") == (None, None)
        assert price_list(PriceStore(unit), [("USD", "USD")], day_later).of("USD", "USD") == (
            Decimal(1),
            None,
        )


def test_one_plan_is_held_while_the_drift_stays_the_same(desk: Desk) -> None:
    first = plan_id(desk)
    desk.books["desk"].add("USD", "100", entry_type="deposit")
    desk.sync()
    desk.sync()
    assert [row["plan_id"] for row in desk.rows(HELD)] == [first]
    desk.books["desk"].residuals[USD] = Decimal(-6000)
    desk.sync()
    assert [(row["plan_id"], row["status"]) for row in desk.rows(HELD)] == [(first, "outdated")]
    desk.sync()
    assert [row["status"] for row in desk.rows(HELD)] == ["outdated", "held"]


def test_what_a_stricter_run_held_is_written_when_approved(desk: Desk) -> None:
    desk.books["desk"].residuals.clear()
    desk.books["desk"].residuals[BTC] = Decimal("0.0005")
    desk.exchanges["desk"].price_list = {}
    strict = Policy(Tolerance(Decimal(0)))
    for _ in range(2):
        desk.sync(policy=strict)
    assert approve(plan_id(desk), "alice", later(desk)).status == "applied"
    assert desk.positions()[BTC] == Decimal("0.0505")


def test_what_is_held_goes_away_with_the_drift(desk: Desk) -> None:
    desk.books["desk"].residuals.clear()
    desk.sync()
    assert held(desk)["status"] == "outdated"
    assert desk.rows("select kind from trading.alerts where status <> 'resolved'") == []


def test_a_dry_run_says_what_would_be_held_and_holds_nothing(desk: Desk) -> None:
    before = desk.rows(OPEN)
    desk.sync(mode=Mode.DRY_RUN)
    dry = desk.rows("select * from trading.repair_plans where status = 'planned'")
    assert [(row["kind"], row["row_count"]) for row in dry] == [("held", 1)]
    assert desk.rows(OPEN) == before
    with pytest.raises(PlanRefusedError, match="no held plan has the id"):
        approve(dry[0]["plan_id"], "alice", later(desk))


def test_the_case_shows_what_a_person_must_know(desk: Desk) -> None:
    shown = case(desk)
    assert case_subject(shown) == "Set USD by -5000 on desk?"
    row = {
        k: v for k, v in shown["rows"][0].items() if k not in {"seen_since", "cause", "reason", "ledger_id"}
    }
    assert row == {
        "asset": "USD", "wallet": "spot", "recorded": "10000", "reported": "5000", "drift": "-5000",
        "before": "10000", "after": "5000", "change": "-5000", "price": "1", "value": "5000",
        "priced_at": None, "confirmations": 2,
        "explanation": "-5000 that no ledger entry explains: not written; a person decides",
    }  # fmt: skip
    text = case_markdown(shown, PAGES)
    asset = f"[USD]({PAGES}statement?account=desk&asset=USD&run={held(desk)['run_id']})"
    assert f"| {asset} | spot | 10000 | 5000 | \\-5000 | 1 | 5,000.00 |" in text
    assert "Value of the drift: **5,000.00 USD**" in text
    assert f"({PAGES}differences?account=desk&run={held(desk)['run_id']})" in text
    assert "- USD: from 10000 to 5000 (\\-5000)" in text
    assert "it is more than one run may repair by itself" in text
    assert f"`{plan_id(desk)}`" in text


def test_a_name_cannot_write_markdown_into_the_case() -> None:
    assert escaped("[x](javascript:y)|\n# <b>*now*") == (r"\[x\]\(javascript:y\)\| \# \<b\>\*now\*")
    assert escaped("desk\u202eevil") == r"desk\\u202eevil"  # shown, and it turns nothing around


def test_approved_and_still_the_same_is_written_once(desk: Desk) -> None:
    plan = plan_id(desk)
    desk.books["desk"].add("USD", "100", entry_type="deposit")
    decision = approve(plan, "alice", later(desk), note="seen it")
    assert (decision.status, decision.is_ours) == ("applied", True)
    assert desk.positions()[USD] == 5100
    assert desk.positions() == desk.event_totals()
    row = held(desk)
    assert (row["decided_by"], row["note"], row["written_by_run"]) == (
        "alice",
        "seen it",
        desk.run()["run_id"],
    )
    assert row["decided_at"]
    assert row["applied_at"]
    events = desk.rows("select * from trading.position_events")
    assert approve(plan, "alice", later(desk)).status == "applied"
    assert desk.rows("select * from trading.position_events") == events
    desk.sync()
    assert desk.findings() == {}
    assert desk.rows("select kind from trading.alerts where status <> 'resolved' and kind like 'held%'") == []


def test_what_was_approved_can_be_undone_by_the_held_plan_s_id(desk: Desk) -> None:
    plan = plan_id(desk)
    approve(plan, "alice", later(desk))
    undo(plan, "bob", lambda: UnitOfWork(desk.engine), now=desk.now)
    assert desk.positions()[USD] == 10000
    assert desk.positions() == desk.event_totals()
    desk.sync()
    desk.sync()
    assert desk.positions()[USD] == 10000
    assert (held(desk)["status"], held(desk)["plan_id"] == plan) == ("held", False)
    assert held(desk)["why"] == "the repair of USD was undone by bob"


@pytest.mark.parametrize("moved", [Decimal(-4000), Decimal(-6000), Decimal(0)])
def test_approved_after_the_world_moved_writes_nothing_of_it(desk: Desk, moved: Decimal) -> None:
    plan = plan_id(desk)
    desk.books["desk"].residuals[USD] = moved
    desk.books["desk"].add("BTC", "1")
    decision = approve(plan, "alice", later(desk))
    assert (decision.status, decision.decided_by) == ("outdated", "alice")
    assert decision.note == "the drift changed or went away"
    assert desk.positions() == {USD: Decimal(10000), BTC: Decimal("1.05"), ETH: Decimal(2)}


def test_all_of_an_approved_plan_is_written_or_nothing(desk: Desk) -> None:
    desk.books["desk"].residuals[ETH] = Decimal(-1)
    desk.sync()
    desk.sync()
    plan = plan_id(desk)
    assert held(desk)["row_count"] == 2
    desk.books["desk"].residuals[ETH] = Decimal("-0.5")
    assert approve(plan, "alice", later(desk)).status == "outdated"
    assert desk.positions() == {USD: Decimal(10000), BTC: Decimal("0.05"), ETH: Decimal(2)}


def test_a_repair_that_does_not_converge_is_written_when_a_person_approves(desk: Desk) -> None:
    desk.books["desk"].residuals.clear()
    desk.sync()
    desk.execute("delete from trading.asset_prices")
    for _ in range(2):
        desk.execute("update trading.positions set quantity = 1 where asset = 'BTC'")
        desk.sync()
    assert desk.positions()[BTC] == 1
    assert case(desk)["rows"][0]["value"] is None
    assert "no price in USD within 24 hours" in case_markdown(case(desk), PAGES)
    assert "worth not known: no price in USD" in alert(desk, "repair_not_converging")["message"]
    keep(desk, BTC=40000)
    shown = case(desk)
    assert (shown["value"], shown["priced_at"], shown["unpriced"]) == ("38000", desk.now.isoformat(), [])
    assert f"38,000.00 USD at prices of {desk.now:%Y-%m-%d %H:%M} UTC" in shown["worth"]
    assert approve(plan_id(desk), "alice", later(desk)).status == "applied"
    assert desk.positions()[BTC] == Decimal("0.05")
    assert desk.positions() == desk.event_totals()


@pytest.mark.parametrize(("refuse", "status"), [(reject, "rejected"), (expire, "expired")])
def test_a_refused_drift_is_not_asked_again_until_it_changes(desk: Desk, refuse: Any, status: str) -> None:
    plan = plan_id(desk)
    decision: PlanDecision = (
        reject(plan, "alice", later(desk)) if refuse is reject else expire(plan, later(desk))
    )
    assert (decision.status, decision.decided_by) == (status, "alice" if refuse is reject else "nobody")
    for _ in range(3):
        desk.sync()
        assert desk.findings()["USD"]["action"] == "held"
    assert [(row["status"], row["closed_at"]) for row in desk.rows(HELD)] == [(status, None)]
    assert desk.positions()[USD] == 10000
    desk.books["desk"].residuals[USD] = Decimal(-6000)
    desk.sync()
    desk.sync()
    assert [row["status"] for row in desk.rows(HELD)] == [status, "held"]


def test_a_rejected_plan_can_be_opened_again(desk: Desk) -> None:
    plan = plan_id(desk)
    with pytest.raises(PlanRefusedError, match="only one that is rejected or expired"):
        reopen(plan, later(desk))
    reject(plan, "alice", later(desk))
    assert reopen(plan, later(desk)).status == "rejected"
    desk.sync()
    assert [(row["status"], row["decided_by"]) for row in desk.rows(HELD)] == [
        ("rejected", "alice"),
        ("held", None),
    ]
    assert approve(plan_id(desk), "bob", later(desk)).status == "applied"


def test_of_two_people_at_once_one_wins_and_both_are_told(desk: Desk) -> None:
    plan, ports = plan_id(desk), later(desk)
    barrier = threading.Barrier(4)
    decisions: dict[str, PlanDecision] = {}

    def answer(name: str) -> None:
        barrier.wait()
        decisions[name] = (approve if name in {"alice", "bob"} else reject)(plan, name, ports)

    people = [threading.Thread(target=answer, args=[name]) for name in ("alice", "bob", "carol", "dave")]
    for person in people:
        person.start()
    for person in people:
        person.join()
    [winner] = [name for name, decision in decisions.items() if decision.is_ours]
    assert {decision.decided_by for decision in decisions.values()} == {winner}
    is_written = winner in {"alice", "bob"}
    assert held(desk)["status"] == ("applied" if is_written else "rejected")
    assert desk.positions()[USD] == (5000 if is_written else 10000)
    assert desk.positions() == desk.event_totals()


def test_an_account_that_cannot_be_read_stays_approved_until_it_can(desk: Desk) -> None:
    plan = plan_id(desk)

    def down(_: str) -> None:
        raise ExchangeUnavailableError("no answer", endpoint="BalanceEx")

    desk.exchanges["desk"].before_call = down
    with pytest.raises(PlanNotWrittenError, match="is approved, but desk could not be judged"):
        approve(plan, "alice", later(desk))
    assert held(desk)["status"] == "approved"
    desk.exchanges["desk"].before_call = lambda _: None
    desk.sync()
    assert held(desk)["status"] == "approved"
    other = reject(plan, "bob", later(desk))
    assert (other.status, other.is_ours, other.decided_by) == ("approved", False, "alice")
    assert approve(plan, "alice", later(desk)).status == "applied"
    assert desk.positions()[USD] == 5000


class _Killed(BaseException):
    """The process is gone: nothing may be caught, nothing more is sent."""


def test_whoever_is_killed_between_decision_and_writing_can_go_on(desk: Desk) -> None:
    plan = plan_id(desk)
    counted = Steps(lambda _number, _name: None)
    before = desk.rows("select * from trading.position_events order by event_id")
    places = 0
    while held(desk)["status"] != "applied":
        places += 1
        ports = later(desk)

        def kill(number: int, _: str, place: int = places) -> None:
            if number == place:
                raise _Killed

        counted = Steps(kill)
        try:
            approve(plan, "alice", replace(stepped_ports(desk, desk.engine, counted), clock=ports.clock))
        except _Killed:
            is_written = desk.positions()[USD] == 5000
            assert is_written == (held(desk)["status"] == "applied")
            if not is_written:
                assert desk.rows("select * from trading.position_events order by event_id") == before
    assert places > 20
    desk.exchanges["desk"].before_call = lambda _: None
    assert approve(plan, "alice", later(desk)).status == "applied"
    assert desk.positions()[USD] == 5000
    assert desk.positions() == desk.event_totals()
