"""The rules of the session audit: what is a leak, and what may be done about it.

Invariants:
1. A long transaction that lives is no finding: what counts is how long a session has done nothing.
2. What Airflow cannot tell is never taken for "ended".
3. Only a session of the project's own role under the project's own names may be ended, and never one whose
   transaction has written to the books: a repair is applied whole or not at all.
4. A name proves nothing of a session that does nothing: a pooler's connection keeps the name of whoever used
   it last. Such a session counts as its task's only where the task said that no pooler is in between.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING, Final

from kraken_recon.sessions.rules.identity import described, may_be_inherited, ownership_of, task_instance_id
from kraken_recon.sessions.rules.records import (
    AuditAction,
    AuditRule,
    Backend,
    Finding,
    Owner,
    Ownership,
    Progress,
    Severity,
)
from kraken_recon.sessions.rules.rising import is_rising

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from uuid import UUID

    from kraken_recon.sessions.rules.records import PastSample, Sample, TaskState, TaskStates

EXCESS_SAMPLES: Final = 3
DEFAULT_ACTIONS: Final = {
    AuditRule.IDLE_IN_TRANSACTION: AuditAction.TERMINATE,
    AuditRule.OWNER_ENDED: AuditAction.TERMINATE,
    AuditRule.NEVER_CLOSED: AuditAction.TERMINATE,
    AuditRule.OVER_POOL: AuditAction.TERMINATE,
    AuditRule.LOCK_KEPT: AuditAction.TERMINATE,
    AuditRule.TRANSACTION_OUTLIVES_WORK: AuditAction.TERMINATE,
    AuditRule.BLOCKS_OTHERS: AuditAction.TERMINATE,
}
# Without Airflow's word these rules have nothing to say, not even that something is over.
ASK_AIRFLOW: Final = frozenset(
    {
        AuditRule.OWNER_ENDED,
        AuditRule.TRANSACTION_OUTLIVES_WORK,
        AuditRule.CONNECTIONS_RISING,
        AuditRule.NEVER_CLOSED,
    }
)


@dataclass(frozen=True, slots=True)
class Thresholds:
    """From when on something is a finding; what an owner declared comes before these."""

    hold_seconds: float = 60
    idle_seconds: float = 240
    settle_seconds: float = 30
    transaction_seconds: float = 900
    wait_seconds: float = 30
    lock_seconds: float = 120
    pool_size: int = 5
    use_warning: float = 0.8
    use_critical: float = 0.95
    prepared_seconds: float = 300
    slot_bytes: int = 2**30


@dataclass(frozen=True, slots=True)
class ActionPolicy:
    """The most that may be done per rule, how many sessions one run may end, and whether any is at all."""

    most: Mapping[AuditRule, AuditAction] = field(default_factory=lambda: DEFAULT_ACTIONS)
    actions_max: int = 5
    is_dry_run: bool = True


class Audit:
    """The judgement of one sample."""

    def __init__(
        self,
        sample: Sample,
        owners: Mapping[str, Owner],
        tasks: TaskStates | None,
        history: Sequence[PastSample] = (),
        thresholds: Thresholds | None = None,
    ) -> None:
        self._sample = sample
        self._owners = owners
        self._tasks = tasks
        self._history = history
        self._limits = thresholds or Thresholds()
        self._ownerships = {b.pid: ownership_of(b, sample) for b in sample.backends}
        self._waiters = _waiters(sample.backends)
        self._of_task = {o.task.task_instance_id: o for o in owners.values() if o.task}

    @property
    def unattributed(self) -> int:
        """Count the sessions that are watched, or ours, and no task's."""
        return sum(1 for b in self._watched() if task_instance_id(b.application_name) is None)

    @property
    def excess(self) -> int | None:
        """Count the tasks' sessions beyond what running tasks declared; None where Airflow cannot tell."""
        if self._tasks is None:
            return None
        sessions: dict[UUID, list[Backend]] = defaultdict(list)
        for backend in self._watched():
            identity = task_instance_id(backend.application_name)
            if identity and not self._is_nobody_s(backend):
                sessions[identity].append(backend)
        return sum(
            max(0, len(found) - self._allowed(identity, found)) for identity, found in sessions.items()
        )

    def findings(self) -> list[Finding]:
        """List everything that is wrong, the gravest first."""
        found = [finding for backend in self._watched() for finding in self._of_session(backend)]
        found += [*self._over_pool(), *self._blockers(), *self._rising(), *self._server()]
        return sorted(found, key=lambda f: (f.severity is not Severity.CRITICAL, f.rule, f.subject))

    def ownership(self, backend: Backend) -> Ownership:
        """Tell whose a session of the sample is."""
        return self._ownerships[backend.pid]

    def judged(self) -> frozenset[AuditRule]:
        """Name the rules that could be judged: the silence of the others means nothing."""
        return frozenset(AuditRule) if self._tasks is not None else frozenset(AuditRule) - ASK_AIRFLOW

    def _watched(self) -> Iterator[Backend]:
        return (b for b in self._sample.backends if self._ownerships[b.pid] is not Ownership.FOREIGN)

    def _allowed(self, identity: UUID, found: Sequence[Backend]) -> int:
        state = self._tasks.of_try.get(identity) if self._tasks else None
        if state is None:
            return len(found)
        if state.progress is Progress.ENDED:
            return 0
        declared = [self._owners[b.application_name] for b in found if b.application_name in self._owners]
        return max((owner.connections_max for owner in declared), default=self._limits.pool_size)

    def _is_nobody_s(self, backend: Backend) -> bool:
        """Tell an idle session that only its name gives to a task: a pooler may keep it for the next."""
        owner, state = self._owners.get(backend.application_name), self._state_of(backend)
        has_ended = state is not None and state.progress is Progress.ENDED
        is_proved = owner is not None and owner.is_direct is True
        return backend.holds_nothing and (
            may_be_inherited(backend, self._owners) or (has_ended and not is_proved)
        )

    def _state_of(self, backend: Backend) -> TaskState | None:
        identity = task_instance_id(backend.application_name)
        return self._tasks.of_try.get(identity) if self._tasks and identity else None

    def _of_session(self, backend: Backend) -> Iterator[Finding]:
        """Judge one session; the first rule that explains it is enough, after that of its owner."""
        if self._is_nobody_s(backend):
            return
        owner, state = self._owners.get(backend.application_name), self._state_of(backend)
        limits, idle = self._limits, backend.seconds_in_state
        if state and state.progress is Progress.ENDED and state.ended_seconds > limits.settle_seconds:
            yield self._finding(
                AuditRule.OWNER_ENDED,
                backend,
                f"its task ended ({state.name}) {state.ended_seconds:.0f} s ago",
                is_critical=backend.is_in_transaction or backend.advisory_locks > 0,
            )
        hold_seconds = owner.hold_seconds if owner else limits.hold_seconds
        if backend.is_in_transaction and idle > hold_seconds:
            yield self._finding(
                AuditRule.IDLE_IN_TRANSACTION,
                backend,
                f"idle in a transaction for {idle:.0f} s of at most {hold_seconds:.0f} s",
                is_critical=backend.writes_books or bool(self._waiters.get(backend.pid)),
            )
        elif self._client_hangs(backend, hold_seconds):
            yield self._finding(
                AuditRule.IDLE_IN_TRANSACTION,
                backend,
                f"at work for {idle:.0f} s, and its client neither sends nor takes anything: it may hang",
                is_critical=backend.writes_books or bool(self._waiters.get(backend.pid)),
            )
        elif self._outlives_work(backend, state):
            yield self._finding(
                AuditRule.TRANSACTION_OUTLIVES_WORK,
                backend,
                f"its transaction is {backend.transaction_seconds:.0f} s old, and no task that runs is older",
            )
        elif self._keeps_a_lock(backend, state):
            yield self._finding(
                AuditRule.LOCK_KEPT,
                backend,
                f"keeps {backend.advisory_locks} advisory locks, idle for {idle:.0f} s",
            )
        elif self._is_never_closed(backend, owner, state):
            yield self._finding(
                AuditRule.NEVER_CLOSED, backend, f"idle for {idle:.0f} s, and in no declared pool"
            )

    def _client_hangs(self, backend: Backend, hold_seconds: float) -> bool:
        """Tell a statement that waits for its client now as in an earlier sample, and came no further since.

        Only of a COPY it is known how far it came; another statement may just be read slowly.
        """
        is_copying = backend.copied_bytes is not None
        limit = hold_seconds if is_copying else max(hold_seconds, self._limits.transaction_seconds)
        if not backend.waits_for_client or backend.seconds_in_state <= limit:
            return False
        before = [
            past
            for past in self._history
            if (self._sample.taken_at - past.taken_at).total_seconds() >= hold_seconds
        ]
        waited = before[-1].client_waits if before else {}
        return backend.identity in waited and waited[backend.identity] == backend.copied_bytes

    def _is_kept_idle(self, backend: Backend) -> bool:
        """Tell an idle session that somebody has to answer for: not a pooler's, nor other programs'."""
        if backend.state != "idle":
            return False
        return self._ownerships[backend.pid] is Ownership.OURS or (
            self._sample.is_ours and not backend.application_name
        )

    def _outlives_work(self, backend: Backend, state: TaskState | None) -> bool:
        age = backend.transaction_seconds
        if self._tasks is None or age is None or age <= self._limits.transaction_seconds:
            return False
        if backend.state == "active" or (state and state.progress is not Progress.ENDED):
            return False
        oldest = self._tasks.oldest_running_seconds
        return oldest is None or age > oldest

    def _keeps_a_lock(self, backend: Backend, state: TaskState | None) -> bool:
        if state and state.progress is Progress.DEFERRED:
            return False
        is_idle = backend.state == "idle" and backend.seconds_in_state > self._limits.lock_seconds
        return is_idle and backend.advisory_locks > 0

    def _is_never_closed(self, backend: Backend, owner: Owner | None, state: TaskState | None) -> bool:
        if not self._is_kept_idle(backend) or backend.seconds_in_state <= self._limits.idle_seconds:
            return False
        if owner and owner.pool_size:
            return False
        if task_instance_id(backend.application_name) is None:
            return True
        # A trigger holds its deferred task's session; a listener waits as long as its task lives.
        if state is None or state.progress is Progress.DEFERRED:
            return False
        return not backend.statement.lower().startswith("listen ")

    def _over_pool(self) -> Iterator[Finding]:
        """Find the idle sessions that a process keeps beyond its pool, the longest idle first."""

        def keeper(backend: Backend) -> tuple[str, str, int]:
            owner = self._owners.get(backend.application_name)
            identity = task_instance_id(backend.application_name)
            name = str(identity) if identity else backend.application_name
            return (name, owner.host, owner.process_id) if owner else (name, "", 0)

        idle = [
            b
            for b in self._watched()
            if b.application_name
            and b.seconds_in_state > self._limits.settle_seconds
            and self._is_kept_idle(b)
            and not self._is_nobody_s(b)
        ]
        for (name, *_), group in groupby(sorted(idle, key=keeper), keeper):
            kept = sorted(group, key=lambda b: -b.seconds_in_state)
            most = self._pool_of(kept[0])
            for backend in kept[: max(0, len(kept) - most)]:
                yield self._finding(
                    AuditRule.OVER_POOL,
                    backend,
                    f"one of {len(kept)} idle sessions that {name} keeps, beyond its pool of {most}",
                )

    def _pool_of(self, backend: Backend) -> int:
        """Say how many idle sessions the keeper of this one may have."""
        if owner := self._owners.get(backend.application_name):
            return owner.pool_size or owner.connections_max
        identity = task_instance_id(backend.application_name)
        of_task = self._of_task.get(identity) if identity else None
        return of_task.connections_max if of_task else self._limits.pool_size

    def _blockers(self) -> Iterator[Finding]:
        """Find the sessions at the root of a blocking tree; who waits is never the culprit."""
        of_pid = {b.pid: b for b in self._sample.backends}
        for pid, waiting in self._waiters.items():
            root = of_pid.get(pid)
            longest = max((b.wait_seconds for b in waiting), default=0.0)
            if root is None or root.blocked_by or longest <= self._limits.wait_seconds:
                continue
            if all(self._ownerships[b.pid] is Ownership.FOREIGN for b in (root, *waiting)):
                continue
            yield self._finding(
                AuditRule.BLOCKS_OTHERS,
                root,
                f"keeps {len(waiting)} sessions waiting, the longest for {longest:.0f} s",
                is_critical=root.state != "active",
                waiting=sorted(b.pid for b in waiting),
            )

    def _rising(self) -> Iterator[Finding]:
        last = [*(past.excess for past in self._history[-EXCESS_SAMPLES + 1 :]), self.excess]
        if len(last) == EXCESS_SAMPLES and all(excess is not None and excess >= 1 for excess in last):
            yield self._of_server(
                AuditRule.CONNECTIONS_RISING,
                "tasks",
                f"{last[-1]} sessions of tasks beyond what running tasks declared, and so before",
                excess=last,
            )
        counts = [*(past.unattributed for past in self._history), self.unattributed]
        if is_rising(counts):
            yield self._of_server(
                AuditRule.CONNECTIONS_RISING,
                "unattributed",
                f"the sessions of no task rose from {counts[0]} to {counts[-1]} over {len(counts)} samples",
                counts=counts,
            )

    def _server(self) -> Iterator[Finding]:
        limits = self._limits
        for usage in self._sample.usages:
            share = usage.used / usage.limit if usage.limit else 1.0
            if share >= limits.use_warning:
                yield self._of_server(
                    AuditRule.CONNECTIONS_NEAR_LIMIT,
                    usage.limit_name,
                    f"{usage.used} of {usage.limit} connections of {usage.limit_name} are in use",
                    is_critical=share >= limits.use_critical,
                )
        for prepared in self._sample.prepared:
            if prepared.seconds > limits.prepared_seconds:
                yield self._of_server(
                    AuditRule.PREPARED_TRANSACTION,
                    prepared.name,
                    f"the prepared transaction {prepared.name} waits for {prepared.seconds:.0f} s",
                )
        for slot in self._sample.slots:
            is_heavy = slot.kept_bytes > limits.slot_bytes
            if not slot.is_active and (slot.holds_horizon or is_heavy):
                yield self._of_server(
                    AuditRule.SLOT_HOLDS_HORIZON,
                    slot.name,
                    f"nobody reads the replication slot {slot.name}; it keeps {slot.kept_bytes} bytes of log",
                    is_critical=is_heavy,
                )

    def _finding(
        self, rule: AuditRule, backend: Backend, what: str, *, is_critical: bool = False, **evidence: object
    ) -> Finding:
        owner, state = self._owners.get(backend.application_name), self._state_of(backend)
        identity = task_instance_id(backend.application_name)
        of_task = self._of_task.get(identity) if identity else None
        task = of_task.task if of_task else None
        return Finding(
            rule,
            Severity.CRITICAL if is_critical else Severity.WARNING,
            backend.identity,
            f"session {backend.pid} of {described(backend, owner, task)}: {what}",
            self._ownership_at_work(backend),
            {
                "state": backend.state,
                "seconds_in_state": round(backend.seconds_in_state, 1),
                "transaction_seconds": backend.transaction_seconds and round(backend.transaction_seconds, 1),
                "wait_event": backend.wait_event,
                "statement": backend.statement,
                "writes_books": backend.writes_books,
                "advisory_locks": backend.advisory_locks,
                "blocks": sorted(b.pid for b in self._waiters.get(backend.pid, ())),
                "task_state": state.name if state else None,
                **evidence,
            },
            backend,
            owner,
            task,
        )

    def _ownership_at_work(self, backend: Backend) -> Ownership:
        """Say whose it is for an action: a pooler's idle session is lent to others at any moment."""
        ownership = self._ownerships[backend.pid]
        is_lent = backend.state == "idle" and may_be_inherited(backend, self._owners)
        return Ownership.WATCHED if ownership is Ownership.OURS and is_lent else ownership

    def _of_server(
        self, rule: AuditRule, subject: str, message: str, *, is_critical: bool = False, **evidence: object
    ) -> Finding:
        severity = Severity.CRITICAL if is_critical else Severity.WARNING
        return Finding(rule, severity, subject, message, Ownership.WATCHED, evidence)


