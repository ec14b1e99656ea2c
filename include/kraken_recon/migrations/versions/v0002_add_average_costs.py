"""Add average costs and realised results."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the change."""
    op.create_index(
        "ix_ledger_entries_refid", "ledger_entries", ["account_id", "refid"], unique=False, schema="trading"
    )
    op.create_table(
        "asset_costs",
        sa.Column("account_id", sa.BigInteger(), nullable=False),
        sa.Column("asset", sa.Text(), nullable=False),
        sa.Column("quantity_known", sa.Numeric(precision=38, scale=18), nullable=False),
        sa.Column("quantity_unknown", sa.Numeric(precision=38, scale=18), nullable=False),
        sa.Column("quantity_moving", sa.Numeric(precision=38, scale=18), nullable=False),
        sa.Column("cost", sa.Numeric(precision=38, scale=18), nullable=False),
        sa.Column("avg_cost", sa.Numeric(precision=38, scale=18), nullable=True),
        sa.Column("realised", sa.Numeric(precision=38, scale=18), nullable=False),
        sa.Column("as_of", sa.DateTime(timezone=True), nullable=True),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "quantity_known <> 'NaN'::numeric", name=op.f("ck_asset_costs_quantity_known_is_a_number")
        ),
        sa.CheckConstraint(
            "quantity_unknown <> 'NaN'::numeric", name=op.f("ck_asset_costs_quantity_unknown_is_a_number")
        ),
        sa.CheckConstraint(
            "quantity_moving <> 'NaN'::numeric", name=op.f("ck_asset_costs_quantity_moving_is_a_number")
        ),
        sa.CheckConstraint("cost <> 'NaN'::numeric", name=op.f("ck_asset_costs_cost_is_a_number")),
        sa.CheckConstraint("avg_cost <> 'NaN'::numeric", name=op.f("ck_asset_costs_avg_cost_is_a_number")),
        sa.CheckConstraint("realised <> 'NaN'::numeric", name=op.f("ck_asset_costs_realised_is_a_number")),
        sa.ForeignKeyConstraint(
            ["account_id"], ["trading.accounts.account_id"], name=op.f("fk_asset_costs_account_id_accounts")
        ),
        sa.PrimaryKeyConstraint("account_id", "asset", name=op.f("pk_asset_costs")),
        schema="trading",
    )
    op.create_table(
        "realised_results",
        sa.Column("account_id", sa.BigInteger(), nullable=False),
        sa.Column("refid", sa.Text(), nullable=False),
        sa.Column("asset", sa.Text(), nullable=False),
        sa.Column("quantity", sa.Numeric(precision=38, scale=18), nullable=False),
        sa.Column("proceeds", sa.Numeric(precision=38, scale=18), nullable=False),
        sa.Column("cost", sa.Numeric(precision=38, scale=18), nullable=False),
        sa.Column("result", sa.Numeric(precision=38, scale=18), nullable=True),
        sa.Column("unknown_share", sa.Numeric(precision=38, scale=18), nullable=False),
        sa.Column("effective_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "quantity <> 'NaN'::numeric", name=op.f("ck_realised_results_quantity_is_a_number")
        ),
        sa.CheckConstraint(
            "proceeds <> 'NaN'::numeric", name=op.f("ck_realised_results_proceeds_is_a_number")
        ),
        sa.CheckConstraint("cost <> 'NaN'::numeric", name=op.f("ck_realised_results_cost_is_a_number")),
        sa.CheckConstraint("result <> 'NaN'::numeric", name=op.f("ck_realised_results_result_is_a_number")),
        sa.CheckConstraint(
            "unknown_share <> 'NaN'::numeric", name=op.f("ck_realised_results_unknown_share_is_a_number")
        ),
        sa.ForeignKeyConstraint(
            ["account_id"],
            ["trading.accounts.account_id"],
            name=op.f("fk_realised_results_account_id_accounts"),
        ),
        sa.PrimaryKeyConstraint("account_id", "refid", "asset", name=op.f("pk_realised_results")),
        schema="trading",
    )
    op.create_index(
        "ix_realised_results_asset",
        "realised_results",
        ["account_id", "asset", "effective_at"],
        unique=False,
        schema="trading",
    )


def downgrade() -> None:
    """Take the change back."""
    op.drop_table("realised_results", schema="trading")
    op.drop_table("asset_costs", schema="trading")
    op.drop_index("ix_ledger_entries_refid", table_name="ledger_entries", schema="trading")
