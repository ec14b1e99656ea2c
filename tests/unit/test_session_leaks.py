"""The rules of the session audit, without a server."""

from __future__ import annotations

import base64
import random
import string
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kraken_recon.sessions.rules.identity import task_instance_id
from kraken_recon.sessions.rules.leaks import (
    ASK_AIRFLOW,
    ActionPolicy,
    Audit,
    Thresholds,
    decide,
)
from kraken_recon.sessions.rules.records import (
    AuditAction,
    AuditRule,
    Backend,
    Finding,
    Owner,
    Ownership,
    PastSample,
    Prepared,
    Progress,
    Sample,
    Severity,
    Slot,
    TaskState,
    TaskStates,
    Usage,
    normalised,
)
from kraken_recon.sessions.rules.rising import SAMPLES_MIN, is_rising
from kraken_recon.values.task_identity import TaskIdentity

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
IDENTITY = UUID("01a2035a-3e65-7679-bb0e-a82c2e9fd832")
NAME = f"af1|{base64.urlsafe_b64encode(IDENTITY.bytes).rstrip(b'=').decode()}|1|-1|some_dag.some_task#abcde"
TASK = TaskIdentity(IDENTITY, "some_dag", "manual__1", "some_task", -1, 1)
AT_WORK = TaskState("running", Progress.AT_WORK)
NEVER: dict[UUID, TaskState] = {}


def backend(pid: int = 1, **changes: Any) -> Backend:
    fields: dict[str, Any] = {
        "pid": pid,
        "backend_start": NOW,
        "application_name": NAME,
        "role": "app",
        "backend_type": "client backend",
        "state": "idle",
        "state_change": NOW,
        "seconds_in_state": 0.0,
        "transaction_seconds": None,
        "wait_event": None,
        "statement": "select ?",
        "blocked_by": (),
        "wait_seconds": 0.0,
        "writes_books": False,
        "advisory_locks": 0,
    }
    return Backend(**(fields | changes))


def sample(*backends: Backend, **changes: Any) -> Sample:
    fields: dict[str, Any] = {
        "source": "trading_db",
        "taken_at": NOW,
        "backends": backends,
        "usages": (Usage("the server", 10, 100),),
        "prepared": (),
        "slots": (),
        "app_roles": frozenset({"app"}),
    }
    return Sample(**(fields | changes))


def told(state: TaskState = AT_WORK) -> TaskStates:
    return TaskStates({IDENTITY: state}, 10)


def rules(looked: Sample, tasks: TaskStates | None = None, **more: Any) -> list[AuditRule]:
    owners = more.pop("owners", {})
    return [finding.rule for finding in Audit(looked, owners, tasks, **more).findings()]


def owner(**changes: Any) -> Owner:
    fields: dict[str, Any] = {
        "application_name": NAME,
        "host": "worker",
        "process_id": 7,
        "call_site": "sync.py:1 read",
        "hold_seconds": 60,
        "pool_size": 0,
        "connections_max": 4,
        "task": TASK,
    }
    return Owner(**(fields | changes))


IDLE_IN_TRANSACTION = {"state": "idle in transaction", "seconds_in_state": 61.0, "transaction_seconds": 61.0}
LONG_TRANSACTION = {"state": "idle in transaction", "seconds_in_state": 1.0, "transaction_seconds": 1000.0}
ENDED = TaskState("failed", Progress.ENDED, 31)


def test_the_task_is_read_out_of_the_name() -> None:
    assert task_instance_id(NAME) == IDENTITY
    assert task_instance_id(NAME[:50]) == IDENTITY
    for name in ("", "psql", "af1|", "af1|x", "af1|%%%|1|", "kraken_recon"):
        assert task_instance_id(name) is None


