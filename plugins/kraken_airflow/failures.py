"""Turn errors of the core into Airflow's two reactions; the one place that decides between them.

An error that may pass is raised as it is, and Airflow retries the task. Any other fails the task at once:
trying a refused key again risks a lockout, and a wrong setting does not mend itself.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from airflow.sdk.exceptions import AirflowFailException

from kraken_recon.errors import KrakenReconError, SchemaMismatchError, StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator


def may_pass(error: KrakenReconError) -> bool:
    """Say whether the same task may succeed when it is tried again without anybody acting.

    A database that cannot be reached, restarts or cancels a statement is worth a retry, although the core,
    which has no time to wait, calls it final.
    """
    if isinstance(error, StoreError):
        return not isinstance(error, SchemaMismatchError)
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
