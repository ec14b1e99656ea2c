"""From an Airflow connection of type ``kraken`` to checked credentials."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from airflow.sdk import BaseHook
from airflow.sdk.exceptions import AirflowNotFoundException
from airflow.sdk.log import mask_secret

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
from kraken_recon.values.connection_fields import ConnectionFields

if TYPE_CHECKING:
    from airflow.sdk import Connection

    from kraken_recon.kraken.credentials import KrakenCredentials

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
        connection = find_connection(self.kraken_conn_id)
        if connection.conn_type != CONNECTION_TYPE:
            raise ConfigurationError(
                f"connection {name}: expected type {CONNECTION_TYPE}, was {connection.conn_type}"
            )
        credentials = credentials_from_connection(
            name,
            fields_of(connection),
            allowed_hosts=allowed_hosts(os.environ),
            environ=os.environ,
        )
        # Airflow hides the password as it was typed; this is what is signed with.
        mask_secret(credentials.private_key)
        if credentials.proxy:
            mask_secret(urlsplit(credentials.proxy).password)
            mask_secret(connection.extra_dejson.get("proxy_password"))
        return credentials


def _advice(error: ExchangeError) -> str:
    return next(text for kind, text in ADVICE.items() if isinstance(error, kind))
