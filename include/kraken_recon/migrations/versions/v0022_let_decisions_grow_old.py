"""Let decided orders be valid for a time; those that wait get what holds by default."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the change."""
    op.add_column(
        "orders", sa.Column("valid_until", sa.DateTime(timezone=True), nullable=True), schema="trading"
    )
    op.execute(
        "update trading.orders set valid_until = decided_at + case"
        " when order_type = 'limit' and time_in_force <> 'IOC' then interval '1 day'"
        " else interval '5 minutes' end"
        " where status = 'decided'"
    )


def downgrade() -> None:
    """Take the change back."""
    op.drop_column("orders", "valid_until", schema="trading")
