"""A room of its own for the deployment: network, mounts and processes that end with whoever made them.

1. The command starts itself again in new name spaces. Nothing of the machine outside is touched, no port of
   it is taken, and whatever happens, everything ends with that process.
2. Each service reaches each server by a loopback address of its own, so that one pair can be cut. What goes
   over a cut line is dropped in silence, in both directions: nobody is told that the other side is gone.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

INSIDE: Final = "KILL_MATRIX_INSIDE"
SPACES: Final = ("--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
# A queue with room for no packet: whatever is sorted into it is gone.
NOWHERE: Final = (
    "link set lo up",
    "qdisc add dev lo root handle 1: htb",
    "class add dev lo parent 1: classid 1:9 htb rate 8bit",
    "qdisc add dev lo parent 1:9 handle 9: bfifo limit 1",
)


def enter(arguments: Sequence[str], command: str = "kill-matrix") -> None:
    """Go on with a command of ours in name spaces of its own; return once there."""
    if os.environ.pop(INSIDE, None):
        for words in NOWHERE:
            run("ip" if words.startswith("link") else "tc", *words.split())
        return
    missing = [program for program in ("unshare", "ip", "tc") if shutil.which(program) is None]
    if missing or os.geteuid() != 0:
        raise SystemExit(
            f"{command} cuts networks and fills disks of its own: run it as root, with "
            f"{', '.join(missing) or 'all rights'} (Debian: util-linux, iproute2)."
        )
    os.environ[INSIDE] = "yes"
    again = (sys.executable, "-W", "ignore", "-m", "benchmarks", command, *arguments)
    sys.stdout.flush()
    os.execvp("unshare", ("unshare", *SPACES, *again))  # noqa: S606, S607 - this same program


def mount_memory(place: Path, *, size_mb: int) -> None:
    """Give a directory a small disk of its own."""
    place.mkdir(parents=True, exist_ok=True)
    run("mount", "-t", "tmpfs", "-o", f"size={size_mb}m,mode=0755", "none", str(place))


class Lines:
    """Which addresses cannot be reached."""

    def __init__(self) -> None:
        self._cut: set[str] = set()

    def cut(self, *addresses: str) -> None:
        """Drop from now on what goes to these addresses or comes from them."""
        for address in addresses:
            for direction in ("dst", "src"):
                match = (
                    f"filter add dev lo parent 1: protocol ip prio 9 u32 match ip {direction} {address}/32"
                )
                run("tc", *match.split(), "flowid", "1:9")
        self._cut |= set(addresses)

    def mend(self) -> None:
        """Let everything through again."""
        if self._cut:
            run("tc", "filter", "del", "dev", "lo", "parent", "1:", "prio", "9")
        self._cut.clear()


def run(*command: str) -> None:
    """Run a program of the system; what it says goes into the error."""
    subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603 - our own words
