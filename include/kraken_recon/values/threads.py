"""Run one step for many things at a time, in threads that end with the one that started them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Thing = TypeVar("Thing")
Result = TypeVar("Result")


def side_by_side(
    things: Sequence[Thing], step: Callable[[Thing], Result], *, concurrency: int, stop: Callable[[], None]
) -> list[Result]:
    """Run a step for everything, a bounded number at a time; return the results in order.

    When this thread is interrupted (a task that is ended, a time-out), ``stop`` tells the others: their
    sessions must not outlive it. Each step sees the context of this thread, as spans of traces do.
    """
    if not things:
        return []
    context = copy_context()
    with ThreadPoolExecutor(max_workers=min(concurrency, len(things))) as pool:
        try:
            return list(pool.map(lambda thing: context.copy().run(step, thing), things))
        except BaseException:
            stop()
            raise
