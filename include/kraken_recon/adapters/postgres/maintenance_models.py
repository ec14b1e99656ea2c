"""The tables of asset snapshots, partitioned by month; kept equal to the migrations by a test.

They refer to no other table: a foreign key would make it necessary to lock accounts whenever a month is
added or dropped. Months are made and dropped by maintenance.
"""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from kraken_recon.adapters.postgres.models import AMOUNT, TIME, metadata


def _number(name: str) -> sa.CheckConstraint:
    return sa.CheckConstraint(f"{name} <> 'NaN'::numeric", name=f"{name}_is_a_number")


asset_prices: Final = sa.Table(
    "asset_prices",
    metadata,
    sa.Column("quote_currency", sa.Text, primary_key=True),
    sa.Column("asset", sa.Text, primary_key=True),
    sa.Column("price", AMOUNT, nullable=False),
    _number("price"),
    sa.Column("taken_at", TIME, nullable=False),
)

asset_snapshots: Final = sa.Table(
    "asset_snapshots",
    metadata,
    sa.Column("account_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("hour", TIME, primary_key=True),
    sa.Column("taken_at", TIME, nullable=False),
    sa.Column("quote_currency", sa.Text, nullable=False),
    sa.Column("value", AMOUNT, nullable=False),
    _number("value"),
    sa.Column("assets", sa.Integer, nullable=False),
    sa.Column("unpriced", sa.Integer, nullable=False),
    # As of the proof that the books rest on; empty while none does, and then the hour is a gap.
    sa.Column("proven_at", TIME),
    sa.Column("revised_at", TIME, nullable=False, server_default=sa.func.now()),
    sa.Index("ix_asset_snapshots_hour", "hour"),
    postgresql_partition_by="RANGE (hour)",
)

asset_snapshot_rows: Final = sa.Table(
    "asset_snapshot_rows",
    metadata,
    sa.Column("account_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("hour", TIME, primary_key=True),
    sa.Column("asset", sa.Text, primary_key=True),
    sa.Column("quantity", AMOUNT, nullable=False),
    _number("quantity"),
    sa.Column("price", AMOUNT),
    _number("price"),
    sa.Column("value", AMOUNT),
    _number("value"),
    sa.CheckConstraint("(price is null) = (value is null)", name="what_has_a_price_has_a_value"),
    postgresql_partition_by="RANGE (hour)",
)
