"""Do a transaction again when another session was in its way."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Final, TypeVar

from kraken_recon.errors import LockTimeoutError, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    Unit = TypeVar("Unit")
    Result = TypeVar("Result")

# Who books entries of an account beside others meets them seldom twice; each time again, less.
STORE_TRIES_MAX: Final = 5
FIRST_PAUSE_SECONDS: Final = 0.02
LONGEST_PAUSE_SECONDS: Final = 0.5


def is_worth_repeating(error: StoreError) -> bool:
    """Say whether the same transaction may succeed at once: not where a lock was waited for in vain."""
    return error.retryable and not isinstance(error, LockTimeoutError)


def back_off(tries: int) -> None:
    """Wait before a transaction is done again: two that met and begin again at once meet again.

    Args:
        tries: how many were in vain; each makes the wait longer, up to half a second.
    """
    longest = min(FIRST_PAUSE_SECONDS * 2.0**tries, LONGEST_PAUSE_SECONDS)
    time.sleep(random.uniform(FIRST_PAUSE_SECONDS, longest))  # noqa: S311 - not for secrecy


def repeated(
    step: Callable[[Unit], Result], open_unit_of_work: Callable[[], AbstractContextManager[Unit]]
) -> Result:
    """Run a step in a unit of work of its own, a few times if need be; the step commits.

    Raises:
        StoreError: it is not worth another try, or the last one failed too.
    """
    for attempt in range(1, STORE_TRIES_MAX + 1):
        try:
            with open_unit_of_work() as unit:
                return step(unit)
        except StoreError as error:
            if not is_worth_repeating(error) or attempt == STORE_TRIES_MAX:
                raise
            back_off(attempt)
    raise AssertionError("unreachable: the last try returns or raises")
