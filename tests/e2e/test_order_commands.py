"""Orders from the command line, as a person or a script places them."""

from __future__ import annotations

import io
import json
from contextlib import redirect_stderr, redirect_stdout
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from kraken_recon.__main__ import main
from trading_desk import SECRET, TRADING

if TYPE_CHECKING:
    from conftest import Simulator


@pytest.fixture
def simulated(simulator: Simulator, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Simulator:
    simulator.control.post(
        "accounts",
        {
            "name": "main", "api_key": "key-main", "api_secret": SECRET, "tier": "unlimited",
            "permissions": list(TRADING), "opening": {"XXBT": "2", "ZUSD": "100000"},
        },
    )  # fmt: skip
    simulator.control.post("prices", {"XBTUSD": "50000"})
    monkeypatch.setenv("KRAKEN_RECON_DSN", database_url)
    monkeypatch.setenv("KRAKEN_RECON_ALLOWED_HOSTS", "127.0.0.1")
    connection = {
        "conn_type": "kraken", "login": "key-main", "password": SECRET, "host": simulator.base_url,
        "extra": {"tier": "unlimited"},
    }  # fmt: skip
    monkeypatch.setenv("AIRFLOW_CONN_KRAKEN_MAIN", json.dumps(connection))
    with psycopg.connect(database_url) as session:
        session.execute("insert into trading.accounts (name, kraken_conn_id) values ('main', 'kraken_main')")
    return simulator


def run(*arguments: str) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        status = main(arguments)
    return status, out.getvalue(), err.getvalue()


def run_json(*arguments: str) -> Any:
    status, out, err = run(*arguments, "--json")
    assert status == 0, err
    return json.loads(out)


ORDER = ("order", "--account", "main", "--pair", "BTC/USD")


def test_an_order_is_placed_followed_and_traced(simulated: Simulator) -> None:
    run_json("sync", "--account", "main")
    done = run_json(
        *ORDER, "--side", "buy", "--volume", "0.5", "--reason", "cheap", "--expected-price", "50000"
    )
    assert (done["status"], done["volume_executed"]) == ("closed", "0.5")
    truth = simulated.control.get("accounts/main/statement")
    [at_kraken] = truth["orders"]
    assert (at_kraken["cl_ord_id"], at_kraken["txid"]) == (done["cl_ord_id"], done["kraken_txid"])
    traced = run_json("trace", "--order", str(done["order_id"]))
    assert traced["reason"] == "cheap"
    assert traced["decision"]["payload"]["expected_price"] == "50000"
    assert [event["what"] for event in traced["events"]][:3] == [
        "decided",
        "intent committed",
        "accepted by Kraken",
    ]
    assert {entry["refid"] for entry in traced["ledger_entries"]} == {
        fill["trade_id"] for fill in traced["fills"]
    }
    moved = {
        row["asset"]: Decimal(row["after"]) - Decimal(row["before"]) for row in traced["position_events"]
    }
    assert moved["BTC"] == Decimal("0.5")
    assert Decimal(truth["balances"]["ZUSD"]) == 100_000 + moved["USD"]
    status, told, _ = run("trace", "--order", str(done["order_id"]))
    assert status == 0
    assert "because: cheap" in told


def test_a_resting_order_is_amended_and_cancelled(simulated: Simulator) -> None:
    placed = run_json(
        *ORDER, "--side", "sell", "--volume", "1", "--limit", "60000", "--post-only", "--wait", "0"
    )
    order = str(placed["order_id"])
    assert placed["status"] == "open"
    amended = run_json("amend", "--order", order, "--volume", "0.5", "--limit", "61000")
    assert (amended["volume"], amended["limit_price"]) == ("0.5", "61000")
    canceled = run_json("cancel", "--order", order)
    assert (canceled["status"], canceled["volume_executed"]) == ("canceled", "0")
    assert len(simulated.control.get("accounts/main/statement")["orders"]) == 1


def test_an_accepted_order_whose_answer_was_lost_is_found_at_once(simulated: Simulator) -> None:
    simulated.control.post("faults", {"name": "accept_then_fail", "appearance": "504", "count": 1})
    done = run_json(*ORDER, "--side", "buy", "--volume", "0.1", "--source", "matching")
    assert done["status"] == "closed"
    assert len(simulated.control.get("accounts/main/statement")["orders"]) == 1


def test_a_dry_run_places_nothing(simulated: Simulator) -> None:
    assert run_json(*ORDER, "--side", "buy", "--portion", "0.5", "--validate")["status"] == "validated"
    assert simulated.control.get("accounts/main/statement")["orders"] == []


@pytest.mark.usefixtures("simulated")
def test_a_models_decision_may_come_without_its_details() -> None:
    done = run_json(*ORDER, "--side", "sell", "--volume", "0.1", "--source", "ai")
    assert done["source"] == "ai"
    assert run_json("trace", "--order", str(done["order_id"]))["decision"]["payload"]["ai_details_missing"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--side", "buy"), "either a volume or a portion"),
        (("--side", "buy", "--volume", "0.1", "--type", "limit"), "limit_price"),
        (("--side", "buy", "--volume", "-1"), "more than zero"),
        (("--side", "buy", "--volume", "0.1", "--until", "soon"), "expected a time"),
    ],
    ids=str,
)
def test_a_bad_order_is_refused_with_the_reason(
    simulated: Simulator, arguments: tuple[str, ...], told: str
) -> None:
    status, _, err = run(*ORDER, *arguments)
    assert status == 1
    assert told in err
    assert simulated.control.get("accounts/main/statement")["orders"] == []


@pytest.mark.parametrize("key", [None, "rebalance-7"])
def test_an_order_that_cannot_be_judged_is_not_placed_behind_ones_back(
    simulated: Simulator, database_url: str, key: str | None
) -> None:
    """Without a key the command is given again after a failure, and must not become two orders."""
    given = (*ORDER, "--side", "buy", "--volume", "0.1", *(("--key", key) if key else ()))
    simulated.control.post("faults", {"name": "http_error", "status": 503})
    status, _, err = run(*given)
    assert status == 1
    assert ("nothing is ordered" in err, "is kept and waits" in err) == (key is None, key is not None)
    simulated.control.delete("faults")
    assert run_json(*given)["status"] == "closed"
    assert len(simulated.control.get("accounts/main/statement")["orders"]) == 1
    with psycopg.connect(database_url) as session:
        decisions = session.execute("select status from trading.order_decisions order by 1").fetchall()
    assert decisions == ([("accepted",)] if key else [("accepted",), ("refused",)])


def test_unknown_orders_are_named(simulated: Simulator) -> None:
    for command in ("trace", "cancel"):
        status, _, err = run(command, "--order", "404")
        assert (status, "404" in err) == (1, True)
    assert simulated.base_url
