"""Whether a pooler stands before the trading database, what it keeps of a session, and the way past it.

A pooler tells each client a process number of its own making: whoever asks the server behind it gets another
one. How it pools shows when two clients ask in turn: one that pools by session keeps a session for each.

Invariants:
1. A process looks once per database; a session that turns out to be another's later is looked at again.
2. A look leaves nothing behind in any session.
3. What needs a session of its own never runs on one that is lent by the transaction.
"""

from __future__ import annotations

import select
from contextlib import closing
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

import psycopg

from kraken_recon.database.addresses import connection_parameters
from kraken_recon.database.connecting import connect
from kraken_recon.database.driver_errors import project_error
from kraken_recon.errors import (
    ConfigurationError,
    DirectConnectionNeededError,
    StoreError,
    StoreUnreachableError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

LOOKS: Final = 20
"""How often two clients ask in turn: others at work are lent sessions too, and may part these two."""
ANSWER_SECONDS: Final = 10.0
_NAME: Final = "kraken_recon:pooler"
_WHO: Final = b"select pg_backend_pid()"
_WHERE: Final = (
    "select pg_postmaster_start_time()::text, oid from pg_database where datname = current_database()"
)
_PLACES: Final = ("host", "hostaddr", "port", "dbname", "user")


class PoolerMode(StrEnum):
    """What stands between a client and the server, by how long it lends a session."""

    NONE = "none"
    SESSION = "session"
    TRANSACTION = "transaction"
    STATEMENT = "statement"

    @property
    def keeps_sessions(self) -> bool:
        """Whether what a session holds is held until the client leaves."""
        return self in {PoolerMode.NONE, PoolerMode.SESSION}


# What holds for one process; tests begin anew by clearing it.
found_before: dict[tuple[Any, ...], PoolerMode] = {}
_same_database: set[tuple[tuple[Any, ...], tuple[Any, ...]]] = set()


def no_direct_dsn() -> str | None:
    """Know of no way past a pooler."""
    return None


def note_direct(parameters: Mapping[str, Any]) -> None:
    """Remember that a session was the server's own, as it showed in passing."""
    found_before[place_of(parameters)] = PoolerMode.NONE


def note_lent(dsn: str) -> None:
    """Remember that a session was exchanged between two transactions, whatever was found before."""
    found_before[place_of(connection_parameters(dsn))] = PoolerMode.TRANSACTION


def pooler_mode(dsn: str) -> PoolerMode:
    """Say what stands before a database, as this process found once.

    Raises:
        ConfigurationError: the address is none.
        StoreError: the database cannot be asked.
    """
    place = place_of(connection_parameters(dsn))
    if place not in found_before:
        found_before[place] = look_for_pooler(dsn)
    return found_before[place]


def look_for_pooler(dsn: str) -> PoolerMode:
    """Look what stands before a database; it takes one connection, behind a pooler two.

    Raises:
        ConfigurationError: the address is none.
        StoreError: the database cannot be asked.
    """
    parameters = connection_parameters(dsn)
    try:
        with closing(connect(parameters, _NAME)) as first:
            number = _ask(first, _WHO)
            if number == first.info.backend_pid:
                return PoolerMode.NONE
            with closing(connect(parameters, _NAME)) as second:
                return PoolerMode.TRANSACTION if _are_lent(first, second, number) else PoolerMode.SESSION
    except psycopg.Error as error:
        if "statement pooling mode" in str(error):
            return PoolerMode.STATEMENT
        raise project_error(error) from error


def own_session_address(dsn: str, direct_dsn: Callable[[], str | None]) -> str:
    """Give the address at which a session stays its client's: the database's own, or the one past its pooler.

    Args:
        dsn: of the trading database.
        direct_dsn: reads the address past a pooler, None where there is none; asked only behind a pooler.

    Raises:
        DirectConnectionNeededError: the pooler lends sessions by the transaction; no way past it is known.
        ConfigurationError: the direct connection leads somewhere else, or nowhere past a pooler.
        StoreError: the database cannot be asked.
    """
    mode = pooler_mode(dsn)
    if mode is PoolerMode.NONE:
        return dsn
    direct = direct_dsn()
    if direct is None:
        if mode is PoolerMode.SESSION:
            return dsn
        raise DirectConnectionNeededError(
            f"a pooler that pools by {mode} stands before the trading database: call slots, wake-ups and"
            " writes to desk books need sessions of their own. Add the connection trading_db_direct (for the"
            " command line KRAKEN_RECON_DIRECT_DSN) that leads past it, or set its pool_mode to session"
        )
    direct_mode = pooler_mode(direct)
    if not direct_mode.keeps_sessions:
        raise DirectConnectionNeededError(
            f"the direct connection leads to a pooler that pools by {direct_mode} as well; let it lead to the"
            " server"
        )
    _refuse_other_database(dsn, direct)
    return direct


def place_of(parameters: Mapping[str, Any]) -> tuple[Any, ...]:
    """Name what a pooler is found for: it may pool each database and role in a way of its own."""
    return tuple(str(parameters.get(name) or "") for name in _PLACES)


def _are_lent(first: psycopg.Connection, second: psycopg.Connection, number: int) -> bool:
    """Say whether one client ever got the other's session, or another one than it had."""
    others = None
    for _ in range(LOOKS):
        # In a transaction, so that a session that is lent stays away while the first client asks again.
        told = _ask(second, b"begin read only; " + _WHO)
        is_lent = told == number or told != (others or told) or _ask(first, _WHO) != number
        others = told
        second.commit()
        if is_lent:
            return True
    return False


def _ask(connection: psycopg.Connection, statement: bytes) -> int:
    """Ask for a number, not for longer than the answer is worth: a pooler keeps clients waiting for minutes.

    Raises:
        StoreUnreachableError: no answer came in time.
    """
    connection.pgconn.send_query(statement)
    answered = select.poll()
    answered.register(connection.fileno(), select.POLLIN)
    if not answered.poll(ANSWER_SECONDS * 1000):
        raise StoreUnreachableError(
            f"the pooler gave no session within {ANSWER_SECONDS:g} s: its pools are in use (raise"
            " default_pool_size), or the server behind it is down"
        )
    number = None
    while result := connection.pgconn.get_result():
        if result.error_message:
            raise psycopg.OperationalError(result.error_message.decode(errors="replace"))
        number = result.get_value(0, 0) if result.ntuples else number
    if number is None:
        raise StoreError("the server did not say which session answers")
    return int(number)


def _refuse_other_database(dsn: str, direct: str) -> None:
    """Refuse a direct connection to another database: nonces and slots would be counted twice."""
    of_both = (connection_parameters(dsn), connection_parameters(direct))
    places = (place_of(of_both[0]), place_of(of_both[1]))
    if places in _same_database:
        return
    found = []
    for parameters in of_both:
        try:
            with closing(connect(parameters, _NAME)) as connection:
                found.append(connection.execute(_WHERE).fetchone())
        except psycopg.Error as error:
            raise project_error(error) from error
    if found[0] != found[1]:
        raise ConfigurationError(
            "the direct connection leads to another server or database than the trading database's; let both"
            " lead to the same"
        )
    _same_database.add(places)
