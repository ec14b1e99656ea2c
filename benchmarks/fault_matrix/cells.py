"""One cell: prepare a job, let a fault strike, take it back, and see what was told, recovered and wrong."""

from __future__ import annotations

import random
import resource
import time
import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from benchmarks.fault_matrix import fields
from benchmarks.fault_matrix.jobs import JOBS
from benchmarks.fault_matrix.lines import Line

if TYPE_CHECKING:
    from collections.abc import Mapping

    from benchmarks.fault_matrix.fault import Fault
    from benchmarks.fault_matrix.lane import Lane
    from benchmarks.fault_matrix.scene import Scene

STRUCK_RUNS: Final = 2
#: However often a job meets the fault's silence, it ends in this time.
SECONDS_MAX: Final = 100.0
#: What a job may take for whatever an exchange sends; its answers are read up to 16 MB.
MEGABYTES_MAX: Final = 128


@dataclass(frozen=True, slots=True)
class Cell:
    """A fault at a job."""

    fault: Fault
    job: str

    @property
    def name(self) -> str:
        """As ``--only`` takes it."""
        return f"{self.fault.name}/{self.job}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a cell.

    Attributes:
        cell: which.
        struck: how often the fault struck.
        told: what people were told while it lasted, in few words.
        harmed: what was not as in truth after the runs that it struck.
        untold: what of that nobody was told.
        recovered_after: how many runs after the fault brought everything back; None where none did.
        by_hand: whether that took a decision of a person, by the command that the failing run names.
        left: what was still not as in truth after the last of them.
        wrong: what must never be, and was.
        died: the exception that the job did not survive.
        seconds: what it took.
    """

    cell: Cell
    struck: int
    told: tuple[str, ...] = ()
    harmed: tuple[str, ...] = ()
    untold: tuple[str, ...] = ()
    recovered_after: int | None = None
    by_hand: bool = False
    left: tuple[str, ...] = ()
    wrong: tuple[str, ...] = ()
    died: str = ""
    seconds: float = 0.0

    @property
    def defects(self) -> list[str]:
        """Say what is not as it must be."""
        if self.died:
            return [f"not survived: {self.died.strip().splitlines()[-1]}"]
        unadmitted = [] if self.cell.fault.lie else [*self.wrong, *self.untold]
        found = [f"{'wrong' if what in self.wrong else 'untold'}: {what}" for what in unadmitted]
        if self.seconds > SECONDS_MAX:
            found.append(f"hung: {self.seconds:.0f} s")
        if self.recovered_after is None:
            found += [f"not recovered: {what}" for what in self.left]
        return found


def play(cell: Cell, lane: Lane, seed: int) -> Outcome:
    """Play one cell."""
    begun = time.monotonic()
    try:
        outcome = _played(cell, lane, seed)
    except Exception:  # noqa: BLE001 - what a job does not survive is a result
        outcome = {"struck": -1, "died": traceback.format_exc()}
    finally:
        lane.end_faults()
    return Outcome(cell, **outcome, seconds=time.monotonic() - begun)


def _played(cell: Cell, lane: Lane, seed: int) -> dict[str, Any]:
    fault, name = cell.fault, lane.begin()

    line = Line(lane)

    def strike() -> None:
        match fault.where:
            case "simulator":
                lane.fault(fault.kind, **aimed(fault.options, name))
            case "line":
                line.spoil(fault.kind, dict(fault.options))
            case _:
                scene.spoil_input(fault.kind, fault.options)

    scene = JOBS[cell.job](
        lane,
        name,
        random.Random(f"{seed}:{cell.name}"),  # noqa: S311 - must be reproducible
        fault.endpoint,
        fault.is_paged,
        strike if fault.planted else None,
    )
    scene.is_contradicted = str(fault.options.get("how")) in fields.CREDIBLE
    scene.prepare()
    if not fault.planted:
        strike()
    told: set[str] = set()
    harmed, untold, wrong = [], [], []
    memory, known = _peak_megabytes(), scene.alerts()
    for _ in range(STRUCK_RUNS):
        said, left = scene.guarded(scene.run) - known, scene.unfinished()
        told |= said
        harmed += left
        untold += [] if said else left
        wrong += scene.wrong()
    if (grown := _peak_megabytes() - memory) > MEGABYTES_MAX:
        wrong.append(f"took {grown} MB more of memory")
    wrong += lane.astray()
    struck = line.mend() if fault.where == "line" else lane.struck() + scene.met
    lane.end_faults()
    scene.mend_input()
    after, still = _recovered(scene)
    if by_hand := after is None and scene.decide_by_hand():
        after, still = _recovered(scene)
    wrong += scene.wrong()
    scene.close()
    return {
        "struck": struck,
        "told": tuple(sorted(told)),
        "harmed": tuple(dict.fromkeys(harmed)),
        "untold": tuple(dict.fromkeys(untold)),
        "recovered_after": after,
        "by_hand": by_hand,
        "left": tuple(still),
        "wrong": tuple(dict.fromkeys(wrong)),
    }


def _recovered(scene: Scene) -> tuple[int | None, list[str]]:
    """Run on until everything is back, and say after how many runs; or what is not, after all of them."""
    still: list[str] = []
    for number in range(1, scene.recovery_runs_max + 1):
        scene.guarded(scene.recover)
        if not (still := scene.left()):
            return number, []
    return None, still


def _peak_megabytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def aimed(options: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Name the cell's own accounts in a fault's options."""
    return {
        option: value.format(name=name) if isinstance(value, str) else value
        for option, value in options.items()
    }
