"""The trading schema as SQLAlchemy metadata; the migrations must add up to exactly this (tested).

Every quantity is ``NUMERIC(38,18)`` with a check against NaN, which Postgres would otherwise accept and
call equal to itself.
"""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

SCHEMA: Final = "trading"
metadata: Final = sa.MetaData(
    schema=SCHEMA,
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    },
)
AMOUNT: Final = sa.Numeric(38, 18)
TIME: Final = sa.DateTime(timezone=True)
RUN_MODES: Final = ("repair", "dry_run")
RUN_STATUSES: Final = ("succeeded", "moving", "failed")
ACTIONS: Final = (
    "applied",
    "update",
    "add",
    "remove",
    "within_tolerance",
    "awaiting_confirmation",
    "moving",
    "held",
    "recorded",
)


def _one_of(column: str, values: tuple[str, ...], name: str) -> sa.CheckConstraint:
    listed = ", ".join(f"'{value}'" for value in values)
    return sa.CheckConstraint(f"{column} in ({listed})", name=name)


def _amount(name: str, *, nullable: bool = False) -> tuple[sa.Column[object], sa.CheckConstraint]:
    return (
        sa.Column(name, AMOUNT, nullable=nullable),
        sa.CheckConstraint(f"{name} <> 'NaN'::numeric", name=f"{name}_is_a_number"),
    )


def _account() -> sa.Column[object]:
    return sa.Column(
        "account_id", sa.BigInteger, sa.ForeignKey(f"{SCHEMA}.accounts.account_id"), nullable=False
    )


