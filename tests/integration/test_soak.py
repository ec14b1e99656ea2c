"""A virtual hour of every DAG, with faults and kills, leaves nothing behind and nothing wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path


def test_a_short_soak_leaves_nothing_behind(
    repository: Path, project_environment: dict[str, str], tmp_path: Path
) -> None:
    files = {name: tmp_path / name for name in ("soak.png", "sessions.png", "soak.md", "soak.json")}
    options = ("--plot", "--sessions-plot", "--page", "--result")
    places = [word for pair in zip(options, map(str, files.values()), strict=True) for word in pair]
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks", "soak"]
    done = subprocess.run(
        [*command, "--days", "1", "--rounds-per-day", "1", "--seed", "1910", *places],
        env=project_environment,
        cwd=repository,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(files["soak.json"].read_text())
    assert sorted(result["dags"]) == sorted(path.stem for path in Path(repository / "dags").glob("*.py"))
    assert sum(result["runs"].values()) >= len(result["dags"])
    [day] = result["days"]
    assert day["connections_left"] == []
    # The wrong key, and the account whose bitcoins vanish, are told of; nothing else is open.
    assert len(day["told"]) <= 2
    assert day["entries"] > 0
    assert files["soak.md"].read_text().startswith("<!-- Written by")
    assert all(files[name].read_bytes().startswith(b"\x89PNG") for name in ("soak.png", "sessions.png"))
