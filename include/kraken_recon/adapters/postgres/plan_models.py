"""The tables of repair plans, on the same metadata as the rest of the trading schema."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from kraken_recon.adapters.postgres.models import AMOUNT, SCHEMA, TIME, metadata

KINDS: Final = ("repair", "held", "undo")
STATUSES: Final = ("planned", "applied", "held", "approved", "rejected", "expired", "outdated")


def _one_of(column: str, values: tuple[str, ...]) -> sa.CheckConstraint:
    listed = ", ".join(f"'{value}'" for value in values)
    return sa.CheckConstraint(f"{column} in ({listed})", name=f"{column}_is_known")


def _number(name: str) -> sa.CheckConstraint:
    return sa.CheckConstraint(f"{name} <> 'NaN'::numeric", name=f"{name}_is_a_number")


repair_plans: Final = sa.Table(
    "repair_plans",
    metadata,
    sa.Column("plan_id", sa.Uuid, primary_key=True),
    sa.Column("account_id", sa.BigInteger, sa.ForeignKey(f"{SCHEMA}.accounts.account_id"), nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("run_id", sa.Uuid),
    sa.Column("as_of", TIME, nullable=False),
    sa.Column("fingerprint", sa.Uuid),
    sa.Column("row_count", sa.Integer, nullable=False),
    sa.Column("why", sa.Text),
    sa.Column("undoes", sa.Uuid, sa.ForeignKey(f"{SCHEMA}.repair_plans.plan_id")),
    sa.Column("written_by_run", sa.Uuid),
    sa.Column("created_at", TIME, nullable=False, server_default=sa.func.now()),
    sa.Column("applied_at", TIME),
    sa.Column("closed_at", TIME),
    sa.Column("decided_by", sa.Text),
    sa.Column("decided_at", TIME),
    sa.Column("note", sa.Text),
    _one_of("kind", KINDS),
    _one_of("status", STATUSES),
    sa.CheckConstraint("(decided_by is null) = (decided_at is null)", name="decisions_say_who_and_when"),
    sa.CheckConstraint(
        "status not in ('approved', 'rejected', 'expired') or decided_by is not null",
        name="decided_plans_say_by_whom",
    ),
    sa.Index("ix_repair_plans_account_id", "account_id", "created_at"),
    sa.Index("ix_repair_plans_run_id", "run_id"),
    sa.Index(
        "uq_repair_plans_open",
        "account_id",
        unique=True,
        postgresql_where=sa.text("kind = 'held' and closed_at is null"),
    ),
    sa.Index("uq_repair_plans_undoes", "undoes", unique=True, postgresql_where=sa.text("undoes is not null")),
)

repair_plan_rows: Final = sa.Table(
    "repair_plan_rows",
    metadata,
    sa.Column("plan_id", sa.Uuid, sa.ForeignKey(f"{SCHEMA}.repair_plans.plan_id"), primary_key=True),
    sa.Column("place", sa.Integer, primary_key=True),
    sa.Column("asset", sa.Text, nullable=False),
    sa.Column("wallet", sa.Text, nullable=False),
    sa.Column("quantity_before", AMOUNT, nullable=False),
    _number("quantity_before"),
    sa.Column("quantity_after", AMOUNT, nullable=False),
    _number("quantity_after"),
    sa.Column("cause", sa.Text, nullable=False),
    sa.Column("reason", sa.Text),
    sa.Column("ledger_id", sa.Text),
    sa.Column("effective_at", TIME, nullable=False),
    sa.Column("price", AMOUNT),
    _number("price"),
)
