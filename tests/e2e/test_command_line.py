"""The operator's command line against a real database and a simulated Kraken, as a person would use it."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from desks.exports import ENTRIES
from desks.logins import as_writer
from kraken_recon.cli.main import main

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Simulator

KEY, SECRET = "desk-key", "ZGVzay1zZWNyZXQ="


@dataclass
class Done:
    """What a command left behind."""

    returncode: int
    stdout: str
    stderr: str


@dataclass
class Terminal:
    """A shell with the project's variables set; commands run in this process, to be quick."""

    environment: dict[str, str]

    def run(self, *arguments: str) -> Done:
        out, err = io.StringIO(), io.StringIO()
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
            for name, value in self.environment.items():
                patch.setenv(name, value)
            try:
                status = main(arguments)
            except SystemExit as ended:
                status = int(ended.code or 0)
        return Done(status, out.getvalue(), err.getvalue())

    def run_as_process(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "kraken_recon", *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def json(self, *arguments: str) -> Any:
        done = self.run(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


@pytest.fixture
def terminal(simulator: Simulator, database_url: str, project_environment: dict[str, str]) -> Terminal:
    """A terminal of a desk with one account that has dollars and bitcoin."""
    simulator.control.post(
        "accounts",
        {
            "name": "desk",
            "api_key": KEY,
            "api_secret": SECRET,
            "tier": "unlimited",
            "entries": ENTRIES,
        },
    )
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(
            "insert into trading.accounts (name, kraken_conn_id) values ('desk', 'kraken_desk')"
        )
    connection_json = {"conn_type": "kraken", "login": KEY, "password": SECRET, "host": simulator.base_url}
    return Terminal(
        project_environment
        | {
            "KRAKEN_RECON_DSN": as_writer(database_url),
            "KRAKEN_RECON_ALLOWED_HOSTS": "127.0.0.1",
            "AIRFLOW_CONN_KRAKEN_DESK": json.dumps({**connection_json, "extra": {"tier": "unlimited"}}),
        }
    )


def positions(terminal: Terminal) -> dict[str, Decimal]:
    with psycopg.connect(terminal.environment["KRAKEN_RECON_DSN"]) as connection:
        return dict(connection.execute("select asset, quantity from trading.positions").fetchall())


def test_sync_explain_and_report_tell_one_story(terminal: Terminal, simulator: Simulator) -> None:
    opened = terminal.json("sync", "--account", "desk")
    assert opened["accounts"][0]["status"] == "succeeded"
    assert positions(terminal) == {"BTC": Decimal("0.05"), "USD": Decimal("6992.2")}

    simulator.control.post("accounts/desk/events", {"kind": "deposit", "asset": "ZUSD", "amount": "250"})
    synced = terminal.json("sync", "--account", "desk")["accounts"][0]
    assert [(f["asset"], f["drift"], f["unexplained"], f["action"]) for f in synced["findings"]] == [
        ("USD", "250", "0", "applied")
    ]
    assert synced["api_calls"] == 3

    statement = terminal.json("explain", "--account", "desk", "--asset", "USD")
    assert (statement["opening"], statement["closing"], statement["residual"]) == ("0", "7242.2", "0")
    assert [entry["running"] for entry in statement["entries"]] == ["10000", "6992.2", "7242.2"]
    past = terminal.json(
        "explain", "--account", "desk", "--asset", "USD", "--at", "2026-01-05T08:00:05+00:00"
    )
    assert past["closing"] == "10000"

    printed = terminal.run_as_process("report")
    assert printed.returncode == 0
    assert "250 from 1 missed deposit entry" in printed.stdout
    assert "closing 7242.2" in terminal.run("explain", "--account", "desk", "--asset", "USD").stdout
    assert terminal.json("report")["totals"]["succeeded"] == 1


def test_dry_run_changes_no_position(terminal: Terminal) -> None:
    planned = terminal.json("sync", "--account", "desk", "--dry-run")
    assert planned["accounts"][0]["mode"] == "dry_run"
    assert positions(terminal) == {}


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["sync", "--account", "nobody"], 1, "no active account is named nobody"),
        (["explain", "--account", "nobody", "--asset", "BTC"], 1, "no account is named nobody"),
        (["sync", "--account", "desk", "--tolerance", "NaN"], 2, "expected an amount"),
        (["sync", "--account", "desk", "--tolerance", "-1"], 2, "zero or more"),
        (["explain", "--account", "desk", "--asset", "BTC", "--at", "yesterday"], 2, "expected a time"),
        (["sync"], 2, "--account"),
    ],
)
def test_wrong_input_says_what_to_do(
    terminal: Terminal, arguments: list[str], status: int, words: str
) -> None:
    done = terminal.run(*arguments)
    assert done.returncode == status
    assert words in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"KRAKEN_RECON_DSN": ""}, "set KRAKEN_RECON_DSN"),
        ({"KRAKEN_RECON_DSN": "mysql://somewhere/trading"}, "PostgreSQL"),
        ({"KRAKEN_RECON_DSN": "postgresql://postgres@127.0.0.1:1/trading"}, "StoreUnreachableError"),
    ],
)
def test_wrong_database_says_what_to_do(terminal: Terminal, variables: dict[str, str], words: str) -> None:
    done = Terminal(terminal.environment | variables).run("report")
    assert done.returncode == 1
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_the_database_may_be_named_by_a_file(terminal: Terminal, tmp_path: Path) -> None:
    dsn = terminal.environment["KRAKEN_RECON_DSN"]
    file = tmp_path / "dsn"
    file.write_text(f"{dsn}\n")
    without = {name: value for name, value in terminal.environment.items() if name != "KRAKEN_RECON_DSN"}
    assert Terminal(without | {"KRAKEN_RECON_DSN_FILE": str(file)}).json("report")["accounts"]
    done = Terminal(without | {"KRAKEN_RECON_DSN_FILE": str(tmp_path / "absent")}).run("report")
    assert done.returncode == 1
    assert f"cannot read {tmp_path / 'absent'}, which KRAKEN_RECON_DSN_FILE names" in done.stderr


