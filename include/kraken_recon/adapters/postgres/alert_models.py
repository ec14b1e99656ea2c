"""The tables of who was told of an alert; kept equal to the migrations by a test."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from kraken_recon.adapters.postgres.models import AMOUNT, SCHEMA, TIME, metadata

# One row for whatever an alert may be about, through all its openings: what people were told of it last.
alert_episodes: Final = sa.Table(
    "alert_episodes",
    metadata,
    sa.Column("episode_id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("account_id", sa.BigInteger, sa.ForeignKey(f"{SCHEMA}.accounts.account_id")),
    sa.Column("asset", sa.Text),
    sa.Column("wallet", sa.Text),
    sa.Column("alert_id", sa.BigInteger, sa.ForeignKey(f"{SCHEMA}.alerts.alert_id"), nullable=False),
    sa.Column("is_active", sa.Boolean, nullable=False),
    sa.Column("told_at", TIME, nullable=False),
    sa.Column("told_amount", AMOUNT),
    sa.CheckConstraint("told_amount <> 'NaN'::numeric", name="told_amount_is_a_number"),
    sa.UniqueConstraint("kind", "account_id", "asset", "wallet", postgresql_nulls_not_distinct=True),
    sa.Index("ix_alert_episodes_alert_id", "alert_id"),
)

alert_notifications: Final = sa.Table(
    "alert_notifications",
    metadata,
    sa.Column("notification_id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    sa.Column("channel", sa.Text, nullable=False),
    sa.Column("idempotency_key", sa.Uuid, nullable=False, server_default=sa.text("gen_random_uuid()")),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("subject", sa.Text, nullable=False),
    sa.Column("body", sa.Text, nullable=False),
    sa.Column("alert_ids", ARRAY(sa.BigInteger), nullable=False),
    # The same for programs, with absolute links.
    sa.Column("details", JSONB, nullable=False, server_default=sa.text("'{}'::jsonb")),
    sa.Column("created_at", TIME, nullable=False),
    sa.Column("due_at", TIME, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
    sa.Column("sent_at", TIME),
    sa.Column("last_error", sa.Text),
    sa.Index(
        "ix_alert_notifications_unsent",
        "channel",
        "due_at",
        postgresql_where=sa.text("sent_at is null"),
    ),
    sa.Index("ix_alert_notifications_newest", "created_at"),
)
