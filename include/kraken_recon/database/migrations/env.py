"""Run the migrations of the trading schema over the connection that the caller passes in."""

from __future__ import annotations

from alembic import context

from kraken_recon.database.store import SCHEMA

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    version_table_schema=SCHEMA,
    include_schemas=True,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
