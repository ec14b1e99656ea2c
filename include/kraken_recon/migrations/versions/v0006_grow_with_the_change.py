"""Keep what lets a run's work grow with what is new, not with the account's whole history."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0003"
branch_labels = None
depends_on = None

LATE = "cause = 'ledger' and recorded_at - effective_at > interval '01:00:00'"
EARLY = "cause = 'ledger' and recorded_at < effective_at"


def upgrade() -> None:
    """Apply the change."""
    op.add_column(
        "asset_costs",
        sa.Column("entries_counted", sa.BigInteger, nullable=False, server_default="0"),
        schema="trading",
    )
    op.add_column(
        "asset_costs",
        sa.Column("opening_counted", sa.Numeric(38, 18), nullable=False, server_default="0"),
        schema="trading",
    )
    op.create_check_constraint(
        op.f("ck_asset_costs_opening_counted_is_a_number"),
        "asset_costs",
        "opening_counted <> 'NaN'::numeric",
        schema="trading",
    )
    index = {"table_name": "position_events", "schema": "trading"}
    op.create_index(
        "ix_position_events_then", columns=["account_id", "asset", "wallet", "recorded_at"], **index
    )
    op.create_index(
        "ix_position_events_without_entry",
        columns=["account_id", "asset", "wallet"],
        postgresql_where=sa.text("cause <> 'ledger'"),
        **index,
    )
    op.create_index(
        "ix_position_events_late",
        columns=["account_id", "recorded_at", "effective_at"],
        postgresql_where=sa.text(LATE),
        **index,
    )
    op.create_index(
        "ix_position_events_early",
        columns=["account_id", "effective_at"],
        postgresql_where=sa.text(EARLY),
        **index,
    )


def downgrade() -> None:
    """Take the change back."""
    for name in ("early", "late", "without_entry", "then"):
        op.drop_index(f"ix_position_events_{name}", "position_events", schema="trading")
    op.drop_column("asset_costs", "opening_counted", schema="trading")
    op.drop_column("asset_costs", "entries_counted", schema="trading")
