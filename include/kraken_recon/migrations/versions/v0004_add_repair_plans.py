"""Add repair plans, and name in each event the plan that wrote it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)
AMOUNT = sa.Numeric(precision=38, scale=18)


def upgrade() -> None:
    """Apply the change."""
    op.create_table(
        "repair_plans",
        sa.Column("plan_id", sa.Uuid(), nullable=False),
        sa.Column("account_id", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("run_id", sa.Uuid(), nullable=True),
        sa.Column("as_of", TIME, nullable=False),
        sa.Column("fingerprint", sa.Uuid(), nullable=True),
        sa.Column("row_count", sa.Integer(), nullable=False),
        sa.Column("why", sa.Text(), nullable=True),
        sa.Column("undoes", sa.Uuid(), nullable=True),
        sa.Column("written_by_run", sa.Uuid(), nullable=True),
        sa.Column("created_at", TIME, server_default=sa.text("now()"), nullable=False),
        sa.Column("applied_at", TIME, nullable=True),
        sa.Column("closed_at", TIME, nullable=True),
        sa.Column("decided_by", sa.Text(), nullable=True),
        sa.Column("decided_at", TIME, nullable=True),
        sa.Column("note", sa.Text(), nullable=True),
        sa.CheckConstraint("kind in ('repair', 'held', 'undo')", name=op.f("ck_repair_plans_kind_is_known")),
        sa.CheckConstraint(
            "status in ('planned', 'applied', 'held', 'approved', 'rejected', 'expired', 'outdated')",
            name=op.f("ck_repair_plans_status_is_known"),
        ),
        sa.CheckConstraint(
            "(decided_by is null) = (decided_at is null)",
            name=op.f("ck_repair_plans_decisions_say_who_and_when"),
        ),
        sa.CheckConstraint(
            "status not in ('approved', 'rejected', 'expired') or decided_by is not null",
            name=op.f("ck_repair_plans_decided_plans_say_by_whom"),
        ),
        sa.ForeignKeyConstraint(
            ["account_id"], ["trading.accounts.account_id"], name=op.f("fk_repair_plans_account_id_accounts")
        ),
        sa.ForeignKeyConstraint(
            ["undoes"], ["trading.repair_plans.plan_id"], name=op.f("fk_repair_plans_undoes_repair_plans")
        ),
        sa.PrimaryKeyConstraint("plan_id", name=op.f("pk_repair_plans")),
        schema="trading",
    )
    op.create_index(
        "ix_repair_plans_account_id", "repair_plans", ["account_id", "created_at"], schema="trading"
    )
    op.create_index("ix_repair_plans_run_id", "repair_plans", ["run_id"], schema="trading")
    op.create_index(
        "uq_repair_plans_open",
        "repair_plans",
        ["account_id"],
        unique=True,
        schema="trading",
        postgresql_where=sa.text("kind = 'held' and closed_at is null"),
    )
    op.create_index(
        "uq_repair_plans_undoes",
        "repair_plans",
        ["undoes"],
        unique=True,
        schema="trading",
        postgresql_where=sa.text("undoes is not null"),
    )
    op.create_table(
        "repair_plan_rows",
        sa.Column("plan_id", sa.Uuid(), nullable=False),
        sa.Column("place", sa.Integer(), nullable=False),
        sa.Column("asset", sa.Text(), nullable=False),
        sa.Column("wallet", sa.Text(), nullable=False),
        sa.Column("quantity_before", AMOUNT, nullable=False),
        sa.Column("quantity_after", AMOUNT, nullable=False),
        sa.Column("cause", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("ledger_id", sa.Text(), nullable=True),
        sa.Column("effective_at", TIME, nullable=False),
        sa.Column("price", AMOUNT, nullable=True),
        *(
            sa.CheckConstraint(
                f"{name} <> 'NaN'::numeric", name=op.f(f"ck_repair_plan_rows_{name}_is_a_number")
            )
            for name in ("quantity_before", "quantity_after", "price")
        ),
        sa.ForeignKeyConstraint(
            ["plan_id"],
            ["trading.repair_plans.plan_id"],
            name=op.f("fk_repair_plan_rows_plan_id_repair_plans"),
        ),
        sa.PrimaryKeyConstraint("plan_id", "place", name=op.f("pk_repair_plan_rows")),
        schema="trading",
    )
    op.add_column("position_events", sa.Column("plan_id", sa.Uuid(), nullable=True), schema="trading")
    op.create_index(
        "ix_position_events_plan_id",
        "position_events",
        ["plan_id", "event_id"],
        schema="trading",
        postgresql_where=sa.text("plan_id is not null"),
    )


def downgrade() -> None:
    """Take the change back; who approved what is forgotten."""
    op.drop_index("ix_position_events_plan_id", table_name="position_events", schema="trading")
    op.drop_column("position_events", "plan_id", schema="trading")
    op.drop_table("repair_plan_rows", schema="trading")
    op.drop_table("repair_plans", schema="trading")
