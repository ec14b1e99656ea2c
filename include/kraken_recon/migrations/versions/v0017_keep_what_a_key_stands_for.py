"""Let a decision come again under its key, say which one it repeats, and find decisions by time."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

STATUS = "ck_order_decisions_status_is_known"


def upgrade() -> None:
    """Apply the change."""
    op.add_column(
        "order_decisions", sa.Column("first_decision_id", sa.BigInteger(), nullable=True), schema="trading"
    )
    op.create_foreign_key(
        op.f("fk_order_decisions_first_decision_id_order_decisions"),
        "order_decisions",
        "order_decisions",
        ["first_decision_id"],
        ["decision_id"],
        source_schema="trading",
        referent_schema="trading",
    )
    op.drop_constraint(op.f(STATUS), "order_decisions", schema="trading")
    op.create_check_constraint(
        op.f(STATUS),
        "order_decisions",
        "status in ('new', 'accepted', 'refused', 'repeated')",
        schema="trading",
    )
    op.create_check_constraint(
        op.f("ck_order_decisions_repeated_name_the_first"),
        "order_decisions",
        "status <> 'repeated' or first_decision_id is not null",
        schema="trading",
    )
    op.drop_constraint(op.f("uq_order_decisions_decision_key"), "order_decisions", schema="trading")
    op.create_index("ix_order_decisions_decision_key", "order_decisions", ["decision_key"], schema="trading")
    op.create_index(
        "uq_order_decisions_accepted_key",
        "order_decisions",
        ["decision_key"],
        unique=True,
        schema="trading",
        postgresql_where=sa.text("status = 'accepted'"),
    )
    op.create_index(
        "ix_order_decisions_received_at",
        "order_decisions",
        ["received_at", "decision_id"],
        schema="trading",
    )


def downgrade() -> None:
    """Take the change back; a decision that came again loses its key."""
    for name in (
        "ix_order_decisions_received_at",
        "uq_order_decisions_accepted_key",
        "ix_order_decisions_decision_key",
    ):
        op.drop_index(name, "order_decisions", schema="trading")
    op.drop_constraint(
        op.f("ck_order_decisions_repeated_name_the_first"), "order_decisions", schema="trading"
    )
    op.execute(
        "update trading.order_decisions d set decision_key = null,"
        " refusal = coalesce(refusal, 'repeats decision ' || first_decision_id),"
        " status = case when status = 'repeated' then 'refused' else status end"
        " where exists (select from trading.order_decisions f where f.decision_key = d.decision_key"
        " and f.decision_id <> d.decision_id and (f.status = 'accepted' or f.decision_id < d.decision_id))"
        " and status <> 'accepted'"
    )
    op.drop_constraint(op.f(STATUS), "order_decisions", schema="trading")
    op.create_check_constraint(
        op.f(STATUS), "order_decisions", "status in ('new', 'accepted', 'refused')", schema="trading"
    )
    op.create_unique_constraint(
        op.f("uq_order_decisions_decision_key"), "order_decisions", ["decision_key"], schema="trading"
    )
    op.drop_constraint(
        op.f("fk_order_decisions_first_decision_id_order_decisions"), "order_decisions", schema="trading"
    )
    op.drop_column("order_decisions", "first_decision_id", schema="trading")