def test_failed_account_ends_with_status_one_and_names_the_reason(terminal: Terminal) -> None:
    wrong = json.loads(terminal.environment["AIRFLOW_CONN_KRAKEN_DESK"]) | {"password": "d3Jvbmc="}
    done = Terminal(terminal.environment | {"AIRFLOW_CONN_KRAKEN_DESK": json.dumps(wrong)}).run(
        "sync", "--account", "desk"
    )
    assert done.returncode == 1
    assert "EAPI:Invalid signature" in done.stdout
    assert terminal.json("report")["accounts"][0]["api_calls"] == 1
    assert "d3Jvbmc" not in done.stdout + done.stderr
    assert positions(terminal) == {}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"permissions": ["query-funds", "query-ledger", "query-open-trades", "query-closed-trades",
                          "withdraw-funds"]}, "take away withdraw-funds"),
        ({"permissions": ["query-funds", "query-open-trades", "query-closed-trades"]}, "add query-ledger"),
        ({"query_from": "1700000000"}, "query start and end dates"),
    ],
)  # fmt: skip
def test_key_that_may_too_much_or_sees_too_little_is_refused(
    terminal: Terminal, simulator: Simulator, change: dict[str, Any], words: str
) -> None:
    simulator.control.patch("accounts/desk", change)
    done = terminal.run("sync", "--account", "desk")
    assert done.returncode == 1
    assert words in done.stdout
    assert positions(terminal) == {}