@given(st.text(alphabet=string.printable + "é", max_size=40), st.integers(10), st.integers(0, 80))
@pytest.mark.parametrize(("start", "end"), [("'", "'"), ("E'", "'"), ("$$", "$$"), ("$q$", "$q$")])
def test_no_value_of_a_statement_is_kept(start: str, end: str, text: str, number: int, cut: int) -> None:
    value = {"'": text.replace("'", "''"), "E'": text.replace("\\", "\\\\").replace("'", "\\'")}.get(
        start, text.replace("$", "")
    )
    statement = f"select \"a'b\" -- it's\nfrom t where a = {start}S3CRET{value}S3CRET{end} and b = -{number}"
    kept = normalised(statement)
    assert kept == 'select "a\'b" from t where a = ? and b = ?'
    # The server cuts long statements in the middle of a value.
    assert "S3CRET" not in normalised(statement[: 50 + cut])


def test_a_long_statement_is_cut() -> None:
    assert normalised("select  1,\n 'x',  -2.5e3 , a1, $1") == "select ?, ?, ? , a1, $1"
    assert len(normalised("select a " * 100)) == 200


@pytest.mark.parametrize(
    ("changes", "state", "expected"),
    [
        (IDLE_IN_TRANSACTION, None, [AuditRule.IDLE_IN_TRANSACTION]),
        (
            IDLE_IN_TRANSACTION | {"state": "idle in transaction (aborted)"},
            None,
            [AuditRule.IDLE_IN_TRANSACTION],
        ),
        (IDLE_IN_TRANSACTION | {"seconds_in_state": 59.0}, None, []),
        ({"state": "active", "seconds_in_state": 9e4, "transaction_seconds": 9e4}, None, []),
        ({"seconds_in_state": 241.0}, AT_WORK, [AuditRule.NEVER_CLOSED]),
        ({"seconds_in_state": 241.0}, TaskState("deferred", Progress.DEFERRED), []),
        ({"seconds_in_state": 241.0}, None, []),
        (
            {"seconds_in_state": 9e4, "statement": "LISTEN fills"},
            AT_WORK,
            [],
        ),
        ({"seconds_in_state": 241.0, "application_name": ""}, None, [AuditRule.NEVER_CLOSED]),
        ({"seconds_in_state": 241.0, "application_name": "metabase"}, None, []),
        ({"seconds_in_state": 241.0, "application_name": "psql"}, None, []),
        ({"seconds_in_state": 121.0, "advisory_locks": 1}, None, [AuditRule.LOCK_KEPT]),
        ({"seconds_in_state": 121.0, "advisory_locks": 1}, TaskState("deferred", Progress.DEFERRED), []),
        # An idle session may be a pooler's, which keeps the name of whoever used it last.
        ({}, ENDED, []),
        ({"statement": "LISTEN fills"}, ENDED, [AuditRule.OWNER_ENDED]),
        ({"advisory_locks": 1}, ENDED, [AuditRule.OWNER_ENDED]),
        (IDLE_IN_TRANSACTION, ENDED, [AuditRule.OWNER_ENDED, AuditRule.IDLE_IN_TRANSACTION]),
        ({"seconds_in_state": 241.0, "statement": "DISCARD ALL"}, AT_WORK, []),
        (IDLE_IN_TRANSACTION | {"application_name": "a_dag"}, None, [AuditRule.IDLE_IN_TRANSACTION]),
        (IDLE_IN_TRANSACTION | {"application_name": "metabase"}, None, []),
        ({"seconds_in_state": 241.0, "application_name": "a_dag"}, None, []),
        ({"state": "active"}, ENDED, [AuditRule.OWNER_ENDED]),
        ({}, TaskState("success", Progress.ENDED, 5), []),
        (LONG_TRANSACTION, ENDED, [AuditRule.OWNER_ENDED, AuditRule.TRANSACTION_OUTLIVES_WORK]),
        (LONG_TRANSACTION, AT_WORK, []),
        (IDLE_IN_TRANSACTION | {"role": "somebody"}, None, []),
        (IDLE_IN_TRANSACTION | {"backend_type": "walsender"}, None, []),
    ],
)
def test_one_session(changes: dict[str, Any], state: TaskState | None, expected: list[AuditRule]) -> None:
    tasks = told(state) if state else TaskStates(NEVER, 10)
    assert rules(sample(backend(**changes)), tasks) == expected


