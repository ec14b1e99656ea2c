"""A virtual quarter of an hour of every DAG, with faults and kills, leaves as many connections as before."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path


def test_a_short_soak_leaves_nothing_behind(
    repository: Path, project_environment: dict[str, str], tmp_path: Path
) -> None:
    plot, written = tmp_path / "soak.png", tmp_path / "soak.json"
    # With this seed a run is killed, one is told to end, and the exchange fails five requests.
    arguments = ["session-soak", "--rounds", "1", "--seed", "1910"]
    places = ["--plot", str(plot), "--result", str(written)]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "benchmarks", *arguments, *places],
        env=project_environment,
        cwd=repository,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(done.stdout[done.stdout.index("{") :])
    assert sorted(result["dags"]) == sorted(path.stem for path in Path(repository / "dags").glob("*.py"))
    assert sum(result["runs"].values()) >= len(result["dags"])
    assert result["connections_at_rest_after_each_day"] == [result["connections_at_start"]]
    assert json.loads(written.read_text()) == result
    assert plot.read_bytes().startswith(b"\x89PNG")
