"""What the doctor reads, before anything is said about it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime, timedelta

    from kraken_recon.alerts.silence_rules import Heartbeat


@dataclass(frozen=True, slots=True)
class DatabaseReading:
    """The trading database, as one session saw it.

    Attributes:
        server_version: as PostgreSQL counts, such as 150004.
        revision: of the schema; empty where there is none, or the role may not read it.
        accounts: the active ones with their connections; None where they cannot be read.
        heartbeats: of every job; None where they cannot be read.
        role: which of our roles the login works as, or should.
        lacks: the rights of that role that the login does not have.
        clock_ahead: by how much the server's clock is ahead of this machine's.
        traders: accounts with orders under way, or lately.
        data_directory: where the server keeps its data, if it tells.
    """

    server_version: int
    login: str
    takes_no_writes: bool
    has_schema: bool
    revision: str
    clock_ahead: timedelta
    accounts: Mapping[str, str] | None = None
    traders: frozenset[str] = frozenset()
    role: str = ""
    lacks: tuple[str, ...] = ()
    heartbeats: tuple[Heartbeat, ...] | None = None
    data_directory: str = ""


@dataclass(frozen=True, slots=True)
class AuditRole:
    """What a role may see and end of other roles' sessions."""

    connection: str
    login: str
    sees_all_sessions: bool
    may_signal: bool


class KeyTrouble(StrEnum):
    """What kept a key from being looked at."""

    MISSING = "missing"
    UNUSABLE = "unusable"
    REFUSED = "refused"
    SILENT = "silent"
    BUSY = "busy"


@dataclass(frozen=True, slots=True)
class KeyReading:
    """One account's key.

    Attributes:
        fingerprint: the same for the same key; empty where there is no usable connection.
        told: what is wrong, in words, where there is trouble.
        to_change: what a person has to change at Kraken.
        may_trade: whether it may place and cancel orders.
    """

    account: str
    connection: str
    fingerprint: str = ""
    trouble: KeyTrouble | None = None
    told: str = ""
    to_change: tuple[str, ...] = ()
    may_trade: bool = False
    valid_until: datetime | None = None

    @property
    def is_missing(self) -> bool:
        """Whether there is no connection here."""
        return self.trouble is KeyTrouble.MISSING


@dataclass(frozen=True, slots=True)
class KrakenReading:
    """Kraken as a whole, at one address.

    Attributes:
        status: Kraken's own word, such as ``online``; empty where it did not answer.
        told: why it did not answer.
        clock_ahead: by how much this machine's clock is ahead for certain; negative where it is behind.
    """

    host: str
    status: str = ""
    told: str = ""
    clock_ahead: timedelta | None = None


@dataclass(frozen=True, slots=True)
class PoolReading:
    """One pool of Airflow's; slots below zero are without a bound."""

    slots: int
    taken: int
    queued: int


@dataclass(frozen=True, slots=True)
class DagReading:
    """One DAG as Airflow has it."""

    is_paused: bool
    has_import_errors: bool


@dataclass(frozen=True, slots=True)
class AirflowReading:
    """A running Airflow, as its REST API tells; None where the user may not read something.

    Attributes:
        trouble: why it could not be asked; nothing else is known then.
        components: what each says of its health.
        dags: by id; None of a DAG that Airflow does not have.
        import_errors: by file, the last line of each.
        plugins: by name, where each comes from.
        has_pages: whether the project's pages answer.
    """

    address: str
    trouble: str = ""
    version: str = ""
    components: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    has_pages: bool = False
    pools: Mapping[str, PoolReading] | None = None
    dags: Mapping[str, DagReading | None] | None = None
    import_errors: Mapping[str, str] | None = None
    plugins: Mapping[str, str] | None = None
    connections: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class Package:
    """One installed distribution, or one that is needed and missing, beside what is supported."""

    name: str
    version: str
    supported: str
    is_supported: bool


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder that work writes to: how full its disk is, and whether it takes a file."""

    path: str
    purpose: str
    refusal: str = ""
    free_bytes: int = 0
    total_bytes: int = 0
    free_files: int = 1
    total_files: int = 1
