"""What the session audit speaks of: sessions of a database server, their owners, findings and actions.

Times that rules compare are ages measured by the server's own clock at the moment of the sample: the clocks
of the auditing machine and of the server need not agree.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from uuid import UUID

    from kraken_recon.values.task_identity import TaskIdentity

STATEMENT_CHARACTERS_MAX: Final = 200
# What the server shows may be cut anywhere, so that every part may end with the text.
_PARTS: Final = re.compile(
    r"""
      (?P<kept>"(?:[^"]|"")*(?:"|\Z))
    | (?P<dropped>--[^\n]*|/\*.*?(?:\*/|\Z))
    | \$(?P<tag>[^\W\d]\w*|)\$.*?(?:\$(?P=tag)\$|\Z)
    | \b[eE]'(?:[^'\\]|''|\\.)*(?:'|\\?\Z)
    | '(?:[^']|'')*(?:'|\Z)
    | (?<![\w$.])-?\.?\d[\d_.]*(?:[eE][-+]?\d+)?\b
    """,
    re.VERBOSE | re.DOTALL,
)


class AuditRule(StrEnum):
    """What a finding says; the codes are stable, and each has its section in the runbook."""

    IDLE_IN_TRANSACTION = "idle_in_transaction"
    OWNER_ENDED = "owner_ended"
    NEVER_CLOSED = "never_closed"
    OVER_POOL = "over_pool"
    LOCK_KEPT = "lock_kept"
    TRANSACTION_OUTLIVES_WORK = "transaction_outlives_work"
    BLOCKS_OTHERS = "blocks_others"
    CONNECTIONS_RISING = "connections_rising"
    CONNECTIONS_NEAR_LIMIT = "connections_near_limit"
    PREPARED_TRANSACTION = "prepared_transaction"
    SLOT_HOLDS_HORIZON = "slot_holds_horizon"


class Severity(StrEnum):
    """How soon a person must look."""

    WARNING = "warning"
    CRITICAL = "critical"


class Ownership(StrEnum):
    """Whose a session is: ours may be ended, the watched are reported, the foreign only where they block."""

    OURS = "ours"
    WATCHED = "watched"
    FOREIGN = "foreign"


class AuditAction(StrEnum):
    """What may be done about a session, the mildest first."""

    REPORT = "report"
    CANCEL = "cancel"
    TERMINATE = "terminate"


class Progress(StrEnum):
    """How far a task's try is, as Airflow says."""

    AT_WORK = "at_work"
    DEFERRED = "deferred"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class Owner:
    """Who opens sessions under an application name, and what it declared: a row of ``session_owners``.

    ``hold_seconds`` is how long a transaction may idle, ``pool_size`` how many idle sessions the process
    keeps, ``connections_max`` how many it has open at the most. ``is_direct`` says that no pooler is in
    between, which would keep the name for sessions of others; None where that was never asked.
    """

    application_name: str
    host: str
    process_id: int
    call_site: str
    hold_seconds: int
    pool_size: int
    connections_max: int
    task: TaskIdentity | None = None
    is_direct: bool | None = None


@dataclass(frozen=True, slots=True)
class TaskState:
    """What Airflow says of one try; ``ended_seconds`` is how long ago it ended."""

    name: str
    progress: Progress
    ended_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class TaskStates:
    """What Airflow answered; a try that is not listed is one of which it could not tell.

    ``oldest_running_seconds`` is the age of the oldest running task instance, None where nothing runs.
    """

    of_try: Mapping[UUID, TaskState]
    oldest_running_seconds: float | None


@dataclass(frozen=True, slots=True)
class Backend:
    """One session as the server shows it; ``state`` is None where the auditor may not look.

    ``copied_bytes`` is how far its COPY came, None where it does none.
    """

    pid: int
    backend_start: datetime
    application_name: str
    role: str
    backend_type: str
    state: str | None
    state_change: datetime | None
    seconds_in_state: float
    transaction_seconds: float | None
    wait_event: str | None
    statement: str
    blocked_by: tuple[int, ...]
    wait_seconds: float
    writes_books: bool
    advisory_locks: int
    copied_bytes: int | None = None

    @property
    def identity(self) -> str:
        """Name the session for good; a number alone is used again."""
        return f"{self.pid}/{self.backend_start.isoformat()}"

    @property
    def waits_for_client(self) -> bool:
        """Tell whether its client, in the middle of a statement, neither sends nor takes anything."""
        return self.state == "active" and (self.wait_event or "").startswith("Client:")

    @property
    def holds_nothing(self) -> bool:
        """Tell whether it idles outside of transactions without a lock or a subscription of its own."""
        listens = self.statement.lower().startswith("listen ")
        return self.state == "idle" and not self.advisory_locks and not listens

    @property
    def is_in_transaction(self) -> bool:
        """Tell whether it idles in a transaction, failed or not."""
        return (self.state or "").startswith("idle in transaction")


@dataclass(frozen=True, slots=True)
class Prepared:
    """A transaction that was prepared for a two-phase commit and waits for its second phase."""

    name: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Slot:
    """A replication slot, and how many bytes of the log it keeps."""

    name: str
    is_active: bool
    holds_horizon: bool
    kept_bytes: int


@dataclass(frozen=True, slots=True)
class Usage:
    """Connections in use against one of the limits that hold for us."""

    limit_name: str
    used: int
    limit: int


@dataclass(frozen=True, slots=True)
class Sample:
    """One look at a server.

    ``backends`` are the client sessions of the audited database; ``app_roles`` the roles whose sessions are
    the project's own.
    """

    source: str
    taken_at: datetime
    backends: tuple[Backend, ...]
    usages: tuple[Usage, ...]
    prepared: tuple[Prepared, ...]
    slots: tuple[Slot, ...]
    app_roles: frozenset[str]
    is_ours: bool = True


@dataclass(frozen=True, slots=True)
class PastSample:
    """What is needed of an earlier sample; ``excess`` is None where Airflow could not be asked.

    ``client_waits`` names the sessions that waited for their client, each with the bytes of its COPY.
    """

    taken_at: datetime
    unattributed: int
    excess: int | None
    client_waits: Mapping[str, int | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong; ``evidence`` holds no secret and no value of a statement."""

    rule: AuditRule
    severity: Severity
    subject: str
    message: str
    ownership: Ownership
    evidence: Mapping[str, Any] = field(default_factory=dict)
    backend: Backend | None = None
    owner: Owner | None = None
    task: TaskIdentity | None = None


def normalised(statement: str) -> str:
    """Write a statement without its values and comments, on one line, and cut it."""

    def without_value(part: re.Match[str]) -> str:
        return part["kept"] or (" " if part["dropped"] else "?")

    bare = " ".join(_PARTS.sub(without_value, statement).split())
    return bare if len(bare) <= STATEMENT_CHARACTERS_MAX else f"{bare[: STATEMENT_CHARACTERS_MAX - 3]}..."
