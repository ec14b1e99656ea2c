"""Prove and parse one made account with this project and with its peers, side by side.

Every figure is of a process of its own, which has a limit of time. What cannot be installed, fails or is too
slow is reported as that.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Final

from benchmarks.figures import RESULTS, ROOT, keep, publish, surroundings, taken
from benchmarks.peers.environments import CCXT, NAUTILUS, OCTOBOT, Peer, PeerMissingError, interpreter
from benchmarks.peers.made_account import Files, write

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

COMMAND: Final = "make bench-peers"
PROGRAMS: Final = Path(__file__).with_name("programs")
OUTPUT: Final = RESULTS / "peers.json"
SCALES: Final = {"full": (20_000, 200_000), "small": (1_000, 4_000)}
ROUNDS: Final = 3
LIMIT_SECONDS: Final = 60
GROWTH_GOAL: Final = 1.1
PARSING_GOAL: Final = 5
Outcome = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Way:
    """One program; ``peer`` is None for our own."""

    name: str
    program: str
    peer: Peer | None
    job: str | None = None
    rounds: int = 1

    def run(self, files: Files, limit_seconds: int) -> Outcome:
        """Run it once; what it did not do is the outcome's ``reason``."""
        try:
            python = str(interpreter(self.peer)) if self.peer else sys.executable
        except PeerMissingError as error:
            return {"reason": f"not installed: {error}"}
        given = [str(files.fills)] if self.job is None else [self.job, str(files.fills), str(files.replies)]
        try:
            done = subprocess.run(  # noqa: S603 - our own command
                [python, str(PROGRAMS / self.program), *given],
                env={**os.environ, "PYTHONPATH": "" if self.peer else str(ROOT / "include")},
                capture_output=True,
                text=True,
                timeout=limit_seconds,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return {"reason": f"gave up after {limit_seconds} s"}
        lines = (done.stderr if done.returncode else done.stdout).strip().splitlines()
        if done.returncode:
            return {"reason": f"failed: {lines[-1] if lines else done.returncode}"}
        outcome: Outcome = json.loads(lines[-1])
        return outcome


PROVING: Final = {
    "ours": Way("this project", "ours.py", None, "prove", ROUNDS),
    "nautilus": Way(f"{NAUTILUS.name} {NAUTILUS.requirement.partition('==')[2]}", "nautilus.py", NAUTILUS),
    "octobot": Way(f"{OCTOBOT.name} {OCTOBOT.requirement.partition('==')[2]}", "octobot.py", OCTOBOT),
}
PARSING: Final = {
    "ours-parse": Way("this project", "ours.py", None, "parse", ROUNDS),
    "ccxt-parse": Way(
        f"{CCXT.name} {CCXT.requirement.partition('==')[2]}", "ccxt_ledger.py", CCXT, "parse", ROUNDS
    ),
}


def measure(ways: Mapping[str, Way], files: Files, limit_seconds: int) -> dict[str, list[Outcome]]:
    """Run the ways in turns, so that whatever else the machine does meets them alike."""
    outcomes: dict[str, list[Outcome]] = {name: [] for name in ways}
    for turn in range(ROUNDS):
        for name, way in ways.items():
            if turn < way.rounds and not any("reason" in earlier for earlier in outcomes[name]):
                outcomes[name].append(way.run(files, limit_seconds))
                print(f"  {name}: {json.dumps(outcomes[name][-1])}", flush=True)
    return outcomes


def seconds_of(outcomes: Sequence[Outcome], name: str = "seconds") -> float | None:
    """Take the middle of what the rounds measured; None where one did not finish."""
    return None if any("reason" in one for one in outcomes) else median(one[name] for one in outcomes)


def proving_table(measured: Mapping[int, Mapping[str, list[Outcome]]]) -> list[str]:
    """Write how the ways prove, and how that grows."""
    lines = [
        "| proving and explaining | fills | CPU s | dropped | invented | do not come out | growth |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    counts = sorted(measured)
    for name in measured[counts[0]]:
        for count in counts:
            outcomes = measured[count][name]
            row = f"| {PROVING[name].name} | {count:,} |"
            if (seconds := seconds_of(outcomes)) is None:
                lines.append(f"{row} {outcomes[-1]['reason']} | | | | |")
                continue
            first = seconds_of(measured[counts[0]][name])
            grown = "" if count == counts[0] or not first else f"{seconds / first / (count / counts[0]):.2f}"
            told = ["not said" if (said := outcomes[0][what]) is None else f"{said:,}" for what in _LOST]
            lines.append(f"{row} {seconds:.2f} | {' | '.join(told)} | {grown} |")
    return lines


_LOST: Final = ("dropped", "invented", "residual_holdings")


def parsing_table(measured: Mapping[int, Mapping[str, list[Outcome]]]) -> list[str]:
    """Write how many rows of a ledger the ways parse."""
    lines = [
        "| parsing | rows | from bytes, rows per CPU s | from objects |",
        "|---|--:|--:|--:|",
    ]
    for count, ways in sorted(measured.items()):
        for name, outcomes in ways.items():
            row = f"| {PARSING[name].name} | {2 * count:,} |"
            if any("reason" in one for one in outcomes):
                lines.append(f"{row} {outcomes[-1]['reason']} | |")
                continue
            rates = [
                median(one["rows"] / one[what] for one in outcomes) for what in ("from_bytes", "from_objects")
            ]
            lines.append(f"{row} {rates[0]:,.0f} | {rates[1]:,.0f} |")
    return lines


def verdicts(
    proving: Mapping[int, Mapping[str, list[Outcome]]], parsing: Mapping[int, Mapping[str, list[Outcome]]]
) -> list[str]:
    """Write the goals, and whether they are met."""
    lines = []
    counts = sorted(proving)
    ours = [seconds_of(proving[count].get("ours", [{"reason": ""}])) for count in counts]
    if len(counts) > 1 and ours[0] and ours[-1]:
        growth = ours[-1] / ours[0] / (counts[-1] / counts[0])
        lines.append(
            f"Growth of proving beyond linear: {growth:.2f}, goal at most {GROWTH_GOAL}: "
            f"{'met' if growth <= GROWTH_GOAL else '**missed**: more memory than a processor caches'}."
        )
    for count, ways in sorted(parsing.items()):
        both = [
            seconds_of(ways.get(name, [{"reason": ""}]), "from_bytes")
            for name in ("ours-parse", "ccxt-parse")
        ]
        if both[0] and both[1]:
            ratio = both[1] / both[0]
            lines.append(
                f"Parsing {2 * count:,} rows from bytes, ours to ccxt's: {ratio:.1f} times, goal at least "
                f"{PARSING_GOAL}: {'met' if ratio >= PARSING_GOAL else '**missed**'}."
            )
    return lines


def main(arguments: Sequence[str]) -> None:
    """Measure everything, print the tables, and write those of a full run into the README."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks peers", description=__doc__)
    parser.add_argument("--scale", choices=SCALES, default="full")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", choices=(*PROVING, *PARSING), help="one way alone; writes nothing")
    parser.add_argument(
        "--limit", type=int, default=LIMIT_SECONDS, help="seconds after which a way is given up"
    )
    chosen = parser.parse_args(arguments)
    figures: dict[str, Any] = {**surroundings(), "seed": chosen.seed, "limit_seconds": chosen.limit}
    ways = {name for name in (*PROVING, *PARSING) if chosen.only in {None, name}}
    measured: dict[str, dict[int, dict[str, list[Outcome]]]] = {"proving": {}, "parsing": {}}
    for count in SCALES[chosen.scale]:
        with tempfile.TemporaryDirectory() as place:
            files = write(Path(place), count, chosen.seed)
            print(f"{count:,} fills", flush=True)
            for part, known in (("proving", PROVING), ("parsing", PARSING)):
                wanted = {name: way for name, way in known.items() if name in ways}
                measured[part][count] = measure(wanted, files, chosen.limit)
    proving, parsing = measured["proving"], measured["parsing"]
    text = "\n".join(
        [
            taken(figures),
            f"Seed {chosen.seed}, a limit of {chosen.limit} s. Growth: seconds per fill, of many to few.",
            "",
            *proving_table(proving),
            "",
            *parsing_table(parsing),
            "",
            *verdicts(proving, parsing),
        ]
    )
    print(f"\n{text}")
    if chosen.only is None:
        keep(figures | measured, OUTPUT)
        if chosen.scale == "full":
            publish(COMMAND, text)


if __name__ == "__main__":
    main(sys.argv[1:])
