"""Keep open margin positions, and every change of one."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

REQUIRED_AMOUNTS = ("volume", "volume_closed", "cost", "fee", "margin")
AMOUNTS = (*REQUIRED_AMOUNTS, "value", "net")


def _amount(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.Numeric(precision=38, scale=18), nullable=name not in REQUIRED_AMOUNTS)


def _time(name: str, *, nullable: bool = False, default: str | None = None) -> sa.Column[object]:
    return sa.Column(
        name,
        sa.DateTime(timezone=True),
        server_default=sa.text(default) if default else None,
        nullable=nullable,
    )


def _account(table: str) -> tuple[sa.Column[object], sa.ForeignKeyConstraint]:
    return (
        sa.Column("account_id", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id"], ["trading.accounts.account_id"], name=op.f(f"fk_{table}_account_id_accounts")
        ),
    )


def upgrade() -> None:
    """Apply the change."""
    op.create_table(
        "margin_positions",
        *_account("margin_positions"),
        sa.Column("position_id", sa.Text(), nullable=False),
        *(
            sa.Column(name, sa.Text(), nullable=False)
            for name in ("status", "order_id", "pair", "side", "order_type")
        ),
        _time("opened_at"),
        *(_amount(name) for name in AMOUNTS),
        sa.Column("terms", sa.Text(), server_default="", nullable=False),
        _time("rollover_at", nullable=True),
        sa.Column("ledger_seq", sa.BigInteger(), nullable=False),
        _time("doubted_since", nullable=True),
        sa.Column("doubt", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("first_seen_run_id", sa.Uuid(), nullable=False),
        sa.Column("last_seen_run_id", sa.Uuid(), nullable=False),
        _time("last_seen_at"),
        _time("updated_at", default="now()"),
        *(
            sa.CheckConstraint(
                f"{name} <> 'NaN'::numeric", name=op.f(f"ck_margin_positions_{name}_is_a_number")
            )
            for name in AMOUNTS
        ),
        sa.CheckConstraint(
            "status in ('open', 'unconfirmed', 'closed')", name=op.f("ck_margin_positions_status_is_known")
        ),
        sa.CheckConstraint("side in ('buy', 'sell')", name=op.f("ck_margin_positions_side_is_known")),
        sa.CheckConstraint(
            "doubt is null or doubted_since is not null",
            name=op.f("ck_margin_positions_doubts_say_since_when"),
        ),
        sa.PrimaryKeyConstraint("account_id", "position_id", name=op.f("pk_margin_positions")),
        schema="trading",
    )
    op.create_table(
        "margin_position_events",
        sa.Column("event_id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        *_account("margin_position_events"),
        sa.Column("position_id", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("is_applied", sa.Boolean(), nullable=False),
        sa.Column("is_explained", sa.Boolean(), nullable=False),
        sa.Column("before", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("after", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("ledger_ids", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("run_id", sa.Uuid(), nullable=False),
        _time("effective_at"),
        _time("recorded_at", default="clock_timestamp()"),
        sa.CheckConstraint(
            "action in ('opening', 'opened', 'changed', 'closed', 'awaiting_confirmation')",
            name=op.f("ck_margin_position_events_action_is_known"),
        ),
        sa.PrimaryKeyConstraint("event_id", name=op.f("pk_margin_position_events")),
        schema="trading",
    )
    op.create_index(
        "ix_margin_position_events_position",
        "margin_position_events",
        ["account_id", "position_id", "event_id"],
        unique=False,
        schema="trading",
    )
    op.create_index(
        "ix_margin_position_events_run_id",
        "margin_position_events",
        ["run_id"],
        unique=False,
        schema="trading",
    )
    op.create_table(
        "margin_checks",
        *_account("margin_checks"),
        _time("checked_at"),
        sa.Column("run_id", sa.Uuid(), nullable=False),
        sa.PrimaryKeyConstraint("account_id", name=op.f("pk_margin_checks")),
        schema="trading",
    )


def downgrade() -> None:
    """Take the change back."""
    op.drop_table("margin_checks", schema="trading")
    op.drop_table("margin_position_events", schema="trading")
    op.drop_table("margin_positions", schema="trading")
