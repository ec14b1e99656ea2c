"""Let an order that was taken for somebody else's be merged into the one of ours that it is."""

from __future__ import annotations

from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

_STATUSES = (
    "decided', 'refused', 'submitting', 'unknown', 'validated', 'rejected', 'not_placed', 'open', 'closed', "
    "'canceled', 'expired"
)


def _let_be(statuses: str) -> None:
    name = op.f("ck_orders_status_is_known")
    op.drop_constraint(name, "orders", schema="trading", type_="check")
    op.create_check_constraint(name, "orders", f"status in ('{statuses}')", schema="trading")


def upgrade() -> None:
    """Apply the change."""
    _let_be(f"{_STATUSES}', 'merged")


def downgrade() -> None:
    """Take the change back; a merged row has no order at Kraken, and none of its own."""
    op.execute("update trading.orders set status = 'refused' where status = 'merged'")
    _let_be(_STATUSES)