def test_what_airflow_cannot_tell_is_never_ended() -> None:
    looked = sample(backend(**LONG_TRANSACTION), backend(2, seconds_in_state=9e5))
    assert rules(looked, None) == []
    assert Audit(looked, {}, None).judged().isdisjoint(ASK_AIRFLOW)
    assert Audit(looked, {}, None).excess is None


def test_what_its_owner_declared_comes_first() -> None:
    declared = {NAME: owner(hold_seconds=600)}
    assert rules(sample(backend(**IDLE_IN_TRANSACTION)), owners=declared) == []
    assert rules(sample(backend(**IDLE_IN_TRANSACTION)), owners={NAME: owner()}) == [
        AuditRule.IDLE_IN_TRANSACTION
    ]
    pooled = {NAME: owner(pool_size=3)}
    idle = [backend(pid, seconds_in_state=300.0 + pid) for pid in range(4)]
    found = Audit(sample(*idle), pooled, told()).findings()
    assert [(f.rule, f.backend and f.backend.pid) for f in found] == [(AuditRule.OVER_POOL, 3)]


def test_the_root_of_a_blocking_tree_is_named_and_no_victim() -> None:
    looked = sample(
        backend(1, state="idle in transaction", seconds_in_state=5.0, transaction_seconds=40.0),
        backend(2, state="active", blocked_by=(1,), wait_seconds=40.0),
        backend(3, state="active", blocked_by=(2,), wait_seconds=35.0),
    )
    (found,) = Audit(looked, {}, told()).findings()
    assert (found.rule, found.severity) == (AuditRule.BLOCKS_OTHERS, Severity.CRITICAL)
    assert found.backend is looked.backends[0]
    assert found.evidence["waiting"] == [2, 3]
    assert rules(sample(*looked.backends), told(), thresholds=Thresholds(wait_seconds=41)) == []


def test_a_client_that_hangs_in_a_copy_is_told_from_a_slow_one() -> None:
    copying = {"state": "active", "wait_event": "Client:ClientRead", "seconds_in_state": 100.0}
    before = PastSample(NOW - timedelta(minutes=5), 0, 0, {f"1/{NOW.isoformat()}": 512})
    just_now = replace(before, taken_at=NOW - timedelta(seconds=5))

    def found(backend_changes: dict[str, Any], history: list[PastSample]) -> list[AuditRule]:
        looked = sample(backend(**(copying | {"copied_bytes": 512} | backend_changes)))
        return [finding.rule for finding in Audit(looked, {}, told(AT_WORK), history).findings()]

    assert found({}, [before]) == [AuditRule.IDLE_IN_TRANSACTION]
    assert found({}, []) == found({}, [just_now]) == []
    assert found({"copied_bytes": 513}, [before]) == []
    assert found({"wait_event": "IO:DataFileRead"}, [before]) == []
    assert found({"backend_start": NOW + timedelta(seconds=1)}, [before]) == []
    # How far another statement came is not known: it may just be read slowly.
    unread = replace(before, client_waits={f"1/{NOW.isoformat()}": None})
    assert found({"copied_bytes": None}, [unread]) == []
    assert found({"copied_bytes": None, "seconds_in_state": 901.0}, [unread]) == [
        AuditRule.IDLE_IN_TRANSACTION
    ]


def test_a_copy_whose_client_hangs_is_ended_and_not_cancelled_first() -> None:
    hanging = backend(state="active", wait_event="Client:ClientRead")
    finding = Finding(AuditRule.IDLE_IN_TRANSACTION, Severity.WARNING, "", "", Ownership.OURS, {}, hanging)
    assert decide(finding, ActionPolicy(), was_cancelled=False) is AuditAction.TERMINATE


