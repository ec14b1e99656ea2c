"""Add the verification of orders, its levels and its failure rates."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the change."""
    _create_verifications()
    _create_levels()
    _create_rates()


def downgrade() -> None:
    """Take the change back."""
    op.drop_table("verification_rates", schema="trading")
    op.drop_table("order_verification_levels", schema="trading")
    op.drop_table("order_verifications", schema="trading")


def _create_verifications() -> None:
    op.create_table(
        "order_verifications",
        sa.Column("order_id", sa.BigInteger(), nullable=False),
        sa.Column("account_id", sa.BigInteger(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("enlisted_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("deadline", sa.DateTime(timezone=True), nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("claimed_by", sa.Text(), nullable=True),
        sa.Column("claimed_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("verdict", sa.Text(), nullable=True),
        sa.Column("failed_levels", postgresql.ARRAY(sa.Text()), server_default="{}", nullable=False),
        sa.Column("message", sa.Text(), nullable=True),
        sa.Column("judged_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "verdict in ('verified', 'mismatch', 'inconclusive')",
            name=op.f("ck_order_verifications_verdict_is_known"),
        ),
        sa.CheckConstraint(
            "(verdict is null) = (judged_at is null)",
            name=op.f("ck_order_verifications_verdicts_have_their_time"),
        ),
        sa.CheckConstraint(
            "(claimed_by is null) = (claimed_until is null)", name=op.f("ck_order_verifications_claims_end")
        ),
        sa.CheckConstraint(
            "(verdict is not distinct from 'mismatch') = (failed_levels <> '{}')",
            name=op.f("ck_order_verifications_mismatches_name_their_level"),
        ),
        sa.ForeignKeyConstraint(
            ["account_id"],
            ["trading.accounts.account_id"],
            name=op.f("fk_order_verifications_account_id_accounts"),
        ),
        sa.ForeignKeyConstraint(
            ["order_id"], ["trading.orders.order_id"], name=op.f("fk_order_verifications_order_id_orders")
        ),
        sa.PrimaryKeyConstraint("order_id", name=op.f("pk_order_verifications")),
        schema="trading",
        postgresql_with={"fillfactor": "80"},
    )
    for name, columns, where in (
        ("ix_order_verifications_due", ["due_at"], "verdict is null or verdict = 'inconclusive'"),
        ("ix_order_verifications_claimed_by", ["claimed_by"], "claimed_by is not null"),
        ("ix_order_verifications_judged_at", ["judged_at", "account_id"], None),
    ):
        op.create_index(
            name,
            "order_verifications",
            columns,
            unique=False,
            schema="trading",
            postgresql_where=sa.text(where) if where else None,
        )


def _create_levels() -> None:
    op.create_table(
        "order_verification_levels",
        sa.Column("order_id", sa.BigInteger(), nullable=False),
        sa.Column("level", sa.Text(), nullable=False),
        sa.Column("verdict", sa.Text(), nullable=False),
        sa.Column("expected", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("observed", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("judged_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "level in ('state', 'fills', 'direction', 'ledger', 'position', 'slippage')",
            name=op.f("ck_order_verification_levels_level_is_known"),
        ),
        sa.CheckConstraint(
            "verdict in ('passed', 'warning', 'mismatch', 'inconclusive', 'not_applicable')",
            name=op.f("ck_order_verification_levels_verdict_is_known"),
        ),
        sa.ForeignKeyConstraint(
            ["order_id"],
            ["trading.order_verifications.order_id"],
            name=op.f("fk_order_verification_levels_order_id_order_verifications"),
        ),
        sa.PrimaryKeyConstraint("order_id", "level", name=op.f("pk_order_verification_levels")),
        schema="trading",
    )


def _create_rates() -> None:
    op.create_table(
        "verification_rates",
        sa.Column("window_seconds", sa.Integer(), nullable=False),
        sa.Column("window_start", sa.DateTime(timezone=True), nullable=False),
        sa.Column("account_id", sa.BigInteger(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("verified", sa.Integer(), nullable=False),
        sa.Column("mismatched", sa.Integer(), nullable=False),
        sa.Column("inconclusive", sa.Integer(), nullable=False),
        sa.Column("computed_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("window_seconds > 0", name=op.f("ck_verification_rates_windows_have_a_length")),
        sa.ForeignKeyConstraint(
            ["account_id"],
            ["trading.accounts.account_id"],
            name=op.f("fk_verification_rates_account_id_accounts"),
        ),
        sa.PrimaryKeyConstraint(
            "window_seconds", "window_start", "account_id", "source", name=op.f("pk_verification_rates")
        ),
        schema="trading",
    )
