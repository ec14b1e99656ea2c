"""The DAG as Airflow runs it, with prices from the simulator."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from airflow.dag_processing.bundles.manager import DagBundlesManager
from airflow.dag_processing.dagbag import DagBag, sync_bag_to_db

from desks.airflow import without_deadline
from kraken_recon.cli.main import main

if TYPE_CHECKING:
    from airflow.sdk import DAG

    from desks.airflow import AirflowDesk


@pytest.fixture(scope="module")
def dag() -> DAG:
    bag = DagBag(str(Path(__file__).parents[2] / "dags"))
    DagBundlesManager().sync_bundles_to_db()
    sync_bag_to_db(bag, "dags-folder", None)
    return without_deadline(bag.dags["maintenance"])


def test_a_run_tidies_and_values_an_account(
    dag: DAG, desk: AirflowDesk, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    desk.account("holder", XXBT="2", ZUSD="100")
    monkeypatch.setenv("KRAKEN_RECON_DSN", desk.database_url)
    assert main(["sync", "--account", "holder"]) == 0
    assert dag.test().state == "success"
    [snapshot] = desk.rows("select value, assets, unpriced from trading.asset_snapshots")
    assert (snapshot["assets"], snapshot["unpriced"]) == (2, 0)
    capsys.readouterr()
    assert main(["holdings", "--account", "holder"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("holder: ")
    assert lines[-1].rstrip().endswith("#")


def test_without_prices_the_run_is_red_and_the_database_tidy_all_the_same(
    dag: DAG, desk: AirflowDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.account("holder", XXBT="2")
    monkeypatch.setenv("KRAKEN_RECON_DSN", desk.database_url)
    assert main(["sync", "--account", "holder"]) == 0
    monkeypatch.delenv("AIRFLOW_CONN_KRAKEN_HOLDER")
    assert dag.test().state == "failed"
    assert desk.rows("select * from trading.asset_snapshots") == []
    assert desk.rows("select 1 from pg_inherits where inhparent = 'trading.asset_snapshots'::regclass")
