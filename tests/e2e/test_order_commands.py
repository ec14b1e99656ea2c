"""Orders from the command line, as a person or a script places them."""

from __future__ import annotations

import io
import json
import os
import signal
import time
from contextlib import redirect_stderr, redirect_stdout
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from desks.logins import as_writer
from desks.orders import READING, SECRET, TRADING
from kraken_recon.cli.main import main
from kraken_recon.database.unit_of_work import UnitOfWork
from kraken_recon.errors import StoreError
from kraken_recon.kraken.client import RetryPolicy
from kraken_recon.kraken.trading_client import TradingClient
from kraken_recon.orders.placing import Placer
from kraken_recon.wiring import Wiring

if TYPE_CHECKING:
    from conftest import Simulator
    from kraken_recon.orders.rules.order import Order


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
    monkeypatch.setenv("KRAKEN_RECON_DSN", as_writer(database_url))
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
    ],
    ids=str,
)
def test_a_bad_order_is_refused_with_the_reason(
    simulated: Simulator, arguments: tuple[str, ...], told: str
) -> None:
    status, _, err = run(*ORDER, *arguments)
    assert status == 4
    assert told in err
    assert simulated.control.get("accounts/main/statement")["orders"] == []


def test_all_at_once_or_nothing_is_one_of_three_ways(simulated: Simulator) -> None:
    limit = (*ORDER, "--side", "buy", "--volume", "0.1", "--limit", "100", "--fok")
    told = run_json(*limit)
    assert (told["status"], told["volume_executed"]) == ("canceled", "0"), told
    [order] = simulated.control.get("accounts/main/statement")["orders"]
    assert order["status"] == "canceled"
    status, _, err = run(*limit, "--ioc")
    assert (status, "of --until, --ioc and --fok" in err) == (1, True)


def test_a_time_that_cannot_be_read_is_a_command_called_wrongly(simulated: Simulator) -> None:
    told = io.StringIO()
    with redirect_stderr(told), pytest.raises(SystemExit, match="2"):
        main([*ORDER, "--side", "buy", "--volume", "0.1", "--until", "soon"])
    assert "expected a time" in told.getvalue()
    assert simulated.control.get("accounts/main/statement")["orders"] == []


@pytest.mark.parametrize("key", [None, "rebalance-7"])
def test_an_order_that_cannot_be_judged_is_not_placed_behind_ones_back(
    simulated: Simulator, database_url: str, key: str | None
) -> None:
    """Without a key the command is given again after a failure, and must not become two orders."""
    given = (*ORDER, "--side", "buy", "--volume", "0.1", *(("--key", key) if key else ()))
    simulated.control.post("faults", {"name": "http_error", "status": 503})
    status, _, err = run(*given)
    # What is kept under a key will be placed, and is given over to others; else nothing ever comes of it.
    assert status == (3 if key else 1)
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


def only_order(simulated: Simulator) -> dict[str, Any]:
    [order] = simulated.control.get("accounts/main/statement")["orders"]
    found: dict[str, Any] = order
    return found


