"""Keep when each job last worked, so that silence can be noticed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the change."""
    op.create_table(
        "heartbeats",
        sa.Column("job", sa.Text(), nullable=False),
        sa.Column("beat_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("limit_minutes", sa.Integer(), nullable=False),
        sa.CheckConstraint("limit_minutes > 0", name=op.f("ck_heartbeats_limit_is_a_time")),
        sa.PrimaryKeyConstraint("job", name=op.f("pk_heartbeats")),
        schema="trading",
    )


def downgrade() -> None:
    """Take the change back."""
    op.drop_table("heartbeats", schema="trading")