@pytest.mark.parametrize(
    "fault",
    [
        {"name": "html_200"},
        {"name": "partial_balances"},
        {"name": "truncated_json", "endpoint": "Ledgers"},
        {"name": "missing_row", "endpoint": "Ledgers"},
    ],
    ids=lambda fault: "-".join(fault.values()),
)
def test_unusable_reply_empties_nothing_and_is_reported_as_failed(
    terminal: Terminal, simulator: Simulator, fault: dict[str, str]
) -> None:
    terminal.json("sync", "--account", "desk")
    before = positions(terminal)
    for asset, amount in (("ZUSD", "250"), ("XXBT", "0.5"), ("ZUSD", "100")):
        simulator.control.post("accounts/desk/events", {"kind": "deposit", "asset": asset, "amount": amount})
    simulator.control.post("faults", fault)
    done = terminal.run("sync", "--account", "desk", "--json")
    account = json.loads(done.stdout)["accounts"][0]
    assert account["status"] in {"failed", "moving"}, account
    assert (done.returncode == 1) == (account["status"] == "failed")
    assert account["error"] or account["note"]
    assert positions(terminal) == before
    simulator.control.delete("faults")
    assert terminal.json("sync", "--account", "desk")["accounts"][0]["status"] == "succeeded"
    assert positions(terminal) == {"BTC": Decimal("0.55"), "USD": Decimal("7342.2")}


def test_sync_as_of_a_past_interval(terminal: Terminal) -> None:
    terminal.json("sync", "--account", "desk")
    with psycopg.connect(terminal.environment["KRAKEN_RECON_DSN"]) as connection:
        connection.execute("update trading.accounts set opened_at = '2026-01-05T07:00Z'")
    then = ("--interval", "2026-01-05T08:00Z", "2026-01-05T08:30Z")
    for mode, options in (("dry_run", ("--dry-run",)), ("repair", ())):
        account = terminal.json("sync", "--account", "desk", *then, *options)["accounts"][0]
        assert (account["status"], account["mode"], account["api_calls"]) == ("succeeded", mode, 0)
    assert positions(terminal) == {"BTC": Decimal("0.05"), "USD": Decimal("6992.2")}


@pytest.mark.parametrize(
    "interval",
    [("2026-01-05T08:30Z", "2026-01-05T08:00Z"), ("2026-01-05T08:00Z", "2100-01-01T00:00Z")],
    ids=["turned round", "not over"],
)
def test_an_interval_that_is_not_past_is_refused(terminal: Terminal, interval: tuple[str, str]) -> None:
    done = terminal.run("sync", "--account", "desk", "--interval", *interval)
    assert done.returncode == 1
    assert "expected an interval that is over" in done.stderr


LEDGERS_CSV = """"txid","refid","time","type","subtype","aclass","asset","amount","fee","balance"
"","QAAAAAA-1","2026-01-05 07:50:00","deposit","","currency","ZUSD",10000.0000,0.0000,""
"LAAAAA-00001-000001","QAAAAAA-1","2026-01-05 08:00:00","deposit","","currency","ZUSD",10000.0000,0.0000,10000.0000
"LAAAAA-00001-000002","TAAAAA-00001-000001","2026-01-05 08:00:10","trade","tradespot","currency","XXBT",0.05,0,0.05
"LAAAAA-00001-000003","TAAAAA-00001-000001","2026-01-05 08:00:10","trade","tradespot","currency","ZUSD",-3000,7.8,6992.2
"""  # noqa: E501 - as Kraken writes it
TRADES_CSV = """"txid","ordertxid","pair","time","type","ordertype","price","cost","fee","vol","margin","misc","ledgers"
"TAAAAA-00001-000001","O1","XXBTZUSD","2026-01-05 08:00:10.4","buy","limit",60000,3000,7.8,0.05,0,"","LAAAAA-00001-000002,LAAAAA-00001-000003"
"""  # noqa: E501


