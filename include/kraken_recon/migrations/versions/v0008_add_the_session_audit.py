"""Add what the session audit keeps, and admit alerts that are about no account."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)
RULES = (
    "'idle_in_transaction', 'owner_ended', 'never_closed', 'over_pool', 'lock_kept',"
    " 'transaction_outlives_work', 'blocks_others', 'connections_rising', 'connections_near_limit',"
    " 'prepared_transaction', 'slot_holds_horizon'"
)


def upgrade() -> None:
    """Apply the change."""
    op.create_table(
        "session_owners",
        sa.Column("application_name", sa.Text(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("process_id", sa.Integer(), nullable=False),
        sa.Column("call_site", sa.Text(), nullable=False),
        sa.Column("hold_seconds", sa.Integer(), nullable=False),
        sa.Column("pool_size", sa.Integer(), nullable=False),
        sa.Column("connections_max", sa.Integer(), nullable=False),
        sa.Column("task_instance_id", sa.Uuid(), nullable=True),
        sa.Column("dag_id", sa.Text(), nullable=True),
        sa.Column("run_id", sa.Text(), nullable=True),
        sa.Column("task_id", sa.Text(), nullable=True),
        sa.Column("map_index", sa.Integer(), nullable=True),
        sa.Column("try_number", sa.Integer(), nullable=True),
        sa.Column("first_seen_at", TIME, server_default=sa.text("now()"), nullable=False),
        sa.Column("last_seen_at", TIME, server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "num_nulls(task_instance_id, dag_id, run_id, task_id, map_index, try_number) in (0, 6)",
            name=op.f("ck_session_owners_task_is_whole_or_absent"),
        ),
        sa.PrimaryKeyConstraint("application_name", name=op.f("pk_session_owners")),
        schema="trading",
    )
    op.create_index(
        "ix_session_owners_task_instance_id",
        "session_owners",
        ["task_instance_id"],
        unique=False,
        schema="trading",
    )
    op.create_table(
        "session_samples",
        sa.Column("sample_id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("taken_at", TIME, nullable=False),
        sa.Column("connections", sa.Integer(), nullable=False),
        sa.Column("connections_limit", sa.Integer(), nullable=False),
        sa.Column("sessions", sa.Integer(), nullable=False),
        sa.Column("ours", sa.Integer(), nullable=False),
        sa.Column("active", sa.Integer(), nullable=False),
        sa.Column("idle", sa.Integer(), nullable=False),
        sa.Column("idle_in_transaction", sa.Integer(), nullable=False),
        sa.Column("waiting", sa.Integer(), nullable=False),
        sa.Column("unattributed", sa.Integer(), nullable=False),
        sa.Column("excess", sa.Integer(), nullable=True),
        sa.Column("oldest_transaction_seconds", sa.Integer(), nullable=True),
        sa.Column("by_owner", postgresql.JSONB(), nullable=False),
        sa.Column("usages", postgresql.JSONB(), nullable=False),
        sa.Column("findings", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("sample_id", name=op.f("pk_session_samples")),
        schema="trading",
    )
    op.create_index(
        "ix_session_samples_newest", "session_samples", ["source", "taken_at"], unique=False, schema="trading"
    )
    _create_findings()
    op.alter_column("alerts", "account_id", nullable=True, schema="trading")


def _create_findings() -> None:
    op.create_table(
        "session_findings",
        sa.Column("finding_id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("rule", sa.Text(), nullable=False),
        sa.Column("severity", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("application_name", sa.Text(), nullable=True),
        sa.Column("dag_id", sa.Text(), nullable=True),
        sa.Column("run_id", sa.Text(), nullable=True),
        sa.Column("task_id", sa.Text(), nullable=True),
        sa.Column("map_index", sa.Integer(), nullable=True),
        sa.Column("try_number", sa.Integer(), nullable=True),
        sa.Column("evidence", postgresql.JSONB(), nullable=False),
        sa.Column("occurrences", sa.Integer(), server_default="1", nullable=False),
        sa.Column("first_seen_at", TIME, nullable=False),
        sa.Column("last_seen_at", TIME, nullable=False),
        sa.Column("returned_at", TIME, nullable=True),
        sa.CheckConstraint(f"rule in ({RULES})", name=op.f("ck_session_findings_rule_is_known")),
        sa.CheckConstraint(
            "severity in ('warning', 'critical')", name=op.f("ck_session_findings_severity_is_known")
        ),
        sa.PrimaryKeyConstraint("finding_id", name=op.f("pk_session_findings")),
        schema="trading",
    )
    op.create_index(
        "uq_session_findings_open",
        "session_findings",
        ["source", "rule", "subject"],
        unique=True,
        schema="trading",
        postgresql_where=sa.text("returned_at is null"),
    )
    op.create_table(
        "session_actions",
        sa.Column("action_id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("finding_id", sa.BigInteger(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("acted_by", sa.Text(), nullable=False),
        sa.Column("acted_at", TIME, server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.CheckConstraint(
            "action in ('cancel', 'terminate')", name=op.f("ck_session_actions_action_is_known")
        ),
        sa.CheckConstraint(
            "outcome in ('intended', 'dry_run', 'done', 'changed', 'survived', 'not_permitted', 'failed')",
            name=op.f("ck_session_actions_outcome_is_known"),
        ),
        sa.ForeignKeyConstraint(
            ["finding_id"],
            ["trading.session_findings.finding_id"],
            name=op.f("fk_session_actions_finding_id_session_findings"),
        ),
        sa.PrimaryKeyConstraint("action_id", name=op.f("pk_session_actions")),
        schema="trading",
    )
    op.create_index(
        "ix_session_actions_finding_id", "session_actions", ["finding_id"], unique=False, schema="trading"
    )


def downgrade() -> None:
    """Take the change back; alerts that are about no account go with it."""
    op.execute("delete from trading.alerts where account_id is null")
    op.alter_column("alerts", "account_id", nullable=False, schema="trading")
    op.drop_table("session_actions", schema="trading")
    op.drop_table("session_findings", schema="trading")
    op.drop_table("session_samples", schema="trading")
    op.drop_table("session_owners", schema="trading")
