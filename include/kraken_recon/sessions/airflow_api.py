"""Ask Airflow's REST API how far tries of tasks are; nothing is ever written there.

An Airflow that cannot be asked, refuses, or knows nothing of a try gives no answer; that is never "ended".
"""

from __future__ import annotations

import json
import logging
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import quote, unquote, urlsplit

import requests

from kraken_recon.errors import ConfigurationError
from kraken_recon.sessions.rules.records import Progress, TaskState, TaskStates
from kraken_recon.settings import AIRFLOW_API, connection_variable

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from kraken_recon.values.task_identity import TaskIdentity

VARIABLE: Final = connection_variable(AIRFLOW_API.name)
TIMEOUT_SECONDS: Final = 5
TRIES_MAX: Final = 500
ENDED_STATES: Final = frozenset(
    {"success", "failed", "skipped", "upstream_failed", "removed", "up_for_retry", "shutdown"}
)
DEFERRED_STATES: Final = frozenset({"deferred", "awaiting_input"})
log = logging.getLogger(__name__)


class NoAirflow:
    """Stands in where nobody said how to ask Airflow."""

    def task_states(self, tries: Collection[TaskIdentity]) -> TaskStates | None:  # noqa: ARG002 - as AirflowApi
        """Tell nothing."""
        return None


@dataclass(frozen=True, slots=True)
class AirflowApi:
    """Airflow's public REST API, as a user who may read DAG runs and task instances."""

    base_url: str
    user: str
    password: str = field(repr=False)

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Self | None:
        """Read the connection ``airflow_api`` from its variable, JSON or URI; None where it is not set.

        Raises:
            ConfigurationError: it cannot be read.
        """
        text = environ.get(VARIABLE, "")
        if not text:
            return None
        with suppress(ValueError, AttributeError):
            if text.lstrip().startswith("{"):
                fields = json.loads(text)
                return cls(
                    base_url(fields.get("host"), fields.get("port"), fields.get("schema")),
                    str(fields.get("login") or ""),
                    str(fields.get("password") or ""),
                )
            parts = urlsplit(text)
            scheme = parts.path.strip("/") or parts.scheme
            return cls(
                base_url(parts.hostname, parts.port, scheme),
                unquote(parts.username or ""),
                unquote(parts.password or ""),
            )
        raise ConfigurationError(
            f"{VARIABLE} cannot be read; expected JSON or http://user:password@host:port"
        )

    def task_states(self, tries: Collection[TaskIdentity]) -> TaskStates | None:
        """Say how far these tries are; None where Airflow cannot be asked."""
        try:
            with self.signed_in() as session:
                now = datetime.now(UTC)
                states = {
                    one.task_instance_id: self._state(session, one, now) for one in list(tries)[:TRIES_MAX]
                }
                return TaskStates(
                    {identity: state for identity, state in states.items() if state is not None},
                    self._oldest_running_seconds(session, now),
                )
        except (requests.RequestException, ValueError, KeyError, TypeError) as error:
            log.warning("Airflow cannot be asked at %s: %s", self.base_url, type(error).__name__)
            return None

    @contextmanager
    def signed_in(self) -> Iterator[requests.Session]:
        """Give a session whose requests carry the user's token.

        Raises:
            requests.RequestException: Airflow does not answer, or refuses the login.
            ValueError, KeyError, TypeError: what answers is no Airflow.
        """
        with requests.Session() as session:
            # No proxy that the environment names stands between us and our own Airflow.
            session.trust_env = False
            session.headers["Authorization"] = f"Bearer {self._token(session)}"
            yield session

    def _token(self, session: requests.Session) -> str:
        reply = session.post(
            f"{self.base_url}/auth/token",
            json={"username": self.user, "password": self.password},
            timeout=TIMEOUT_SECONDS,
        )
        reply.raise_for_status()
        return str(reply.json()["access_token"])

    def _state(self, session: requests.Session, one: TaskIdentity, now: datetime) -> TaskState | None:
        mapped = f"/{one.map_index}" if one.map_index >= 0 else ""
        path = (
            f"/dags/{quote(one.dag_id, safe='')}/dagRuns/{quote(one.run_id, safe='')}"
            f"/taskInstances/{quote(one.task_id, safe='')}{mapped}/tries/{one.try_number}"
        )
        reply = session.get(f"{self.base_url}/api/v2{path}", timeout=TIMEOUT_SECONDS)
        if reply.status_code == requests.codes.not_found:
            return None
        reply.raise_for_status()
        answer: dict[str, Any] = reply.json()
        name = str(answer["state"])
        if name in ENDED_STATES:
            return TaskState(name, Progress.ENDED, _seconds_since(answer["end_date"], now))
        return TaskState(name, Progress.DEFERRED if name in DEFERRED_STATES else Progress.AT_WORK)

    def _oldest_running_seconds(self, session: requests.Session, now: datetime) -> float | None:
        reply = session.get(
            f"{self.base_url}/api/v2/dags/~/dagRuns/~/taskInstances",
            params={"state": "running", "order_by": "start_date", "limit": "1"},
            timeout=TIMEOUT_SECONDS,
        )
        reply.raise_for_status()
        started = [one["start_date"] for one in reply.json()["task_instances"] if one["start_date"]]
        return _seconds_since(started[0], now) if started else None


def base_url(host: str | None, port: int | None, scheme: str | None) -> str:
    """Write the address of a connection of type ``http``, whose host may be a URL already.

    Raises:
        ValueError: no host is named.
    """
    if not host:
        raise ValueError("expected a host")
    address = host if "://" in host else f"{scheme or 'http'}://{host}"
    return f"{address.rstrip('/')}{f':{port}' if port else ''}"


def _seconds_since(moment: str | None, now: datetime) -> float:
    """Say how long ago a moment was; one that is not on record was just now."""
    return (now - datetime.fromisoformat(moment)).total_seconds() if moment else 0.0
