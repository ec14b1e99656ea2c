"""The session audit in Postgres: a look at a server, and what is on record; SQL in ``sessions.sql``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import psycopg.errors
import sqlalchemy as sa

from kraken_recon.database.store import Store, named_queries
from kraken_recon.sessions.rules.records import (
    AuditAction,
    AuditRule,
    Backend,
    Owner,
    PastSample,
    Prepared,
    Sample,
    Slot,
    Usage,
    normalised,
)
from kraken_recon.values.task_identity import TaskIdentity

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from datetime import datetime
    from uuid import UUID

    from kraken_recon.sessions.rules.records import Finding

# Whoever holds a writer's lock on one of these applies, or is about to apply, a repair or a fill.
BOOKS: Final = (
    "positions",
    "position_events",
    "ledger_entries",
    "residuals",
    "orders",
    "order_events",
    "fills",
)
WRITERS_LOCKS: Final = ("RowShareLock", "RowExclusiveLock", "ShareRowExclusiveLock", "ExclusiveLock")


class ServerSessions(Store):
    """The sessions of the server that a unit of work leads to."""

    queries = named_queries(__file__, "sessions")

    def sample(self, source: str, app_roles: Collection[str], *, is_ours: bool) -> Sample:
        """Look at the server; statements are kept without their values."""
        rows = self._execute("backends", books=list(BOOKS), modes=list(WRITERS_LOCKS)).mappings()
        return Sample(
            source=source,
            backends=tuple(
                Backend(
                    **{
                        **row,
                        "statement": normalised(row["statement"]),
                        "blocked_by": tuple(row["blocked_by"]),
                    }
                )
                for row in rows
            ),
            usages=tuple(
                Usage(**row) for row in self._execute("usages", app_roles=sorted(app_roles)).mappings()
            ),
            prepared=tuple(Prepared(**row) for row in self._execute("prepared").mappings()),
            slots=tuple(Slot(**row) for row in self._execute("slots").mappings()),
            taken_at=self._execute("clock").scalar_one(),
            app_roles=frozenset(app_roles),
            is_ours=is_ours,
        )

    def act(self, action: AuditAction, backend: Backend) -> str:
        """Cancel or end exactly this session, unless it changed since; return an outcome."""
        guard = {
            name: getattr(backend, name)
            for name in ("pid", "backend_start", "application_name", "state", "state_change")
        }
        try:
            self._execute("look_again")
            sent = self._execute(
                "act", action=str(action), **guard, books=list(BOOKS), modes=list(WRITERS_LOCKS)
            ).scalar()
        except sa.exc.DBAPIError as error:
            if isinstance(error.orig, psycopg.errors.InsufficientPrivilege):
                return "not_permitted"
            raise
        return "changed" if sent is None else "done" if sent else "survived"


class SessionStore(Store):
    """What is on record of sessions."""

    queries = named_queries(__file__, "sessions")

    def roles(self) -> frozenset[str]:
        """Name the roles under which the project works."""
        return frozenset(self._execute("roles").scalars())

    def owners(self, names: Collection[str], task_instance_ids: Collection[UUID]) -> dict[str, Owner]:
        """Read who opened sessions of these names, and whatever else these tasks opened."""
        rows = self._execute(
            "owners", names=sorted(names), task_instance_ids=list(task_instance_ids)
        ).mappings()
        return {row["application_name"]: _owner(dict(row)) for row in rows}

    def past_samples(self, source: str, since: datetime, *, most: int) -> list[PastSample]:
        """Read what earlier samples counted, oldest first."""
        rows = self._execute("past_samples", source=source, since=since, most=most).mappings()
        return [PastSample(**{**row, "client_waits": row["client_waits"] or {}}) for row in rows]

    def record_sample(self, sample: Sample, counts: Mapping[str, Any], *, by: str) -> None:
        """Keep what one look counted, and who looked."""
        usages = {usage.limit_name: [usage.used, usage.limit] for usage in sample.usages}
        self._execute(
            "record_sample",
            **{**counts, **{name: json.dumps(counts[name]) for name in ("by_owner", "client_waits")}},
            source=sample.source,
            taken_at=sample.taken_at,
            usages=json.dumps(usages),
            audited_by=by,
        )

    def record_findings(
        self, sample: Sample, findings: Sequence[Finding], *, by: str
    ) -> dict[tuple[str, str], int]:
        """Open findings, or count them again, and who saw them; return ids by rule and subject."""
        rows = self._execute(
            "record_findings",
            source=sample.source,
            taken_at=sample.taken_at,
            findings=json.dumps([_row(finding) for finding in findings]),
            seen_by=by,
        ).mappings()
        return {(row["rule"], row["subject"]): row["finding_id"] for row in rows}

    def record_returned(self, sample: Sample, judged: Collection[AuditRule]) -> int:
        """Note which findings are not so any more; return how many."""
        return self._execute(
            "record_returned",
            source=sample.source,
            taken_at=sample.taken_at,
            judged=[str(rule) for rule in judged],
            present=[b.identity for b in sample.backends],
        ).rowcount

    def cancelled(self, finding_ids: Collection[int]) -> set[int]:
        """Name the findings whose statement was cancelled before."""
        return set(self._execute("cancelled", finding_ids=sorted(finding_ids)).scalars())

    def record_action(self, finding_id: int, action: AuditAction, by: str, *, is_dry_run: bool) -> int:
        """Write down what is about to be done, or in a dry run would be; return its id, 0 for none."""
        query = "record_dry_run" if is_dry_run else "record_action"
        done = self._execute(query, finding_id=finding_id, action=str(action), acted_by=by)
        return 0 if is_dry_run else int(done.scalar_one())

    def record_outcome(self, action_id: int, outcome: str) -> None:
        """Write down what came of an action."""
        self._execute("record_outcome", action_id=action_id, outcome=outcome)

    def open_findings(self) -> list[dict[str, Any]]:
        """Read what is not returned, the gravest first, each with its newest action."""
        return self._rows("open_findings")

    def forget(self, names: Collection[str], *, keep_days: int) -> None:
        """Forget what is older, except the owners of these names."""
        keep = f"{keep_days} days"
        for query in ("forget_samples", "forget_actions", "forget_findings"):
            self._execute(query, keep=keep)
        self._execute("forget_owners", names=sorted(names))

    def samples(self, since: datetime) -> list[dict[str, Any]]:
        """Read what samples counted since a moment, oldest first."""
        return self._rows("samples", since=since)

    def findings_since(self, since: datetime) -> list[dict[str, Any]]:
        """Read the findings that were seen since a moment, oldest first."""
        return self._rows("findings_since", since=since)


def _owner(row: Mapping[str, Any]) -> Owner:
    names = ("task_instance_id", "dag_id", "run_id", "task_id", "map_index", "try_number")
    task = TaskIdentity(**{name: row[name] for name in names}) if row["task_instance_id"] else None
    declared = ("application_name", "host", "process_id", "call_site", "hold_seconds", "pool_size")
    return Owner(
        **{name: row[name] for name in declared},
        connections_max=row["connections_max"],
        task=task,
        is_direct=row["is_direct"],
    )


def _row(finding: Finding) -> dict[str, Any]:
    owner, backend, task = finding.owner, finding.backend, finding.task
    return {
        "rule": str(finding.rule),
        "severity": str(finding.severity),
        "subject": finding.subject,
        "message": finding.message,
        "application_name": backend.application_name if backend else None,
        **{
            name: getattr(task, name) if task else None
            for name in ("dag_id", "run_id", "task_id", "map_index", "try_number")
        },
        "evidence": {
            **finding.evidence,
            "standing": str(finding.ownership),
            "role": backend.role if backend else None,
            "host": owner.host if owner else None,
            "process_id": owner.process_id if owner else None,
            "call_site": owner.call_site if owner else None,
        },
    }