def decide(finding: Finding, policy: ActionPolicy, *, was_cancelled: bool) -> AuditAction:
    """Choose what to do; ``was_cancelled`` says that an earlier run cancelled its statement in vain.

    Cancelling does nothing to an idle session, although the server says it did.
    """
    backend, most = finding.backend, policy.most.get(finding.rule, AuditAction.REPORT)
    if backend is None or most is AuditAction.REPORT:
        return AuditAction.REPORT
    # Cancelling does nothing to a COPY whose client is silent.
    is_at_work = backend.state == "active" and not (
        backend.waits_for_client and finding.rule is AuditRule.IDLE_IN_TRANSACTION
    )
    if finding.ownership is not Ownership.OURS or backend.writes_books:
        return AuditAction.REPORT
    if is_at_work and finding.rule is AuditRule.BLOCKS_OTHERS:
        return AuditAction.REPORT
    if is_at_work and not (was_cancelled and most is AuditAction.TERMINATE):
        return AuditAction.CANCEL
    return AuditAction.TERMINATE if most is AuditAction.TERMINATE else AuditAction.REPORT


def _waiters(backends: Iterable[Backend]) -> dict[int, list[Backend]]:
    """Find who waits for each session, directly or behind others."""
    of_pid = {b.pid: b for b in backends}
    waiters: dict[int, list[Backend]] = defaultdict(list)
    for waiter in of_pid.values():
        ahead, seen = list(waiter.blocked_by), {waiter.pid}
        while ahead:
            pid = ahead.pop()
            if pid in seen:
                continue
            seen.add(pid)
            waiters[pid].append(waiter)
            if pid in of_pid:
                ahead.extend(of_pid[pid].blocked_by)
    return dict(waiters)
