"""Keep what tells a pooler's session from its task's, and a client that hangs from one that is slow."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the change."""
    op.add_column("session_owners", sa.Column("is_direct", sa.Boolean()), schema="trading")
    op.add_column("session_samples", sa.Column("client_waits", postgresql.JSONB()), schema="trading")


def downgrade() -> None:
    """Take the change back."""
    op.drop_column("session_samples", "client_waits", schema="trading")
    op.drop_column("session_owners", "is_direct", schema="trading")
