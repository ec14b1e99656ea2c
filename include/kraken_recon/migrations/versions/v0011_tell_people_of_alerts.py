"""Tell people of alerts: who answered them, what was told, and how fresh an account must be."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0011"
down_revision = "0009"
branch_labels = None
depends_on = None

ANSWERS = (
    ("acknowledged_at", sa.DateTime(timezone=True)),
    ("acknowledged_by", sa.Text()),
    ("resolved_by", sa.Text()),
    ("note", sa.Text()),
)


def upgrade() -> None:
    """Apply the change."""
    for name, kind in ANSWERS:
        op.add_column("alerts", sa.Column(name, kind), schema="trading")
    op.add_column(
        "accounts",
        sa.Column("freshness_limit_minutes", sa.Integer(), server_default="30", nullable=False),
        schema="trading",
    )
    op.create_check_constraint(
        op.f("ck_accounts_freshness_limit_is_positive"),
        "accounts",
        "freshness_limit_minutes > 0",
        schema="trading",
    )
    _create_episodes()
    _create_notifications()


def _create_episodes() -> None:
    op.create_table(
        "alert_episodes",
        sa.Column("episode_id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("account_id", sa.BigInteger(), nullable=True),
        sa.Column("asset", sa.Text(), nullable=True),
        sa.Column("wallet", sa.Text(), nullable=True),
        sa.Column("alert_id", sa.BigInteger(), nullable=False),
        sa.Column("is_active", sa.Boolean(), nullable=False),
        sa.Column("told_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("told_amount", sa.Numeric(precision=38, scale=18), nullable=True),
        sa.CheckConstraint(
            "told_amount <> 'NaN'::numeric", name=op.f("ck_alert_episodes_told_amount_is_a_number")
        ),
        sa.ForeignKeyConstraint(
            ["account_id"],
            ["trading.accounts.account_id"],
            name=op.f("fk_alert_episodes_account_id_accounts"),
        ),
        sa.ForeignKeyConstraint(
            ["alert_id"], ["trading.alerts.alert_id"], name=op.f("fk_alert_episodes_alert_id_alerts")
        ),
        sa.PrimaryKeyConstraint("episode_id", name=op.f("pk_alert_episodes")),
        sa.UniqueConstraint(
            "kind",
            "account_id",
            "asset",
            "wallet",
            name=op.f("uq_alert_episodes_kind_account_id_asset_wallet"),
            postgresql_nulls_not_distinct=True,
        ),
        schema="trading",
    )
    op.create_index("ix_alert_episodes_alert_id", "alert_episodes", ["alert_id"], schema="trading")


def _create_notifications() -> None:
    op.create_table(
        "alert_notifications",
        sa.Column("notification_id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("idempotency_key", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("alert_ids", postgresql.ARRAY(sa.BigInteger()), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("sent_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("notification_id", name=op.f("pk_alert_notifications")),
        schema="trading",
    )
    op.create_index(
        "ix_alert_notifications_unsent",
        "alert_notifications",
        ["channel", "due_at"],
        schema="trading",
        postgresql_where=sa.text("sent_at is null"),
    )
    op.create_index("ix_alert_notifications_newest", "alert_notifications", ["created_at"], schema="trading")


def downgrade() -> None:
    """Take the change back."""
    op.drop_table("alert_notifications", schema="trading")
    op.drop_table("alert_episodes", schema="trading")
    op.drop_constraint(op.f("ck_accounts_freshness_limit_is_positive"), "accounts", schema="trading")
    op.drop_column("accounts", "freshness_limit_minutes", schema="trading")
    for name, _ in reversed(ANSWERS):
        op.drop_column("alerts", name, schema="trading")