accounts: Final = sa.Table(
    "accounts",
    metadata,
    sa.Column("account_id", sa.BigInteger, sa.Identity(always=False), primary_key=True),
    sa.Column("name", sa.Text, nullable=False, unique=True),
    sa.Column("kraken_conn_id", sa.Text, nullable=False),
    sa.Column("quote_currency", sa.Text, nullable=False, server_default="USD"),
    sa.Column("is_active", sa.Boolean, nullable=False, server_default=sa.true()),
    sa.Column("opened_at", TIME),
    sa.Column("opening_source", sa.Text),
    sa.Column("ledger_watermark", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("ledger_floor", TIME),
    sa.Column("ledger_read_until", TIME),
    sa.Column("created_at", TIME, nullable=False, server_default=sa.func.now()),
    sa.Column("freshness_limit_minutes", sa.Integer, nullable=False, server_default="30"),
    sa.CheckConstraint("freshness_limit_minutes > 0", name="freshness_limit_is_positive"),
    _one_of("opening_source", ("ledger", "derived", "balance"), "opening_source_is_known"),
)

tolerances: Final = sa.Table(
    "tolerances",
    metadata,
    sa.Column("account_id", sa.BigInteger, sa.ForeignKey(f"{SCHEMA}.accounts.account_id"), primary_key=True),
    sa.Column("asset", sa.Text, primary_key=True),
    *_amount("quantity"),
    *_amount("value", nullable=True),
    sa.CheckConstraint("quantity >= 0 and (value is null or value >= 0)", name="not_negative"),
)

positions: Final = sa.Table(
    "positions",
    metadata,
    sa.Column("account_id", sa.BigInteger, sa.ForeignKey(f"{SCHEMA}.accounts.account_id"), primary_key=True),
    sa.Column("asset", sa.Text, primary_key=True),
    sa.Column("wallet", sa.Text, primary_key=True, server_default="spot"),
    sa.Column("quantity", AMOUNT, nullable=False, server_default="0"),
    sa.CheckConstraint("quantity <> 'NaN'::numeric", name="quantity_is_a_number"),
    sa.Column("available_quantity", AMOUNT, nullable=False, server_default="0"),
    sa.CheckConstraint("available_quantity <> 'NaN'::numeric", name="available_quantity_is_a_number"),
    sa.Column("available_as_of", TIME),
    *_amount("avg_cost", nullable=True),
    sa.Column("updated_at", TIME, nullable=False, server_default=sa.func.now()),
    postgresql_with={"fillfactor": "90"},
)

ledger_entries: Final = sa.Table(
    "ledger_entries",
    metadata,
    sa.Column("account_id", sa.BigInteger, sa.ForeignKey(f"{SCHEMA}.accounts.account_id"), primary_key=True),
    sa.Column("ledger_id", sa.Text, primary_key=True),
    sa.Column("ingest_seq", sa.BigInteger, sa.Identity(always=True), nullable=False),
    sa.Column("refid", sa.Text, nullable=False),
    sa.Column("entry_time", TIME, nullable=False),
    sa.Column("type", sa.Text, nullable=False),
    sa.Column("subtype", sa.Text, nullable=False),
    sa.Column("asset", sa.Text, nullable=False),
    sa.Column("wallet", sa.Text, nullable=False),
    *_amount("amount"),
    *_amount("fee"),
    *_amount("balance"),
    sa.Column("run_id", sa.Uuid),
    sa.Column("ingested_at", TIME, nullable=False, server_default=sa.func.now()),
    sa.Index("ix_ledger_entries_time", "account_id", "entry_time"),
    sa.Index("ix_ledger_entries_holding", "account_id", "asset", "wallet", "entry_time"),
    sa.Index("ix_ledger_entries_refid", "account_id", "refid"),
    sa.Index(
        "ix_ledger_entries_no_trades",
        "account_id",
        "entry_time",
        postgresql_where=sa.text("type <> 'trade'"),
    ),
)

position_events: Final = sa.Table(
    "position_events",
    metadata,
    sa.Column("event_id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    _account(),
    sa.Column("asset", sa.Text, nullable=False),
    sa.Column("wallet", sa.Text, nullable=False),
    *_amount("quantity_before"),
    *_amount("quantity_after"),
    sa.Column("cause", sa.Text, nullable=False),
    sa.Column("reason", sa.Text),
    sa.Column("ledger_id", sa.Text),
    sa.Column("run_id", sa.Uuid),
    sa.Column("effective_at", TIME, nullable=False),
    sa.Column("recorded_at", TIME, nullable=False, server_default=sa.text("clock_timestamp()")),
    _one_of("cause", ("ledger", "adjustment", "opening"), "cause_is_known"),
    sa.CheckConstraint("(cause = 'ledger') = (ledger_id is not null)", name="ledger_events_name_their_entry"),
    sa.CheckConstraint("(cause = 'adjustment') = (reason is not null)", name="adjustments_say_why"),
    # The plan that the event is a row of; no foreign key, which every event would pay for.
    sa.Column("plan_id", sa.Uuid),
    sa.Index(
        "ix_position_events_plan_id",
        "plan_id",
        "event_id",
        postgresql_where=sa.text("plan_id is not null"),
    ),
    sa.Index("ix_position_events_holding", "account_id", "asset", "wallet", "event_id"),
    sa.Index(
        "uq_position_events_ledger_id",
        "account_id",
        "ledger_id",
        unique=True,
        postgresql_where=sa.text("cause = 'ledger'"),
    ),
    sa.Index("ix_position_events_then", "account_id", "asset", "wallet", "recorded_at"),
    sa.Index(
        "ix_position_events_without_entry",
        "account_id",
        "asset",
        "wallet",
        postgresql_where=sa.text("cause <> 'ledger'"),
    ),
    # Recorded more than an hour after it happened, or before: the few that the books of a past moment lack.
    sa.Index(
        "ix_position_events_late",
        "account_id",
        "recorded_at",
        "effective_at",
        postgresql_where=sa.text("cause = 'ledger' and recorded_at - effective_at > interval '01:00:00'"),
    ),
    sa.Index(
        "ix_position_events_early",
        "account_id",
        "effective_at",
        postgresql_where=sa.text("cause = 'ledger' and recorded_at < effective_at"),
    ),
)

PROOF: Final = (
    "mode = 'repair' and status = 'succeeded' and held = 0 and awaiting = 0 and reported_as_of is not null"
)
reconciliation_runs: Final = sa.Table(
    "reconciliation_runs",
    metadata,
    sa.Column("run_id", sa.Uuid, primary_key=True),
    _account(),
    sa.Column("interval_start", TIME, nullable=False),
    sa.Column("interval_end", TIME, nullable=False),
    sa.Column("mode", sa.Text, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("trigger", sa.Text, nullable=False),
    sa.Column("recorded_as_of", TIME, nullable=False),
    sa.Column("reported_as_of", TIME),
    sa.Column("reported_head", sa.Text),
    *(
        sa.Column(name, sa.Integer, nullable=False, server_default="0")
        for name in (
            "checked",
            "matched",
            "within_tolerance",
            "explained",
            "updated",
            "added",
            "removed",
            "held",
            "awaiting",
            "failed",
            "entries_ingested",
            "api_calls",
        )
    ),
    sa.Column("seconds", sa.Numeric(12, 3), nullable=False),
    sa.Column("lock_hold_ms", sa.Numeric(12, 3), nullable=False),
    sa.Column("note", sa.Text),
    sa.Column("error", sa.Text),
    # The run of a DAG that made this one; empty where a person did by the command line.
    sa.Column("dag_id", sa.Text),
    sa.Column("dag_run_id", sa.Text),
    # The one place that says which runs prove an account: whoever asks for a proof asks for this.
    sa.Column("is_proof", sa.Boolean, sa.Computed(PROOF, persisted=True), nullable=False),
    sa.CheckConstraint("(dag_id is null) = (dag_run_id is null)", name="dag_run_is_whole_or_absent"),
    _one_of("mode", RUN_MODES, "mode_is_known"),
    _one_of("status", RUN_STATUSES, "status_is_known"),
    sa.CheckConstraint("interval_start < interval_end", name="interval_is_not_empty"),
    sa.CheckConstraint("(status = 'failed') = (error is not null)", name="failures_say_why"),
    sa.UniqueConstraint("account_id", "interval_start", "interval_end", "mode"),
    sa.Index("ix_reconciliation_runs_newest", "account_id", "recorded_as_of"),
    # The age of an account's proof, at one look.
    sa.Index(
        "ix_reconciliation_runs_proofs",
        "account_id",
        "reported_as_of",
        postgresql_where=sa.text("is_proof"),
    ),
)

discrepancies: Final = sa.Table(
    "discrepancies",
    metadata,
    sa.Column("run_id", sa.Uuid, sa.ForeignKey(f"{SCHEMA}.reconciliation_runs.run_id"), primary_key=True),
    _account(),
    sa.Column("asset", sa.Text, primary_key=True),
    sa.Column("wallet", sa.Text, primary_key=True),
    *_amount("db_quantity"),
    *_amount("exchange_quantity"),
    sa.Column("drift", AMOUNT, sa.Computed("exchange_quantity - db_quantity", persisted=True)),
    *_amount("explained"),
    sa.Column(
        "unexplained", AMOUNT, sa.Computed("exchange_quantity - db_quantity - explained", persisted=True)
    ),
    *_amount("database_drift"),
    *_amount("residual"),
    sa.Column("action", sa.Text, nullable=False),
    sa.Column("ledger_ids", ARRAY(sa.Text), nullable=False),
    sa.Column("found_at", TIME, nullable=False, server_default=sa.text("clock_timestamp()")),
    _one_of("action", ACTIONS, "action_is_known"),
    sa.CheckConstraint(
        "exchange_quantity - db_quantity = explained + database_drift + residual", name="parts_add_up"
    ),
    sa.Index("ix_discrepancies_found_at", "found_at"),
    sa.Index("ix_discrepancies_account_id", "account_id", "found_at"),
)

residuals: Final = sa.Table(
    "residuals",
    metadata,
    sa.Column("account_id", sa.BigInteger, sa.ForeignKey(f"{SCHEMA}.accounts.account_id"), primary_key=True),
    sa.Column("asset", sa.Text, primary_key=True),
    sa.Column("wallet", sa.Text, primary_key=True),
    *_amount("residual"),
    sa.Column("first_seen_at", TIME, nullable=False),
    sa.Column("last_seen_at", TIME, nullable=False),
    sa.Column("confirmations", sa.Integer, nullable=False),
    sa.Column("is_settled", sa.Boolean, nullable=False),
)

alerts: Final = sa.Table(
    "alerts",
    metadata,
    sa.Column("alert_id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    sa.Column("kind", sa.Text, nullable=False),
    # Empty where an alert is about no account, such as a leaked session.
    sa.Column("account_id", sa.BigInteger, sa.ForeignKey(f"{SCHEMA}.accounts.account_id")),
    sa.Column("asset", sa.Text),
    sa.Column("wallet", sa.Text),
    sa.Column("status", sa.Text, nullable=False, server_default="open"),
    sa.Column("message", sa.Text, nullable=False),
    sa.Column("evidence", JSONB, nullable=False, server_default=sa.text("'{}'::jsonb")),
    sa.Column("occurrences", sa.Integer, nullable=False, server_default="1"),
    sa.Column("opened_at", TIME, nullable=False, server_default=sa.func.now()),
    sa.Column("last_seen_at", TIME, nullable=False, server_default=sa.func.now()),
    sa.Column("resolved_at", TIME),
    sa.Column("acknowledged_at", TIME),
    sa.Column("acknowledged_by", sa.Text),
    sa.Column("resolved_by", sa.Text),
    # What ended it where no person did, such as the run that succeeded.
    sa.Column("resolution", sa.Text),
    sa.Column("note", sa.Text),
    _one_of("status", ("open", "acknowledged", "resolved"), "status_is_known"),
    sa.Index(
        "uq_alerts_unresolved",
        "kind",
        "account_id",
        "asset",
        "wallet",
        unique=True,
        postgresql_where=sa.text("status <> 'resolved'"),
        postgresql_nulls_not_distinct=True,
    ),
)

# Without foreign keys: a row is put off because something that it refers to is held.
alerts_put_off: Final = sa.Table(
    "alerts_put_off",
    metadata,
    sa.Column("put_off_id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("account_id", sa.BigInteger),
    sa.Column("asset", sa.Text),
    sa.Column("wallet", sa.Text),
    sa.Column("message", sa.Text, nullable=False),
    sa.Column("evidence", JSONB, nullable=False),
    sa.Column("put_off_at", TIME, nullable=False, server_default=sa.func.now()),
)

asset_costs: Final = sa.Table(
    "asset_costs",
    metadata,
    sa.Column("account_id", sa.BigInteger, sa.ForeignKey(f"{SCHEMA}.accounts.account_id"), primary_key=True),
    sa.Column("asset", sa.Text, primary_key=True),
    *_amount("quantity_known"),
    *_amount("quantity_unknown"),
    *_amount("quantity_moving"),
    *_amount("cost"),
    *_amount("avg_cost", nullable=True),
    *_amount("realised"),
    sa.Column("as_of", TIME),
    sa.Column("updated_at", TIME, nullable=False, server_default=sa.func.now()),
    # What the figures were made from, so that the next entries can be added to them.
    sa.Column("entries_counted", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("opening_counted", AMOUNT, nullable=False, server_default="0"),
    sa.CheckConstraint("opening_counted <> 'NaN'::numeric", name="opening_counted_is_a_number"),
)

realised_results: Final = sa.Table(
    "realised_results",
    metadata,
    sa.Column("account_id", sa.BigInteger, sa.ForeignKey(f"{SCHEMA}.accounts.account_id"), primary_key=True),
    sa.Column("refid", sa.Text, primary_key=True),
    sa.Column("asset", sa.Text, primary_key=True),
    *_amount("quantity"),
    *_amount("proceeds"),
    *_amount("cost"),
    *_amount("result", nullable=True),
    *_amount("unknown_share"),
    sa.Column("effective_at", TIME, nullable=False),
    sa.Index("ix_realised_results_asset", "account_id", "asset", "effective_at"),
)

api_keys: Final = sa.Table(
    "api_keys",
    metadata,
    sa.Column("key_fingerprint", sa.Text, primary_key=True),
    sa.Column("nonce", sa.BigInteger, nullable=False),
    sa.Column("call_level", sa.Numeric, nullable=False),
    sa.Column("level_at", TIME, nullable=False),
    sa.Column("checked_at", TIME),
    postgresql_with={"fillfactor": "10"},
)
