"""Find an account's entries that are no trades without reading those that are."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the change."""
    op.create_index(
        "ix_ledger_entries_no_trades",
        "ledger_entries",
        ["account_id", "entry_time"],
        schema="trading",
        postgresql_where=sa.text("type <> 'trade'"),
    )


def downgrade() -> None:
    """Take the change back."""
    op.drop_index("ix_ledger_entries_no_trades", "ledger_entries", schema="trading")
