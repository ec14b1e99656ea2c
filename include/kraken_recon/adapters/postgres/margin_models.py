"""The tables of margin positions, beside those of holdings; kept equal to the migrations by a test."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from kraken_recon.adapters.postgres.models import AMOUNT, SCHEMA, TIME, metadata
from kraken_recon.domain.margin import MarginAction, MarginStatus


def _amount(name: str, *, nullable: bool = False) -> tuple[sa.Column[object], sa.CheckConstraint]:
    return (
        sa.Column(name, AMOUNT, nullable=nullable),
        sa.CheckConstraint(f"{name} <> 'NaN'::numeric", name=f"{name}_is_a_number"),
    )


def _listed(values: type[MarginAction | MarginStatus]) -> str:
    return ", ".join(f"'{value}'" for value in values)


margin_positions: Final = sa.Table(
    "margin_positions",
    metadata,
    sa.Column("account_id", sa.BigInteger, sa.ForeignKey(f"{SCHEMA}.accounts.account_id"), primary_key=True),
    sa.Column("position_id", sa.Text, primary_key=True),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("order_id", sa.Text, nullable=False),
    sa.Column("pair", sa.Text, nullable=False),
    sa.Column("side", sa.Text, nullable=False),
    sa.Column("order_type", sa.Text, nullable=False),
    sa.Column("opened_at", TIME, nullable=False),
    *_amount("volume"),
    *_amount("volume_closed"),
    *_amount("cost"),
    *_amount("fee"),
    *_amount("margin"),
    sa.Column("terms", sa.Text, nullable=False, server_default=""),
    sa.Column("rollover_at", TIME),
    *_amount("value", nullable=True),
    *_amount("net", nullable=True),
    sa.Column("ledger_seq", sa.BigInteger, nullable=False),
    sa.Column("doubted_since", TIME),
    sa.Column("doubt", JSONB(none_as_null=True)),
    sa.Column("first_seen_run_id", sa.Uuid, nullable=False),
    sa.Column("last_seen_run_id", sa.Uuid, nullable=False),
    sa.Column("last_seen_at", TIME, nullable=False),
    sa.Column("updated_at", TIME, nullable=False, server_default=sa.func.now()),
    sa.CheckConstraint(f"status in ({_listed(MarginStatus)})", name="status_is_known"),
    sa.CheckConstraint("side in ('buy', 'sell')", name="side_is_known"),
    sa.CheckConstraint("doubt is null or doubted_since is not null", name="doubts_say_since_when"),
)

margin_position_events: Final = sa.Table(
    "margin_position_events",
    metadata,
    sa.Column("event_id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    sa.Column("account_id", sa.BigInteger, sa.ForeignKey(f"{SCHEMA}.accounts.account_id"), nullable=False),
    sa.Column("position_id", sa.Text, nullable=False),
    sa.Column("action", sa.Text, nullable=False),
    sa.Column("is_applied", sa.Boolean, nullable=False),
    sa.Column("is_explained", sa.Boolean, nullable=False),
    sa.Column("before", JSONB(none_as_null=True)),
    sa.Column("after", JSONB(none_as_null=True)),
    sa.Column("ledger_ids", ARRAY(sa.Text), nullable=False),
    sa.Column("run_id", sa.Uuid, nullable=False),
    sa.Column("effective_at", TIME, nullable=False),
    sa.Column("recorded_at", TIME, nullable=False, server_default=sa.text("clock_timestamp()")),
    sa.CheckConstraint(f"action in ({_listed(MarginAction)})", name="action_is_known"),
    sa.Index("ix_margin_position_events_position", "account_id", "position_id", "event_id"),
    sa.Index("ix_margin_position_events_run_id", "run_id"),
)

margin_checks: Final = sa.Table(
    "margin_checks",
    metadata,
    sa.Column("account_id", sa.BigInteger, sa.ForeignKey(f"{SCHEMA}.accounts.account_id"), primary_key=True),
    sa.Column("checked_at", TIME, nullable=False),
    sa.Column("run_id", sa.Uuid, nullable=False),
)
