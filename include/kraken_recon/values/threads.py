"""Run one step for many things at a time, in threads that end with the one that started them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from contextvars import copy_context
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

Thing = TypeVar("Thing")
Result = TypeVar("Result")


def keep_nothing(_: int) -> AbstractContextManager[None]:
    """Keep nothing open from one thing to the next."""
    return nullcontext()


def side_by_side(
    things: Sequence[Thing],
    step: Callable[[Thing], Result],
    *,
    concurrency: int,
    stop: Callable[[], None],
    keep_open: Callable[[int], AbstractContextManager[None]] = keep_nothing,
) -> list[Result]:
    """Run a step for everything, a bounded number at a time; return the results in order.

    When this thread is interrupted (a task that is ended, a time-out), ``stop`` tells the others: their
    sessions must not outlive it. Each step sees the context of this thread, as spans of traces do.
    ``keep_open`` keeps what as many steps as run at a time take from one to the next.
    """
    if not things:
        return []
    context = copy_context()
    workers = min(concurrency, len(things))
    with keep_open(workers), ThreadPoolExecutor(max_workers=workers) as pool:
        try:
            return list(pool.map(lambda thing: context.copy().run(step, thing), things))
        except BaseException:
            stop()
            raise
