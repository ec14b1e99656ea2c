"""Keep what lets a run's work grow with what is new, not with the account's whole history."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
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
    _index("then", ["account_id", "asset", "wallet", "recorded_at"])
    _index("without_entry", ["account_id", "asset", "wallet"], "cause <> 'ledger'")
    _index("late", ["account_id", "recorded_at", "effective_at"], LATE)
    _index("early", ["account_id", "effective_at"], EARLY)


def _index(name: str, columns: list[str], where: str | None = None) -> None:
    op.create_index(
        f"ix_position_events_{name}",
        "position_events",
        columns,
        schema="trading",
        postgresql_where=sa.text(where) if where else None,
    )


def downgrade() -> None:
    """Take the change back."""
    for name in ("early", "late", "without_entry", "then"):
        op.drop_index(f"ix_position_events_{name}", "position_events", schema="trading")
    op.drop_column("asset_costs", "opening_counted", schema="trading")
    op.drop_column("asset_costs", "entries_counted", schema="trading")
