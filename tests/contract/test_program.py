"""The program itself: how it starts and stops, that it repeats itself exactly, its speed, and the demo."""

from __future__ import annotations

import hashlib
import json
import signal
import subprocess
import sys
import time
from decimal import Decimal
from pathlib import Path

import pytest
import requests

SCRIPT_START = "1767225600"


def test_it_says_where_it_listens_and_stops_when_told(start_simulator):
    with start_simulator() as simulator:
        assert simulator.public("SystemStatus")["result"]["status"] == "online"
        simulator.process.send_signal(signal.SIGTERM)
        assert simulator.process.wait(timeout=10) == 0


def test_it_stops_while_a_call_hangs(start_simulator):
    with start_simulator() as simulator:
        simulator.post("/faults", {"name": "slow", "seconds": 60, "endpoint": "Time"})
        with pytest.raises(requests.ReadTimeout):
            requests.get(f"{simulator.url}/0/public/Time", timeout=0.2)
        simulator.process.terminate()
        assert simulator.process.wait(timeout=10) == 0


def test_it_shares_no_code_with_what_it_tests():
    program = "import kraken_sim.__main__, sys; print(*[m for m in sys.modules if m.startswith('kraken_')])"
    source_root = str(Path(__file__).resolve().parents[2] / "include")
    modules = subprocess.run(
        [sys.executable, "-c", program],
        check=True,
        capture_output=True,
        text=True,
        env={"PYTHONPATH": source_root},
    ).stdout.split()
    assert "kraken_sim.exchange" in modules
    assert not any(name.startswith("kraken_recon") for name in modules)


def run_script(simulator):
    """Do many things by a virtual clock; digest every byte that comes back."""
    digest = hashlib.sha256()
    simulator.session.hooks["response"] = [lambda reply, **_: digest.update(reply.content)]
    simulator.post("/reset")
    simulator.post("/clock", {"now": SCRIPT_START})
    simulator.post("/scenario/demo")
    simulator.post("/faults", {"name": "api_error", "probability": "0.3", "endpoint": "Balance"})
    desk = simulator.open(name="repeated", now=None, opening={"ZUSD": "100000", "XXBT": "2"})
    desk.api.session.hooks["response"] = simulator.session.hooks["response"]
    for number in range(20):
        desk.api.query_private("Balance", {"nonce": number}, timeout=10)
        desk.call("AddOrder", pair="XBTUSD", type="buy", ordertype="market", volume="0.01")
        desk.event("deposit", asset="ZUSD", amount="1.5")
        simulator.post("/clock", {"advance_seconds": 30})
    simulator.post("/scenario/next")
    for endpoint in ("Ledgers", "TradesHistory", "ClosedOrders", "BalanceEx"):
        desk.call(endpoint)
    simulator.get("/truth")
    for account in simulator.get("/scenario/accounts"):
        simulator.get(f"/accounts/{account['name']}/statement")
    simulator.session.hooks["response"] = []
    return digest.hexdigest()


def test_the_same_script_gets_the_same_bytes(start_simulator):
    with start_simulator("--seed", "7") as simulator:
        first, again = run_script(simulator), run_script(simulator)
    with start_simulator("--seed", "8") as simulator:
        other = run_script(simulator)
    assert first == again != other


def test_it_answers_fast(desk):
    """Not a benchmark: a floor, far below what it does on an idle machine."""
    started, calls = time.monotonic(), 200
    for _ in range(calls):
        desk.call("BalanceEx")
    assert calls / (time.monotonic() - started) > 50


def test_many_fills_in_a_row_do_not_run_ahead_of_the_clock(exchange):
    desk = exchange.open(now=None, opening={"ZUSD": "100000"}, answers_at_once=True)
    for _ in range(30):
        desk.call("AddOrder", pair="XBTUSD", type="buy", ordertype="market", volume="0.001")
    statement = desk.statement()
    newest = Decimal(statement["ledger"][-1]["time"])
    assert len(statement["ledger"]) == 60
    assert newest - Decimal(statement["now"]) < Decimal("0.2")
    assert {order["status"] for order in statement["orders"]} == {"closed"}


@pytest.fixture(scope="module")
def demo(start_simulator):
    with start_simulator("--scenario", "demo") as simulator:
        yield simulator


def test_the_demo_opens_eight_desks(demo):
    desks = {account["name"]: account for account in demo.get("/scenario/accounts")}
    assert len(desks) == 8
    for name, account in desks.items():
        assert account.keys() == {"name", "api_key", "api_secret", "quote_currency", "description"}
        statement = demo.get(f"/accounts/{name}/statement")
        assert len(statement["balances"]) >= 5
        running = {}
        for row in statement["ledger"]:
            if row["asset"] in running:
                before = running[row["asset"]]
                assert before + Decimal(row["amount"]) - Decimal(row["fee"]) == Decimal(row["balance"])
            running[row["asset"]] = Decimal(row["balance"])
        assert all(amount >= 0 for amount in running.values()), name


def test_the_demo_has_a_second_act_and_its_odd_desks(demo):
    desk = demo.open(now=None)

    def ask(name, endpoint):
        (account,) = [row for row in demo.get("/scenario/accounts") if row["name"] == name]
        desk.key, desk.secret = account["api_key"], account["api_secret"]
        desk.api = desk.another_api()
        return desk.call(endpoint)

    held = ask("gamma-earn", "BalanceEx")
    assert Decimal(held["USDG"]["hold_trade"]) > Decimal(held["USDG"]["balance"])
    before = ask("epsilon-quiet", "Ledgers")["count"]
    written = demo.post("/scenario/next")
    assert all(
        written[name] for name in ("alpha-market-making", "beta-staking", "gamma-earn", "delta-treasury")
    )
    assert ask("epsilon-quiet", "Ledgers")["count"] == before
    with pytest.raises(Exception, match="EAPI:Invalid signature"):
        ask("zeta-staged-wrong-key", "Balance")
    with pytest.raises(requests.HTTPError, match="503"):
        ask("eta-silent", "Balance")
    faults = json.loads(requests.get(f"{demo.url}/_sim/truth", timeout=10).text)["faults"]
    assert {record["account"] for record in faults} == {"eta-silent"}
