"""The session audit: look at each server, judge, write down what was found, and act as far as told.

Invariants:
1. Airflow is asked while no transaction is open, and what it cannot tell is left alone.
2. What is about to be done is committed before it is done, so that no session ends without a row.
3. A server that cannot be looked at stops neither the others nor what was found there.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, Protocol

from kraken_recon.alerts.alert import Alert
from kraken_recon.alerts.kinds import AlertKind
from kraken_recon.alerts.store import AlertStore
from kraken_recon.errors import ConfigurationError, StoreError
from kraken_recon.sessions.rules.identity import task_instance_id
from kraken_recon.sessions.rules.leaks import (
    ActionPolicy,
    Audit,
    Thresholds,
    decide,
)
from kraken_recon.sessions.rules.records import AuditAction, AuditRule, Ownership
from kraken_recon.sessions.store import SessionStore
from kraken_recon.values.plain import plain

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from contextlib import AbstractContextManager

    from kraken_recon.database.unit_of_work import UnitOfWork
    from kraken_recon.sessions.rules.records import Backend, Finding, Owner, Sample, TaskStates
    from kraken_recon.sessions.store import ServerSessions
    from kraken_recon.values.task_identity import TaskIdentity

# Six hours of a sample every five minutes.
HISTORY_SAMPLES: Final = 72
HISTORY: Final = timedelta(hours=7)
POOL_RULES: Final = frozenset({AuditRule.CONNECTIONS_NEAR_LIMIT, AuditRule.CONNECTIONS_RISING})
ALERT_MESSAGES_MAX: Final = 5
OWNERS_MAX: Final = 50


class Airflow(Protocol):
    """What the audit asks of Airflow."""

    def task_states(self, tries: Collection[TaskIdentity]) -> TaskStates | None:
        """Say how far these tries are; None where it cannot be asked."""
        ...


@dataclass(frozen=True, slots=True)
class AuditedServer:
    """One audited server: its name, and how to open a session of it; only the trading database is ours."""

    name: str
    watch: Callable[[], AbstractContextManager[ServerSessions]]
    is_ours: bool = True


@dataclass(frozen=True, slots=True)
class AuditPorts:
    """What an audit needs; ``sources`` names the trading database first."""

    open_unit_of_work: Callable[[], AbstractContextManager[UnitOfWork]]
    sources: Sequence[AuditedServer]
    airflow: Airflow
    acted_by: str


@dataclass(frozen=True, slots=True)
class AuditRequest:
    """How to judge and what may be done."""

    policy: ActionPolicy = field(default_factory=ActionPolicy)
    thresholds: Thresholds = field(default_factory=Thresholds)
    keep_days: int = 14


def audit(request: AuditRequest, ports: AuditPorts) -> dict[str, Any]:
    """Audit every source, and return what is open now; ``failed`` names the sources that were not seen."""
    with ports.open_unit_of_work() as unit:
        app_roles = SessionStore(unit).roles()
    views: list[dict[str, Any]] = []
    failed = []
    for source in ports.sources:
        try:
            actions_left = request.policy.actions_max - sum(view["acted"] for view in views)
            views.append(_SourceAudit(source, request, ports).run(app_roles, actions_left))
        except (StoreError, ConfigurationError) as error:
            failed.append(f"{source.name}: {error}")
    with ports.open_unit_of_work() as unit:
        found = SessionStore(unit).open_findings()
        _alert(AlertStore(unit), found)
        unit.commit()
    return {"sources": views, "findings": plain(found), "failed": failed}


class _SourceAudit:
    """The audit of one server."""

    def __init__(self, source: AuditedServer, request: AuditRequest, ports: AuditPorts) -> None:
        self._source = source
        self._request = request
        self._ports = ports

    def run(self, app_roles: frozenset[str], actions_left: int) -> dict[str, Any]:
        """Look, judge, write down and act."""
        with self._source.watch() as watch:
            sample = watch.sample(self._source.name, app_roles, is_ours=self._source.is_ours)
        names = {b.application_name for b in sample.backends}
        identities = {identity for name in names if (identity := task_instance_id(name))}
        with self._ports.open_unit_of_work() as unit:
            owners = SessionStore(unit).owners(names, identities)
            history = SessionStore(unit).past_samples(
                sample.source, sample.taken_at - HISTORY, most=HISTORY_SAMPLES - 1
            )
        tries = {owner.task.task_instance_id: owner.task for owner in owners.values() if owner.task}
        tasks = self._ports.airflow.task_states(list(tries.values()))
        judgement = Audit(sample, owners, tasks, history, self._request.thresholds)
        findings = judgement.findings()
        counts = sample_counts(sample, owners, judgement) | {"findings": len(findings)}
        with self._ports.open_unit_of_work() as unit:
            SessionStore(unit).record_sample(sample, counts, by=self._ports.acted_by)
            ids = SessionStore(unit).record_findings(sample, findings, by=self._ports.acted_by)
            returned = SessionStore(unit).record_returned(sample, judgement.judged())
            SessionStore(unit).forget(names, keep_days=self._request.keep_days)
            unit.commit()
        acted = self._act([(ids[f.rule, f.subject], f) for f in findings], actions_left)
        return {
            "source": sample.source,
            "taken_at": sample.taken_at.isoformat(),
            "is_airflow_asked": tasks is not None,
            **counts,
            "returned": returned,
            "acted": acted,
        }

    def _act(self, findings: Sequence[tuple[int, Finding]], actions_left: int) -> int:
        """Do what the policy says about each session once; return how many were cancelled or ended."""
        policy = self._request.policy
        with self._ports.open_unit_of_work() as unit:
            cancelled = set(SessionStore(unit).cancelled([number for number, _ in findings]))
        done: set[int] = set()
        for number, finding in findings:
            action = decide(finding, policy, was_cancelled=number in cancelled)
            backend = finding.backend
            if (
                backend is None
                or action is AuditAction.REPORT
                or backend.pid in done
                or len(done) >= actions_left
            ):
                continue
            done.add(backend.pid)
            with self._ports.open_unit_of_work() as unit:
                action_id = SessionStore(unit).record_action(
                    number, action, self._ports.acted_by, is_dry_run=policy.is_dry_run
                )
                unit.commit()
            if not policy.is_dry_run:
                self._do(action_id, action, backend)
        return 0 if policy.is_dry_run else len(done)

    def _do(self, action_id: int, action: AuditAction, backend: Backend) -> None:
        try:
            with self._source.watch() as watch:
                outcome = watch.act(action, backend)
        except StoreError:
            outcome = "failed"
        with self._ports.open_unit_of_work() as unit:
            SessionStore(unit).record_outcome(action_id, outcome)
            unit.commit()


def sample_counts(sample: Sample, owners: Mapping[str, Owner], judgement: Audit) -> dict[str, Any]:
    """Count what a sample shows."""
    states = Counter(b.state for b in sample.backends)
    ages = [b.transaction_seconds for b in sample.backends if b.transaction_seconds is not None]
    known = {
        b.application_name: owners[b.application_name]
        for b in sample.backends
        if b.application_name in owners
    }
    by_owner = Counter(_owner_name(b, owners.get(b.application_name)) for b in sample.backends)
    return {
        "connections": sample.usages[0].used,
        "connections_limit": sample.usages[0].limit,
        "sessions": len(sample.backends),
        "ours": sum(1 for b in sample.backends if judgement.ownership(b) is Ownership.OURS),
        "active": states["active"],
        "idle": states["idle"],
        "idle_in_transaction": sum(1 for b in sample.backends if b.is_in_transaction),
        "waiting": sum(1 for b in sample.backends if b.blocked_by),
        "unattributed": judgement.unattributed,
        "excess": judgement.excess,
        "oldest_transaction_seconds": round(max(ages)) if ages else None,
        "longest_wait_seconds": round(
            max((b.wait_seconds for b in sample.backends if b.blocked_by), default=0)
        ),
        "pool_sessions": sum(1 for b in sample.backends if b.application_name in known),
        "pool_limit": sum(owner.connections_max for owner in known.values()),
        "by_owner": dict(by_owner.most_common(OWNERS_MAX)),
        "client_waits": {b.identity: b.copied_bytes for b in sample.backends if b.waits_for_client},
    }


def _owner_name(backend: Backend, owner: Owner | None) -> str:
    if owner and owner.task:
        return f"{owner.task.dag_id}.{owner.task.task_id}"
    if task_instance_id(backend.application_name):
        return backend.application_name.split("|")[-1].partition("#")[0]
    return backend.application_name.partition("#")[0] or f"role {backend.role}"


def _alert(alerts: AlertStore, found: Sequence[Mapping[str, Any]]) -> None:
    """Keep one alert for leaked sessions and one for connections that run out."""
    for kind, rules in (
        (AlertKind.SESSION_LEAK, frozenset(AuditRule) - POOL_RULES),
        (AlertKind.POOL_PRESSURE, POOL_RULES),
    ):
        of_kind = [finding for finding in found if finding["rule"] in rules]
        if not of_kind:
            alerts.resolve_alerts(None, kind, ended_by="an audit that found none any more")
            continue
        lines = [f"{f['rule']}: {f['message']}" for f in of_kind[:ALERT_MESSAGES_MAX]]
        if len(of_kind) > ALERT_MESSAGES_MAX:
            lines.append(f"and {len(of_kind) - ALERT_MESSAGES_MAX} more; see `python -m kraken_recon audit`")
        evidence = {"finding_ids": [f["finding_id"] for f in of_kind]}
        alerts.raise_alerts([Alert(kind, None, None, None, "; ".join(lines), evidence=evidence)])


def render_audit(view: Mapping[str, Any]) -> list[str]:
    """Write an audit for people."""
    lines = []
    for source in view["sources"]:
        lines.append(
            f"{source['source']}: {source['sessions']} sessions, {source['active']} active, "
            f"{source['idle_in_transaction']} idle in a transaction, {source['waiting']} waiting; "
            f"{source['connections']} of {source['connections_limit']} connections of the server"
        )
        if not source["is_airflow_asked"]:
            lines.append("  Airflow was not asked, so it is not known whose task has ended")
    lines += [f"not seen: {failure}" for failure in view["failed"]]
    lines.append(f"{len(view['findings'])} findings" if view["findings"] else "no findings")
    for finding in view["findings"]:
        action = f"; {finding['action']}: {finding['outcome']}" if finding["action"] else ""
        lines.append(
            f"  {finding['severity']} {finding['rule']} (seen {finding['occurrences']}x since "
            f"{finding['first_seen_at']}{action}): {finding['message']}"
        )
    return lines
