"""Watch over the desk apart from the scheduler: ``python -m kraken_airflow.watch``.

It needs the trading database and the channels, and no component of Airflow: with the scheduler down it still
says which account is no longer proven, and which DAG has not worked for too long.

Its health check runs every half a minute for ever, so nothing is imported that comparing a file's age does
without: with all of it a check took over two seconds of a processor, instead of a few hundredths of one.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

HEALTHY_SECONDS: Final = 90


def _is_healthy(heartbeat: Path) -> bool:
    return heartbeat.exists() and time.time() - heartbeat.stat().st_mtime < HEALTHY_SECONDS


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the watch, one round of it, or its health check; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m kraken_airflow.watch", description=__doc__)
    parser.add_argument("--heartbeat", type=Path, metavar="FILE", help="touched after each round")
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--once", action="store_true", help="one round, then end")
    kind.add_argument("--check", action="store_true", help="say by the exit status whether FILE is young")
    parsed = parser.parse_args(arguments)
    if parsed.check:
        return 0 if parsed.heartbeat and _is_healthy(parsed.heartbeat) else 1
    from kraken_airflow.watch_rounds import watch  # noqa: PLC0415 - the check does without it

    watch(parsed.heartbeat, once=parsed.once)
    return 0


if __name__ == "__main__":
    sys.exit(main())
