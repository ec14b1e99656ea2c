"""A health check that acts: ``python -m kraken_airflow.restart_when_unwell --first 1 --after 6 -- COMMAND``.

Docker starts a container again whose process ended, and leaves one alone that hangs: it is *unhealthy*, for
good. This asks COMMAND, and after so many failures in a row kills everything in the container, which is then
started again. What was under way is lost as by any kill, which everything here is made for.

1. COMMAND says by its exit status what is known: 0 well, 1 unwell, anything else nothing. What another
   service may be to blame for is not known of this one, and ends nothing.
2. It is asked for less long than Docker waits, since Docker would end this program with it.
3. While a container is young its failures do not count: a slow start is no hang.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

WELL, UNWELL = 0, 1
ASKED_SECONDS: Final = 8
YOUNG_SECONDS: Final = 180
# proc(5): starttime is field 22; what follows the name in brackets begins with field 3.
STARTED_FIELD: Final = 22 - 3


def _asked(command: Sequence[str], patience_seconds: float) -> int:
    try:
        return subprocess.run(command, timeout=patience_seconds, check=False).returncode  # noqa: S603 - the container's own
    except subprocess.TimeoutExpired:
        return UNWELL


def _age_seconds(process: int) -> float:
    """Say how long a process has run, from the kernel: exact, whatever the clock on the wall does."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    uptime = float(Path("/proc/uptime").read_text().split()[0])
    return uptime - int(fields[STARTED_FIELD]) / os.sysconf("SC_CLK_TCK")


def _say(first: int, text: str) -> None:
    """Write into the container's own log; what a check prints is in `docker inspect` alone."""
    with suppress(OSError), Path(f"/proc/{first}/fd/2").open("a") as log:
        log.write(f"{time.strftime('%Y-%m-%d %H:%M:%SZ', time.gmtime())} {text}\n")


def _end(first: int) -> None:
    """Kill what began with the container's first process; that one then ends by itself."""
    if first == 1:
        os.kill(-1, signal.SIGKILL)  # all but the first and ourselves
    else:
        with suppress(ProcessLookupError):
            os.killpg(first, signal.SIGKILL)


def main(arguments: Sequence[str] | None = None) -> int:
    """Ask, count, and act; return the exit status for Docker."""
    parser = argparse.ArgumentParser(prog="python -m kraken_airflow.restart_when_unwell", description=__doc__)
    parser.add_argument("--after", type=int, required=True, help="failures in a row; the check's retries")
    parser.add_argument("--seconds", type=float, default=ASKED_SECONDS, help="for how long COMMAND is asked")
    parser.add_argument("--young", type=float, default=YOUNG_SECONDS, help="seconds in which nothing counts")
    parser.add_argument("--count", type=Path, default=Path("/tmp/unwell"), help="where failures are counted")  # noqa: S108 - the container's own
    parser.add_argument("--first", type=int, required=True, help="what is ended: 1 is a container's first")
    parser.add_argument("command", nargs="+")
    given = parser.parse_args(arguments)
    status = _asked(given.command, given.seconds)
    if status == WELL:
        given.count.unlink(missing_ok=True)
        return WELL
    if status == UNWELL and _age_seconds(given.first) > given.young:
        failures = int(given.count.read_text()) + 1 if given.count.exists() else 1
        given.count.write_text(str(failures))
        if failures >= given.after:
            given.count.unlink()
            _say(
                given.first,
                f"unwell {failures} times in a row: everything here is ended, to be started again",
            )
            _end(given.first)
    return UNWELL


if __name__ == "__main__":
    sys.exit(main())
