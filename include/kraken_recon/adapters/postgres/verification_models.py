"""The tables of order verification, beside those of orders; kept equal to the migrations by a test."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from kraken_recon.adapters.postgres.models import SCHEMA, TIME, metadata
from kraken_recon.adapters.postgres.order_models import orders
from kraken_recon.domain.verification import Level, Overall, Verdict


def _in(column: str, values: type[Level | Overall | Verdict], name: str) -> sa.CheckConstraint:
    listed = ", ".join(f"'{value.value}'" for value in values)
    return sa.CheckConstraint(f"{column} in ({listed})", name=name)


def _account() -> sa.Column[object]:
    return sa.Column(
        "account_id", sa.BigInteger, sa.ForeignKey(f"{SCHEMA}.accounts.account_id"), nullable=False
    )


order_verifications: Final = sa.Table(
    "order_verifications",
    metadata,
    sa.Column("order_id", sa.BigInteger, sa.ForeignKey(orders.c.order_id), primary_key=True),
    _account(),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("enlisted_at", TIME, nullable=False),
    sa.Column("due_at", TIME, nullable=False),
    sa.Column("deadline", TIME, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
    sa.Column("claimed_by", sa.Text),
    sa.Column("claimed_until", TIME),
    sa.Column("verdict", sa.Text),
    sa.Column("failed_levels", ARRAY(sa.Text), nullable=False, server_default="{}"),
    sa.Column("message", sa.Text),
    sa.Column("judged_at", TIME),
    # The token of whoever judged it; that of a task begins with its DAG and run.
    sa.Column("judged_by", sa.Text),
    _in("verdict", Overall, "verdict_is_known"),
    sa.CheckConstraint("(verdict is null) = (judged_at is null)", name="verdicts_have_their_time"),
    sa.CheckConstraint("(claimed_by is null) = (claimed_until is null)", name="claims_end"),
    sa.CheckConstraint(
        "(verdict is not distinct from 'mismatch') = (failed_levels <> '{}')",
        name="mismatches_name_their_level",
    ),
    sa.Index(
        "ix_order_verifications_due",
        "due_at",
        postgresql_where=sa.text("verdict is null or verdict = 'inconclusive'"),
    ),
    sa.Index(
        "ix_order_verifications_claimed_by",
        "claimed_by",
        postgresql_where=sa.text("claimed_by is not null"),
    ),
    sa.Index("ix_order_verifications_judged_at", "judged_at", "account_id"),
    sa.Index(
        "ix_order_verifications_mismatches",
        "judged_at",
        "order_id",
        postgresql_where=sa.text("verdict = 'mismatch'"),
    ),
    postgresql_with={"fillfactor": "80"},
)

order_verification_levels: Final = sa.Table(
    "order_verification_levels",
    metadata,
    sa.Column("order_id", sa.BigInteger, sa.ForeignKey(order_verifications.c.order_id), primary_key=True),
    sa.Column("level", sa.Text, primary_key=True),
    sa.Column("verdict", sa.Text, nullable=False),
    sa.Column("expected", JSONB, nullable=False),
    sa.Column("observed", JSONB, nullable=False),
    sa.Column("message", sa.Text, nullable=False),
    sa.Column("judged_at", TIME, nullable=False),
    _in("level", Level, "level_is_known"),
    _in("verdict", Verdict, "verdict_is_known"),
    # Only these verdicts on the price come with figures.
    sa.Index(
        "ix_order_verification_levels_slippage",
        "judged_at",
        "order_id",
        postgresql_where=sa.text("level = 'slippage' and verdict in ('passed', 'warning')"),
    ),
)

verification_rates: Final = sa.Table(
    "verification_rates",
    metadata,
    sa.Column("window_seconds", sa.Integer, primary_key=True),
    sa.Column("window_start", TIME, primary_key=True),
    sa.Column("account_id", sa.BigInteger, sa.ForeignKey(f"{SCHEMA}.accounts.account_id"), primary_key=True),
    sa.Column("source", sa.Text, primary_key=True),
    sa.Column("verified", sa.Integer, nullable=False),
    sa.Column("mismatched", sa.Integer, nullable=False),
    sa.Column("inconclusive", sa.Integer, nullable=False),
    sa.Column("computed_at", TIME, nullable=False),
    sa.CheckConstraint("window_seconds > 0", name="windows_have_a_length"),
)
