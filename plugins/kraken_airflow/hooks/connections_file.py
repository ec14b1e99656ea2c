"""Connections from one file, for ``AIRFLOW__SECRETS__BACKEND``.

Airflow's own backend reads the whole file twice for each connection that is looked up, and makes connections
of all that it finds: with the keys of 10,000 accounts that took three seconds of processor for each of them.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from airflow.secrets.base_secrets import BaseSecretsBackend

from kraken_recon.settings import connection_variable
from kraken_recon.values.connections_file import connection_text

if TYPE_CHECKING:
    from collections.abc import Mapping

BACKEND = "AIRFLOW__SECRETS__BACKEND"
ARGUMENTS = "AIRFLOW__SECRETS__BACKEND_KWARGS"
FILE_ARGUMENT = "connections_file_path"


class ConnectionsFile(BaseSecretsBackend):
    """Connections by their ids in a file of JSON or YAML, each as an object of Airflow's fields or as a URI.

    Args:
        connections_file_path: the file; it may be changed while Airflow runs.
    """

    def __init__(self, connections_file_path: str) -> None:
        super().__init__()
        self.connections_file_path = connections_file_path

    def get_conn_value(self, conn_id: str, team_name: str | None = None) -> str | None:
        """Return what the file says of a connection; None where it says nothing."""
        del team_name
        return connection_text(self.connections_file_path, conn_id)

    def get_variable(self, key: str, team_name: str | None = None) -> None:
        """Return None: the file has connections only."""


def text_set_here(conn_id: str, environ: Mapping[str, str]) -> str | None:
    """Find the text of a connection that Airflow would find in this process, in the same order.

    Airflow hides the secrets of what it finds, and makes one pattern of all of them anew each time, here and
    in the process beside the task: with the keys of many accounts that takes longer than to reconcile them.
    None where only Airflow can say what it would find.
    """
    backend = environ.get(BACKEND, "")
    if backend.endswith(f".{ConnectionsFile.__name__}"):
        try:
            file = json.loads(environ[ARGUMENTS])[FILE_ARGUMENT]
            if text := connection_text(file, conn_id):
                return text
        except (OSError, ValueError, LookupError, TypeError):
            return None  # Airflow logs what is wrong with it
    elif backend:
        return None
    return environ.get(connection_variable(conn_id))
