"""What the processes of a running stack used: seconds of processor by kind, memory while it worked."""

from __future__ import annotations

import threading
from collections import Counter
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import psutil

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

SAMPLED_EVERY_SECONDS: Final = 1.0
SCHEDULER: Final = "airflow-scheduler"
WORKERS: Final = "executor"
TASKS: Final = "tasks"
GONE: Final = (psutil.NoSuchProcess, psutil.ZombieProcess)


def cpu_seconds(roots: Mapping[str, int]) -> Counter[str]:
    """Add up what each kind of process used so far, also what ended: a parent keeps that of its children.

    The scheduler's children are the workers of its executor, and theirs the tasks.
    """
    used: Counter[str] = Counter()
    for kind, root in roots.items():
        with suppress(*GONE):
            process = psutil.Process(root)
            used[kind] += _own(process)
            if kind != SCHEDULER:
                used[kind] += _ended(process) + sum(map(_whole, process.children(recursive=True)))
                continue
            for worker in process.children():
                with suppress(*GONE):
                    used[WORKERS] += _own(worker)
                    used[TASKS] += _ended(worker) + sum(map(_whole, worker.children(recursive=True)))
    return used


def _own(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _ended(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.children_user + times.children_system)


def _whole(process: psutil.Process) -> float:
    try:
        return _own(process) + _ended(process)
    except GONE:
        return 0.0


def memory_bytes(roots: Mapping[str, int]) -> Counter[str]:
    """Add up what each kind of process holds now; of what several share, each its part."""
    held: Counter[str] = Counter()
    for kind, root in roots.items():
        with suppress(*GONE):
            process = psutil.Process(root)
            for one in (process, *process.children(recursive=True)):
                with suppress(*GONE, psutil.AccessDenied):
                    held[kind] += one.memory_full_info().pss
    return held


@dataclass
class Watched:
    """What was used between two moments."""

    cpu: Counter[str] = field(default_factory=Counter)
    memory: Counter[str] = field(default_factory=Counter)
    memory_at_most: int = 0
    connections_at_most: int = 0


@contextmanager
def watching(roots: Mapping[str, int], count_connections: Callable[[], int]) -> Iterator[Watched]:
    """Watch the processes while the block runs."""
    watched = Watched()
    before = cpu_seconds(roots)
    ended = threading.Event()

    def sample() -> None:
        while not ended.wait(SAMPLED_EVERY_SECONDS):
            held = memory_bytes(roots)
            watched.memory_at_most = max(watched.memory_at_most, held.total())
            watched.memory |= held
            watched.connections_at_most = max(watched.connections_at_most, count_connections())

    sampler = threading.Thread(target=sample)
    sampler.start()
    try:
        yield watched
    finally:
        ended.set()
        sampler.join()
        watched.cpu.update(cpu_seconds(roots))
        watched.cpu.subtract(before)
