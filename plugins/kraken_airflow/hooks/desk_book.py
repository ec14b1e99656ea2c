"""From the Airflow connection of a desk's own database to where that is."""

from __future__ import annotations

from airflow.sdk import BaseHook

from kraken_airflow.hooks.kraken import fields_of, find_connection
from kraken_recon.desk_books.address import DeskAddress, address_of_fields


class DeskBookHook(BaseHook):
    """A desk's own database: a connection of any type that is spoken, as ``desk_books.address`` lists them.

    Args:
        desk_conn_id: as a declaration names it.
    """

    conn_name_attr = "desk_conn_id"
    hook_name = "Desk book"

    def __init__(self, desk_conn_id: str) -> None:
        super().__init__()
        self.desk_conn_id = desk_conn_id

    def address(self) -> DeskAddress:
        """Say where the database is, and how to sign in.

        Raises:
            ConfigurationError: the connection is missing, or is none of a database that is spoken.
        """
        connection = find_connection(self.desk_conn_id)
        return address_of_fields(self.desk_conn_id, connection.conn_type, fields_of(connection))
