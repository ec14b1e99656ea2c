"""Turn errors of the core into Airflow's two reactions; the one place that decides between them.

An error that may pass is raised as it is, and Airflow retries the task. Any other fails the task at once:
trying a refused key again risks a lockout, and a wrong setting does not mend itself.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowTaskTimeout

from kraken_recon.errors import (
    KrakenReconError,
    RightMissingError,
    SchemaMismatchError,
    ServerTooOldError,
    StoreError,
    TextRefusedError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

CAUSE_LENGTH_MAX: Final = 500


class AlertedFailure(AirflowFailException):
    """A task failed, and people are told why by alerts of what it met; the run raises none of its own."""


def told_cause(error: BaseException | None) -> str:
    """Say for people why a task failed, in one line; an error that is not ours may hold a secret."""
    if error is None:
        return "its process ended, or lost touch with Airflow; see the task's log"
    name = type(error).__name__
    if isinstance(error, AirflowTaskTimeout):
        return "it took longer than it may (execution_timeout)"
    if not isinstance(error, (KrakenReconError, AirflowException)):
        return f"unexpected {name}, see the task's log"
    lines = str(error).split("\n", 1)[0].strip()
    return (lines if isinstance(error, AirflowFailException) else f"{name}: {lines}")[:CAUSE_LENGTH_MAX]


def may_pass(error: KrakenReconError) -> bool:
    """Say whether the same task may succeed when it is tried again without anybody acting.

    A database that cannot be reached, restarts or cancels a statement is worth a retry, although the core,
    which has no time to wait, calls it final.
    """
    if isinstance(error, StoreError):
        final = (RightMissingError, SchemaMismatchError, ServerTooOldError, TextRefusedError)
        return not isinstance(error, final)
    return error.retryable


@contextmanager
def translated_failures() -> Iterator[None]:
    """Fail the task without a retry for every error of the core that will not pass by itself."""
    try:
        yield
    except KrakenReconError as error:
        if may_pass(error):
            raise
        raise AirflowFailException(f"{type(error).__name__}: {error}") from error
