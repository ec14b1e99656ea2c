"""The DAG as Airflow runs it, on a real trading database and a simulated Kraken."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from airflow.sdk import timezone
from airflow.sdk.exceptions import AirflowFailException
from fastapi.testclient import TestClient

from desks.dag_runs import read_dags, run_dag
from kraken_airflow.hooks.trading_db import TradingDbHook
from kraken_airflow.operators.position_sync import ListAccountsOperator, unreconciled
from kraken_airflow.telemetry.task_log import label_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow.sdk import DAG
    from fastapi import FastAPI

    from desks.airflow import AirflowDesk

RUNS = """
select a.name, r.status, r.mode, r.trigger, r.error, r.interval_end, r.dag_id, r.dag_run_id
from trading.reconciliation_runs r
join trading.accounts a using (account_id)
order by a.name, r.recorded_as_of
"""


@pytest.fixture
def dag() -> DAG:
    return read_dags().dags["position_sync"]


def states(dag_run: Any) -> dict[str, Counter[str]]:
    """Count the task instances of each task by how they ended."""
    found: dict[str, Counter[str]] = {}
    for ti in dag_run.get_task_instances():
        found.setdefault(ti.task_id, Counter())[str(ti.state)] += 1
    return found


def all_of(count: int, state: str) -> Counter[str]:
    return Counter({state: count})


WITHOUT_DESK_BOOKS = {
    "list_desk_books": all_of(1, "success"),
    "reconcile_desk_books": all_of(1, "skipped"),
    "publish_desk_books": all_of(1, "skipped"),
}


def test_every_account_is_reconciled(dag: DAG, desk: AirflowDesk) -> None:
    for number in range(6):
        desk.account(f"desk{number}", USD="1000.25", XXBT="0.5")
    run = run_dag(dag)
    assert states(run) == {
        "list_accounts": all_of(1, "success"),
        "reconcile_accounts": all_of(1, "success"),
        "publish_summary": all_of(1, "success"),
        "report_outcome": all_of(1, "success"),
        "list_held_plans": all_of(1, "success"),
        "ask_for_approval": all_of(1, "skipped"),
        **WITHOUT_DESK_BOOKS,
    }
    assert [
        (row["name"], row["status"], row["mode"], row["trigger"])
        for row in sorted(desk.rows(RUNS), key=lambda row: row["name"])
    ] == [(f"desk{number}", "succeeded", "repair", "manual") for number in range(6)]
    assert {(row["dag_id"], row["dag_run_id"]) for row in desk.rows(RUNS)} == {("position_sync", run.run_id)}
    assert desk.rows("select count(*) as n from trading.positions where quantity in (1000.25, 0.5)") == [
        {"n": 12}
    ]


def test_a_run_that_proves_an_account_ends_the_alert_that_its_proof_is_old(
    dag: DAG, desk: AirflowDesk
) -> None:
    desk.account("desk", USD="1000")
    desk.execute(
        "insert into trading.alerts (kind, account_id, message)"
        " select 'stale_positions', account_id, 'too old' from trading.accounts"
    )
    run_dag(dag)
    assert desk.rows("select status from trading.alerts") == [{"status": "resolved"}]


def test_one_wrong_key_turns_the_run_red_and_stops_no_other_account(dag: DAG, desk: AirflowDesk) -> None:
    desk.account("good", USD="1000")
    desk.account("bad", has_right_key=False)
    run = run_dag(dag)
    assert run.state == "failed"
    assert states(run)["reconcile_accounts"] == all_of(1, "success")
    assert states(run)["publish_summary"] == all_of(1, "success")
    assert states(run)["report_outcome"] == all_of(1, "failed")
    bad, good = desk.rows(RUNS)
    assert (bad["name"], bad["status"], good["status"]) == ("bad", "failed", "succeeded")
    assert "EAPI:Invalid signature" in bad["error"]


def test_account_that_somebody_holds_fails_its_task_in_the_end_and_the_others_are_summed_up(
    dag: DAG, desk: AirflowDesk
) -> None:
    desk.account("good", USD="1000")
    desk.account("held", USD="1000")
    dag.task_dict["reconcile_accounts"].partial_kwargs["retries"] = 0
    with psycopg.connect(desk.database_url) as colleague:
        colleague.execute("select * from trading.accounts where name = 'held' for update")
        run = run_dag(dag)
        colleague.rollback()
    assert states(run)["reconcile_accounts"] == all_of(1, "failed")
    assert states(run)["publish_summary"] == all_of(1, "success")
    assert states(run)["report_outcome"] == all_of(1, "failed")
    assert [(row["name"], row["status"]) for row in desk.rows(RUNS)] == [("good", "succeeded")]


def test_params_choose_accounts_and_mode(dag: DAG, desk: AirflowDesk) -> None:
    desk.account("one", USD="1")
    desk.account("two", USD="2")
    run_dag(dag, run_conf={"accounts": ["two"], "mode": "dry_run", "tolerance": "0"})
    assert [(row["name"], row["mode"]) for row in desk.rows(RUNS)] == [("two", "dry_run")]
    assert desk.rows("select * from trading.positions where quantity <> 0") == []


def test_an_unknown_account_fails_before_anything_is_asked(dag: DAG, desk: AirflowDesk) -> None:
    desk.account("known", USD="1")
    run = run_dag(dag, run_conf={"accounts": ["known", "unknown"]})
    assert run.state == "failed"
    assert states(run) == {
        "list_accounts": all_of(1, "failed"),
        "reconcile_accounts": all_of(1, "upstream_failed"),
        "publish_summary": all_of(1, "skipped"),
        "report_outcome": all_of(1, "failed"),
        "list_held_plans": all_of(1, "success"),
        "ask_for_approval": all_of(1, "skipped"),
        **WITHOUT_DESK_BOOKS,
    }
    assert desk.rows(RUNS) == []


def test_a_run_for_the_past_answers_as_of_its_interval_s_end(dag: DAG, desk: AirflowDesk) -> None:
    desk.account("desk", USD="1")
    run_dag(dag)
    desk.execute("update trading.accounts set opened_at = now() - interval '2 days'")
    desk.execute("update trading.position_events set recorded_at = now() - interval '2 days'")
    desk.execute("update trading.positions set quantity = 5")
    run = run_dag(dag, logical_date=timezone.utcnow() - timedelta(days=1))
    assert run.state == "success"
    then = desk.rows(
        "select status, error, interval_start, interval_end, recorded_as_of, reported_as_of, dag_run_id"
        " from trading.reconciliation_runs order by interval_end"
    )[0]
    assert (then["status"], then["error"]) == ("succeeded", None)
    assert then["interval_end"] - then["interval_start"] == timedelta(minutes=15)
    assert then["dag_run_id"] == run.run_id
    assert then["recorded_as_of"] == then["reported_as_of"] == then["interval_end"]
    assert desk.rows("select quantity::int from trading.positions") == [{"quantity": 5}]


@pytest.mark.parametrize(
    "conf",
    [
        {"tolerance": "-1"},
        {"tolerance": "1e-3"},
        {"tolerance": "NaN"},
        {"tolerance": 0.001},
        {"mode": "force"},
        {"accounts": "desk"},
        {"accounts": [""]},
        {"sweep_age_hours": 0},
        {"sweep_age_hours": "24"},
    ],
    ids=str,
)
def test_the_form_refuses_wrong_params(
    api_app: FastAPI, token_of: Callable[[str | None], str], conf: dict[str, Any]
) -> None:
    reply = TestClient(api_app).post(
        "/api/v2/dags/position_sync/dagRuns",
        json={"logical_date": None, "conf": conf},
        headers={"Authorization": f"Bearer {token_of('ADMIN')}"},
    )
    assert reply.status_code == 400, reply.text
    assert next(iter(conf)) in reply.text


def test_a_group_of_many_accounts_has_a_label_that_airflow_can_keep() -> None:
    """Its column takes 250 characters; a longer text made each end of such a task fail."""
    assert label_of(["desk"]) == "desk"
    assert label_of([f"desk-{number:05d}" for number in range(1_000)]).endswith("and 990 more")
    assert len(label_of(["a long name " * 10] * 1_000)) == 250


def test_an_account_whose_group_died_is_named_like_one_that_failed() -> None:
    report = {
        "accounts": [
            {"account": "good", "status": "succeeded", "error": None},
            {"account": "busy", "status": "moving", "error": None},
            {"account": "bad", "status": "failed", "error": "wrong key"},
        ]
    }
    assert unreconciled(["good", "busy", "bad", "lost"], report) == [
        "bad: wrong key",
        "lost: its task failed before it could be recorded",
    ]


def test_a_run_that_will_not_reach_everybody_says_so_before_it_begins(desk: AirflowDesk) -> None:
    desk.account("one", XXBT="1")
    now = timezone.utcnow()

    def begun(minutes_ago: int, names: str = "[]") -> list[str]:
        end = now - timedelta(minutes=minutes_ago)
        run = SimpleNamespace(run_type="scheduled", run_after=end, data_interval_end=end)
        context: Any = {"dag_run": run}
        groups = ListAccountsOperator(task_id="list", names=names).work(context, TradingDbHook())
        assert groups == [["one"]]
        rows = desk.rows("select status from trading.alerts where kind = 'coverage_at_risk'")
        return [row["status"] for row in rows]

    assert begun(15, '["one"]') == [], "a run of some accounts says nothing about all"
    assert begun(60) == [], "nor does a run for the past"
    assert begun(15) == ["open"]
    assert begun(1) == ["resolved"]


@pytest.mark.parametrize(("slots", "told"), [("8", "LockTimeoutError"), ("many", "was 'many'")])
def test_no_forecast_keeps_a_run_from_starting(
    desk: AirflowDesk,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    slots: str,
    told: str,
) -> None:
    """A colleague holds what it is told by, or somebody mistyped what it alone asks for."""
    desk.account("one", XXBT="1")
    monkeypatch.setenv("KRAKEN_RECON_SYNC_SLOTS", slots)
    end = timezone.utcnow() - timedelta(minutes=15)
    context: Any = {"dag_run": SimpleNamespace(run_type="scheduled", run_after=end, data_interval_end=end)}
    with psycopg.connect(desk.database_url) as colleague:
        colleague.execute("lock table trading.alerts in share mode")
        groups = ListAccountsOperator(task_id="list").work(context, TradingDbHook())
    assert groups == [["one"]]
    assert told in capsys.readouterr().out


def test_a_misspelt_field_ends_red_before_anything_is_repaired(dag: DAG, desk: AirflowDesk) -> None:
    desk.account("one", XXBT="1")
    run = run_dag(dag, run_conf={"acounts": ["one"], "mod": "dry_run"})
    assert run.state == "failed"
    assert desk.rows("select * from trading.reconciliation_runs") == []
    context: Any = {"dag_run": run, "dag": dag}
    with pytest.raises(AirflowFailException, match="acounts: there is no such field; did you mean accounts"):
        ListAccountsOperator(task_id="list").pre_execute(context)