@pytest.mark.parametrize("statement", ["select ?", "DISCARD ALL"])
def test_what_a_pooler_keeps_is_nobody_s_leak_and_never_ended(statement: str) -> None:
    def owner(*, is_direct: bool | None) -> dict[str, Owner]:
        return {NAME: Owner(NAME, "worker", 7, "dag.py:1 f", 60, 0, 1, TASK, is_direct)}

    idle = sample(backend(seconds_in_state=999.0, statement=statement))
    for state in (AT_WORK, ENDED):
        judged = Audit(idle, owner(is_direct=False), told(state))
        assert (judged.findings(), judged.excess) == ([], 0)
    # A process that told of no pooler answers for its sessions itself.
    rules_found = [f.rule for f in Audit(idle, owner(is_direct=True), told(ENDED)).findings()]
    assert rules_found == [AuditRule.NEVER_CLOSED, AuditRule.OWNER_ENDED]
    locked = sample(backend(seconds_in_state=999.0, advisory_locks=1))
    (finding,) = Audit(locked, owner(is_direct=False), told(AT_WORK)).findings()
    assert (finding.rule, finding.ownership) == (AuditRule.LOCK_KEPT, Ownership.WATCHED)


def test_other_servers_pools_are_theirs() -> None:
    idle = backend(seconds_in_state=9e4, application_name="")
    waiting = backend(2, application_name="", **IDLE_IN_TRANSACTION)
    assert rules(sample(idle, waiting, is_ours=False)) == [AuditRule.IDLE_IN_TRANSACTION]


def test_foreign_sessions_that_block_each_other_are_theirs() -> None:
    theirs = {"application_name": "etl", "role": "other_team"}
    holder = backend(1, state="idle in transaction", **theirs)
    waiter = backend(2, state="active", blocked_by=(1,), wait_seconds=99.0, **theirs)
    assert rules(sample(holder, waiter)) == []
    ours = backend(2, state="active", blocked_by=(1,), wait_seconds=99.0)
    (found,) = Audit(sample(holder, ours), {}, None).findings()
    assert found.ownership is Ownership.FOREIGN
    assert decide(found, ActionPolicy(), was_cancelled=False) is AuditAction.REPORT


def test_a_deadlocked_ring_has_no_root_and_ends() -> None:
    ring = [backend(pid, blocked_by=(pid % 3 + 1,), wait_seconds=99.0, state="active") for pid in (1, 2, 3)]
    assert rules(sample(*ring)) == []


def test_connections_that_grow_are_excess_over_what_tasks_declared() -> None:
    looked = sample(*(backend(pid, state="active") for pid in range(6)))
    owners = {NAME: owner(connections_max=4)}
    past = [PastSample(NOW, 0, excess) for excess in (2, 1)]
    assert Audit(looked, owners, told()).excess == 2
    assert rules(looked, told(), owners=owners, history=past) == [AuditRule.CONNECTIONS_RISING]
    assert rules(looked, told(), owners=owners, history=past[:1]) == []
    assert rules(looked, told(), owners=owners, history=[PastSample(NOW, 0, 0), past[0]]) == []
    assert rules(looked, told(), owners=owners, history=[PastSample(NOW, 0, None), past[0]]) == []


def test_the_server_is_watched_too() -> None:
    usages = (Usage("the server", 80, 100), Usage("role app", 95, 100), Usage("database", 79, 100))
    looked = sample(
        usages=usages,
        prepared=(Prepared("gid", 301.0), Prepared("young", 299.0)),
        slots=(
            Slot("idle", is_active=False, holds_horizon=True, kept_bytes=5),
            Slot("read", is_active=True, holds_horizon=True, kept_bytes=2**40),
            Slot("empty", is_active=False, holds_horizon=False, kept_bytes=5),
        ),
    )
    found = [(f.rule, f.subject, f.severity) for f in Audit(looked, {}, None).findings()]
    assert found == [
        (AuditRule.CONNECTIONS_NEAR_LIMIT, "role app", Severity.CRITICAL),
        (AuditRule.CONNECTIONS_NEAR_LIMIT, "the server", Severity.WARNING),
        (AuditRule.PREPARED_TRANSACTION, "gid", Severity.WARNING),
        (AuditRule.SLOT_HOLDS_HORIZON, "idle", Severity.WARNING),
    ]


