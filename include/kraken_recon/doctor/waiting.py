"""Wait for answers no longer than told: what hangs is left behind in a thread that ends with the process."""

from __future__ import annotations

import threading
import time
from collections import deque
from concurrent.futures import Future
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Thing = TypeVar("Thing")
Answer = TypeVar("Answer")


def started(step: Callable[[], Answer]) -> Future[Answer]:
    """Start a step in a thread of its own, which keeps no process alive."""
    future: Future[Answer] = Future()

    def run() -> None:
        try:
            future.set_result(step())
        except BaseException as error:  # noqa: BLE001 - whoever asks for the result gets it
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future


def each_within(
    things: Sequence[Thing], step: Callable[[Thing], Answer], *, concurrency: int, seconds: float
) -> list[Answer | None]:
    """Take a step for everything, a bounded number at a time; None for what had no answer in time.

    Raises:
        Exception: the first that a step raised.
    """
    deadline = time.monotonic() + seconds
    answers: list[Answer | None] = [None] * len(things)
    waiting = deque(enumerate(things))

    def work() -> None:
        while time.monotonic() < deadline:
            try:
                place, thing = waiting.popleft()
            except IndexError:
                return
            answers[place] = step(thing)

    workers = [started(work) for _ in range(min(concurrency, len(things)))]
    for worker in workers:
        try:
            worker.result(max(0.0, deadline - time.monotonic()))
        except TimeoutError:
            continue
    return list(answers)
