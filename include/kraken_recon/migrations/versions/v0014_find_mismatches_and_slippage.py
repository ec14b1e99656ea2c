"""Find mismatches and slippage fast, keep who judged and who audited, and count pools and lock waits."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the change."""
    op.add_column("order_verifications", sa.Column("judged_by", sa.Text(), nullable=True), schema="trading")
    op.create_index(
        "ix_order_verifications_mismatches",
        "order_verifications",
        ["judged_at", "order_id"],
        schema="trading",
        postgresql_where=sa.text("verdict = 'mismatch'"),
    )
    op.create_index(
        "ix_order_verification_levels_slippage",
        "order_verification_levels",
        ["judged_at", "order_id"],
        schema="trading",
        postgresql_where=sa.text("level = 'slippage' and verdict in ('passed', 'warning')"),
    )
    for name in ("longest_wait_seconds", "pool_sessions", "pool_limit"):
        op.add_column("session_samples", sa.Column(name, sa.Integer(), nullable=True), schema="trading")
    op.add_column("session_samples", sa.Column("audited_by", sa.Text(), nullable=True), schema="trading")
    op.add_column("session_findings", sa.Column("last_seen_by", sa.Text(), nullable=True), schema="trading")
    op.create_index(
        "ix_session_findings_last_seen_at",
        "session_findings",
        ["last_seen_at", "finding_id"],
        schema="trading",
    )


def downgrade() -> None:
    """Take the change back."""
    op.drop_index("ix_session_findings_last_seen_at", "session_findings", schema="trading")
    op.drop_column("session_findings", "last_seen_by", schema="trading")
    for name in ("audited_by", "pool_limit", "pool_sessions", "longest_wait_seconds"):
        op.drop_column("session_samples", name, schema="trading")
    op.drop_index("ix_order_verification_levels_slippage", "order_verification_levels", schema="trading")
    op.drop_index("ix_order_verifications_mismatches", "order_verifications", schema="trading")
    op.drop_column("order_verifications", "judged_by", schema="trading")
