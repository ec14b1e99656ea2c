"""The DAG as Airflow runs it, with prices from the simulator."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from desks.dag_runs import read_dags, run_dag
from desks.logins import as_writer
from kraken_recon.cli.main import main

if TYPE_CHECKING:
    from airflow.sdk import DAG

    from desks.airflow import AirflowDesk


@pytest.fixture
def dag() -> DAG:
    return read_dags().dags["maintenance"]


def test_a_run_tidies_and_values_an_account(
    dag: DAG, desk: AirflowDesk, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    desk.account("holder", XXBT="2", ZUSD="100")
    monkeypatch.setenv("KRAKEN_RECON_DSN", as_writer(desk.database_url))
    assert main(["sync", "--account", "holder"]) == 0
    assert run_dag(dag).state == "success"
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
    monkeypatch.setenv("KRAKEN_RECON_DSN", as_writer(desk.database_url))
    assert main(["sync", "--account", "holder"]) == 0
    monkeypatch.delenv("AIRFLOW_CONN_KRAKEN_HOLDER")
    assert run_dag(dag).state == "failed"
    assert desk.rows("select * from trading.asset_snapshots") == []
    assert desk.rows("select 1 from pg_inherits where inhparent = 'trading.asset_snapshots'::regclass")
