"""Keep what ended an alert where no person did."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the change."""
    op.add_column("alerts", sa.Column("resolution", sa.Text(), nullable=True), schema="trading")


def downgrade() -> None:
    """Take the change back."""
    op.drop_column("alerts", "resolution", schema="trading")
