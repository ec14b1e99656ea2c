"""Create the trading schema."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the change."""
    op.create_table(
        "accounts",
        sa.Column("account_id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("kraken_conn_id", sa.Text(), nullable=False),
        sa.Column("quote_currency", sa.Text(), server_default="USD", nullable=False),
        sa.Column("is_active", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("opening_source", sa.Text(), nullable=True),
        sa.Column("ledger_watermark", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("ledger_floor", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "opening_source in ('ledger', 'derived', 'balance')",
            name=op.f("ck_accounts_opening_source_is_known"),
        ),
        sa.PrimaryKeyConstraint("account_id", name=op.f("pk_accounts")),
        sa.UniqueConstraint("name", name=op.f("uq_accounts_name")),
        schema="trading",
    )
    op.create_table(
        "api_keys",
        sa.Column("key_fingerprint", sa.Text(), nullable=False),
        sa.Column("nonce", sa.BigInteger(), nullable=False),
        sa.Column("call_level", sa.Numeric(), nullable=False),
        sa.Column("level_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("checked_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("key_fingerprint", name=op.f("pk_api_keys")),
        schema="trading",
        postgresql_with={"fillfactor": "10"},
    )
    op.create_table(
        "alerts",
        sa.Column("alert_id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("account_id", sa.BigInteger(), nullable=False),
        sa.Column("asset", sa.Text(), nullable=True),
        sa.Column("wallet", sa.Text(), nullable=True),
        sa.Column("status", sa.Text(), server_default="open", nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column(
            "evidence",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default=sa.text("'{}'::jsonb"),
            nullable=False,
        ),
        sa.Column("occurrences", sa.Integer(), server_default="1", nullable=False),
        sa.Column("opened_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column(
            "last_seen_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.Column("resolved_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "status in ('open', 'acknowledged', 'resolved')", name=op.f("ck_alerts_status_is_known")
        ),
        sa.ForeignKeyConstraint(
            ["account_id"], ["trading.accounts.account_id"], name=op.f("fk_alerts_account_id_accounts")
        ),
        sa.PrimaryKeyConstraint("alert_id", name=op.f("pk_alerts")),
        schema="trading",
    )
    op.create_index(
        "uq_alerts_unresolved",
        "alerts",
        ["kind", "account_id", "asset", "wallet"],
        unique=True,
        schema="trading",
        postgresql_where=sa.text("status <> 'resolved'"),
        postgresql_nulls_not_distinct=True,
    )
    op.create_table(
        "ledger_entries",
        sa.Column("account_id", sa.BigInteger(), nullable=False),
        sa.Column("ledger_id", sa.Text(), nullable=False),
        sa.Column("ingest_seq", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("refid", sa.Text(), nullable=False),
        sa.Column("entry_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("subtype", sa.Text(), nullable=False),
        sa.Column("asset", sa.Text(), nullable=False),
        sa.Column("wallet", sa.Text(), nullable=False),
        sa.Column("amount", sa.Numeric(precision=38, scale=18), nullable=False),
        sa.Column("fee", sa.Numeric(precision=38, scale=18), nullable=False),
        sa.Column("balance", sa.Numeric(precision=38, scale=18), nullable=False),
        sa.Column("run_id", sa.Uuid(), nullable=True),
        sa.Column("ingested_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("amount <> 'NaN'::numeric", name=op.f("ck_ledger_entries_amount_is_a_number")),
        sa.CheckConstraint("balance <> 'NaN'::numeric", name=op.f("ck_ledger_entries_balance_is_a_number")),
        sa.CheckConstraint("fee <> 'NaN'::numeric", name=op.f("ck_ledger_entries_fee_is_a_number")),
        sa.ForeignKeyConstraint(
            ["account_id"],
            ["trading.accounts.account_id"],
            name=op.f("fk_ledger_entries_account_id_accounts"),
        ),
        sa.PrimaryKeyConstraint("account_id", "ledger_id", name=op.f("pk_ledger_entries")),
        schema="trading",
    )
    op.create_index(
        "ix_ledger_entries_holding",
        "ledger_entries",
        ["account_id", "asset", "wallet", "entry_time"],
        unique=False,
        schema="trading",
    )
    op.create_index(
        "ix_ledger_entries_time",
        "ledger_entries",
        ["account_id", "entry_time"],
        unique=False,
        schema="trading",
    )
    op.create_table(
        "position_events",
        sa.Column("event_id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("account_id", sa.BigInteger(), nullable=False),
        sa.Column("asset", sa.Text(), nullable=False),
        sa.Column("wallet", sa.Text(), nullable=False),
        sa.Column("quantity_before", sa.Numeric(precision=38, scale=18), nullable=False),
        sa.Column("quantity_after", sa.Numeric(precision=38, scale=18), nullable=False),
        sa.Column("cause", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("ledger_id", sa.Text(), nullable=True),
        sa.Column("run_id", sa.Uuid(), nullable=True),
        sa.Column("effective_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column(
            "recorded_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.CheckConstraint(
            "(cause = 'adjustment') = (reason is not null)",
            name=op.f("ck_position_events_adjustments_say_why"),
        ),
        sa.CheckConstraint(
            "(cause = 'ledger') = (ledger_id is not null)",
            name=op.f("ck_position_events_ledger_events_name_their_entry"),
        ),
        sa.CheckConstraint(
            "cause in ('ledger', 'adjustment', 'opening')", name=op.f("ck_position_events_cause_is_known")
        ),
        sa.CheckConstraint(
            "quantity_after <> 'NaN'::numeric", name=op.f("ck_position_events_quantity_after_is_a_number")
        ),
        sa.CheckConstraint(
            "quantity_before <> 'NaN'::numeric", name=op.f("ck_position_events_quantity_before_is_a_number")
        ),
        sa.ForeignKeyConstraint(
            ["account_id"],
            ["trading.accounts.account_id"],
            name=op.f("fk_position_events_account_id_accounts"),
        ),
        sa.PrimaryKeyConstraint("event_id", name=op.f("pk_position_events")),
        schema="trading",
    )
    op.create_index(
        "ix_position_events_holding",
        "position_events",
        ["account_id", "asset", "wallet", "event_id"],
        unique=False,
        schema="trading",
    )
    op.create_index(
        "uq_position_events_ledger_id",
        "position_events",
        ["account_id", "ledger_id"],
        unique=True,
        schema="trading",
        postgresql_where=sa.text("cause = 'ledger'"),
    )
    op.create_table(
        "positions",
        sa.Column("account_id", sa.BigInteger(), nullable=False),
        sa.Column("asset", sa.Text(), nullable=False),
        sa.Column("wallet", sa.Text(), server_default="spot", nullable=False),
        sa.Column("quantity", sa.Numeric(precision=38, scale=18), server_default="0", nullable=False),
        sa.Column(
            "available_quantity", sa.Numeric(precision=38, scale=18), server_default="0", nullable=False
        ),
        sa.Column("available_as_of", sa.DateTime(timezone=True), nullable=True),
        sa.Column("avg_cost", sa.Numeric(precision=38, scale=18), nullable=True),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "available_quantity <> 'NaN'::numeric", name=op.f("ck_positions_available_quantity_is_a_number")
        ),
        sa.CheckConstraint("avg_cost <> 'NaN'::numeric", name=op.f("ck_positions_avg_cost_is_a_number")),
        sa.CheckConstraint("quantity <> 'NaN'::numeric", name=op.f("ck_positions_quantity_is_a_number")),
        sa.ForeignKeyConstraint(
            ["account_id"], ["trading.accounts.account_id"], name=op.f("fk_positions_account_id_accounts")
        ),
        sa.PrimaryKeyConstraint("account_id", "asset", "wallet", name=op.f("pk_positions")),
        schema="trading",
        postgresql_with={"fillfactor": "90"},
    )
    op.create_table(
        "reconciliation_runs",
        sa.Column("run_id", sa.Uuid(), nullable=False),
        sa.Column("account_id", sa.BigInteger(), nullable=False),
        sa.Column("interval_start", sa.DateTime(timezone=True), nullable=False),
        sa.Column("interval_end", sa.DateTime(timezone=True), nullable=False),
        sa.Column("mode", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("trigger", sa.Text(), nullable=False),
        sa.Column("recorded_as_of", sa.DateTime(timezone=True), nullable=False),
        sa.Column("reported_as_of", sa.DateTime(timezone=True), nullable=True),
        sa.Column("reported_head", sa.Text(), nullable=True),
        sa.Column("checked", sa.Integer(), server_default="0", nullable=False),
        sa.Column("matched", sa.Integer(), server_default="0", nullable=False),
        sa.Column("within_tolerance", sa.Integer(), server_default="0", nullable=False),
        sa.Column("explained", sa.Integer(), server_default="0", nullable=False),
        sa.Column("updated", sa.Integer(), server_default="0", nullable=False),
        sa.Column("added", sa.Integer(), server_default="0", nullable=False),
        sa.Column("removed", sa.Integer(), server_default="0", nullable=False),
        sa.Column("held", sa.Integer(), server_default="0", nullable=False),
        sa.Column("awaiting", sa.Integer(), server_default="0", nullable=False),
        sa.Column("failed", sa.Integer(), server_default="0", nullable=False),
        sa.Column("entries_ingested", sa.Integer(), server_default="0", nullable=False),
        sa.Column("api_calls", sa.Integer(), server_default="0", nullable=False),
        sa.Column("seconds", sa.Numeric(precision=12, scale=3), nullable=False),
        sa.Column("lock_hold_ms", sa.Numeric(precision=12, scale=3), nullable=False),
        sa.Column("note", sa.Text(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "(status = 'failed') = (error is not null)", name=op.f("ck_reconciliation_runs_failures_say_why")
        ),
        sa.CheckConstraint(
            "mode in ('repair', 'dry_run')", name=op.f("ck_reconciliation_runs_mode_is_known")
        ),
        sa.CheckConstraint(
            "status in ('succeeded', 'moving', 'failed')", name=op.f("ck_reconciliation_runs_status_is_known")
        ),
        sa.CheckConstraint(
            "interval_start < interval_end", name=op.f("ck_reconciliation_runs_interval_is_not_empty")
        ),
        sa.ForeignKeyConstraint(
            ["account_id"],
            ["trading.accounts.account_id"],
            name=op.f("fk_reconciliation_runs_account_id_accounts"),
        ),
        sa.PrimaryKeyConstraint("run_id", name=op.f("pk_reconciliation_runs")),
        sa.UniqueConstraint(
            "account_id",
            "interval_start",
            "interval_end",
            "mode",
            name=op.f("uq_reconciliation_runs_account_id_interval_start_interval_end_mode"),
        ),
        schema="trading",
    )
    op.create_index(
        "ix_reconciliation_runs_newest",
        "reconciliation_runs",
        ["account_id", "recorded_as_of"],
        unique=False,
        schema="trading",
    )
    op.create_table(
        "residuals",
        sa.Column("account_id", sa.BigInteger(), nullable=False),
        sa.Column("asset", sa.Text(), nullable=False),
        sa.Column("wallet", sa.Text(), nullable=False),
        sa.Column("residual", sa.Numeric(precision=38, scale=18), nullable=False),
        sa.Column("first_seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("confirmations", sa.Integer(), nullable=False),
        sa.Column("is_settled", sa.Boolean(), nullable=False),
        sa.CheckConstraint("residual <> 'NaN'::numeric", name=op.f("ck_residuals_residual_is_a_number")),
        sa.ForeignKeyConstraint(
            ["account_id"], ["trading.accounts.account_id"], name=op.f("fk_residuals_account_id_accounts")
        ),
        sa.PrimaryKeyConstraint("account_id", "asset", "wallet", name=op.f("pk_residuals")),
        schema="trading",
    )
    op.create_table(
        "tolerances",
        sa.Column("account_id", sa.BigInteger(), nullable=False),
        sa.Column("asset", sa.Text(), nullable=False),
        sa.Column("quantity", sa.Numeric(precision=38, scale=18), nullable=False),
        sa.Column("value", sa.Numeric(precision=38, scale=18), nullable=True),
        sa.CheckConstraint("quantity <> 'NaN'::numeric", name=op.f("ck_tolerances_quantity_is_a_number")),
        sa.CheckConstraint("value <> 'NaN'::numeric", name=op.f("ck_tolerances_value_is_a_number")),
        sa.CheckConstraint(
            "quantity >= 0 and (value is null or value >= 0)", name=op.f("ck_tolerances_not_negative")
        ),
        sa.ForeignKeyConstraint(
            ["account_id"], ["trading.accounts.account_id"], name=op.f("fk_tolerances_account_id_accounts")
        ),
        sa.PrimaryKeyConstraint("account_id", "asset", name=op.f("pk_tolerances")),
        schema="trading",
    )
    op.create_table(
        "discrepancies",
        sa.Column("run_id", sa.Uuid(), nullable=False),
        sa.Column("account_id", sa.BigInteger(), nullable=False),
        sa.Column("asset", sa.Text(), nullable=False),
        sa.Column("wallet", sa.Text(), nullable=False),
        sa.Column("db_quantity", sa.Numeric(precision=38, scale=18), nullable=False),
        sa.Column("exchange_quantity", sa.Numeric(precision=38, scale=18), nullable=False),
        sa.Column(
            "drift",
            sa.Numeric(precision=38, scale=18),
            sa.Computed("exchange_quantity - db_quantity", persisted=True),
            nullable=True,
        ),
        sa.Column("explained", sa.Numeric(precision=38, scale=18), nullable=False),
        sa.Column(
            "unexplained",
            sa.Numeric(precision=38, scale=18),
            sa.Computed("exchange_quantity - db_quantity - explained", persisted=True),
            nullable=True,
        ),
        sa.Column("database_drift", sa.Numeric(precision=38, scale=18), nullable=False),
        sa.Column("residual", sa.Numeric(precision=38, scale=18), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("ledger_ids", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.CheckConstraint(
            "action in ('applied', 'update', 'add', 'remove', 'within_tolerance', 'awaiting_confirmation',"
            " 'moving', 'held')",
            name=op.f("ck_discrepancies_action_is_known"),
        ),
        sa.CheckConstraint(
            "database_drift <> 'NaN'::numeric", name=op.f("ck_discrepancies_database_drift_is_a_number")
        ),
        sa.CheckConstraint(
            "db_quantity <> 'NaN'::numeric", name=op.f("ck_discrepancies_db_quantity_is_a_number")
        ),
        sa.CheckConstraint(
            "exchange_quantity <> 'NaN'::numeric", name=op.f("ck_discrepancies_exchange_quantity_is_a_number")
        ),
        sa.CheckConstraint(
            "explained <> 'NaN'::numeric", name=op.f("ck_discrepancies_explained_is_a_number")
        ),
        sa.CheckConstraint("residual <> 'NaN'::numeric", name=op.f("ck_discrepancies_residual_is_a_number")),
        sa.CheckConstraint(
            "exchange_quantity - db_quantity = explained + database_drift + residual",
            name=op.f("ck_discrepancies_parts_add_up"),
        ),
        sa.ForeignKeyConstraint(
            ["account_id"], ["trading.accounts.account_id"], name=op.f("fk_discrepancies_account_id_accounts")
        ),
        sa.ForeignKeyConstraint(
            ["run_id"],
            ["trading.reconciliation_runs.run_id"],
            name=op.f("fk_discrepancies_run_id_reconciliation_runs"),
        ),
        sa.PrimaryKeyConstraint("run_id", "asset", "wallet", name=op.f("pk_discrepancies")),
        schema="trading",
    )
    op.create_index(
        "ix_discrepancies_account_id", "discrepancies", ["account_id"], unique=False, schema="trading"
    )
    op.execute(
        """
        create view trading.holdings as
        select account_id, asset, sum(quantity) as quantity, sum(available_quantity) as available_quantity
        from trading.positions
        group by account_id, asset
        """
    )


def downgrade() -> None:
    """Take the change back."""
    op.execute("drop view trading.holdings")
    op.drop_index("ix_discrepancies_account_id", table_name="discrepancies", schema="trading")
    op.drop_table("discrepancies", schema="trading")
    op.drop_table("tolerances", schema="trading")
    op.drop_table("residuals", schema="trading")
    op.drop_index("ix_reconciliation_runs_newest", table_name="reconciliation_runs", schema="trading")
    op.drop_table("reconciliation_runs", schema="trading")
    op.drop_table("positions", schema="trading")
    op.drop_index(
        "uq_position_events_ledger_id",
        table_name="position_events",
        schema="trading",
        postgresql_where=sa.text("cause = 'ledger'"),
    )
    op.drop_index("ix_position_events_holding", table_name="position_events", schema="trading")
    op.drop_table("position_events", schema="trading")
    op.drop_index("ix_ledger_entries_time", table_name="ledger_entries", schema="trading")
    op.drop_index("ix_ledger_entries_holding", table_name="ledger_entries", schema="trading")
    op.drop_table("ledger_entries", schema="trading")
    op.drop_index(
        "uq_alerts_unresolved",
        table_name="alerts",
        schema="trading",
        postgresql_where=sa.text("status <> 'resolved'"),
        postgresql_nulls_not_distinct=True,
    )
    op.drop_table("alerts", schema="trading")
    op.drop_table("api_keys", schema="trading")
    op.drop_table("accounts", schema="trading")
