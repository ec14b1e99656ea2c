"""Peers from the package index, each in an environment of its own that is made once and kept.

Invariant: nothing is said of a peer that did not run: it is reported with the reason.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.figures import ROOT

FOLDER: Final = ROOT / ".recon" / "peers"
INSTALL_TIMEOUT_SECONDS: Final = 900


@dataclass(frozen=True, slots=True)
class Peer:
    """A project that does a part of the same; ``requirement`` is exact, ``python`` one that it runs on."""

    name: str
    requirement: str
    python: str


NAUTILUS: Final = Peer("NautilusTrader", "nautilus_trader==1.231.0", "3.13")
OCTOBOT: Final = Peer("OctoBot-Trading", "OctoBot-Trading[full]==2.5.13", "3.10")
CCXT: Final = Peer("ccxt", "ccxt==4.5.90", "3.11")


class PeerMissingError(Exception):
    """A peer cannot be installed here; says why."""


def interpreter(peer: Peer) -> Path:
    """Return the Python of a peer's environment, made first where it is not there yet.

    Raises:
        PeerMissingError: with the last line that the installer wrote.
    """
    place = FOLDER / peer.name.lower()
    python, installed = place / "bin" / "python", place / "installed"
    if installed.exists() and installed.read_text() == peer.requirement:
        return python
    uv = str(Path(sys.executable).with_name("uv"))
    _run([uv, "venv", "--quiet", "--clear", "--python", peer.python, str(place)])
    _run([uv, "pip", "install", "--quiet", "--python", str(python), peer.requirement])
    installed.write_text(peer.requirement)
    return python


def _run(command: list[str]) -> None:
    # Those of pyenv are for uv to find; it downloads a Python that is nowhere.
    kept_by_pyenv = sorted(map(str, (Path.home() / ".pyenv" / "versions").glob("*/bin")))
    path = os.pathsep.join((os.environ["PATH"], *kept_by_pyenv))
    try:
        done = subprocess.run(  # noqa: S603 - our own command
            command,
            env={**os.environ, "PATH": path},
            capture_output=True,
            text=True,
            timeout=INSTALL_TIMEOUT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise PeerMissingError(f"not installed within {INSTALL_TIMEOUT_SECONDS} s") from error
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        raise PeerMissingError(said[0])
