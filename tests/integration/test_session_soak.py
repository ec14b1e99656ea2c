"""A virtual quarter of an hour of every DAG, with faults and kills, leaves as many connections as before."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path


def test_a_short_soak_leaves_nothing_behind(
    repository: Path, project_environment: dict[str, str], tmp_path: Path
) -> None:
    plot = tmp_path / "soak.png"
    # With this seed a run is killed, one is told to end, and the exchange fails five requests.
    arguments = ["session-soak", "--rounds", "1", "--seed", "1910", "--plot", str(plot)]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "benchmarks", *arguments],
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
    assert result["connections_at_end"] == result["connections_at_start"]
    assert plot.read_bytes().startswith(b"\x89PNG")
