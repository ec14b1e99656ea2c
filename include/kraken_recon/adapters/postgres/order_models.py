"""The tables of orders, beside those of positions; kept equal to the migrations by a test."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from kraken_recon.adapters.postgres.models import AMOUNT, SCHEMA, TIME, metadata
from kraken_recon.domain.orders import OrderStatus, OrderType, Side, Source, TimeInForce

if TYPE_CHECKING:
    from enum import StrEnum


def _one_of(column: str, values: type[StrEnum]) -> sa.CheckConstraint:
    listed = ", ".join(f"'{value.value}'" for value in values)
    return sa.CheckConstraint(f"{column} in ({listed})", name=f"{column}_is_known")


def _amount(
    name: str, *, nullable: bool = True, default: str | None = None
) -> tuple[sa.Column[object], sa.CheckConstraint]:
    return (
        sa.Column(name, AMOUNT, nullable=nullable, server_default=default),
        sa.CheckConstraint(f"{name} <> 'NaN'::numeric", name=f"{name}_is_a_number"),
    )


def _account() -> sa.Column[object]:
    return sa.Column(
        "account_id", sa.BigInteger, sa.ForeignKey(f"{SCHEMA}.accounts.account_id"), nullable=False
    )


def _order(*, nullable: bool) -> sa.Column[object]:
    return sa.Column("order_id", sa.BigInteger, sa.ForeignKey(f"{SCHEMA}.orders.order_id"), nullable=nullable)


orders: Final = sa.Table(
    "orders",
    metadata,
    sa.Column("order_id", sa.BigInteger, sa.Identity(always=False), primary_key=True),
    _account(),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("pair", sa.Text, nullable=False),
    sa.Column("base", sa.Text, nullable=False),
    sa.Column("quote", sa.Text, nullable=False),
    sa.Column("side", sa.Text, nullable=False),
    sa.Column("order_type", sa.Text, nullable=False),
    *_amount("volume"),
    *_amount("portion"),
    *_amount("limit_price"),
    *_amount("trigger_price"),
    *_amount("expected_price"),
    sa.Column("time_in_force", sa.Text, nullable=False, server_default="GTC"),
    sa.Column("expires_at", TIME),
    sa.Column("is_post_only", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("is_dry_run", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("reason", sa.Text),
    sa.Column("ai_model", sa.Text),
    sa.Column("ai_prompt_sha256", sa.Text),
    sa.Column("ai_answer", sa.Text),
    sa.Column("cl_ord_id", sa.Text),
    sa.Column("kraken_txid", sa.Text),
    sa.Column("status", sa.Text, nullable=False, server_default="decided"),
    sa.Column("status_reason", sa.Text),
    sa.Column("deadline", TIME),
    sa.Column("decided_at", TIME, nullable=False, server_default=sa.func.now()),
    sa.Column("valid_until", TIME),
    sa.Column("submitted_at", TIME),
    sa.Column("ended_at", TIME),
    *_amount("volume_executed", nullable=False, default="0"),
    *_amount("cost_executed", nullable=False, default="0"),
    *_amount("fee_reported", nullable=False, default="0"),
    sa.Column("answered_at", TIME),
    sa.Column("absent_since", TIME),
    sa.Column("settled_at", TIME),
    *_amount("reserved"),
    sa.Column("updated_at", TIME, nullable=False, server_default=sa.func.now()),
    _one_of("source", Source),
    _one_of("side", Side),
    _one_of("order_type", OrderType),
    _one_of("time_in_force", TimeInForce),
    _one_of("status", OrderStatus),
    sa.CheckConstraint(
        "source = 'external' or (volume > 0 and (portion is null or (portion > 0 and portion <= 1)))",
        name="size",
    ),
    sa.CheckConstraint("volume is not null or portion is not null", name="has_a_size"),
    sa.CheckConstraint(
        "status in ('decided', 'refused') or source = 'external'"
        " or (cl_ord_id is not null and deadline is not null and submitted_at is not null)",
        name="sent_orders_have_their_ids",
    ),
    sa.CheckConstraint("status <> 'open' or kraken_txid is not null", name="open_orders_have_a_txid"),
    sa.UniqueConstraint("account_id", "cl_ord_id"),
    sa.UniqueConstraint("account_id", "kraken_txid"),
    sa.Index(
        "ix_orders_unfinished",
        "account_id",
        "order_id",
        postgresql_where=sa.text("status in ('decided', 'submitting', 'unknown', 'open')"),
    ),
    sa.Index(
        "ix_orders_unsettled",
        "account_id",
        "order_id",
        postgresql_where=sa.text("ended_at is not null and settled_at is null"),
    ),
    sa.Index("ix_orders_decided_at", "decided_at", "order_id"),
    sa.Index(
        "ix_orders_refused", "decided_at", postgresql_where=sa.text("status in ('refused', 'rejected')")
    ),
    sa.Index("ix_orders_ended_at", "ended_at", postgresql_where=sa.text("ended_at is not null")),
    postgresql_with={"fillfactor": "80"},
)

order_decisions: Final = sa.Table(
    "order_decisions",
    metadata,
    sa.Column("decision_id", sa.BigInteger, sa.Identity(always=False), primary_key=True),
    sa.Column("decision_key", sa.Text),
    sa.Column("received_via", sa.Text, nullable=False, server_default="row"),
    sa.Column("payload", JSONB, nullable=False),
    sa.Column("status", sa.Text, nullable=False, server_default="new"),
    sa.Column("refusal", sa.Text),
    _order(nullable=True),
    sa.Column("first_decision_id", sa.BigInteger, sa.ForeignKey(f"{SCHEMA}.order_decisions.decision_id")),
    sa.Column("received_at", TIME, nullable=False, server_default=sa.func.now()),
    sa.Column("judged_at", TIME),
    sa.CheckConstraint("status in ('new', 'accepted', 'refused', 'repeated')", name="status_is_known"),
    sa.CheckConstraint("(status = 'refused') = (refusal is not null)", name="refusals_say_why"),
    sa.CheckConstraint("(status = 'accepted') = (order_id is not null)", name="accepted_have_an_order"),
    sa.CheckConstraint(
        "status <> 'repeated' or first_decision_id is not null", name="repeated_name_the_first"
    ),
    sa.Index("ix_order_decisions_decision_key", "decision_key"),
    sa.Index(
        "uq_order_decisions_accepted_key",
        "decision_key",
        unique=True,
        postgresql_where=sa.text("status = 'accepted'"),
    ),
    sa.Index(
        "ix_order_decisions_without_order",
        "received_at",
        "decision_id",
        postgresql_where=sa.text("order_id is null"),
    ),
    sa.Index("ix_order_decisions_new", "decision_id", postgresql_where=sa.text("status = 'new'")),
    sa.Index("uq_order_decisions_order_id", "order_id", unique=True),
)

order_events: Final = sa.Table(
    "order_events",
    metadata,
    sa.Column("event_id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    _order(nullable=False),
    sa.Column("status_before", sa.Text),
    sa.Column("status_after", sa.Text, nullable=False),
    sa.Column("what", sa.Text, nullable=False),
    sa.Column("detail", JSONB, nullable=False, server_default=sa.text("'{}'::jsonb")),
    sa.Column("recorded_by", sa.Text, nullable=False),
    sa.Column("recorded_at", TIME, nullable=False, server_default=sa.text("clock_timestamp()")),
    sa.Index("ix_order_events_order_id", "order_id", "event_id"),
)

fills: Final = sa.Table(
    "fills",
    metadata,
    sa.Column("account_id", sa.BigInteger, sa.ForeignKey(f"{SCHEMA}.accounts.account_id"), primary_key=True),
    sa.Column("trade_id", sa.Text, primary_key=True),
    _order(nullable=True),
    sa.Column("kraken_txid", sa.Text, nullable=False),
    sa.Column("pair", sa.Text, nullable=False),
    sa.Column("side", sa.Text, nullable=False),
    sa.Column("trade_time", TIME, nullable=False),
    *_amount("price", nullable=False),
    *_amount("volume", nullable=False),
    *_amount("cost", nullable=False),
    *_amount("fee", nullable=False),
    sa.Column("is_maker", sa.Boolean),
    sa.Column("recorded_at", TIME, nullable=False, server_default=sa.func.now()),
    _one_of("side", Side),
    sa.Index("ix_fills_order_id", "order_id"),
    sa.Index("ix_fills_kraken_txid", "account_id", "kraken_txid"),
)

order_books: Final = sa.Table(
    "order_books",
    metadata,
    sa.Column("account_id", sa.BigInteger, sa.ForeignKey(f"{SCHEMA}.accounts.account_id"), primary_key=True),
    sa.Column("read_until", TIME),
    sa.Column("looked_at", TIME, nullable=False),
)
