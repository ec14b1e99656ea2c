"""Certificates of a real database: what they state of now and of the past, and the two commands."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from benchmarks.mutations.sound_ledgers import recorded

from desks.exports import ledgers_csv
from desks.fake_exchange import Desk, minutes
from desks.fakes import START
from desks.logins import as_writer
from kraken_recon.accounts.store import AccountStore
from kraken_recon.accounts.tolerance import Tolerance
from kraken_recon.certificates.certifying import certify, verify
from kraken_recon.certificates.rules.format import write_time
from kraken_recon.certificates.store import CertificateStore
from kraken_recon.cli.main import main
from kraken_recon.database.unit_of_work import UnitOfWork
from kraken_recon.errors import CertificateError, ConfigurationError
from kraken_recon.history.importing import import_exports
from kraken_recon.kraken.export_files import parse_export
from kraken_recon.ledger.entries import HoldingKey
from kraken_recon.reconciliation import reading
from kraken_recon.reconciliation.rules.policy import Mode, Policy

if TYPE_CHECKING:
    from pathlib import Path

BTC, USD = HoldingKey("BTC", "spot"), HoldingKey("USD", "spot")


@pytest.fixture
def desk(database_url: str) -> Desk:
    """An account with a small history, opened by a first sync."""
    desk = Desk(database_url)
    books = desk.account()
    books.add("USD", "10000", entry_type="deposit")
    books.add("USD", "-3000", fee="7.8")
    books.add("BTC", "0.05")
    books.add("BTC", "0.01", wallet="F")
    desk.sync()
    return desk


def certified(desk: Desk, at: datetime | None = None) -> dict[str, Any]:
    """Certify, and check it as the reader of the file would."""
    with UnitOfWork(desk.engine) as unit:
        document = certify(CertificateStore(unit), "desk", at or desk.now, now=desk.now + timedelta(days=1))
    assert verify(json.dumps(document).encode())["verified"]
    return document


def closings(document: dict[str, Any]) -> dict[HoldingKey, Decimal]:
    return {HoldingKey(h["asset"], h["wallet"]): Decimal(h["closing"]) for h in document["holdings"]}


def holding(document: dict[str, Any], key: HoldingKey) -> dict[str, Any]:
    return next(h for h in document["holdings"] if (h["asset"], h["wallet"]) == key)


def test_certificate_states_every_position_with_its_entries(desk: Desk) -> None:
    document = certified(desk)
    assert closings(document) == desk.positions()
    assert [e["ledger_id"] for e in holding(document, USD)["entries"]] == ["L00001", "L00002"]
    assert {h["residual"] for h in document["holdings"]} == {"0"}
    run = desk.run()
    assert [r["run_id"] for r in document["runs"]] == [str(run["run_id"])]
    assert document["runs"][0]["reported_head"] == run["reported_head"]
    assert document["runs"][0]["recorded_as_of"] == write_time(run["recorded_as_of"])
    assert (
        document["schema_version"]
        == desk.rows("select version_num from trading.alembic_version")[0]["version_num"]
    )
    assert document["opening_source"] == "ledger"


def test_quiet_run_is_named_beside_the_one_that_read_the_ledger(desk: Desk) -> None:
    read = str(desk.run()["run_id"])
    desk.sync()
    quiet = str(desk.run()["run_id"])
    document = certified(desk)
    assert [r["run_id"] for r in document["runs"]] == [quiet, read]
    assert document["runs"][0]["reported_head"] is None


def test_past_moment_knows_nothing_of_what_came_after(desk: Desk) -> None:
    before, then = certified(desk), desk.now
    desk.books["desk"].now = desk.now + minutes(1)
    desk.books["desk"].add("BTC", "0.5")
    desk.sync()
    past, now = certified(desk, then), certified(desk)
    assert {k: v for k, v in past.items() if k != "issued_at"}.keys() == before.keys() - {"issued_at"}
    assert closings(past) == closings(before)
    assert past["runs"] == before["runs"]
    assert [h["digest"] for h in past["holdings"]] == [h["digest"] for h in before["holdings"]]
    assert closings(now)[BTC] == Decimal("0.55")
    # A later chain goes on from the earlier one's last link.
    links = [entry["link"] for entry in holding(now, BTC)["entries"]]
    assert holding(past, BTC)["digest"] == links[-2]


def test_derived_opening_is_stated_as_such(database_url: str) -> None:
    desk = Desk(database_url)
    books = desk.account()
    books.openings[HoldingKey("DOT", "S")] = Decimal("7.5")
    books.add("USD", "5")
    desk.sync()
    document = certified(desk)
    assert document["opening_source"] == "balance"
    staked = holding(document, HoldingKey("DOT", "S"))
    assert (staked["opening"], staked["closing"], staked["head"]) == ("7.5", "7.5", None)


def test_residual_is_stated_while_it_waits_after_it_is_repaired_and_once_it_is_explained(desk: Desk) -> None:
    books = desk.books["desk"]
    books.residuals[BTC] = Decimal("0.02")
    desk.sync()
    waiting, waits_at = certified(desk), desk.now
    assert (holding(waiting, BTC)["unwritten_residual"], holding(waiting, BTC)["residual"]) == (
        "0.02",
        "0.02",
    )
    desk.exchanges["desk"].price_list = dict.fromkeys(("BTC", "USD"), Decimal(1))
    desk.sync()
    repaired, repaired_at = certified(desk), desk.now
    assert desk.findings()["BTC"]["action"] == "update"
    assert holding(repaired, BTC)["outstanding_adjustments"] == holding(repaired, BTC)["residual"] == "0.02"
    assert holding(repaired, BTC)["recorded"] == "0.07"
    # The line turns up at last, with the time at which it happened: before both moments.
    del books.residuals[BTC]
    books.add("BTC", "0.02", at=waits_at - minutes(20))
    books.add("USD", "1")
    desk.sync()
    explained = holding(certified(desk), BTC)
    assert (explained["closing"], explained["outstanding_adjustments"], explained["residual"]) == (
        "0.07",
        "0",
        "0",
    )
    for moment in (waits_at, repaired_at):
        past = holding(certified(desk, moment), BTC)
        assert (past["closing"], past["explained_later"], past["residual"]) == ("0.07", "0.02", "0")


def test_imported_history_lengthens_the_proof_and_changes_neither_closing_nor_residual(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = Desk(database_url)
    books = desk.account()
    books.now = START - timedelta(days=100)
    for _ in range(70):
        books.now += timedelta(days=1)
        books.add("BTC", "0.5")
    books.residuals[BTC] = Decimal("0.02")
    monkeypatch.setattr(reading, "OPENING_ENTRIES_MAX", 60)
    desk.sync()
    short = holding(certified(desk), BTC)
    assert (short["opening"], len(short["entries"])) == ("10", 50)
    with UnitOfWork(desk.engine) as unit:
        account = AccountStore(unit).find_accounts(["desk"])[0]
    export = parse_export("ledgers.csv", ledgers_csv(books.entries, 12))
    import_exports(account, [export], lambda: UnitOfWork(desk.engine))
    long = holding(certified(desk), BTC)
    assert (long["opening"], long["opening_moved_later"], len(long["entries"])) == ("0", "-10", 70)
    assert sum(entry["late"] for entry in long["entries"]) == 20
    assert long["closing"] == short["closing"] == "35"
    assert long["residual"] == short["residual"] == "0.02"


def test_tolerated_residual_is_stated_by_quiet_runs_too(desk: Desk) -> None:
    desk.books["desk"].residuals[HoldingKey("ETH", "spot")] = Decimal("0.0005")
    policy = Policy(tolerance=Tolerance(Decimal("0.001")))
    for _ in range(3):
        desk.sync(policy=policy)
    assert desk.run()["api_calls"] == 1
    unknown = holding(certified(desk), HoldingKey("ETH", "spot"))
    assert (unknown["closing"], unknown["residual"], unknown["entries"]) == ("0", "0.0005", [])


def test_changed_database_is_not_certified_until_it_is_reconciled(desk: Desk) -> None:
    desk.execute("update trading.ledger_entries set amount = amount + 1 where ledger_id = 'L00002'")
    with pytest.raises(CertificateError, match=r"do not connect: USD: -1 is not .* L00001 and entry L00002"):
        certified(desk)
    desk.execute("update trading.ledger_entries set amount = amount - 1 where ledger_id = 'L00002'")
    desk.execute("delete from trading.position_events where ledger_id = 'L00003'")
    with pytest.raises(CertificateError, match=r"holding BTC: recorded is 0, .* make it 0\.05"):
        certified(desk)


def test_corrected_position_comes_with_its_adjustments(desk: Desk) -> None:
    desk.execute("update trading.positions set quantity = 1 where asset = 'BTC' and wallet = 'spot'")
    desk.sync()
    document = holding(certified(desk), BTC)
    assert [a["amount"] for a in document["adjustments"]] == ["0.95", "-0.95"]
    assert (document["outstanding_adjustments"], document["residual"]) == ("0", "0")


@pytest.mark.parametrize("status", ["failed", "moving", "dry_run"])
def test_only_a_repair_that_succeeded_proves_anything(database_url: str, status: str) -> None:
    desk = Desk(database_url)
    desk.account().add("USD", "5")
    if status == "dry_run":
        desk.sync(mode=Mode.DRY_RUN)
    else:
        desk.sync()
        desk.execute(
            "update trading.reconciliation_runs set status = :status,"
            " error = case when :status = 'failed' then 'x' end",
            status=status,
        )
    with pytest.raises(CertificateError, match="no reconciliation of desk succeeded at or before"):
        certified(desk)


def test_moment_that_nothing_is_known_of_is_refused(desk: Desk) -> None:
    with pytest.raises(CertificateError, match="no reconciliation of desk succeeded"):
        certified(desk, START - minutes(1))
    with pytest.raises(CertificateError, match="still to come"):
        certified(desk, desk.now + timedelta(days=2))
    with (
        UnitOfWork(desk.engine) as unit,
        pytest.raises(ConfigurationError, match="no account is named"),
    ):
        certify(CertificateStore(unit), "nobody", desk.now, now=desk.now)


def test_certifying_sees_one_state_while_a_sync_writes(desk: Desk) -> None:
    with UnitOfWork(desk.engine) as unit:
        CertificateStore(unit).begin_snapshot()
        before = CertificateStore(unit).account("desk")[0]
        desk.books["desk"].now = desk.now + minutes(1)
        desk.books["desk"].add("BTC", "0.5")
        desk.sync()
        runs = CertificateStore(unit).proving_runs(before, desk.now)
        seen = CertificateStore(unit).holdings(before, desk.now, runs[0])
    assert {h.key: h.recorded for h in seen}[BTC] == Decimal("0.05")


@pytest.mark.parametrize("place", [0, 1], ids=["shideneyu", "zhaow-de"])
def test_recorded_account_is_certified_at_every_quarter_of_its_history(
    database_url: str, kraken_data_dir: Path, place: int
) -> None:
    ledger = recorded(kraken_data_dir)[place]
    desk = Desk(database_url)
    books = desk.account()
    books.openings, books.entries = dict(ledger.openings), []
    for quarter in range(1, 5):
        books.entries = list(ledger.entries[: len(ledger.entries) * quarter // 4])
        desk.now = books.entries[-1].entry_time + minutes(1)
        desk.sync()
        document = certified(desk)
        assert {h["residual"] for h in document["holdings"]} == {"0"}
        held = {key: balance.balance for key, balance in books.balances().items() if balance.balance}
        assert {key: closing for key, closing in closings(document).items() if closing} == held
        assert sum(len(h["entries"]) for h in document["holdings"]) == len(books.entries)


# --- the commands -----------------------------------------------------------------------------------------


def test_commands_write_and_check_a_file(
    desk: Desk,
    tmp_path: Path,
    project_environment: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file, moment = tmp_path / "desk.json", write_time(desk.now)
    monkeypatch.setenv("KRAKEN_RECON_DSN", as_writer(desk.url))
    assert main(["certify", "--account", "desk", "--at", moment, "--output", str(file)]) == 0
    digest = json.loads(file.read_text())["digest"]
    assert digest in capsys.readouterr().out
    assert main(["certify", "--account", "desk", "--at", moment]) == 0
    assert verify(capsys.readouterr().out.encode())["verified"]

    # Offline: another process that knows neither a database nor a key.
    command = [sys.executable, "-m", "kraken_recon", "verify-certificate", str(file)]
    environment = {name: value for name, value in project_environment.items() if "RECON" not in name}
    checked = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert checked.stdout.startswith("verified\n")
    assert digest in checked.stdout

    text = file.read_text()
    file.write_text(text.replace('"-3000"', '"-3001"', 1))
    assert main(["verify-certificate", str(file)]) == 1
    assert "holding USD, entry L00002: balance is 6992.2" in capsys.readouterr().out
    assert main(["verify-certificate", str(file), "--json"]) == 1
    assert not json.loads(capsys.readouterr().out)["verified"]


def test_commands_say_what_is_wrong(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KRAKEN_RECON_DSN", as_writer(desk.url))
    other = tmp_path / "other.json"
    other.write_text('{"something": "else"}')
    missing, unwritable = str(tmp_path / "missing.json"), str(tmp_path / "no" / "file.json")
    moment = write_time(desk.now)
    for arguments, words in (
        (["verify-certificate", str(other)], "this is no certificate"),
        (["verify-certificate", missing], "cannot read"),
        (["certify", "--account", "desk", "--at", moment, "--output", unwritable], "cannot write"),
        (["certify", "--account", "nobody", "--at", moment], "no account is named nobody"),
        (["certify", "--account", "desk", "--at", "2020-01-01"], "no reconciliation of desk succeeded"),
    ):
        assert main(arguments) == 1
        printed = capsys.readouterr()
        assert words in printed.err
        assert printed.out == ""
