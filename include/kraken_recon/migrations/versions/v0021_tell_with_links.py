"""Keep what a message says to programs, with its links."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the change."""
    op.add_column(
        "alert_notifications",
        sa.Column("details", JSONB(), server_default=sa.text("'{}'::jsonb"), nullable=False),
        schema="trading",
    )


def downgrade() -> None:
    """Take the change back."""
    op.drop_column("alert_notifications", "details", schema="trading")
