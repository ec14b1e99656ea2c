"""Ask Kraken how it is, and about each account's key.

Invariants:
1. A key is used only through its call slot, as everybody does who uses it: no nonce of a run is spoilt.
2. Nothing is changed at Kraken, and no key leaves this process but to Kraken.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final

from kraken_recon.doctor.rules.readings import KeyReading, KeyTrouble, KrakenReading
from kraken_recon.errors import (
    AuthenticationError,
    ConfigurationError,
    ExchangeError,
    LockUnavailableError,
    NonceRejectedError,
    RateLimitedError,
    StoreError,
)
from kraken_recon.kraken.call_slots import fingerprint
from kraken_recon.kraken.client import key_problems
from kraken_recon.kraken.credentials import CONNECTION_TYPE
from kraken_recon.kraken.trading_client import TRADE_PERMISSIONS
from kraken_recon.orders.clocks import clock_ahead
from kraken_recon.settings import connection_variable
from kraken_recon.values.connection_fields import parse_connection

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kraken_recon.doctor.ports import DoctorPorts
    from kraken_recon.kraken.credentials import KrakenCredentials

_BUSY: Final = (LockUnavailableError, RateLimitedError, NonceRejectedError)


def connections_here(environment: Mapping[str, str]) -> list[str]:
    """Name the connections of type ``kraken`` that are set here."""
    prefix = connection_variable("")
    names = []
    for variable, text in environment.items():
        with suppress(ValueError):
            if variable.startswith(prefix) and parse_connection(text.strip())[0] == CONNECTION_TYPE:
                names.append(variable.removeprefix(prefix).lower())
    return sorted(names)


def look_at_key(account: str, connection: str, ports: DoctorPorts) -> KeyReading:
    """Ask Kraken about one account's key."""
    variable = connection_variable(connection)
    if not ports.environment.get(variable):
        return KeyReading(account, connection, trouble=KeyTrouble.MISSING, told=f"Set {variable}")
    try:
        credentials = ports.credentials_of(connection)
    except ConfigurationError as error:
        return KeyReading(account, connection, trouble=KeyTrouble.UNUSABLE, told=str(error))
    known = fingerprint(credentials.api_key)
    try:
        with ports.open_key(credentials, account) as client:
            info = client.key_info()
    except AuthenticationError as error:
        return KeyReading(account, connection, known, KeyTrouble.REFUSED, str(error))
    except _BUSY as error:
        return KeyReading(account, connection, known, KeyTrouble.BUSY, str(error))
    except (ExchangeError, StoreError, ConfigurationError) as error:
        return KeyReading(account, connection, known, KeyTrouble.SILENT, str(error))
    return KeyReading(
        account,
        connection,
        known,
        to_change=tuple(key_problems(info, ports.clock())),
        may_trade=info.permissions >= TRADE_PERMISSIONS,
        valid_until=info.valid_until,
    )


def look_at_kraken(credentials: KrakenCredentials, ports: DoctorPorts) -> KrakenReading:
    """Ask Kraken for its clock and its state, without using the key."""
    host = credentials.base_url
    try:
        with ports.open_key(credentials, "") as client:
            before = ports.clock()
            told = client.server_time()
            apart = clock_ahead(before, told, ports.clock())
            return KrakenReading(host, client.system_status(), clock_ahead=apart)
    except ExchangeError as error:
        return KrakenReading(host, told=str(error))