def test_import_then_sync_tell_one_story(terminal: Terminal, simulator: Simulator, tmp_path: Path) -> None:
    ledgers, trades = tmp_path / "ledgers.csv", tmp_path / "trades.csv"
    ledgers.write_text(LEDGERS_CSV)
    trades.write_text(TRADES_CSV)
    done = terminal.json("import", "--account", "desk", str(ledgers), str(trades))
    assert done["entries"] == {"read": 3, "already_recorded": 0, "imported": 3, "before_opening": 0}
    assert (done["opened"], done["opening_source"]) == (True, "ledger")
    assert done["files"][0]["pending_skipped"] == 1
    assert done["trades"] == {"checked": 1, "findings": []}
    assert positions(terminal) == {"USD": Decimal("6992.2"), "BTC": Decimal("0.05")}
    simulator.control.post("accounts/desk/events", {"kind": "deposit", "asset": "ZUSD", "amount": "1"})
    synced = terminal.json("sync", "--account", "desk")
    assert synced["accounts"][0]["status"] == "succeeded", synced["accounts"][0]["error"]
    assert positions(terminal)["USD"] == Decimal("6993.2")
    again = terminal.run("import", "--account", "desk", str(ledgers))
    assert again.returncode == 0
    assert "0 entries imported" in again.stdout


def test_refused_import_says_where_and_exits_with_1(terminal: Terminal, tmp_path: Path) -> None:
    file = tmp_path / "ledgers.csv"
    file.write_text(LEDGERS_CSV.replace("6992.2", "6992.20000000000000000001"))
    done = terminal.run("import", "--account", "desk", str(file), "--json")
    assert (done.returncode, done.stdout) == (1, "")
    assert "ImportRefusedError: ledgers.csv, line 5: expected balance" in done.stderr
    assert positions(terminal) == {}


def test_plans_are_shown_undone_and_decided_about(terminal: Terminal) -> None:
    terminal.run("sync", "--account", "desk")
    tampering = "update trading.positions set quantity = quantity - 1 where asset = 'USD'"
    with psycopg.connect(terminal.environment["KRAKEN_RECON_DSN"]) as connection:
        connection.execute(tampering)
    [dry] = terminal.json("sync", "--account", "desk", "--dry-run")["plans"]
    shown = terminal.run("sync", "--account", "desk", "--dry-run").stdout
    assert all(f"USD: {row['before']} -> {row['after']}" in shown for row in dry["rows"])
    [done] = terminal.json("sync", "--account", "desk")["plans"]
    assert (done["kind"], done["status"]) == ("repair", "applied")
    assert terminal.json("plan", "show", done["plan_id"])["rows"] == dry["rows"]

    undone = terminal.json("plan", "undo", done["plan_id"], "--by", "alice")
    assert (undone["undoes"], undone["decided_by"], undone["is_new"]) == (done["plan_id"], "alice", True)
    assert not terminal.json("plan", "undo", done["plan_id"])["is_new"]
    assert f"undone by plan {undone['plan_id']}" in terminal.run("plan", "show", done["plan_id"]).stdout

    terminal.run("sync", "--account", "desk")
    [held] = terminal.json("plan", "list", "--account", "desk", "--held")["plans"]
    rejected = terminal.run("plan", "reject", held["plan_id"], "--by", "alice", "--note", "not now")
    assert rejected.returncode == 0, rejected.stderr
    assert "decided by alice" in rejected.stdout
    assert ": not now" in rejected.stdout
    late = terminal.run("plan", "approve", held["plan_id"], "--by", "bob")
    assert late.returncode == 1
    assert "decided by alice" in late.stdout
    assert terminal.run("plan", "reopen", held["plan_id"]).returncode == 0
    terminal.run("sync", "--account", "desk")
    [again] = terminal.json("plan", "list", "--held")["plans"]
    assert again["plan_id"] != held["plan_id"]
    approved = terminal.json("plan", "approve", again["plan_id"])
    assert (approved["status"], approved["decided_by"].endswith("(command line)")) == ("applied", True)
    assert terminal.json("plan", "list", "--held") == {"plans": []}
    unknown = terminal.run("plan", "show", "00000000-0000-0000-0000-000000000000")
    assert (unknown.returncode, unknown.stdout) == (1, "")
    assert "no plan has the id" in unknown.stderr