def test_another_database_is_reported_on_and_left_alone() -> None:
    looked = sample(backend(**IDLE_IN_TRANSACTION, application_name="", role="airflow"), is_ours=False)
    (found,) = Audit(looked, {}, None).findings()
    assert (found.rule, found.ownership) == (AuditRule.IDLE_IN_TRANSACTION, Ownership.WATCHED)
    assert decide(found, ActionPolicy(), was_cancelled=False) is AuditAction.REPORT


@pytest.mark.parametrize(
    ("rule", "changes", "most", "was_cancelled", "action"),
    [
        (AuditRule.OWNER_ENDED, {"state": "active"}, AuditAction.TERMINATE, False, AuditAction.CANCEL),
        (AuditRule.OWNER_ENDED, {"state": "active"}, AuditAction.TERMINATE, True, AuditAction.TERMINATE),
        (AuditRule.OWNER_ENDED, {"state": "active"}, AuditAction.CANCEL, True, AuditAction.CANCEL),
        (AuditRule.OWNER_ENDED, {}, AuditAction.TERMINATE, False, AuditAction.TERMINATE),
        (AuditRule.OWNER_ENDED, {}, AuditAction.REPORT, False, AuditAction.REPORT),
        (AuditRule.OWNER_ENDED, {"writes_books": True}, AuditAction.TERMINATE, True, AuditAction.REPORT),
        (AuditRule.IDLE_IN_TRANSACTION, IDLE_IN_TRANSACTION, AuditAction.CANCEL, False, AuditAction.REPORT),
        (
            AuditRule.IDLE_IN_TRANSACTION,
            IDLE_IN_TRANSACTION,
            AuditAction.TERMINATE,
            False,
            AuditAction.TERMINATE,
        ),
        (AuditRule.BLOCKS_OTHERS, {"state": "active"}, AuditAction.TERMINATE, True, AuditAction.REPORT),
    ],
)
def test_what_is_done(
    rule: AuditRule,
    changes: dict[str, Any],
    most: AuditAction,
    *,
    was_cancelled: bool,
    action: AuditAction,
) -> None:
    finding = Finding(rule, Severity.WARNING, "1", "", Ownership.OURS, backend=backend(**changes))
    policy = ActionPolicy(most={rule: most})
    assert decide(finding, policy, was_cancelled=was_cancelled) is action


def test_nothing_is_ended_unless_told() -> None:
    assert ActionPolicy().is_dry_run
    assert ActionPolicy().actions_max < 10


@given(st.integers(0, 40), st.integers(0, 2**32))
def test_counts_that_swing_do_not_rise(level: int, seed: int) -> None:
    noise = random.Random(seed)  # noqa: S311 - not for secrecy
    flat = [level + noise.choice((0, 0, 0, 1, 2)) for _ in range(72)]
    assert not (is_rising(flat) and min(flat[-18:]) == min(flat[:18]))
    ramp = [min(level, place) for place in range(10)] + [level + noise.choice((0, 1)) for _ in range(62)]
    assert not is_rising(ramp) or min(ramp[-18:]) > min(ramp[:18])
    assert not is_rising([level] * 72)


def test_counts_that_rise_are_found_and_too_few_are_not_judged() -> None:
    noise = random.Random(1)  # noqa: S311 - not for secrecy
    assert is_rising([5 + place // 6 + noise.choice((0, 1)) for place in range(72)])
    assert not is_rising([place for place in range(SAMPLES_MIN - 1)])  # noqa: C416 - a plain ramp
    found = rules(
        sample(*(backend(pid, application_name="kraken_recon", state="active") for pid in range(30))),
        history=[PastSample(NOW, count // 2, None) for count in range(60)],
    )
    assert found == [AuditRule.CONNECTIONS_RISING]
