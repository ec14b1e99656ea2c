"""Bring the trading schema up to date, and tell whether it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from kraken_recon.database.revision import refuse_other
from kraken_recon.database.roles import establish_roles, left_to_do, standing
from kraken_recon.database.store import SCHEMA
from kraken_recon.errors import SchemaMismatchError

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, Engine

# Any constant: every migrating session of one database takes the same lock.
_MIGRATION_LOCK = 7_031_992


def _config(connection: Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", "kraken_recon.database:migrations")
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


def expected_revision() -> str:
    """Name the revision that this code was written for."""
    revision = ScriptDirectory.from_config(_config()).get_current_head()
    if revision is None:
        raise SchemaMismatchError("this installation holds no migrations; reinstall it")
    return revision


def migrate(engine: Engine) -> str:
    """Do as ``migrate_and_tell``, and return the revision reached."""
    return migrate_and_tell(engine)[0]


def migrate_and_tell(engine: Engine) -> tuple[str, list[str]]:
    """Apply every missing migration and all rights in one transaction.

    Safe to run from several places at once: they queue on an advisory lock.

    Returns:
        The revision reached, and the SQL that only an administrator of the server may run.
    """
    # session: allowed - before the first migration there is nothing that a unit of work could work on
    with engine.begin() as connection:
        connection.execute(sa.text("select pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
        # Asked first: who may migrate a schema need not be allowed to make one.
        if not standing(connection, SCHEMA).schema_owner:
            connection.execute(sa.text(f"create schema if not exists {SCHEMA}"))
        opened = MigrationContext.configure(connection, opts={"version_table_schema": SCHEMA})
        refuse_other(opened.get_current_revision(), may_be_older=True)
        command.upgrade(_config(connection), "head")
        establish_roles(connection, SCHEMA)
        left = left_to_do(connection, SCHEMA)
    return expected_revision(), left
