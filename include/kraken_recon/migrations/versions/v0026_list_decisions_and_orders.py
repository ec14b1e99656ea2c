"""Find decisions and orders by time, and those that were refused."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the change."""
    op.drop_index("ix_order_decisions_received_at", "order_decisions", schema="trading")
    op.create_index(
        "ix_order_decisions_without_order",
        "order_decisions",
        ["received_at", "decision_id"],
        schema="trading",
        postgresql_where=sa.text("order_id is null"),
    )
    op.create_index("ix_orders_decided_at", "orders", ["decided_at", "order_id"], schema="trading")
    op.create_index(
        "ix_orders_refused",
        "orders",
        ["decided_at"],
        schema="trading",
        postgresql_where=sa.text("status in ('refused', 'rejected')"),
    )


def downgrade() -> None:
    """Take the change back."""
    op.drop_index("ix_orders_refused", "orders", schema="trading")
    op.drop_index("ix_orders_decided_at", "orders", schema="trading")
    op.drop_index("ix_order_decisions_without_order", "order_decisions", schema="trading")
    op.create_index(
        "ix_order_decisions_received_at",
        "order_decisions",
        ["received_at", "decision_id"],
        schema="trading",
    )
