"""Say once which runs prove an account: those that succeeded and left nothing held or awaiting."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None

PROOF = (
    "mode = 'repair' and status = 'succeeded' and held = 0 and awaiting = 0 and reported_as_of is not null"
)


def _index(where: str) -> None:
    op.drop_index("ix_reconciliation_runs_proofs", "reconciliation_runs", schema="trading")
    op.create_index(
        "ix_reconciliation_runs_proofs",
        "reconciliation_runs",
        ["account_id", "reported_as_of"],
        schema="trading",
        postgresql_where=sa.text(where),
    )


def upgrade() -> None:
    """Apply the change."""
    op.add_column(
        "reconciliation_runs",
        sa.Column("is_proof", sa.Boolean(), sa.Computed(PROOF, persisted=True), nullable=False),
        schema="trading",
    )
    _index("is_proof")


def downgrade() -> None:
    """Take the change back."""
    _index("mode = 'repair' and status = 'succeeded'")
    op.drop_column("reconciliation_runs", "is_proof", schema="trading")
