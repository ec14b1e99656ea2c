"""Add orders, their decisions, events and fills."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the change."""
    op.create_table(
        "orders",
        sa.Column("order_id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("account_id", sa.BigInteger(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("pair", sa.Text(), nullable=False),
        sa.Column("base", sa.Text(), nullable=False),
        sa.Column("quote", sa.Text(), nullable=False),
        sa.Column("side", sa.Text(), nullable=False),
        sa.Column("order_type", sa.Text(), nullable=False),
        sa.Column("volume", sa.Numeric(precision=38, scale=18), nullable=True),
        sa.Column("portion", sa.Numeric(precision=38, scale=18), nullable=True),
        sa.Column("limit_price", sa.Numeric(precision=38, scale=18), nullable=True),
        sa.Column("trigger_price", sa.Numeric(precision=38, scale=18), nullable=True),
        sa.Column("expected_price", sa.Numeric(precision=38, scale=18), nullable=True),
        sa.Column("time_in_force", sa.Text(), server_default="GTC", nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("is_post_only", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("is_dry_run", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("ai_model", sa.Text(), nullable=True),
        sa.Column("ai_prompt_sha256", sa.Text(), nullable=True),
        sa.Column("ai_answer", sa.Text(), nullable=True),
        sa.Column("cl_ord_id", sa.Text(), nullable=True),
        sa.Column("kraken_txid", sa.Text(), nullable=True),
        sa.Column("status", sa.Text(), server_default="decided", nullable=False),
        sa.Column("status_reason", sa.Text(), nullable=True),
        sa.Column("deadline", sa.DateTime(timezone=True), nullable=True),
        sa.Column("decided_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("submitted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("volume_executed", sa.Numeric(precision=38, scale=18), server_default="0", nullable=False),
        sa.Column("cost_executed", sa.Numeric(precision=38, scale=18), server_default="0", nullable=False),
        sa.Column("fee_reported", sa.Numeric(precision=38, scale=18), server_default="0", nullable=False),
        sa.Column("answered_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("absent_since", sa.DateTime(timezone=True), nullable=True),
        sa.Column("settled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("reserved", sa.Numeric(precision=38, scale=18), nullable=True),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "cost_executed <> 'NaN'::numeric", name=op.f("ck_orders_cost_executed_is_a_number")
        ),
        sa.CheckConstraint(
            "expected_price <> 'NaN'::numeric", name=op.f("ck_orders_expected_price_is_a_number")
        ),
        sa.CheckConstraint("fee_reported <> 'NaN'::numeric", name=op.f("ck_orders_fee_reported_is_a_number")),
        sa.CheckConstraint("limit_price <> 'NaN'::numeric", name=op.f("ck_orders_limit_price_is_a_number")),
        sa.CheckConstraint(
            "order_type in ('market', 'limit', 'stop-loss', 'take-profit', 'other')",
            name=op.f("ck_orders_order_type_is_known"),
        ),
        sa.CheckConstraint("portion <> 'NaN'::numeric", name=op.f("ck_orders_portion_is_a_number")),
        sa.CheckConstraint("side in ('buy', 'sell')", name=op.f("ck_orders_side_is_known")),
        sa.CheckConstraint(
            "source in ('ai', 'matching', 'manual', 'external')", name=op.f("ck_orders_source_is_known")
        ),
        sa.CheckConstraint(
            "status <> 'open' or kraken_txid is not null", name=op.f("ck_orders_open_orders_have_a_txid")
        ),
        sa.CheckConstraint(
            "status in ('decided', 'refused') or source = 'external' or (cl_ord_id is not"
            " null and deadline is not null and submitted_at is not null)",
            name=op.f("ck_orders_sent_orders_have_their_ids"),
        ),
        sa.CheckConstraint(
            "status in ('decided', 'refused', 'submitting', 'unknown', 'validated',"
            " 'rejected', 'not_placed', 'open', 'closed', 'canceled', 'expired')",
            name=op.f("ck_orders_status_is_known"),
        ),
        sa.CheckConstraint(
            "time_in_force in ('GTC', 'IOC', 'GTD')", name=op.f("ck_orders_time_in_force_is_known")
        ),
        sa.CheckConstraint(
            "trigger_price <> 'NaN'::numeric", name=op.f("ck_orders_trigger_price_is_a_number")
        ),
        sa.CheckConstraint("volume <> 'NaN'::numeric", name=op.f("ck_orders_volume_is_a_number")),
        sa.CheckConstraint(
            "volume_executed <> 'NaN'::numeric", name=op.f("ck_orders_volume_executed_is_a_number")
        ),
        sa.CheckConstraint(
            "source = 'external' or (volume > 0 and (portion is null or (portion > 0 and portion <= 1)))",
            name=op.f("ck_orders_size"),
        ),
        sa.CheckConstraint("reserved <> 'NaN'::numeric", name=op.f("ck_orders_reserved_is_a_number")),
        sa.CheckConstraint("volume is not null or portion is not null", name=op.f("ck_orders_has_a_size")),
        sa.ForeignKeyConstraint(
            ["account_id"], ["trading.accounts.account_id"], name=op.f("fk_orders_account_id_accounts")
        ),
        sa.PrimaryKeyConstraint("order_id", name=op.f("pk_orders")),
        sa.UniqueConstraint("account_id", "cl_ord_id", name=op.f("uq_orders_account_id_cl_ord_id")),
        sa.UniqueConstraint("account_id", "kraken_txid", name=op.f("uq_orders_account_id_kraken_txid")),
        schema="trading",
        postgresql_with={"fillfactor": "80"},
    )
    op.create_index(
        "ix_orders_ended_at",
        "orders",
        ["ended_at"],
        unique=False,
        schema="trading",
        postgresql_where=sa.text("ended_at is not null"),
    )
    op.create_index(
        "ix_orders_unfinished",
        "orders",
        ["account_id", "order_id"],
        unique=False,
        schema="trading",
        postgresql_where=sa.text("status in ('decided', 'submitting', 'unknown', 'open')"),
    )
    op.create_index(
        "ix_orders_unsettled",
        "orders",
        ["account_id", "order_id"],
        unique=False,
        schema="trading",
        postgresql_where=sa.text("ended_at is not null and settled_at is null"),
    )
    op.create_table(
        "order_books",
        sa.Column("account_id", sa.BigInteger(), nullable=False),
        sa.Column("read_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("looked_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id"], ["trading.accounts.account_id"], name=op.f("fk_order_books_account_id_accounts")
        ),
        sa.PrimaryKeyConstraint("account_id", name=op.f("pk_order_books")),
        schema="trading",
    )
    op.create_table(
        "fills",
        sa.Column("account_id", sa.BigInteger(), nullable=False),
        sa.Column("trade_id", sa.Text(), nullable=False),
        sa.Column("order_id", sa.BigInteger(), nullable=True),
        sa.Column("kraken_txid", sa.Text(), nullable=False),
        sa.Column("pair", sa.Text(), nullable=False),
        sa.Column("side", sa.Text(), nullable=False),
        sa.Column("trade_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("price", sa.Numeric(precision=38, scale=18), nullable=False),
        sa.Column("volume", sa.Numeric(precision=38, scale=18), nullable=False),
        sa.Column("cost", sa.Numeric(precision=38, scale=18), nullable=False),
        sa.Column("fee", sa.Numeric(precision=38, scale=18), nullable=False),
        sa.Column("is_maker", sa.Boolean(), nullable=True),
        sa.Column("recorded_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("cost <> 'NaN'::numeric", name=op.f("ck_fills_cost_is_a_number")),
        sa.CheckConstraint("fee <> 'NaN'::numeric", name=op.f("ck_fills_fee_is_a_number")),
        sa.CheckConstraint("price <> 'NaN'::numeric", name=op.f("ck_fills_price_is_a_number")),
        sa.CheckConstraint("side in ('buy', 'sell')", name=op.f("ck_fills_side_is_known")),
        sa.CheckConstraint("volume <> 'NaN'::numeric", name=op.f("ck_fills_volume_is_a_number")),
        sa.ForeignKeyConstraint(
            ["account_id"], ["trading.accounts.account_id"], name=op.f("fk_fills_account_id_accounts")
        ),
        sa.ForeignKeyConstraint(
            ["order_id"], ["trading.orders.order_id"], name=op.f("fk_fills_order_id_orders")
        ),
        sa.PrimaryKeyConstraint("account_id", "trade_id", name=op.f("pk_fills")),
        schema="trading",
    )
    op.create_index(
        "ix_fills_kraken_txid", "fills", ["account_id", "kraken_txid"], unique=False, schema="trading"
    )
    op.create_index("ix_fills_order_id", "fills", ["order_id"], unique=False, schema="trading")
    op.create_table(
        "order_decisions",
        sa.Column("decision_id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("decision_key", sa.Text(), nullable=True),
        sa.Column("received_via", sa.Text(), server_default="row", nullable=False),
        sa.Column("payload", postgresql.JSONB(), nullable=False),
        sa.Column("status", sa.Text(), server_default="new", nullable=False),
        sa.Column("refusal", sa.Text(), nullable=True),
        sa.Column("order_id", sa.BigInteger(), nullable=True),
        sa.Column("received_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("judged_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "(status = 'accepted') = (order_id is not null)",
            name=op.f("ck_order_decisions_accepted_have_an_order"),
        ),
        sa.CheckConstraint(
            "(status = 'refused') = (refusal is not null)", name=op.f("ck_order_decisions_refusals_say_why")
        ),
        sa.CheckConstraint(
            "status in ('new', 'accepted', 'refused')", name=op.f("ck_order_decisions_status_is_known")
        ),
        sa.ForeignKeyConstraint(
            ["order_id"], ["trading.orders.order_id"], name=op.f("fk_order_decisions_order_id_orders")
        ),
        sa.PrimaryKeyConstraint("decision_id", name=op.f("pk_order_decisions")),
        sa.UniqueConstraint("decision_key", name=op.f("uq_order_decisions_decision_key")),
        schema="trading",
    )
    op.create_index(
        "ix_order_decisions_new",
        "order_decisions",
        ["decision_id"],
        unique=False,
        schema="trading",
        postgresql_where=sa.text("status = 'new'"),
    )
    op.create_index(
        "uq_order_decisions_order_id", "order_decisions", ["order_id"], unique=True, schema="trading"
    )
    op.create_table(
        "order_events",
        sa.Column("event_id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("order_id", sa.BigInteger(), nullable=False),
        sa.Column("status_before", sa.Text(), nullable=True),
        sa.Column("status_after", sa.Text(), nullable=False),
        sa.Column("what", sa.Text(), nullable=False),
        sa.Column("detail", postgresql.JSONB(), server_default=sa.text("'{}'::jsonb"), nullable=False),
        sa.Column("recorded_by", sa.Text(), nullable=False),
        sa.Column(
            "recorded_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.ForeignKeyConstraint(
            ["order_id"], ["trading.orders.order_id"], name=op.f("fk_order_events_order_id_orders")
        ),
        sa.PrimaryKeyConstraint("event_id", name=op.f("pk_order_events")),
        schema="trading",
    )
    op.create_index(
        "ix_order_events_order_id", "order_events", ["order_id", "event_id"], unique=False, schema="trading"
    )


def downgrade() -> None:
    """Take the change back."""
    op.drop_table("fills", schema="trading")
    op.drop_table("order_books", schema="trading")
    op.drop_table("order_events", schema="trading")
    op.drop_table("order_decisions", schema="trading")
    op.drop_table("orders", schema="trading")
