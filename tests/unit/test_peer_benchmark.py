"""The comparison with peers: one account for all, and a word for whoever does not finish."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.peers import measure
from benchmarks.peers.environments import Peer, PeerMissingError
from benchmarks.peers.made_account import write

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_a_made_account_is_explained_whole(tmp_path: Path) -> None:
    one, other = ((tmp_path / name) for name in ("one", "other"))
    for place in (one, other):
        place.mkdir()
    files = write(one, 200, seed=5)
    assert [path.read_bytes() for path in (files.fills, files.replies)] == [
        (other / path.name).read_bytes() for path in both(write(other, 200, seed=5))
    ]
    told = measure.PROVING["ours"].run(files, limit_seconds=60)
    assert {name: told[name] for name in ("dropped", "invented", "residual_holdings", "gaps")} == {
        "dropped": 0,
        "invented": 0,
        "residual_holdings": 0,
        "gaps": 0,
    }
    rows = files.replies.read_bytes().splitlines()
    files.replies.write_bytes(b"\n".join(rows[1:]))
    assert measure.PROVING["ours"].run(files, limit_seconds=60)["residual_holdings"] > 0


def both(files: measure.Files) -> tuple[Path, Path]:
    return files.fills, files.replies


def test_who_does_not_finish_is_reported_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measure, "PROGRAMS", tmp_path)
    (tmp_path / "sleeps.py").write_text("import time\ntime.sleep(60)\n")
    (tmp_path / "fails.py").write_text("raise ValueError('no such coin')\n")
    files = measure.Files(tmp_path / "fills", tmp_path / "replies")
    told = {name: measure.Way(name, f"{name}.py", None).run(files, 1) for name in ("sleeps", "fails")}
    assert told == {
        "sleeps": {"reason": "gave up after 1 s"},
        "fails": {"reason": "failed: ValueError: no such coin"},
    }

    def missing(peer: Peer) -> Path:
        raise PeerMissingError(f"no Python {peer.python} here")

    monkeypatch.setattr(measure, "interpreter", missing)
    absent = measure.Way("absent", "sleeps.py", Peer("absent", "absent==1", "3.99")).run(files, 1)
    assert absent == {"reason": "not installed: no Python 3.99 here"}
    table = measure.proving_table({10: {"nautilus": [absent]}, 20: {"nautilus": [told["sleeps"]]}})
    assert ["not installed" in table[2], "gave up after 1 s" in table[3]] == [True, True]
