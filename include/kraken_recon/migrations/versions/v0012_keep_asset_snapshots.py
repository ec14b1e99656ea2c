"""Keep asset snapshots, in partitions by month; maintenance makes and drops the months."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

AMOUNT = sa.Numeric(precision=38, scale=18)
TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Apply the change."""
    op.create_table(
        "asset_snapshots",
        sa.Column("account_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("hour", TIME, nullable=False),
        sa.Column("taken_at", TIME, nullable=False),
        sa.Column("quote_currency", sa.Text(), nullable=False),
        sa.Column("value", AMOUNT, nullable=False),
        sa.Column("assets", sa.Integer(), nullable=False),
        sa.Column("unpriced", sa.Integer(), nullable=False),
        sa.CheckConstraint("value <> 'NaN'::numeric", name=op.f("ck_asset_snapshots_value_is_a_number")),
        sa.PrimaryKeyConstraint("account_id", "hour", name=op.f("pk_asset_snapshots")),
        schema="trading",
        postgresql_partition_by="RANGE (hour)",
    )
    op.create_index("ix_asset_snapshots_hour", "asset_snapshots", ["hour"], schema="trading")
    op.create_table(
        "asset_snapshot_rows",
        sa.Column("account_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("hour", TIME, nullable=False),
        sa.Column("asset", sa.Text(), nullable=False),
        sa.Column("quantity", AMOUNT, nullable=False),
        sa.Column("price", AMOUNT, nullable=True),
        sa.Column("value", AMOUNT, nullable=True),
        *(
            sa.CheckConstraint(
                f"{name} <> 'NaN'::numeric", name=op.f(f"ck_asset_snapshot_rows_{name}_is_a_number")
            )
            for name in ("quantity", "price", "value")
        ),
        sa.CheckConstraint(
            "(price is null) = (value is null)",
            name=op.f("ck_asset_snapshot_rows_what_has_a_price_has_a_value"),
        ),
        sa.PrimaryKeyConstraint("account_id", "hour", "asset", name=op.f("pk_asset_snapshot_rows")),
        schema="trading",
        postgresql_partition_by="RANGE (hour)",
    )


def downgrade() -> None:
    """Take the change back."""
    op.drop_table("asset_snapshot_rows", schema="trading")
    op.drop_table("asset_snapshots", schema="trading")
