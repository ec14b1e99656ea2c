"""Average cost as an operator sees it: on the command line, and on real books."""

from __future__ import annotations

import json
from collections import defaultdict
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from desks.logins import as_writer
from desks.recorded_accounts import TICK_SECONDS, Replay, quarter_after, recorded_entries
from kraken_recon.cli.main import main
from kraken_recon.costs.recomputing import cost_view, recompute_account
from kraken_recon.costs.store import CostStore
from kraken_recon.database.unit_of_work import UnitOfWork

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Simulator


@pytest.fixture
def replay(simulator: Simulator, database_url: str, kraken_data_dir: Path) -> Replay:
    """A real account of 2015, which counts in euros."""
    request = {"directory": str(kraken_data_dir), "names": ["shideneyu"]}
    loaded = simulator.control.post("recordings", request)[0]
    replay = Replay(simulator, database_url, loaded["name"], loaded["api_key"], loaded["api_secret"])
    with replay.engine.begin() as connection:
        connection.execute(sa.text("update trading.accounts set quote_currency = 'EUR'"))
    return replay


def costs(replay: Replay) -> dict[str, dict[str, Any]]:
    with UnitOfWork(replay.engine) as unit:
        return {row["asset"]: row for row in cost_view(CostStore(unit), replay.name, None)["assets"]}


def test_recorded_account_recomputes_the_same_after_every_batch(
    replay: Replay, kraken_data_dir: Path
) -> None:
    entries = recorded_entries(kraken_data_dir, "shideneyu")
    ticks = sorted({quarter_after(Decimal(str(entry["time"]))) for entry in entries})
    for tick in [ticks[0] - TICK_SECONDS, *ticks]:
        assert replay.run(replay.tick(tick))["status"] == "succeeded"
        with UnitOfWork(replay.engine) as unit:
            assert not recompute_account(CostStore(unit), replay.name).anything
    figures = costs(replay)
    held: dict[str, Decimal] = defaultdict(Decimal)
    for key, quantity in replay.positions().items():
        held[key.asset] += quantity
    assert {
        asset: Decimal(row["quantity_known"]) + Decimal(row["quantity_unknown"])
        for asset, row in figures.items()
        if Decimal(row["quantity_known"]) + Decimal(row["quantity_unknown"])
    } == held
    assert figures["EUR"]["quantity_unknown"] == "0"
    results = replay.rows("select * from trading.realised_results")
    assert results
    for asset, row in figures.items():
        total = sum((r["result"] or Decimal(0) for r in results if r["asset"] == asset), Decimal(0))
        assert Decimal(row["realised"]) == total


def test_cost_command_prints_the_figures_and_repairs_them_on_demand(
    replay: Replay, kraken_data_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    last = recorded_entries(kraken_data_dir, "shideneyu")[-1]
    replay.tick(quarter_after(Decimal(str(last["time"]))))
    monkeypatch.setenv("KRAKEN_RECON_DSN", as_writer(replay.database_url))

    def command(*arguments: str) -> Any:
        assert main(["cost", "--account", replay.name, "--json", *arguments]) == 0
        return json.loads(capsys.readouterr().out)

    before = command()
    assert before["quote_currency"] == "EUR"
    assert {type(value) for row in before["assets"] for value in row.values()} <= {str, type(None)}
    assert command("--recompute")["recomputed"] == {
        "changed": False,
        "costs": 0,
        "results": 0,
        "positions": 0,
    }
    with replay.engine.begin() as connection:
        connection.execute(
            sa.text("update trading.asset_costs set cost = 1, avg_cost = 2 where asset <> 'EUR'")
        )
        connection.execute(sa.text("update trading.positions set avg_cost = 3 where asset = 'EUR'"))
        connection.execute(
            sa.text(
                "insert into trading.realised_results"
                " select account_id, 'none', asset, 1, 1, 1, 0, 0, now() from trading.asset_costs limit 1"
            )
        )
    repaired = command("--recompute")
    assert repaired["recomputed"] == {
        "changed": True,
        "costs": len(before["assets"]) - 1,
        "results": 1,
        "positions": 1,
    }
    assert repaired["assets"] == command()["assets"] == before["assets"]
    one = command("--asset", before["assets"][0]["asset"])
    assert one["assets"] == before["assets"][:1]
    assert main(["cost", "--account", replay.name, "--recompute"]) == 0
    printed = capsys.readouterr().out
    assert "AVERAGE EUR" in printed
    assert "nothing changed" in printed
    assert main(["cost", "--account", "nobody"]) == 1
    assert "no account is named nobody" in capsys.readouterr().err
