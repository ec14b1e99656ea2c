"""Play every fault at every job, and write down what was survived, told, recovered, and wrong.

Each process has a simulator and a database of its own and plays one cell after another; cells share nothing,
so that any of them can be played alone.
"""

from __future__ import annotations

import argparse
import logging
import os
import random
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from benchmarks.fault_matrix import auditing, importing
from benchmarks.fault_matrix.cells import Cell, Outcome, play
from benchmarks.fault_matrix.jobs import JOBS
from benchmarks.fault_matrix.lane import Lane, RunningSimulator
from benchmarks.fault_matrix.page import PAGE, render
from benchmarks.fault_matrix.rows import all_faults
from benchmarks.figures import RESULTS, keep, surroundings
from benchmarks.servers import empty_database, running_server, scratch_database

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

OUTPUT: Final = RESULTS / "fault_matrix.json"
#: More than cores: a cell that meets a silence waits, and costs nobody anything.
LANES: Final = 2 * (os.cpu_count() or 1)
#: Whoever asks the exchange: what is wrong with that is tried on them.
ASKING: Final = tuple(job for job in JOBS if job not in {importing.JOB, auditing.JOB})
_STACK: Final = ExitStack()
_LANE: list[Lane] = []


def cells_of(only: str, *, is_short: bool, seed: int) -> list[Cell]:
    """List the cells to play: all, those that are named, or one of each fault's kind.

    Args:
        only: a fault's name or its beginning, and a job after a slash; empty for all.
        is_short: one row of each kind of fault, at one job.
        seed: by which the short ones are drawn.
    """
    name, _, job = only.partition("/")
    found = [
        Cell(fault, one)
        for fault in all_faults()
        for one in JOBS
        if one in (fault.jobs or ASKING) and (not job or one == job)
    ]
    exact = [cell for cell in found if cell.fault.name == name]
    found = exact or [cell for cell in found if cell.fault.name.startswith(name)]
    if not is_short:
        return found
    dice = random.Random(seed)  # noqa: S311 - must be reproducible
    classes = dict.fromkeys(cell.fault.group_class for cell in found)
    return [dice.choice([cell for cell in found if cell.fault.group_class == one]) for one in classes]


def open_lane(server_url: str, template_url: str, seed: int) -> Lane:
    """Open a lane for as long as this process lives."""
    url = _STACK.enter_context(scratch_database(server_url, urlsplit(template_url).path.strip("/")))
    desk_url = _STACK.enter_context(scratch_database(server_url))
    simulator = _STACK.enter_context(RunningSimulator(seed))
    place = _STACK.enter_context(tempfile.TemporaryDirectory(prefix="fault-matrix-"))
    return Lane(url, desk_url, simulator.url, Path(place))


def _begin(server_url: str, template_url: str, seed: int) -> None:
    logging.disable(logging.CRITICAL)
    _LANE.append(open_lane(server_url, template_url, seed))


def _play(cell: Cell, seed: int) -> Outcome:
    return play(cell, _LANE[0], seed)


def measure(cells: Sequence[Cell], server_url: str, seed: int, lanes: int = LANES) -> Iterator[Outcome]:
    """Play cells in processes side by side, and yield what became of each, in their order."""
    lanes = min(lanes, len(cells))
    with (
        empty_database(server_url) as template_url,
        ProcessPoolExecutor(
            lanes, get_context("spawn"), initializer=_begin, initargs=(server_url, template_url, seed)
        ) as pool,
    ):
        yield from pool.map(partial(_play, seed=seed), cells)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and write the page where everything was measured."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks fault-matrix", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", metavar="FAULT[/JOB]", help="a row, or one cell of it")
    parser.add_argument("--short", action="store_true", help="one cell of each class of faults")
    parser.add_argument("--server", help="URL of a PostgreSQL server, as superuser; default: one of our own")
    options = parser.parse_args(arguments)
    cells = cells_of(options.only, is_short=options.short, seed=options.seed)
    if not cells:
        sys.exit(f"no fault is called {options.only!r}")
    begun = time.monotonic()
    outcomes = []
    with running_server(options.server, durable=False) as server_url:
        around = surroundings(server_url)
        for number, outcome in enumerate(measure(cells, server_url, options.seed), start=1):
            outcomes.append(outcome)
            if outcome.defects or options.only or options.short:
                tell(outcome)
            if not number % 100:
                print(f"{number} of {len(cells)} cells, {time.monotonic() - begun:.0f} s", flush=True)
    seconds = time.monotonic() - begun
    broken = [outcome for outcome in outcomes if outcome.defects]
    print(f"{len(outcomes)} cells in {seconds:.0f} s, {len(broken)} with defects")
    if not options.only and not options.short:
        keep({"surroundings": around, "seconds": seconds, "cells": [plain(one) for one in outcomes]}, OUTPUT)
        PAGE.write_text(render(outcomes, around, seconds, options.seed), encoding="utf-8")
        print(f"written: {PAGE}")
    elif broken:
        sys.exit(1)


def tell(outcome: Outcome) -> None:
    """Print what became of one cell."""
    print(
        f"{outcome.cell.name}: struck {outcome.struck} times, {outcome.seconds:.1f} s\n"
        f"  told: {', '.join(outcome.told) or 'nothing'}\n"
        f"  harmed: {'; '.join(outcome.harmed) or 'nothing'}\n"
        f"  recovered after: {outcome.recovered_after}",
        *(f"\n  DEFECT {defect}" for defect in outcome.defects),
        f"\n{outcome.died}" if outcome.died else "",
        flush=True,
    )


def plain(outcome: Outcome) -> dict[str, object]:
    """Write an outcome for the raw figures."""
    return {
        "cell": outcome.cell.name,
        **{
            name: getattr(outcome, name)
            for name in ("struck", "told", "harmed", "recovered_after", "defects", "seconds")
        },
    }
