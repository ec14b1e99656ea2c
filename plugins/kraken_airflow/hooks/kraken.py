"""From an Airflow connection of type ``kraken`` to checked credentials."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from airflow.sdk import BaseHook
from airflow.sdk._shared.secrets_masker import _secrets_masker
from airflow.sdk.exceptions import AirflowNotFoundException
from airflow.sdk.log import mask_secret

from kraken_airflow.hooks.connections_file import text_set_here
from kraken_recon.errors import (
    AuthenticationError,
    ConfigurationError,
    ExchangeError,
    ExchangeUnavailableError,
    KrakenReconError,
    NonceRejectedError,
    NotNowError,
    RateLimitedError,
)
from kraken_recon.kraken.client import KrakenClient, RetryPolicy
from kraken_recon.kraken.credentials import (
    CONNECTION_TYPE,
    allowed_hosts,
    credentials_from_connection,
)
from kraken_recon.kraken.local_call_slots import InProcessCallSlots
from kraken_recon.kraken.trading_client import trading_right
from kraken_recon.settings import connection_variable
from kraken_recon.values.connection_fields import ConnectionFields, parse_connection

if TYPE_CHECKING:
    from airflow.sdk import Connection

    from kraken_recon.kraken.credentials import KrakenCredentials

# Every private key of Kraken's: 64 bytes in base64.
KEY_SHAPE: Final = "[A-Za-z0-9+/]{86}=="
# Somebody waits for the answer in front of the form.
TEST_RETRIES = RetryPolicy(attempts_max=2, deadline_seconds=10)
ADVICE: dict[type[KrakenReconError], str] = {
    AuthenticationError: "or copy API key and private key here again",
    RateLimitedError: "the key is used a lot just now; wait a minute and test again",
    NonceRejectedError: (
        "another program uses the same key with greater nonces; make a key of its own for this connection"
    ),
    NotNowError: "Kraken does not take this just now; wait a minute and test again",
    ExchangeUnavailableError: "check the base URL and the network, or wait: Kraken may be down",
    ExchangeError: "check that the base URL is Kraken's",
}


def find_connection(conn_id: str) -> Connection:
    """Look a connection up.

    Raises:
        ConfigurationError: there is none, or it cannot be read.
    """
    try:
        connection: Connection = BaseHook.get_connection(conn_id)
    except AirflowNotFoundException as error:
        raise ConfigurationError(
            f"connection {conn_id} does not exist or cannot be read; add it under Admin > Connections, or set"
            f" {connection_variable(conn_id)}"
        ) from error
    return connection


def fields_of(connection: Connection) -> ConnectionFields:
    """Take out of a connection what leads somewhere."""
    return ConnectionFields(
        login=connection.login,
        password=connection.password,
        host=connection.host,
        port=connection.port,
        schema=connection.schema,
        extra=connection.extra,
    )


class KrakenHook(BaseHook):
    """One account at Kraken: an API key, the host it may be used at, and how fast."""

    conn_name_attr = "kraken_conn_id"
    default_conn_name = "kraken_default"
    conn_type = CONNECTION_TYPE
    hook_name = "Kraken"

    def __init__(self, kraken_conn_id: str = default_conn_name) -> None:
        super().__init__()
        self.kraken_conn_id = kraken_conn_id

    def credentials(self) -> KrakenCredentials:
        """Check the connection and hide its private key from every log.

        Raises:
            ConfigurationError: with what to change in the connection.
        """
        return self._checked(self.kraken_conn_id)

    def test_connection(self) -> tuple[bool, str]:
        """Ask Kraken about the key and for the balances; say what to change when that does not work."""
        try:
            # The Test button works on a nameless copy of the connection.
            credentials = self._checked("under test")
            with KrakenClient(
                credentials, account="under test", slots=InProcessCallSlots(), retries=TEST_RETRIES
            ) as client:
                info = client.inspect_key()
                balances = client.balances()
        except ConfigurationError as error:
            return False, str(error)
        except ExchangeError as error:
            return False, f"{error}; {_advice(error)}"
        count = len({key.asset for key, balance in balances.items() if balance.balance})
        return True, (
            f"Kraken answered: the account holds {count} asset{'' if count == 1 else 's'}; the key reads,"
            f" {trading_right(info.permissions)}, and cannot withdraw"
        )

    def _checked(self, name: str) -> KrakenCredentials:
        conn_type, fields = self._found()
        if conn_type != CONNECTION_TYPE:
            raise ConfigurationError(f"connection {name}: expected type {CONNECTION_TYPE}, was {conn_type}")
        credentials = credentials_from_connection(
            name, fields, allowed_hosts=allowed_hosts(os.environ), environ=os.environ
        )
        hide_key(credentials.private_key)
        if credentials.proxy:
            mask_secret(urlsplit(credentials.proxy).password)
            mask_secret(str(fields.extra_values().get("proxy_password") or ""))
        return credentials

    def _found(self) -> tuple[str | None, ConnectionFields]:
        """Look the connection up where this process can, and through Airflow otherwise."""
        text = text_set_here(self.kraken_conn_id, os.environ)
        if text and has_known_shape(text):
            with suppress(ValueError):  # what is wrong with it, Airflow says
                conn_type, fields = parse_connection(text)
                return conn_type or CONNECTION_TYPE, fields
        connection = find_connection(self.kraken_conn_id)
        return connection.conn_type, fields_of(connection)


def has_known_shape(text: str) -> bool:
    """Say whether a connection's text holds a private key that looks like those of Kraken."""
    return re.search(KEY_SHAPE, text) is not None


def hide_key(private_key: str) -> None:
    """Keep a private key out of this process's logs.

    Airflow hides each secret by itself. Of keys that have Kraken's shape one pattern hides them all, however
    many there are; it is set once in each process.
    """
    if not re.fullmatch(KEY_SHAPE, private_key):
        mask_secret(private_key)
        return
    masker = _secrets_masker()
    if KEY_SHAPE not in masker.patterns:
        masker.patterns.add(KEY_SHAPE)
        masker.replacer = re.compile("|".join(masker.patterns))


def _advice(error: ExchangeError) -> str:
    return next(text for kind, text in ADVICE.items() if isinstance(error, kind))
