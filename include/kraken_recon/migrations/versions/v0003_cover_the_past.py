"""Remember how far each ledger was read without a hole, and admit findings of the past."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

ACTIONS = (
    "'applied', 'update', 'add', 'remove', 'within_tolerance', 'awaiting_confirmation', 'moving', 'held'"
)


def upgrade() -> None:
    """Apply the change."""
    op.add_column(
        "accounts",
        sa.Column("ledger_read_until", sa.DateTime(timezone=True), nullable=True),
        schema="trading",
    )
    # Until now only a reading from the beginning on could open an account.
    op.execute("update trading.accounts set ledger_read_until = opened_at where opened_at is not null")
    _admit(f"{ACTIONS}, 'recorded'")


def downgrade() -> None:
    """Take the change back; findings of the past become what is nearest to them."""
    op.execute("update trading.discrepancies set action = 'within_tolerance' where action = 'recorded'")
    _admit(ACTIONS)
    op.drop_column("accounts", "ledger_read_until", schema="trading")


def _admit(actions: str) -> None:
    name = op.f("ck_discrepancies_action_is_known")
    op.drop_constraint(name, "discrepancies", schema="trading")
    op.create_check_constraint(name, "discrepancies", f"action in ({actions})", schema="trading")
