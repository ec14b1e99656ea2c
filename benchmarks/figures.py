"""What every benchmark says of where its figures were taken, and where the raw ones are kept."""

from __future__ import annotations

import json
import os
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import psycopg
from psycopg import sql

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT: Final = Path(__file__).resolve().parents[1]
README: Final = ROOT / "benchmarks" / "README.md"
RESULTS: Final = ROOT / "benchmarks" / "results"
"""For the raw figures of a full run. They stay on the machine; README.md has the tables."""
END: Final = "<!-- end -->"
SETTINGS: Final = (
    *(
        "server_version",
        "fsync",
        "synchronous_commit",
        "full_page_writes",
        "data_checksums",
        "shared_buffers",
    ),
    *("max_wal_size", "wal_level", "autovacuum"),
)


def keep(figures: Mapping[str, Any], file: Path) -> None:
    """Write raw figures, for a closer look than the tables give."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def surroundings(server_url: str | None = None) -> dict[str, Any]:
    """Say on what the figures were taken, and on which server if any."""
    around = _machine()
    if server_url is None:
        return around
    with psycopg.connect(server_url) as connection:
        server: Mapping[str, str] = {
            name: str(connection.execute(sql.SQL("show {}").format(sql.SQL(name))).fetchone()[0])  # type: ignore[index]
            for name in SETTINGS
        }
    return {**around, "server": server}


def _machine() -> dict[str, Any]:
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {
            "processor": _processor(),
            "cores": os.cpu_count(),
            "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
            "system": platform.platform(),
            "load_average_at_start": os.getloadavg()[0],
        },
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("sqlalchemy", "psycopg", "kraken-recon")},
        },
    }


def taken(figures: Mapping[str, Any]) -> str:
    """Say in a sentence when and on what figures with their ``surroundings`` were taken."""
    machine = figures["machine"]
    server = f"PostgreSQL {figures['server']['server_version']}, " if "server" in figures else ""
    return (
        f"Taken {figures['date'][:10]} on {machine['cores']} cores of {machine['processor']}, {server}"
        f"load average {machine['load_average_at_start']:.1f} at the start."
    )


def publish(command: str, text: str, *, page: Path = README) -> None:
    """Put the tables of a full run into a page, in place of those that the same command left there."""
    begin = f"<!-- written by {command} -->\n"
    before, found, rest = page.read_text(encoding="utf-8").partition(begin)
    if not found:
        raise LookupError(f"{page.name} has no place for the figures of {command}")
    page.write_text(f"{before}{begin}{text.strip()}\n{END}{rest.partition(END)[2]}", encoding="utf-8")


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()