BODIES = {
    "cut off": {"name": "truncated_json"},
    "empty": {"name": "empty_body"},
    "a web page": {"name": "html_200"},
    "no result": {"name": "no_result"},
    "not permitted": {"name": "api_error", "text": "EGeneral:Permission denied"},
    "gone": {"name": "http_error", "status": 503},
}
READS = ("QueryOrders", "QueryTrades", "Ledgers")


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let waits be short, and a read be given up quickly: what stays bad outlasts any patience."""
    policy = RetryPolicy(wait_first_seconds=0.01, wait_max_seconds=0.02, wait_rate_limited_seconds=0.01)
    monkeypatch.setattr("kraken_recon.kraken.client.RetryPolicy", lambda: policy)
    monkeypatch.setattr(Wiring, "pause", lambda _, seconds: time.sleep(seconds / 20))


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("endpoint", READS)
def test_a_placed_order_is_named_whatever_its_books_answer(
    simulated: Simulator, endpoint: str, body: str
) -> None:
    simulated.control.post("faults", {"endpoint": endpoint, **BODIES[body]})
    status, out, err = run(*ORDER, "--side", "buy", "--volume", "0.1", "--wait", "1", "--json")
    assert status == 3, err
    told = json.loads(out)
    at_kraken = only_order(simulated)
    assert (told["cl_ord_id"], told["kraken_txid"]) == (at_kraken["cl_ord_id"], at_kraken["txid"])
    assert (told["is_followed"], told["exit_status"]) == (True, 3)
    assert told["problem"]
    simulated.control.delete("faults")
    assert run_json("trace", "--order", str(told["order_id"]))["order"]["cl_ord_id"] == told["cl_ord_id"]


def test_a_person_is_told_never_to_give_a_placed_order_again(simulated: Simulator) -> None:
    simulated.control.post("faults", {"endpoint": "QueryOrders", "name": "truncated_json"})
    status, out, _ = run(*ORDER, "--side", "buy", "--volume", "0.1", "--wait", "1")
    at_kraken = only_order(simulated)
    assert status == 3
    assert "DO NOT GIVE IT AGAIN" in out
    assert f"at Kraken {at_kraken['txid']}, our id {at_kraken['cl_ord_id']}" in out
    assert "trace --order" in out


@pytest.mark.parametrize("step", ["after it was sent", "while it is sent", "while its books are read"])
@pytest.mark.parametrize("failure", [KeyboardInterrupt, RuntimeError("a defect")])
def test_an_order_is_named_whatever_ends_its_command(
    simulated: Simulator, monkeypatch: pytest.MonkeyPatch, step: str, failure: Any
) -> None:
    send = TradingClient.add_order

    def add_order(client: TradingClient, order: Order) -> str | None:
        txid = send(client, order)
        if step == "while it is sent":
            raise failure
        return txid

    def fail(*_: Any, **__: Any) -> None:
        raise failure

    monkeypatch.setattr(TradingClient, "add_order", add_order)
    if step == "while its books are read":
        monkeypatch.setattr(TradingClient, "query_orders", fail)
    if step == "after it was sent":
        monkeypatch.setattr(Placer, "_answered", fail)
    status, out, err = run(*ORDER, "--side", "buy", "--volume", "0.1", "--wait", "1", "--json")
    at_kraken = only_order(simulated)
    assert status == 3, err
    assert json.loads(out)["cl_ord_id"] == at_kraken["cl_ord_id"]


def test_a_command_that_is_told_to_end_names_what_it_sent(
    simulated: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As ``timeout 30 python -m kraken_recon order`` does it."""

    def end(*_: Any, **__: Any) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)

    monkeypatch.setattr(TradingClient, "query_orders", end)
    status, out, _ = run(*ORDER, "--side", "buy", "--volume", "0.1", "--json")
    assert (status, json.loads(out)["cl_ord_id"]) == (3, only_order(simulated)["cl_ord_id"])


