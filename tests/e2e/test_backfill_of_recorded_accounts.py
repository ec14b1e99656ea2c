"""Real books once more: backfilled backwards, imported before they are synced, nothing left unexplained."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from desks.recorded_accounts import (
    SOUND_EXPORTS,
    TICK_SECONDS,
    Replay,
    export_as_account,
    quarter_after,
    truth,
)
from kraken_recon.accounts.store import AccountStore
from kraken_recon.costs.recomputing import recompute_account
from kraken_recon.costs.store import CostStore
from kraken_recon.database.unit_of_work import UnitOfWork
from kraken_recon.history.importing import import_exports
from kraken_recon.kraken.export_files import read_exports
from kraken_recon.ledger.entries import HoldingKey
from kraken_recon.reconciliation.backfill import reconcile_as_of
from kraken_recon.reconciliation.rules.policy import Mode, Policy
from kraken_recon.reconciliation.run import SyncRequest
from kraken_recon.values.intervals import RUN_INTERVAL, Interval

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Simulator

# Every recording with a ledger that connects, and how many entries it has.
RECORDINGS = {"shideneyu": 50, "zhaow-de": 31, "asmodehn": 12, "knowm": 8, "jkorf": 2}
# Invented for 2031: whatever is recorded today was believed early, and is told from what had happened.
IN_THE_FUTURE = {"zhaow-de"}
JUST_BEFORE = Decimal("0.000001")


def said_at(replay: Replay, moment: datetime) -> None:
    """Say that all that is on record was recorded at a moment of the recording's own time."""
    with psycopg.connect(replay.database_url) as connection:
        for statement in ("position_events set recorded_at", "accounts set opened_at"):
            connection.execute(f"update trading.{statement} = %s".encode(), [moment])


def backfill(replay: Replay, end: int) -> None:
    moment = datetime.fromtimestamp(end, tz=UTC)
    request = SyncRequest(Interval(moment - RUN_INTERVAL, moment), Mode.REPAIR, Policy(), "backfill")
    with UnitOfWork(replay.engine) as unit:
        accounts = AccountStore(unit).find_accounts([replay.name])
    reconcile_as_of(accounts, request, replay.wiring.sync_ports())


def is_sound(replay: Replay) -> bool:
    unexplained = replay.rows("select * from trading.discrepancies where unexplained <> 0")
    unbalanced = replay.rows(
        "select asset from trading.positions p where quantity <>"
        " (select sum(quantity_after - quantity_before) from trading.position_events v"
        " where (v.asset, v.wallet) = (p.asset, p.wallet))"
    )
    with UnitOfWork(replay.engine) as unit:
        return not (unexplained or unbalanced or recompute_account(CostStore(unit), replay.name).anything)


@pytest.mark.parametrize("recording", RECORDINGS)
def test_backwards_backfill_of_a_recording_finds_every_entry_and_leaves_nothing_unexplained(
    simulator: Simulator, database_url: str, kraken_data_dir: Path, recording: str
) -> None:
    request = {"directory": str(kraken_data_dir), "names": [recording]}
    loaded = simulator.control.post("recordings", request)[0]
    replay = Replay(simulator, database_url, loaded["name"], loaded["api_key"], loaded["api_secret"])
    first = quarter_after(Decimal(loaded["first_entry_time"])) - TICK_SECONDS
    assert replay.run(replay.tick(first))["status"] == "succeeded"
    said_at(replay, datetime.fromtimestamp(first, tz=UTC))
    believed = replay.positions()
    last = quarter_after(Decimal(loaded["last_entry_time"]))
    now = str(last + TICK_SECONDS)
    simulator.control.post("clock", {"account": replay.name, "mode": "virtual", "now": now})
    entries: list[dict[str, Any]] = simulator.control.get(f"accounts/{replay.name}/statement")["ledger"]
    entries.sort(key=lambda entry: Decimal(entry["time"]))
    ends = sorted({quarter_after(Decimal(entry["time"])) for entry in entries})
    for end in reversed(ends):
        backfill(replay, end)

    runs = replay.rows("select * from trading.reconciliation_runs where trigger = 'backfill'")
    assert [run["status"] for run in runs] == ["succeeded"] * len(ends), [run["error"] for run in runs]
    assert sum(run["entries_ingested"] for run in runs) == len(entries) == RECORDINGS[recording]
    for end in ends:
        then = truth(entries, end - JUST_BEFORE)
        found = {
            HoldingKey(row["asset"], row["wallet"]): row["exchange_quantity"]
            for row in replay.rows(
                "select asset, wallet, exchange_quantity from trading.discrepancies"
                " join trading.reconciliation_runs using (run_id) where interval_end = :end",
                end=datetime.fromtimestamp(end, tz=UTC),
            )
        }
        assert found == {key: then.get(key, Decimal(0)) for key in found}
        if recording not in IN_THE_FUTURE:
            assert found.keys() == {
                key
                for key in {*then, *believed}
                if then.get(key, Decimal(0)) != believed.get(key, Decimal(0))
            }
    assert replay.run(replay.tick(last + 2 * TICK_SECONDS))["status"] == "succeeded"
    assert replay.positions() == truth(entries, last)
    assert is_sound(replay)


@pytest.mark.parametrize("export", [*SOUND_EXPORTS, "zhaow-de__zcrypto-kraken/window-1-ledgers.csv"])
def test_recorded_export_is_imported_and_synced_without_a_residual(
    simulator: Simulator, database_url: str, kraken_data_dir: Path, export: str
) -> None:
    account = export_as_account(simulator, kraken_data_dir / export)
    replay = Replay(simulator, database_url, "export", account["api_key"], account["api_secret"])
    with UnitOfWork(replay.engine) as unit:
        (desk,) = AccountStore(unit).find_accounts(["export"])
    done = import_exports(
        desk,
        read_exports(kraken_data_dir / export, datetime(2032, 1, 1, tzinfo=UTC)),
        lambda: UnitOfWork(replay.engine),
    )
    assert done.opened
    assert done.imported == len(account["rows"])
    last = quarter_after(max(Decimal(row["time"]) for row in account["rows"]))
    said_at(replay, datetime.fromtimestamp(last, tz=UTC) - timedelta(days=1))
    run = replay.run(replay.tick(last + TICK_SECONDS))
    assert run["status"] == "succeeded", run["error"]
    assert run["entries_ingested"] == 0
    backfill(replay, last)
    assert {row["status"] for row in replay.rows("select status from trading.reconciliation_runs")} == {
        "succeeded"
    }
    assert is_sound(replay)
