"""The DAG as Airflow runs it: a form decides, a run works, and nothing is done twice."""

from __future__ import annotations

import json
from copy import deepcopy
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from desks.dag_runs import read_dags, run_dag
from desks.orders import TRADING
from kraken_airflow.operators.order_execution import ExecuteOrdersOperator, RecordDecisionOperator

if TYPE_CHECKING:
    from airflow.sdk import DAG

    from desks.airflow import AirflowDesk


@pytest.fixture
def dag() -> DAG:
    return read_dags().dags["order_execution"]


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
    run = run_dag(dag, run_conf=form)
    assert run.state == "success"
    assert orders(trader) == [("manual", "closed", "airflow")]
    [held] = trader.rows("select quantity from trading.positions where asset = 'BTC'")
    assert held["quantity"] == Decimal("0.25")


def test_an_empty_form_works_on_what_is_in_the_table(dag: DAG, trader: AirflowDesk) -> None:
    trader.execute(
        "insert into trading.order_decisions (payload) values"
        """ ('{"account": "trader", "pair": "XBTUSD", "side": "sell", "portion": "0.5"}')"""
    )
    assert run_dag(dag).state == "success"
    assert orders(trader) == [("manual", "closed", "row")]


def test_a_bad_form_is_refused_whole_and_kept(dag: DAG, trader: AirflowDesk) -> None:
    run = run_dag(dag, run_conf={"account": "trader", "pair": "BTC/USD", "side": "buy"})
    assert run.state == "failed"
    [kept] = trader.rows("select status, refusal, payload from trading.order_decisions")
    assert kept["status"] == "refused"
    assert "either a volume or a portion" in kept["refusal"]
    assert kept["payload"]["pair"] == "BTC/USD"
    assert trader.rows("select * from trading.orders") == []


def test_a_cleared_task_decides_nothing_again(dag: DAG, trader: AirflowDesk) -> None:
    form = {"account": "trader", "pair": "BTC/USD", "side": "buy", "volume": "0.1"}
    run = run_dag(dag, run_conf=form)
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
    assert run_dag(dag).state == "failed"
    statuses = trader.rows(
        "select name, status from trading.orders join trading.accounts using (account_id) order by 1"
    )
    assert [(row["name"], row["status"]) for row in statuses] == [
        ("reader", "decided"),
        ("trader", "closed"),
    ]


FORM = {"account": "trader", "pair": "BTC/USD", "side": "buy", "volume": "0.25"}


def state_of(dag: DAG, conf: dict[str, Any] | None = None) -> str:
    """Run a copy: a run leaves its rendered fields in the DAG that it was given."""
    return str(run_dag(deepcopy(dag), run_conf=conf).state)


def work_on_the_table() -> None:
    context: Any = {}
    ExecuteOrdersOperator(task_id="work").execute(context)


def test_one_key_at_every_door_is_one_decision(dag: DAG, trader: AirflowDesk) -> None:
    for conf in (FORM, {**FORM, "pair": "XBTUSD", "volume": "0.250", "type": "market"}):
        assert state_of(dag, {**conf, "decision_key": "signal-1"}) == "success"
    for column, inside in (("signal-1", {}), (None, {"decision_key": "signal-1"})):
        trader.execute(
            "insert into trading.order_decisions (decision_key, payload) values (%s, %s)",
            column,
            json.dumps({**FORM, **inside}),
        )
    work_on_the_table()
    assert orders(trader) == [("manual", "closed", "airflow")]
    decisions = trader.rows("select * from trading.order_decisions order by decision_id")
    assert [row["status"] for row in decisions] == ["accepted", "repeated", "repeated", "repeated"]
    assert {row["first_decision_id"] for row in decisions[1:]} == {decisions[0]["decision_id"]}
    assert {row["decision_key"] for row in decisions} == {"signal-1"}
    assert trader.rows("select * from trading.alerts") == []


def test_another_payload_under_a_known_key_is_refused_and_told(dag: DAG, trader: AirflowDesk) -> None:
    assert state_of(dag, {**FORM, "decision_key": "signal-1"}) == "success"
    assert state_of(dag, {**FORM, "decision_key": "signal-1", "volume": "0.3"}) == "failed"
    trader.execute(
        "insert into trading.order_decisions (decision_key, payload) values ('signal-1', %s)",
        json.dumps({**FORM, "side": "sell"}),
    )
    work_on_the_table()
    refused = trader.rows("select * from trading.order_decisions where status = 'refused' order by 1")
    assert ["volume" in row["refusal"] for row in refused] == [True, False]
    assert all("signal-1 stands for decision" in row["refusal"] for row in refused)
    alerts = trader.rows("select kind, wallet, message from trading.alerts order by alert_id")
    assert [(a["kind"], a["wallet"]) for a in alerts] == [
        ("order_refused", f"decision {row['decision_id']}") for row in refused
    ]
    assert len(orders(trader)) == 1


@pytest.mark.parametrize(
    ("conf", "told"),
    [
        ({"acount": "trader"}, "acount: there is no such field; did you mean account?"),
        ({"side": "buy", "pair": "BTC/USD", "volume": "1"}, "account: is missing"),
        ({"reason": "only this"}, "account: is missing"),
        ({**FORM, "volum": "0.25"}, "volum: there is no such field; did you mean"),
        ({**FORM, "account": "trader1"}, "no active account is named trader1; did you mean trader?"),
        ({"conf": FORM}, "conf: there is no such field"),
        ({**FORM, "decision_key": " "}, "decision_key: "),
    ],
    ids=str,
)
def test_what_is_not_understood_ends_red_with_a_row_and_an_alert(
    dag: DAG, trader: AirflowDesk, conf: dict[str, Any], told: str
) -> None:
    assert state_of(dag, conf) == "failed"
    [kept] = trader.rows("select * from trading.order_decisions")
    assert kept["status"] == "refused"
    assert told in kept["refusal"]
    [alert] = trader.rows("select kind, message from trading.alerts")
    assert alert["kind"] == "order_refused"
    assert kept["refusal"] in alert["message"]
    assert trader.rows("select * from trading.orders") == []


def test_a_form_with_nothing_but_presets_decides_nothing(dag: DAG, trader: AirflowDesk) -> None:
    assert state_of(dag, {"account": "", "source": "manual", "post_only": False}) == "success"
    assert trader.rows("select * from trading.order_decisions") == []