def test_a_database_that_is_gone_once_the_order_was_sent_hides_no_number(
    simulated: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the command knows by then is in its memory alone."""
    send, enter = TradingClient.add_order, UnitOfWork.__enter__
    is_gone = False

    def add_order(client: TradingClient, order: Order) -> str | None:
        nonlocal is_gone
        txid = send(client, order)
        is_gone = True
        return txid

    def open_unit(unit: UnitOfWork) -> UnitOfWork:
        if is_gone:
            raise StoreError("the server is gone")
        return enter(unit)

    monkeypatch.setattr(TradingClient, "add_order", add_order)
    monkeypatch.setattr(UnitOfWork, "__enter__", open_unit)
    status, out, err = run(*ORDER, "--side", "buy", "--volume", "0.1", "--wait", "1", "--json")
    told = json.loads(out)
    assert status == 3, err
    assert told["cl_ord_id"] == only_order(simulated)["cl_ord_id"]
    assert told["order_id"]


def test_a_key_that_may_not_trade_leaves_nothing_behind(simulated: Simulator, database_url: str) -> None:
    """An order that stays decided would be placed once the key is mended, beside the one given again."""
    simulated.control.patch("accounts/main", {"permissions": list(READING)})
    given = (*ORDER, "--side", "buy", "--volume", "0.1")
    status, _, err = run(*given)
    assert (status, "may not trade" in err, "nothing is ordered" in err) == (1, True, True)
    status, _, err = run(*given, "--key", "rebalance-8")
    assert (status, "is kept and waits" in err) == (3, True)
    with psycopg.connect(database_url) as session:
        rows = session.execute("select status from trading.orders order by order_id").fetchall()
    assert rows == [("refused",), ("decided",)]


def test_what_kraken_or_we_refuse_has_a_status_of_its_own(simulated: Simulator) -> None:
    status, out, _ = run(*ORDER, "--side", "buy", "--volume", "50", "--json")
    assert (status, json.loads(out)["status"]) == (4, "refused")
    simulated.control.post("faults", {"endpoint": "AddOrder", **BODIES["not permitted"]})
    status, out, _ = run(*ORDER, "--side", "buy", "--volume", "0.1", "--json")
    assert (status, json.loads(out)["status"]) == (4, "rejected")
    assert simulated.control.get("accounts/main/statement")["orders"] == []


@pytest.fixture
def resting(simulated: Simulator) -> tuple[Simulator, str]:
    placed = run_json(*ORDER, "--side", "sell", "--volume", "1", "--limit", "60000", "--wait", "0")
    return simulated, str(placed["order_id"])


NOT_EXECUTED = {
    "nonce": {"name": "invalid_nonce"},
    "rate": {"name": "api_error", "text": "EAPI:Rate limit exceeded"},
    "busy": {"name": "http_error", "status": 502},
}


@pytest.mark.parametrize("fault", NOT_EXECUTED)
def test_cancel_and_amend_get_through_where_nothing_was_executed(
    resting: tuple[Simulator, str], fault: str
) -> None:
    simulated, order = resting
    for endpoint in ("AmendOrder", "CancelOrder"):
        simulated.control.post("faults", {"endpoint": endpoint, "count": 1, **NOT_EXECUTED[fault]})
    assert run_json("amend", "--order", order, "--volume", "0.5")["volume"] == "0.5"
    assert run_json("cancel", "--order", order)["status"] == "canceled"


@pytest.mark.parametrize("fault", ["truncated_json", "empty_body", "reset_mid_answer"])
def test_a_change_whose_answer_was_lost_is_seen(resting: tuple[Simulator, str], fault: str) -> None:
    simulated, order = resting
    for endpoint in ("AmendOrder", "CancelOrder"):
        simulated.control.post("faults", {"endpoint": endpoint, "name": fault})
    assert run_json("amend", "--order", order, "--limit", "61000")["limit_price"] == "61000"
    assert run_json("cancel", "--order", order)["status"] == "canceled"


def test_a_change_that_is_not_seen_is_told_as_asked_for(resting: tuple[Simulator, str]) -> None:
    simulated, order = resting
    simulated.control.post("faults", {"endpoint": "CancelOrder", "name": "empty_body"})
    simulated.control.post("faults", {"endpoint": "QueryOrders", "name": "empty_body"})
    status, out, _ = run("cancel", "--order", order, "--json")
    assert status == 3
    assert (json.loads(out)["order_id"], json.loads(out)["is_followed"]) == (int(order), True)


def test_a_refused_change_has_the_status_of_a_refusal(resting: tuple[Simulator, str]) -> None:
    _, order = resting
    status, _, err = run("amend", "--order", order, "--volume", "1000")
    assert (status, "EOrder" in err) == (4, True)


def test_only_an_order_of_unknown_outcome_can_be_settled_by_a_person(resting: tuple[Simulator, str]) -> None:
    _, order = resting
    said = ("settle", "--order", order, "--not-placed", "--by", "Ann", "--reason", "I think so")
    status, _, err = run(*said)
    assert (status, "was open" in err) == (1, True)
