"""The log of a task tells what was asked, what differed, what was done and where to look, in ten lines."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from desks.dag_runs import read_dags, run_dag
from desks.orders import TRADING
from kraken_airflow.telemetry.task_log import LINES_MAX, account_lines, named, story
from kraken_recon.reconciliation.rules.counts import TOLD

if TYPE_CHECKING:
    from airflow.dag_processing.dagbag import DagBag

    from desks.airflow import AirflowDesk

DAGS = Path(__file__).parents[2] / "dags"
NAMES = [f"desk{number}" for number in range(5)]
# A line of the project's own code at INFO, as Airflow prints it.
SAID = re.compile(r"\[info\s*\] (?P<text>.*?)\s*\[(?P<logger>[\w.]*kraken_(?:airflow|recon)[\w.]*)\]")
OPERATORS = {
    "ListAccountsOperator",
    "ReconcileAccountsOperator",
    "PublishSummaryOperator",
    "ReportOutcomeOperator",
    "ListDeskBooksOperator",
    "ListHeldPlansOperator",
    "TidyOperator",
    "SnapshotAssetsOperator",
    "RecordDecisionOperator",
    "ExecuteOrdersOperator",
    "OrderVerificationSensor",
    "AuditSessionsOperator",
    "CheckWatchOperator",
}


@pytest.fixture(scope="module")
def bag() -> DagBag:
    return read_dags()


@pytest.fixture
def five(desk: AirflowDesk) -> AirflowDesk:
    """Five accounts, of which one has moved since it was read first."""
    for name in NAMES:
        desk.account(name, XXBT="1", ZUSD="1000")
        desk.simulator.control.patch(f"accounts/{name}", {"permissions": list(TRADING)})
    return desk


def run(bag: DagBag, dag_id: str) -> None:
    assert str(run_dag(bag.dags[dag_id]).state) == "success"


def stories(output: str) -> dict[str, list[list[str]]]:
    """Take what tasks said at INFO apart, by operator; each story ends with where to look."""
    found: dict[str, list[list[str]]] = {}
    begun: list[str] = []
    for line in output.splitlines():
        said = SAID.search(line)
        if said is None:
            continue
        begun.append(said["text"].strip())
        if said["text"].startswith("Look at /kraken-recon/"):
            found.setdefault(said["logger"].rpartition(".")[2], []).append(begun)
            begun = []
    assert begun == [], "a task says something after where to look"
    return found


def test_each_task_of_each_dag_tells_its_story(
    bag: DagBag, five: AirflowDesk, capfd: pytest.CaptureFixture[str]
) -> None:
    for dag_id in sorted(bag.dags.keys() - {"repair_approval"}, reverse=True):
        run(bag, dag_id)
    deposit = {"kind": "deposit", "asset": "XXBT", "amount": "0.25"}
    five.simulator.control.post("accounts/desk1/events", deposit)
    opening = capfd.readouterr().out
    run(bag, "position_sync")
    later = capfd.readouterr().out
    for told in (stories(opening), stories(later)):
        lengths = {name: max(map(len, some)) for name, some in told.items()}
        assert max(lengths.values()) <= LINES_MAX, lengths
    assert stories(opening).keys() == OPERATORS
    told = stories(later)
    # What was asked, what differed, what was done, where to look.
    [asked] = told["ListAccountsOperator"]
    assert asked[0].endswith("(5 accounts)")
    [moved] = [some for some in told["ReconcileAccountsOperator"] if some[2].startswith("desk1: ")]
    assert moved[0].startswith("Reconciling for [")
    assert moved[1].startswith("repair, tolerance 0.001: ")
    assert moved[2].startswith("desk1: succeeded (repair); 2 checked, 1 matched, 1 explained; ")
    assert re.match(r"\d accounts? agrees? with Kraken in all of \d positions: desk\d", moved[3])
    [summary] = told["PublishSummaryOperator"]
    assert summary[0].startswith("5 accounts: 5 succeeded; positions: 10 checked, 9 matched, ")
    assert summary[2].startswith("desk1 BTC: recorded 1, Kraken 1.25: ")
    assert summary[-1] == "Look at /kraken-recon/differences"
    for secret in (*five.secrets.values(), *(f"key-of-{name}" for name in NAMES)):
        assert secret not in opening + later


def test_a_story_stays_short_and_the_worst_comes_first() -> None:
    accounts = [account(f"a{n}", "succeeded", held=n % 2) for n in range(50)]
    report = {"accounts": [*accounts, account("zero", "failed", error="EAPI:Invalid key")]}
    lines = story(["asked", *account_lines(report)], "x")
    assert len(lines) == LINES_MAX
    assert lines[1].startswith("zero: failed")
    assert lines[-2] == "and 20 more"
    assert lines[-1] == "Look at /kraken-recon/x"
    assert story(["one"], "") == ["one", "Look at /kraken-recon/"]
    assert named(list("abcdefghijkl")).endswith("j and 2 more")


def account(name: str, status: str, **more: Any) -> dict[str, Any]:
    counts = {count.name: 0 for count in TOLD}
    return {
        "account": name, "status": status, "mode": "repair", "error": None, "note": None,
        "api_calls": 1, "seconds": "0.1", **counts, **more,
    }  # fmt: skip
