"""Accounts as a person adds and changes them, and what a key must be like, from the command line."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from desks.documents import commands
from desks.logins import as_writer
from kraken_recon.cli.main import main

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Simulator

HOW_TO = Path(__file__).resolve().parents[2] / "docs/how-to"
SECRET = "ZGVzay1zZWNyZXQ="
READING = ["query-funds", "query-ledger", "query-open-trades", "query-closed-trades"]


@pytest.fixture
def command(
    database_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    monkeypatch.setenv("KRAKEN_RECON_DSN", as_writer(database_url))

    def run(*arguments: str) -> tuple[int, str, str]:
        status = main(arguments)
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return run


def accounts(command: Callable[..., tuple[int, str, str]]) -> dict[str, Any]:
    status, out, _ = command("account", "list", "--json")
    assert status == 0
    return {account["name"]: account for account in json.loads(out)["accounts"]}


def test_an_account_is_added_once(command: Callable[..., tuple[int, str, str]]) -> None:
    assert "no account yet" in command("account", "list")[1]
    for _ in range(2):
        status, out, _ = command("account", "add", "desk", "--connection", "kraken_desk", "--quote", "ZEUR")
        account, _, warning = out.strip().partition("\n\n")
        assert (status, account.count("\n"), warning.count("\n")) == (0, 0, 0)
        assert "active, not opened yet, connection kraken_desk, EUR" in account
        assert warning.startswith("desk: no table of the desk's own is compared")
    assert list(accounts(command)) == ["desk"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ("desk", "--connection", "kraken_other"),
            "desk is there already, with connection kraken_desk",
        ),
        (("other", "--connection", "kraken_desk"), "account desk is there already"),
        (("desk", "--connection", "kraken_desk", "--quote", "EUR"), "kraken_desk and USD"),
        (("", "--connection", "kraken_other"), "expected a name"),
        (("other", "--connection", "kraken-other"), "expected the id of a connection"),
        (("other", "--connection", "kraken_other", "--quote", "DOT.S"), "expected an asset"),
        (
            ("other", "--connection", "kraken_other", "--quote", "USDD0LLAR"),
            "prices nothing in USDD0LLAR; did",
        ),
        (("other", "--connection", "kraken_other", "--quote", "EURO"), "did you mean EUR"),
        (("other", "--connection", "kraken_other", "--quote", "DOGE"), "expected one of USD, EUR"),
    ],
)
def test_what_does_not_fit_is_refused(
    command: Callable[..., tuple[int, str, str]], arguments: tuple[str, ...], words: str
) -> None:
    command("account", "add", "desk", "--connection", "kraken_desk")
    status, _, complaint = command("account", "add", *arguments)
    assert status == 1
    assert words in complaint
    assert list(accounts(command)) == ["desk"]


def test_an_account_is_paused_resumed_and_changed(command: Callable[..., tuple[int, str, str]]) -> None:
    command("account", "add", "desk", "--connection", "kraken_desk")
    assert "paused" in command("account", "pause", "desk")[1]
    assert "no active account is named desk" in command("sync", "--account", "desk")[2]
    assert "active" in command("account", "resume", "desk")[1]
    command("account", "set", "desk", "--freshness-minutes", "90")
    command("account", "set", "desk", "--connection", "kraken_new")
    desk = accounts(command)["desk"]
    assert (desk["freshness_limit_minutes"], desk["kraken_conn_id"]) == (90, "kraken_new")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("pause", "nobody"), "no account is named nobody"),
        (("set", "desk"), "say what to change"),
        (("set", "desk", "--freshness-minutes", "0"), "at least one minute"),
        (("tolerate", "desk", "--asset", "BTC", "--quantity", "-1"), "expected zero or more"),
        (("tolerate", "desk", "--asset", "BTC", "--quantity", "nan"), "expected"),
        (("tolerate", "desk", "--asset", "BTC", "--as-the-run"), "no tolerance of its own for BTC"),
        (("tolerate", "desk", "--asset", "BTC", "--as-the-run", "--value", "1"), "--value comes with"),
        (("tolerate", "nobody", "--asset", "BTC", "--quantity", "1"), "no account is named nobody"),
    ],
)
def test_a_change_of_nothing_is_an_error(
    command: Callable[..., tuple[int, str, str]], arguments: tuple[str, ...], words: str
) -> None:
    command("account", "add", "desk", "--connection", "kraken_desk")
    before = accounts(command)
    status, _, complaint = command("account", *arguments)
    assert status == 1
    assert words in complaint
    assert accounts(command) == before


def test_a_tolerance_of_an_asset_is_set_and_taken_away(
    command: Callable[..., tuple[int, str, str]], database_url: str
) -> None:
    command("account", "add", "desk", "--connection", "kraken_desk")
    out = command("account", "tolerate", "desk", "--asset", "xbt", "--quantity", "0.0005", "--value", "25")[1]
    assert "BTC: 0.0005 or 25 USD is left alone" in out
    command("account", "tolerate", "desk", "--asset", "XXBT", "--quantity", "0.0001")
    with psycopg.connect(database_url) as connection:
        rows = connection.execute("select asset, quantity, value from trading.tolerances").fetchall()
    assert rows == [("BTC", Decimal("0.0001"), None)]
    command("account", "tolerate", "desk", "--asset", "BTC", "--as-the-run")
    assert accounts(command)["desk"]["tolerances"] == []


def open_at_kraken(simulator: Simulator, monkeypatch: pytest.MonkeyPatch, *connections: str) -> None:
    """Open an account with some dollars and bitcoin for each connection, and define the connection."""
    monkeypatch.setenv("KRAKEN_RECON_ALLOWED_HOSTS", "127.0.0.1")
    for number, name in enumerate(connections, start=1):
        key = {"name": name, "api_key": name, "api_secret": SECRET, "tier": "unlimited"}
        simulator.control.post("accounts", key)
        for asset in ("ZUSD", "XXBT"):
            event = {"kind": "deposit", "asset": asset, "amount": str(number)}
            simulator.control.post(f"accounts/{name}/events", event)
        connection = {"conn_type": "kraken", "login": name, "password": SECRET, "host": simulator.base_url}
        variable = f"AIRFLOW_CONN_{name.upper()}"
        monkeypatch.setenv(variable, json.dumps(connection | {"extra": {"tier": "unlimited"}}))


@pytest.mark.parametrize("page", ["add-an-account", "tune-the-tolerance"])
def test_every_command_of_a_page_works_in_its_order(
    command: Callable[..., tuple[int, str, str]],
    simulator: Simulator,
    monkeypatch: pytest.MonkeyPatch,
    page: str,
) -> None:
    open_at_kraken(simulator, monkeypatch, "kraken_desk", "kraken_desk2")
    command("account", "add", "desk", "--connection", "kraken_desk")
    for words in commands(HOW_TO / f"{page}.md"):
        status, _, complaint = command(*words)
        assert status == 0, f"{words}: {complaint}"


def test_the_key_of_another_account_is_noticed_and_changes_nothing(
    command: Callable[..., tuple[int, str, str]],
    simulator: Simulator,
    monkeypatch: pytest.MonkeyPatch,
    database_url: str,
) -> None:
    open_at_kraken(simulator, monkeypatch, "kraken_desk", "kraken_other")
    command("account", "add", "desk", "--connection", "kraken_desk")
    assert command("sync", "--account", "desk")[0] == 0
    command("account", "set", "desk", "--connection", "kraken_other")
    status, report, _ = command("sync", "--account", "desk")
    assert status == 1
    assert "is recorded, but Kraken's ledger no longer shows it" in report
    with psycopg.connect(database_url) as connection:
        rows = connection.execute("select asset, quantity from trading.positions order by asset").fetchall()
    assert rows == [("BTC", 1), ("USD", 1)]


@pytest.mark.parametrize(
    ("permissions", "answer"),
    [
        (READING, (0, "it reads, cannot trade, and cannot withdraw")),
        ([*READING, "modify-trades", "close-trades"], (0, "it reads, may place and cancel orders")),
        ([*READING, "withdraw-funds"], (1, "take away withdraw-funds")),
        (READING[1:], (1, "add query-funds")),
    ],
    ids=lambda case: case[-1],
)
def test_a_key_is_checked_before_anything_else(
    simulator: Simulator,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    permissions: list[str],
    answer: tuple[int, str],
) -> None:
    account = {"name": "desk", "api_key": "key", "api_secret": SECRET, "permissions": permissions}
    simulator.control.post("accounts", {**account, "opening": {"ZUSD": "5"}})
    connection = {"conn_type": "kraken", "login": "key", "password": SECRET, "host": simulator.base_url}
    monkeypatch.setenv("AIRFLOW_CONN_KRAKEN_DESK", json.dumps(connection))
    monkeypatch.setenv("KRAKEN_RECON_ALLOWED_HOSTS", "127.0.0.1")
    status = main(["check-key", "kraken_desk"])
    printed = capsys.readouterr()
    assert status == answer[0]
    assert answer[1] in printed.out + printed.err
    assert SECRET not in printed.out + printed.err


def test_a_key_that_is_nowhere_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check-key", "kraken_desk"]) == 1
    assert "set AIRFLOW_CONN_KRAKEN_DESK" in capsys.readouterr().err
