"""The DAG as Airflow runs it, with prices from the simulator."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
import sqlalchemy as sa
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from desks.dag_runs import read_dags, run_dag
from desks.logins import as_writer
from kraken_airflow.operators.maintenance import as_airflow_writes_it, days_kept
from kraken_recon.cli.main import main
from kraken_recon.errors import ConfigurationError
from kraken_recon.settings import AIRFLOW_DAYS_KEPT

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


@pytest.mark.parametrize("told", ["", "6", "30 days", "-30", "1.5"])
def test_airflow_s_records_are_kept_for_whole_days_and_long_enough(told: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{AIRFLOW_DAYS_KEPT.name}: .*7 or more"):
        days_kept({AIRFLOW_DAYS_KEPT.name: told})
    assert days_kept({AIRFLOW_DAYS_KEPT.name: "7"}) == 7


@pytest.mark.usefixtures("desk")
def test_airflow_is_cleaned_where_it_is_asked_for_and_by_a_connection_of_its_own(
    dag: DAG, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "clean_airflow" not in dag.task_ids
    monkeypatch.setenv(AIRFLOW_DAYS_KEPT.name, "30")
    asked = read_dags().dags["maintenance"]
    run = run_dag(asked)
    assert run.state == "failed"
    states = {task.task_id: task.state for task in run.get_task_instances()}
    assert states == {"tidy": "success", "snapshot_assets": "success", "clean_airflow": "failed"}


@pytest.mark.parametrize("dsn", ["{url}", "{url}?application_name=cleaner", "{words} connect_timeout=5"])
def test_airflow_s_database_is_reached_however_its_address_is_written(dsn: str, database_url: str) -> None:
    words = make_conninfo("", **conninfo_to_dict(database_url))
    engine = sa.create_engine(as_airflow_writes_it(dsn.format(url=database_url, words=words)))
    with engine.connect() as connection:
        found = connection.exec_driver_sql("select current_database()").scalar_one()
    engine.dispose()
    assert found == urlsplit(database_url).path[1:]
