"""Open a session of the trading database: what holds for each of them, whatever it is for.

Invariants:
1. Nothing is set at the start beside the session's name: a pooler refuses the rest, or drops it in silence.
2. No statement is prepared: behind a pooler the next one may meet another session, which does not know it,
   and what this one prepared would stay behind for strangers.
3. A server that is too old is named before anything is asked of it.
4. A server that is gone without a word is noticed within about a minute, whether a session waits for its
   answer or for its acknowledgement. The system's own limits are two hours and a quarter of one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import psycopg

from kraken_recon.errors import ServerTooOldError

if TYPE_CHECKING:
    from collections.abc import Mapping

OLDEST_SERVER: Final = 15
CONNECT_TIMEOUT_SECONDS: Final = 10
# Over TCP alone; what an address says for itself takes precedence.
NOTICED_SILENCE: Final = {
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
}
_VERSIONS_PER_MAJOR: Final = 10_000


def refuse_old_server(server_version: int) -> None:
    """Refuse a server by its number, such as 140012.

    Raises:
        ServerTooOldError: it is older than what is supported; the message names both.
    """
    major, minor = divmod(server_version, _VERSIONS_PER_MAJOR)
    if major < OLDEST_SERVER:
        raise ServerTooOldError(
            f"the server is PostgreSQL {major}.{minor}; {OLDEST_SERVER} is the oldest that is supported"
        )


def session_parameters(parameters: Mapping[str, Any], application_name: str) -> dict[str, Any]:
    """Add what every session has to where the database is."""
    return {
        "connect_timeout": CONNECT_TIMEOUT_SECONDS,
        **NOTICED_SILENCE,
        **parameters,
        "application_name": application_name,
        "autocommit": True,
        "prepare_threshold": None,
    }


def connect(parameters: Mapping[str, Any], application_name: str) -> psycopg.Connection:
    """Open a session that commits each statement outside of a transaction that somebody began.

    Raises:
        ServerTooOldError: the server is none that is supported.
    """
    try:
        # session: allowed - handed to whoever closes it: a unit of work, call slots, a look for a pooler
        connection = psycopg.connect(**session_parameters(parameters, application_name))
    except BaseException as error:  # noqa: BLE001 - raised again
        # The driver's frames hold a line that is half open for as long as somebody keeps the error.
        raise error.with_traceback(None) from None
    try:
        refuse_old_server(connection.info.server_version)
    except BaseException:
        connection.close()
        raise
    return connection
