"""The watch's health check runs every half a minute for ever, and costs nearly nothing."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

HEAVY = ("airflow", "sqlalchemy", "psycopg", "requests", "kraken_recon")
PROGRAM = f"""
import sys
from kraken_airflow.watch import main
status = main(sys.argv[1:])
print([name for name in {HEAVY} if name in sys.modules])
sys.exit(status)
"""


def test_the_check_imports_nothing_of_the_product(
    tmp_path: Path, project_environment: dict[str, str]
) -> None:
    heartbeat = tmp_path / "heartbeat"

    def check() -> tuple[int, str]:
        command = [sys.executable, "-c", PROGRAM, "--check", "--heartbeat", heartbeat]
        done = subprocess.run(command, env=project_environment, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout.strip()

    assert check() == (1, "[]")
    heartbeat.touch()
    assert check() == (0, "[]")
