"""Look at everything side by side, and say what is wrong.

Invariants:
1. A check that breaks or hangs is told as such and stops no other.
2. Nothing is changed; sessions and calls leave the traces that everybody's do. No message holds a secret.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from kraken_recon.database.revision import REVISION
from kraken_recon.desk_books.declaring import folder_of, read_books
from kraken_recon.doctor import machine
from kraken_recon.doctor.airflow_reading import look_at_airflow
from kraken_recon.doctor.desks import look_at_desk
from kraken_recon.doctor.keys import connections_here, look_at_key, look_at_kraken
from kraken_recon.doctor.rules.airflow import diagnose_airflow, no_airflow
from kraken_recon.doctor.rules.database import (
    audit_not_asked,
    diagnose_audit,
    diagnose_database,
    diagnose_heartbeats,
    not_usable,
    pooled,
    sessions_are_lent,
)
from kraken_recon.doctor.rules.desks import diagnose_desks
from kraken_recon.doctor.rules.diagnosis import Diagnosis, Health, not_checked, wrong
from kraken_recon.doctor.rules.installation import (
    diagnose_copies,
    diagnose_folders,
    diagnose_packages,
    diagnose_secrets,
)
from kraken_recon.doctor.rules.kraken import diagnose_keys, diagnose_kraken
from kraken_recon.doctor.store import DoctorStore
from kraken_recon.doctor.waiting import each_within, started
from kraken_recon.errors import ConfigurationError, KrakenReconError
from kraken_recon.orders.clocks import clock_allowance
from kraken_recon.orders.exchange import OrderSettings
from kraken_recon.plain_text import one_line
from kraken_recon.sessions.airflow_api import AirflowApi
from kraken_recon.settings import AUDITED_CONNECTIONS, DESK_BOOKS, KNOWN_TROUBLE, TRADING_DB

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from concurrent.futures import Future

    from kraken_recon.doctor.ports import DoctorPorts
    from kraken_recon.doctor.rules.readings import AirflowReading, DatabaseReading
    from kraken_recon.kraken.credentials import KrakenCredentials

# Longer than whatever works takes, shorter than a person waits.
DATABASE_SECONDS: Final = 4.0
AIRFLOW_SECONDS: Final = 8.0
KEYS_SECONDS: Final = 7.0
ALL_SECONDS: Final = 12.0
CONCURRENCY: Final = 8
HOSTS_MAX: Final = 3


def examine(ports: DoctorPorts) -> dict[str, Any]:
    """Look at everything; ``exit_status`` is 1 where something is wrong."""
    began = time.monotonic()
    steps = _Examination(ports).steps()
    asked = {name: started(step) for name, step in steps.items()}
    found = [one for name, future in asked.items() for one in _answer(name, future, began + ALL_SECONDS)]
    order = list(Health)
    found.sort(key=lambda one: order.index(one.health))
    counts = {str(health): sum(one.health is health for one in found) for health in Health}
    is_healthy = not counts[Health.WRONG]
    return {
        "healthy": is_healthy,
        "counts": counts,
        "seconds": round(time.monotonic() - began, 1),
        "checks": [
            {
                "check": one.check,
                "health": str(one.health),
                "what": one_line(one.what),
                "meaning": one.meaning,
                "remedy": one.remedy,
            }
            for one in found
        ],
        "exit_status": int(not is_healthy),
    }


def _answer(name: str, future: Future[list[Diagnosis]], deadline: float) -> list[Diagnosis]:
    """Wait for a check; one that hangs is wrong itself, one that breaks says nothing about the rest."""
    try:
        return future.result(max(0.0, deadline - time.monotonic()))
    except TimeoutError:
        what = f"no answer within {ALL_SECONDS:.0f} s"
        return [wrong(name, what, "Whatever needs it hangs as well.", "Look at the network, and at mounts.")]
    except KrakenReconError as error:
        return [not_checked(name, str(error), error.remedy)]
    except Exception as error:  # noqa: BLE001 - what a driver or a reply brings up; its text may hold anything
        return [not_checked(name, f"the check itself failed ({type(error).__name__})", "Report it, please.")]


class _Examination:
    """One look at everything; what several checks need is read once."""

    def __init__(self, ports: DoctorPorts) -> None:
        self._ports = ports
        self._database = started(self._look_at_database)
        self._airflow = started(self._look_at_airflow)

    def steps(self) -> Mapping[str, Callable[[], list[Diagnosis]]]:
        """Name the checks, in the order in which they are told."""
        environment = self._ports.environment
        return {
            "database": self._trading_database,
            "pooler": self._pooler,
            "session audit": self._session_audit,
            "kraken": self._kraken,
            "keys": self._keys,
            "airflow": self._whole_airflow,
            "desk books": self._desks,
            "versions": lambda: list(diagnose_packages(machine.look_at_packages())),
            "copies": lambda: list(diagnose_copies(machine.copies_here(environment))),
            "secrets": lambda: list(diagnose_secrets(machine.secrets_set(environment))),
            "folders": self._folders,
        }

    @property
    def _has_file_of_its_own(self) -> bool:
        """Whether this service was given a file of connections, by which some are kept from it."""
        return bool(self._ports.environment.get("AIRFLOW__SECRETS__BACKEND_KWARGS"))

    def _look_at_database(self) -> DatabaseReading:
        with self._ports.open_unit_of_work() as unit:
            return DoctorStore(unit).look(self._ports.clock)

    def _look_at_airflow(self) -> AirflowReading | None:
        api = AirflowApi.from_environment(self._ports.environment)
        return None if api is None else look_at_airflow(api)

    def _database_seen(self) -> DatabaseReading | None:
        """Wait for the database as long as anybody may; None where it cannot be read."""
        try:
            return self._database.result(DATABASE_SECONDS)
        except Exception:  # noqa: BLE001 - the check of the database tells it
            return None

    def _airflow_seen(self) -> AirflowReading | None:
        try:
            return self._airflow.result(AIRFLOW_SECONDS)
        except Exception:  # noqa: BLE001 - the check of Airflow tells it
            return None

    def _trading_database(self) -> list[Diagnosis]:
        try:
            reading = self._database.result(DATABASE_SECONDS)
        except TimeoutError:
            return [not_usable(f"no answer within {DATABASE_SECONDS:.0f} s")]
        except KrakenReconError as error:
            return [not_usable(str(error), "" if error.retryable else error.remedy)]
        return [*diagnose_database(reading, REVISION), *diagnose_heartbeats(reading)]

    def _pooler(self) -> list[Diagnosis]:
        if self._database_seen() is None:
            return [not_checked("pooler", "the database cannot be asked")]
        try:
            return [pooled(self._ports.own_sessions())]
        except ConfigurationError as error:
            return [sessions_are_lent(str(error), error.remedy)]

    def _session_audit(self) -> list[Diagnosis]:
        names = AUDITED_CONNECTIONS.listed(self._ports.environment) or [TRADING_DB.name]
        answers = each_within(names, self._audit_role, concurrency=CONCURRENCY, seconds=DATABASE_SECONDS)
        return [
            answer if isinstance(answer, Diagnosis) else audit_not_asked(name, "no answer in time")
            for name, answer in zip(names, answers, strict=True)
        ]

    def _audit_role(self, connection: str) -> Diagnosis:
        try:
            with self._ports.open_audited(connection) as unit:
                return diagnose_audit(DoctorStore(unit).audit_role(connection))
        except KrakenReconError as error:
            return audit_not_asked(connection, str(error))

    def _accounts(self) -> Mapping[str, str]:
        """Name accounts and connections; while the database is away, the connections that are here."""
        reading = self._database_seen()
        if reading is not None and reading.accounts is not None:
            return reading.accounts
        return {name: name for name in connections_here(self._ports.environment)}

    def _kraken(self) -> list[Diagnosis]:
        by_host: dict[str, KrakenCredentials] = {}
        for connection in self._accounts().values():
            try:
                credentials = self._ports.credentials_of(connection)
            except ConfigurationError:
                continue
            by_host.setdefault(credentials.base_url, credentials)
        hosts = list(by_host.values())[:HOSTS_MAX]
        readings = each_within(
            hosts, lambda one: look_at_kraken(one, self._ports), concurrency=HOSTS_MAX, seconds=KEYS_SECONDS
        )
        told = [reading for reading in readings if reading is not None]
        return list(diagnose_kraken(told, clock_allowance(OrderSettings())))

    def _keys(self) -> list[Diagnosis]:
        accounts = list(self._accounts().items())
        answers = each_within(
            accounts,
            lambda one: look_at_key(*one, self._ports),
            concurrency=CONCURRENCY,
            seconds=KEYS_SECONDS,
        )
        readings = [answer for answer in answers if answer is not None]
        database = self._database_seen()
        if not accounts and (database is None or database.accounts is None):
            return [not_checked("keys", "the accounts cannot be read, and no key is here")]
        if readings and all(reading.is_missing for reading in readings) and self._has_file_of_its_own:
            what = "no key of Kraken's is here: each service is given its own connections"
            return [not_checked("keys", what, "Ask where Kraken is called, such as in worker-exchange.")]
        needs_airflow = any(reading.is_missing for reading in readings)
        airflow = self._airflow_seen() if needs_airflow else None
        return list(
            diagnose_keys(
                readings,
                not_reached=[name for (name, _), answer in zip(accounts, answers, strict=True) if not answer],
                traders=database.traders if database else (),
                known_trouble=KNOWN_TROUBLE.listed(self._ports.environment),
                in_airflow=(airflow.connections or ()) if airflow else (),
                now=self._ports.clock(),
            )
        )

    def _whole_airflow(self) -> list[Diagnosis]:
        reading = self._airflow.result(AIRFLOW_SECONDS)
        if reading is None:
            return [no_airflow()]
        try:
            has_desk_books = bool(read_books(folder_of(self._ports.environment)))
        except ConfigurationError:
            has_desk_books = False
        return list(diagnose_airflow(reading, has_desk_books=has_desk_books))

    def _desks(self) -> list[Diagnosis]:
        folder = folder_of(self._ports.environment)
        try:
            declared = read_books(folder)
        except ConfigurationError as error:
            return [
                wrong("desk books", str(error), "No desk book is judged.", f"Put {DESK_BOOKS.name} right.")
            ]
        checks = each_within(
            declared,
            lambda one: look_at_desk(one, self._ports),
            concurrency=CONCURRENCY,
            seconds=KEYS_SECONDS,
        )
        return list(
            diagnose_desks({one.name: problems for one, problems in zip(declared, checks, strict=True)})
        )

    def _folders(self) -> list[Diagnosis]:
        database = self._database_seen()
        directory = database.data_directory if database else ""
        return list(diagnose_folders(machine.look_at_folders(self._ports.environment, directory)))
