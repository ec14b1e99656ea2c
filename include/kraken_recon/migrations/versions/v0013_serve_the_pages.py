"""Serve the pages of many accounts: runs name their DAG run, findings their time, and prices are kept."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Apply the change."""
    op.add_column("reconciliation_runs", sa.Column("dag_id", sa.Text(), nullable=True), schema="trading")
    op.add_column("reconciliation_runs", sa.Column("dag_run_id", sa.Text(), nullable=True), schema="trading")
    op.create_check_constraint(
        op.f("ck_reconciliation_runs_dag_run_is_whole_or_absent"),
        "reconciliation_runs",
        "(dag_id is null) = (dag_run_id is null)",
        schema="trading",
    )
    op.create_index(
        "ix_reconciliation_runs_proofs",
        "reconciliation_runs",
        ["account_id", "reported_as_of"],
        schema="trading",
        postgresql_where=sa.text("mode = 'repair' and status = 'succeeded'"),
    )
    op.add_column("discrepancies", sa.Column("found_at", TIME, nullable=True), schema="trading")
    # What was found before is as old as its run.
    op.execute(
        "update trading.discrepancies d set found_at = r.recorded_as_of "
        "from trading.reconciliation_runs r where r.run_id = d.run_id"
    )
    op.alter_column(
        "discrepancies",
        "found_at",
        nullable=False,
        server_default=sa.text("clock_timestamp()"),
        schema="trading",
    )
    op.drop_index("ix_discrepancies_account_id", "discrepancies", schema="trading")
    op.create_index(
        "ix_discrepancies_account_id", "discrepancies", ["account_id", "found_at"], schema="trading"
    )
    op.create_index("ix_discrepancies_found_at", "discrepancies", ["found_at"], schema="trading")
    op.create_table(
        "asset_prices",
        sa.Column("quote_currency", sa.Text(), nullable=False),
        sa.Column("asset", sa.Text(), nullable=False),
        sa.Column("price", sa.Numeric(precision=38, scale=18), nullable=False),
        sa.Column("taken_at", TIME, nullable=False),
        sa.CheckConstraint("price <> 'NaN'::numeric", name=op.f("ck_asset_prices_price_is_a_number")),
        sa.PrimaryKeyConstraint("quote_currency", "asset", name=op.f("pk_asset_prices")),
        schema="trading",
    )


def downgrade() -> None:
    """Take the change back."""
    op.drop_table("asset_prices", schema="trading")
    op.drop_index("ix_discrepancies_found_at", "discrepancies", schema="trading")
    op.drop_index("ix_discrepancies_account_id", "discrepancies", schema="trading")
    op.create_index("ix_discrepancies_account_id", "discrepancies", ["account_id"], schema="trading")
    op.drop_column("discrepancies", "found_at", schema="trading")
    op.drop_index("ix_reconciliation_runs_proofs", "reconciliation_runs", schema="trading")
    op.drop_constraint(
        op.f("ck_reconciliation_runs_dag_run_is_whole_or_absent"), "reconciliation_runs", schema="trading"
    )
    op.drop_column("reconciliation_runs", "dag_run_id", schema="trading")
    op.drop_column("reconciliation_runs", "dag_id", schema="trading")
