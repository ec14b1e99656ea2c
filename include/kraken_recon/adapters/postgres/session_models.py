"""The tables of the session audit, beside those of positions; kept equal to the migrations by a test."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from kraken_recon.adapters.postgres.models import SCHEMA, TIME, metadata
from kraken_recon.domain.session_records import Action, Rule, Severity

if TYPE_CHECKING:
    from enum import StrEnum

OUTCOMES: Final = ("intended", "dry_run", "done", "changed", "survived", "not_permitted", "failed")


def _one_of(column: str, values: type[StrEnum] | tuple[str, ...]) -> sa.CheckConstraint:
    listed = ", ".join(f"'{value}'" for value in values)
    return sa.CheckConstraint(f"{column} in ({listed})", name=f"{column}_is_known")


session_owners: Final = sa.Table(
    "session_owners",
    metadata,
    sa.Column("application_name", sa.Text, primary_key=True),
    sa.Column("host", sa.Text, nullable=False),
    sa.Column("process_id", sa.Integer, nullable=False),
    sa.Column("call_site", sa.Text, nullable=False),
    sa.Column("hold_seconds", sa.Integer, nullable=False),
    sa.Column("pool_size", sa.Integer, nullable=False),
    sa.Column("connections_max", sa.Integer, nullable=False),
    sa.Column("task_instance_id", sa.Uuid),
    sa.Column("dag_id", sa.Text),
    sa.Column("run_id", sa.Text),
    sa.Column("task_id", sa.Text),
    sa.Column("map_index", sa.Integer),
    sa.Column("try_number", sa.Integer),
    sa.Column("first_seen_at", TIME, nullable=False, server_default=sa.func.now()),
    sa.Column("last_seen_at", TIME, nullable=False, server_default=sa.func.now()),
    # Unknown of those that registered before it was asked.
    sa.Column("is_direct", sa.Boolean),
    sa.CheckConstraint(
        "num_nulls(task_instance_id, dag_id, run_id, task_id, map_index, try_number) in (0, 6)",
        name="task_is_whole_or_absent",
    ),
    sa.Index("ix_session_owners_task_instance_id", "task_instance_id"),
)

session_samples: Final = sa.Table(
    "session_samples",
    metadata,
    sa.Column("sample_id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("taken_at", TIME, nullable=False),
    sa.Column("connections", sa.Integer, nullable=False),
    sa.Column("connections_limit", sa.Integer, nullable=False),
    *(
        sa.Column(name, sa.Integer, nullable=False)
        for name in ("sessions", "ours", "active", "idle", "idle_in_transaction", "waiting", "unattributed")
    ),
    sa.Column("excess", sa.Integer),
    sa.Column("oldest_transaction_seconds", sa.Integer),
    sa.Column("by_owner", JSONB, nullable=False),
    sa.Column("usages", JSONB, nullable=False),
    sa.Column("findings", sa.Integer, nullable=False),
    sa.Column("longest_wait_seconds", sa.Integer),
    # Sessions of processes that declared their pools, and how many those pools allow.
    sa.Column("pool_sessions", sa.Integer),
    sa.Column("pool_limit", sa.Integer),
    sa.Column("audited_by", sa.Text),
    # Sessions that waited for their client in the middle of a statement, each with the bytes of its COPY.
    sa.Column("client_waits", JSONB),
    sa.Index("ix_session_samples_newest", "source", "taken_at"),
)

session_findings: Final = sa.Table(
    "session_findings",
    metadata,
    sa.Column("finding_id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("rule", sa.Text, nullable=False),
    sa.Column("severity", sa.Text, nullable=False),
    sa.Column("subject", sa.Text, nullable=False),
    sa.Column("message", sa.Text, nullable=False),
    sa.Column("application_name", sa.Text),
    sa.Column("dag_id", sa.Text),
    sa.Column("run_id", sa.Text),
    sa.Column("task_id", sa.Text),
    sa.Column("map_index", sa.Integer),
    sa.Column("try_number", sa.Integer),
    sa.Column("evidence", JSONB, nullable=False),
    sa.Column("occurrences", sa.Integer, nullable=False, server_default="1"),
    sa.Column("first_seen_at", TIME, nullable=False),
    sa.Column("last_seen_at", TIME, nullable=False),
    sa.Column("returned_at", TIME),
    # The audit that saw it last; its sample may be thinned before the finding is forgotten.
    sa.Column("last_seen_by", sa.Text),
    sa.Index("ix_session_findings_last_seen_at", "last_seen_at", "finding_id"),
    _one_of("rule", Rule),
    _one_of("severity", Severity),
    sa.Index(
        "uq_session_findings_open",
        "source",
        "rule",
        "subject",
        unique=True,
        postgresql_where=sa.text("returned_at is null"),
    ),
)

session_actions: Final = sa.Table(
    "session_actions",
    metadata,
    sa.Column("action_id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    sa.Column(
        "finding_id", sa.BigInteger, sa.ForeignKey(f"{SCHEMA}.session_findings.finding_id"), nullable=False
    ),
    sa.Column("action", sa.Text, nullable=False),
    sa.Column("outcome", sa.Text, nullable=False),
    sa.Column("acted_by", sa.Text, nullable=False),
    sa.Column("acted_at", TIME, nullable=False, server_default=sa.text("clock_timestamp()")),
    _one_of("action", (Action.CANCEL, Action.TERMINATE)),
    _one_of("outcome", OUTCOMES),
    sa.Index("ix_session_actions_finding_id", "finding_id"),
)
