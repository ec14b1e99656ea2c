"""The benchmark's three ways leave the same rows; how fast they are is not tested."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def measured(
    postgres_url: str, repository: Path, project_environment: dict[str, str], tmp_path: Path
) -> Callable[..., dict[str, Any]]:
    """Return what runs a benchmark on the tests' server, and reads its figures."""

    def measure(*arguments: str) -> dict[str, Any]:
        output = tmp_path / "figures.json"
        places = ("--server", postgres_url, "--output", str(output))
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks", *arguments, *places],
            cwd=repository,
            env=project_environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        figures: dict[str, Any] = json.loads(output.read_text())
        return figures

    return measure


def test_every_way_to_sync_leaves_the_same_rows(
    postgres_url: str, measured: Callable[..., dict[str, Any]]
) -> None:
    with psycopg.connect(postgres_url) as connection:
        if connection.info.server_version < 160000:
            pytest.skip("the write-ahead log is read block by block with a function of PostgreSQL 16")
    figures = measured("--scale", "tiny", "--rounds", "1", "--pairs", "1")
    assert figures["end_states_are_equal"]
    rows = {name: table["rows"] for name, table in figures["end_state"].items()}
    assert rows["positions"] == rows["event_totals"] == 40
    assert rows["discrepancies"] == figures["scale"]["drifted_positions"] == 2
    assert rows["ledger_entries"] == rows["position_events"] == 42
    assert (figures["desk_book"]["rows"], figures["desk_book"]["differing"]) == (40, 1)
    assert (figures["lock_hold"]["accounts"], figures["lock_hold"]["positions"]) == (4, 10)
    logs = figures["changed_rows"]
    assert all(log["bytes_per_row"] >= log["bytes_per_row_without_images"] > 0 for log in logs.values())
    unchanged = figures["unchanged_pass"]
    assert unchanged["api_calls_per_account"] == 1
    assert unchanged["wal_bytes_of_whole_pass"]["positions_entries_events"] == 0
    for table in ("positions", "ledger_entries", "position_events"):
        assert set(unchanged["row_versions_written"][table].values()) == {0}


def test_a_long_history_ends_every_step_as_the_exchange_says(
    measured: Callable[..., dict[str, Any]],
) -> None:
    figures = measured("history", "--sizes", "600", "1200", "--intervals", "4")
    for size in ("600", "1200"):
        steps = figures["entries"][size]
        assert steps["first_sync_after_import"]["api_calls"] == 1
        assert steps["sync_of_10_new_entries"]["api_calls"] == 4  # OpenPositions is asked once a day as well
        assert steps["backfill_of_a_month"]["intervals"] == 4
        # A 24th of the history is missed, give or take a trade that begins before the month.
        assert abs(steps["backfill_of_a_month"]["entries_found"] - int(size) // 24) <= 2
