"""What each role may do in the trading schema: said once, granted by ``migrate`` and told by ``doctor``.

Invariants:
1. Who owns the schema may do everything; nobody else may change what was recorded. The list of those tables
   is the schema's own: they have a trigger ``append_only``.
2. The writer is what tasks, commands and the watch are; it forgets only what retention forgets and what a new
   telling replaces. Whatever else it must do to those tables, it does through the schema's functions.
3. The reader can write nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


class Role(StrEnum):
    """A role without a login, of which a deployment's logins are members; a server's databases share it."""

    OWNER = "kraken_recon_owner"
    WRITER = "kraken_recon_writer"
    AUDITOR = "kraken_recon_auditor"
    READER = "kraken_recon_reader"


MEANINGS: Final = {
    Role.OWNER: "owns the schema and migrates it",
    Role.WRITER: "what tasks, the watch, pages with their forms, and commands do",
    Role.AUDITOR: "what the session audit looks at and keeps",
    Role.READER: "reads everything and writes nothing: pages, reports, Grafana, exports",
}


@dataclass(frozen=True, slots=True, order=True)
class Right:
    """One verb on one thing; ``column`` is empty where it is about the whole."""

    kind: str
    name: str
    verb: str
    column: str = ""

    def __str__(self) -> str:
        columns = f" ({self.column})" if self.column else ""
        return f"{self.verb}{columns} on {self.kind} {self.name}"


@dataclass(frozen=True, slots=True)
class Schema:
    """What stands in the schema: relations, functions by signature, each with what it is."""

    tables: frozenset[str]
    views: frozenset[str]
    append_only: frozenset[str]
    readable_functions: frozenset[str]
    writing_functions: frozenset[str]


# Of these, only the columns that say what became of the row are ever changed; of all others any.
UPDATED_COLUMNS: Final[Mapping[str, tuple[str, ...]]] = {
    "alembic_version": (),
    "desk_writes": ("after", "ended_at", "reason", "state"),
    "fills": ("order_id",),
    "order_decisions": ("decision_key", "first_decision_id", "judged_at", "order_id", "refusal", "status"),
    "repair_plan_rows": (),
    "repair_plans": (
        "applied_at", "closed_at", "decided_at", "decided_by", "note", "run_id", "status", "written_by_run",
    ),
    "session_actions": ("outcome",),
}  # fmt: skip
# What retention forgets, and what is written anew as a whole.
DELETED: Final = frozenset(
    {
        "alert_notifications",
        "alerts_put_off",
        "asset_snapshot_rows",
        "asset_snapshots",
        "desk_differences",
        "desk_orders",
        "desk_standings",
        "discrepancies",
        "order_verifications",
        "realised_results",
        "repair_plans",
        "residuals",
        "seals_due",
        "session_actions",
        "session_findings",
        "session_owners",
        "session_samples",
        "tolerances",
        "verification_rates",
    }
)
_SELECT: Final = ("select",)
_KEPT: Final = ("select", "insert", "update", "delete")
# The audit keeps its own rows and raises alerts. Whoever raises one locks the account that it is about, which
# takes the right to update a column of it; an account that has any rows cannot get another id.
AUDITED: Final[Mapping[str, tuple[str, ...]]] = {
    "alembic_version": _SELECT,
    "alert_episodes": ("select", "insert", "update"),
    "alerts": ("select", "insert", "update"),
    "alerts_put_off": _KEPT,
    "session_actions": _KEPT,
    "session_findings": _KEPT,
    "session_owners": ("select", "delete"),
    "session_samples": _KEPT,
}
AUDITED_COLUMNS: Final = (("accounts", "account_id", "select"), ("accounts", "account_id", "update"))


def rights_of(role: Role, schema: Schema, name: str) -> frozenset[Right]:
    """Say all that a role may do in a schema of that name; nothing of its owner, who may do everything."""
    if role is Role.OWNER:
        return frozenset()
    usage = Right("schema", name, "usage")
    made = {Role.WRITER: _writer, Role.AUDITOR: _auditor, Role.READER: _reader}[role](schema, name)
    return frozenset({usage, *made})


def _reader(schema: Schema, name: str) -> Iterator[Right]:
    for relation in schema.tables | schema.views:
        yield Right("table", f"{name}.{relation}", "select")
    for function in schema.readable_functions:
        yield Right("function", function, "execute")


def _writer(schema: Schema, name: str) -> Iterator[Right]:
    yield from _reader(schema, name)
    for function in schema.writing_functions:
        yield Right("function", function, "execute")
    for table in schema.tables:
        full = f"{name}.{table}"
        if table != "alembic_version":
            yield Right("table", full, "insert")
        if table in UPDATED_COLUMNS:
            for column in UPDATED_COLUMNS[table]:
                yield Right("table", full, "update", column)
        elif table not in schema.append_only:
            yield Right("table", full, "update")
        if table in DELETED:
            yield Right("table", full, "delete")


def _auditor(_: Schema, name: str) -> Iterator[Right]:
    for table, verbs in AUDITED.items():
        for verb in verbs:
            yield Right("table", f"{name}.{table}", verb)
    for table, column, verb in AUDITED_COLUMNS:
        yield Right("table", f"{name}.{table}", verb, column)
