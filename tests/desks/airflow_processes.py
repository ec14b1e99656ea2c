"""A whole Airflow as processes: API server, scheduler, DAG processor, triggerer and watch.

Airflow's tables are made once per test run; every Airflow begins with a copy of them.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql

from local_stack import airflow
from local_stack.databases import Database
from local_stack.ports import free_port
from local_stack.processes import Services
from local_stack.settings import REPOSITORY, Settings, write_private

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SOURCE_ROOTS = ("include", "plugins", "config")


def settings_of(place: Path) -> Settings:
    """Describe an Airflow whose state is below a directory, on a free port."""
    return Settings(place, "127.0.0.1", free_port(), 0, 0, "", place)


@dataclass
class MetadataDatabases:
    """Airflow's own databases on one server.

    Attributes:
        place: a directory for the one that is copied.
    """

    server_url: str
    place: Path

    @cached_property
    def template(self) -> Database:
        """Make Airflow's tables, when first asked for."""
        made = Database(self.server_url, f"airflow_template_{secrets.token_hex(4)}")
        made.ensure()
        settings = settings_of(self.place)
        airflow.migrate(airflow.airflow_environment(settings, metadata_url=made.url, connections={}))
        return made

    def copy(self) -> Database:
        """Make a database with Airflow's tables and nothing in them."""
        made = Database(self.server_url, f"airflow_{secrets.token_hex(6)}")
        statement = sql.SQL("create database {} template {} strategy file_copy")
        self._execute(statement.format(sql.Identifier(made.name), sql.Identifier(self.template.name)))
        return made

    def drop(self, database: Database) -> None:
        """Drop a database, whoever is still connected."""
        self._execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(database.name)))

    def _execute(self, statement: sql.Composed) -> None:
        with psycopg.connect(self.server_url, autocommit=True) as session:
            session.execute(statement)


class AirflowProcesses:
    """One Airflow: start it, wait for it, stop it.

    Args:
        place: a directory for its state and logs.
        metadata: where its metadata database comes from.
        variables: what it reads from its environment besides: connections, settings, another ``PYTHONPATH``.
        users: who may sign in besides the admin; a user's name is also the role and the password.
        components: what is started.
    """

    def __init__(
        self,
        place: Path,
        metadata: MetadataDatabases,
        variables: Mapping[str, str],
        *,
        users: Sequence[str] = (),
        components: Sequence[str] = (*airflow.COMPONENTS, airflow.WATCH),
    ) -> None:
        self._settings = settings_of(place)
        self._metadata = metadata
        self._variables = {"PYTHONPATH": os.pathsep.join(str(REPOSITORY / root) for root in SOURCE_ROOTS)}
        self._variables |= variables
        self._users = users
        self._components = components
        self._database: Database | None = None
        self.services = Services(place)
        self.login = airflow.login_of(self._settings)
        self.api = airflow.AirflowApi(self.login)

    def start(self) -> None:
        """Copy the metadata and start the processes; return before they are ready."""
        self._database = self._metadata.copy()
        environment = airflow.airflow_environment(
            self._settings, metadata_url=self._database.url, connections=self._variables
        )
        self._let_in(environment)
        for service in airflow.component_services(self._settings, environment):
            if service.name in self._components:
                self.services.ensure(service)

    def wait_for(self, *dag_ids: str) -> None:
        """Wait until all components live and these DAGs can be run; make the product's pool."""
        self.api.wait_until_healthy(self.services)
        self.api.ensure_pool("kraken_api", slots=4, description="calls to Kraken at the same time")
        self.api.ensure_pool("desk_books", slots=2, description="desk books judged at the same time")
        for dag_id in dag_ids:
            self.api.wait_until_parsed(dag_id)

    def stop(self) -> None:
        """End the processes and drop what they kept."""
        self.services.stop(self.services.names())
        if self._database is not None:
            self._metadata.drop(self._database)

    def _let_in(self, environment: dict[str, str]) -> None:
        roles = {self.login.user: "admin"} | {name: name for name in self._users}
        passwords = {self.login.user: self.login.password} | {name: name for name in self._users}
        environment["AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS"] = ",".join(map(":".join, roles.items()))
        file = Path(environment["AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE"])
        write_private(file, json.dumps(passwords))


StartAirflow = Callable[..., AbstractContextManager[AirflowProcesses]]
