"""The verdict of an order, as a person reads it in a terminal."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from desks.airflow import AirflowDesk
from desks.logins import as_writer
from kraken_recon.cli.main import main

if TYPE_CHECKING:
    from conftest import Simulator


@pytest.fixture
def order_id(simulator: Simulator, database_url: str, monkeypatch: pytest.MonkeyPatch) -> int:
    """An order that was placed and filled."""
    monkeypatch.setenv("KRAKEN_RECON_DSN", as_writer(database_url))
    monkeypatch.setenv("KRAKEN_RECON_ALLOWED_HOSTS", "127.0.0.1")
    AirflowDesk(simulator, database_url, monkeypatch).account("desk", ZUSD="100000")
    permissions = "query-funds query-ledger query-open-trades query-closed-trades modify-trades close-trades"
    simulator.control.patch("accounts/desk", {"tier": "unlimited", "permissions": permissions.split()})
    simulator.control.post("prices", {"XBTUSD": "50000"})
    assert main(["sync", "--account", "desk"]) == 0
    assert main(["order", "--account", "desk", "--pair", "BTC/USD", "--side", "buy", "--volume", "0.1"]) == 0
    with psycopg.connect(database_url) as session:
        row = session.execute("select order_id from trading.orders").fetchone()
    assert row is not None
    return int(row[0])


def ran(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    capsys.readouterr()
    assert main(arguments) == 0
    return capsys.readouterr().out


def ran_json(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    return json.loads(ran(capsys, *arguments, "--json"))


def test_the_verdict_with_its_levels(order_id: int, capsys: pytest.CaptureFixture[str]) -> None:
    view = ran_json(capsys, "verify", "--order", str(order_id))
    assert (view["verdict"], view["failed_levels"]) == ("verified", [])
    levels = {level["level"]: level for level in view["levels"]}
    assert list(levels) == ["state", "fills", "direction", "ledger", "position", "slippage"]
    assert levels["direction"]["expected"] == {"moved": "0.1"}
    assert levels["ledger"]["observed"]["USD"] == "-5000"
    assert levels["slippage"]["verdict"] == "not_applicable"
    text = ran(capsys, "verify", "--order", str(order_id))
    assert text.splitlines()[1] == "VERIFIED: every book agrees"
    assert "moved: expected 0.1, was 0.1" in text
    listed = ran_json(capsys, "verifications", "--account", "desk")
    assert [(o["order_id"], o["verdict"]) for o in listed["orders"]] == [(order_id, "verified")]
    assert f"{order_id}  verified  buy 0.1 BTC/USD  manual" in ran(
        capsys, "verifications", "--account", "desk"
    )


def test_late_books_are_waited_for_as_long_as_was_said(
    order_id: int, simulator: Simulator, capsys: pytest.CaptureFixture[str]
) -> None:
    simulator.control.post("faults", {"name": "lag", "view": "orders", "seconds": 3600})
    view = ran_json(capsys, "verify", "--order", str(order_id), "--wait", "0")
    assert (view["verdict"], view["levels"][0]["verdict"]) == ("inconclusive", "inconclusive")
    assert view["due_at"] is not None
    simulator.control.delete("faults")
    assert ran_json(capsys, "verify", "--order", str(order_id), "--wait", "10")["verdict"] == "verified"


def test_a_wrong_is_named_with_its_figures_and_is_no_failure_of_the_command(
    order_id: int, database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with psycopg.connect(database_url) as session:
        session.execute("update trading.fills set price = price + 1")
    assert "MISMATCH: fills: trade" in ran(capsys, "verify", "--order", str(order_id))


def test_an_order_that_is_not_there_is_said_to_be_missing(
    order_id: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verify", "--order", str(order_id + 1)]) == 1
    assert f"there is no order {order_id + 1}" in capsys.readouterr().err
