"""The DAG as Airflow runs it: a form decides, a run works, and nothing is done twice."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from airflow.dag_processing.dagbag import DagBag

from airflow_desk import without_deadline
from kraken_airflow.operators.orders import ExecuteOrdersOperator, RecordDecisionOperator
from trading_desk import TRADING

if TYPE_CHECKING:
    from pathlib import Path

    from airflow.sdk import DAG

    from airflow_desk import AirflowDesk


@pytest.fixture
def dag(repository: Path) -> DAG:
    return without_deadline(DagBag(str(repository / "dags")).dags["order_execution"])


@pytest.fixture
def trader(desk: AirflowDesk) -> AirflowDesk:
    """A desk whose account may trade."""
    desk.account("trader", XXBT="1", ZUSD="100000")
    desk.simulator.control.patch("accounts/trader", {"permissions": list(TRADING)})
    desk.simulator.control.post("prices", {"XBTUSD": "50000"})
    return desk


def orders(desk: AirflowDesk) -> list[tuple[str, str, str]]:
    rows = desk.rows(
        "select source, o.status, received_via"
        " from trading.orders o join trading.order_decisions using (order_id)"
    )
    return [(row["source"], row["status"], row["received_via"]) for row in rows]


def test_the_form_decides_and_the_run_places(dag: DAG, trader: AirflowDesk) -> None:
    form = {"account": "trader", "pair": "BTC/USD", "side": "buy", "volume": "0.25", "reason": "by hand"}
    run = dag.test(run_conf=form)
    assert run.state == "success"
    assert orders(trader) == [("manual", "closed", "airflow")]
    [held] = trader.rows("select quantity from trading.positions where asset = 'BTC'")
    assert held["quantity"] == Decimal("0.25")


def test_an_empty_form_works_on_what_is_in_the_table(dag: DAG, trader: AirflowDesk) -> None:
    trader.execute(
        "insert into trading.order_decisions (payload) values"
        """ ('{"account": "trader", "pair": "XBTUSD", "side": "sell", "portion": "0.5"}')"""
    )
    assert dag.test().state == "success"
    assert orders(trader) == [("manual", "closed", "row")]


def test_a_bad_form_is_refused_whole_and_kept(dag: DAG, trader: AirflowDesk) -> None:
    run = dag.test(run_conf={"account": "trader", "pair": "BTC/USD", "side": "buy"})
    assert run.state == "failed"
    [kept] = trader.rows("select status, refusal, payload from trading.order_decisions")
    assert kept["status"] == "refused"
    assert "either a volume or a portion" in kept["refusal"]
    assert kept["payload"]["pair"] == "BTC/USD"
    assert trader.rows("select * from trading.orders") == []


def test_a_cleared_task_decides_nothing_again(dag: DAG, trader: AirflowDesk) -> None:
    form = {"account": "trader", "pair": "BTC/USD", "side": "buy", "volume": "0.1"}
    run = dag.test(run_conf=form)
    again = RecordDecisionOperator(task_id="again", decision=json.dumps(form))
    context: Any = {"dag_run": run, "dag": dag}
    again.execute(context)
    ExecuteOrdersOperator(task_id="and_again").execute(context)
    assert len(orders(trader)) == 1
    assert len(trader.simulator.control.get("accounts/trader/statement")["orders"]) == 1


def test_one_accounts_failure_turns_the_run_red_and_stops_no_other(dag: DAG, trader: AirflowDesk) -> None:
    trader.account("reader", XXBT="1", ZUSD="100000")
    for name in ("reader", "trader"):
        trader.execute(
            "insert into trading.order_decisions (payload) values (jsonb_build_object("
            "'account', %s::text, 'pair', 'BTC/USD', 'side', 'buy', 'volume', '0.1'))",
            name,
        )
    assert dag.test().state == "failed"
    statuses = trader.rows(
        "select name, status from trading.orders join trading.accounts using (account_id) order by 1"
    )
    assert [(row["name"], row["status"]) for row in statuses] == [
        ("reader", "decided"),
        ("trader", "closed"),
    ]
