"""The driver's errors as errors of this project."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import psycopg

from kraken_recon.errors import (
    ConfigurationError,
    LockTimeoutError,
    LockUnavailableError,
    RightMissingError,
    SchemaMismatchError,
    StoreError,
    StoreUnreachableError,
    TextRefusedError,
)

if TYPE_CHECKING:
    from kraken_recon.errors import KrakenReconError

# Another session was in the way; the same work may succeed the next time.
REFUSED_LOCKS: Final = (
    psycopg.errors.LockNotAvailable,
    psycopg.errors.DeadlockDetected,
    psycopg.errors.SerializationFailure,
)
# Without a state of its own the error came from the client's side: nothing answered. The others: connection
# exceptions, too many connections, and a server that is being shut down or started.
_NO_SESSION: Final = ("08", "53300", "57P")
_NO_RIGHT: Final = psycopg.errors.InsufficientPrivilege
_REFUSED_TEXTS: Final = (psycopg.errors.UntranslatableCharacter, psycopg.errors.CharacterNotInRepertoire)
_NOT_OURS: Final = (
    psycopg.errors.UndefinedTable,
    psycopg.errors.UndefinedColumn,
    psycopg.errors.InvalidSchemaName,
)
# What PgBouncer refuses for good, and what to do about it.
_POOLERS_REFUSALS: Final = {
    "unsupported startup parameter": (
        "leave `options` out of the address, of the connection's extra and of PGOPTIONS: behind a pooler "
        "nothing can be set at the start"
    ),
    "statement pooling mode": "set the pooler's pool_mode to transaction or session: work is transactions",
}


def project_error(cause: BaseException | None) -> KrakenReconError:
    """Sort an error of the driver's; the text is its first line, as later ones may quote values."""
    text = next(iter(str(cause).splitlines()), "") or type(cause).__name__
    for refusal, remedy in _POOLERS_REFUSALS.items():
        if refusal in str(cause):
            return ConfigurationError(f"{text}; {remedy}")
    if isinstance(cause, REFUSED_LOCKS):
        is_timeout = isinstance(cause, psycopg.errors.LockNotAvailable)
        return LockTimeoutError(text) if is_timeout else LockUnavailableError(text)
    if isinstance(cause, psycopg.OperationalError) and (cause.sqlstate or "08").startswith(_NO_SESSION):
        return StoreUnreachableError(text)
    if isinstance(cause, _NOT_OURS):
        return SchemaMismatchError(f"{text}; run `python -m kraken_recon migrate`")
    if isinstance(cause, _REFUSED_TEXTS) or (isinstance(cause, psycopg.DataError) and "NUL" in text):
        return TextRefusedError(text)
    return right_missing(text) if isinstance(cause, _NO_RIGHT) else StoreError(text)


def right_missing(text: str) -> RightMissingError:
    """Say what a login may not do, and where it is written what it needs."""
    return RightMissingError(f"{text}; its login needs another role: docs/how-to/least-privilege.md")
