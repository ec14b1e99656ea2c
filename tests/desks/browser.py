"""A desk with a story to look at: a real Airflow, a simulated exchange, and a week of happenings.

Airflow comes up while the story is told. What would take days, such as verdicts by the hour, is written as
rows (``browser_story.sql``); all else goes through the product.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import psycopg
import pytest
import requests
from psycopg.rows import dict_row

from desks.logins import as_writer
from kraken_recon.cli.main import main
from kraken_recon.database.unit_of_work import UnitOfWork, create_engine
from kraken_recon.maintenance.retention import Month
from kraken_recon.maintenance.store import MaintenanceStore
from local_stack import airflow
from local_stack.databases import Database, insert_accounts, plant_drift, postgres_connection
from local_stack.exchange import Account, Exchange
from local_stack.processes import poll_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Simulator
    from desks.airflow_processes import StartAirflow

SYNC: Final = "position_sync"
APPROVAL: Final = "repair_approval"
# The account that lost bitcoins without a ledger line: its repair waits for a person.
HELD: Final = "theta-otc"
HELD_BITCOINS: Final = (Decimal("2.4"), Decimal("0.9"))
WAIT_SECONDS: Final = 90
STORY: Final = Path(__file__).with_name("browser_story.sql")
MONTHS_SHOWN: Final = 3


@dataclass(frozen=True, slots=True)
class BrowserDesk:
    """A running Airflow with its desk."""

    login: airflow.Login
    database_url: str
    simulator: Simulator

    def rows(self, query: str, *values: object) -> list[dict[str, Any]]:
        """Read rows of the trading database."""
        with psycopg.connect(self.database_url, row_factory=dict_row) as session:
            return session.execute(query.encode(), values).fetchall()

    def execute(self, statements: str) -> None:
        """Change rows of the trading database."""
        with psycopg.connect(self.database_url) as session:
            session.execute(statements.encode())

    def wait_for(self, query: str, *values: object) -> list[dict[str, Any]]:
        """Read rows until there are some."""
        poll_until(lambda: bool(self.rows(query, *values)), timeout_seconds=WAIT_SECONDS, pause_seconds=0.2)
        return self.rows(query, *values)


class Caller:
    """Airflow's REST API below ``/api/v2/``, as the admin."""

    def __init__(self, login: airflow.Login) -> None:
        self._url = login.url
        self._session = requests.Session()
        self._session.trust_env = False  # no proxy between us and ourselves
        credentials = {"username": login.user, "password": login.password}
        signed_in = self._session.post(f"{login.url}/auth/token", json=credentials, timeout=30)
        self._session.headers["Authorization"] = f"Bearer {signed_in.json()['access_token']}"

    def call(self, method: str, path: str, body: object = None) -> Any:
        reply = self._session.request(method, f"{self._url}/api/v2/{path}", json=body, timeout=30)
        assert reply.ok, f"{method} {path} answered {reply.status_code}: {reply.text[:500]}"
        return reply.json()

    def count(self, path: str) -> int:
        """Count what a list holds."""
        return int(self.call("GET", path)["total_entries"])


def variables_of(accounts: list[Account], database_url: str) -> dict[str, str]:
    """Return what the tasks and the command line read from their environment."""
    return {
        "KRAKEN_RECON_DSN": as_writer(database_url),
        "KRAKEN_RECON_ALLOWED_HOSTS": "127.0.0.1",
        "AIRFLOW_CONN_TRADING_DB": postgres_connection(as_writer(database_url)),
        **{account.connection_variable: account.connection for account in accounts},
    }


def open_accounts(simulator: Simulator, trading: Database) -> list[Account]:
    """Open the demo's accounts."""
    simulator.control.post("scenario/demo")
    simulator.control.delete("faults")  # an exchange that is silent would only cost time here
    accounts = Exchange(simulator.base_url).accounts()
    insert_accounts(trading, accounts)
    return accounts


def tell_the_story(accounts: list[Account], simulator: Simulator, trading: Database) -> None:
    """Open the books, let things happen, and damage the books; the schedule's first run finds it all."""
    # It says that an account cannot be reached; that belongs to the story.
    main(["sync", *(word for account in accounts for word in ("--account", account.name))])
    lost = HELD_BITCOINS[1] - HELD_BITCOINS[0]
    simulator.control.post(f"accounts/{HELD}/residual", {"asset": "XXBT", "amount": str(lost)})
    assert main(["sync", "--account", HELD]) == 0
    main(["maintain"])
    simulator.control.post("scenario/next")
    plant_drift(trading)
    months = {Month.of(datetime.now(UTC)).later(-back) for back in range(MONTHS_SHOWN)}
    engine = create_engine(trading.url, application_name="browser story")
    with UnitOfWork(engine) as unit:
        for month in months:
            MaintenanceStore(unit).make_month(month)
        unit.commit()
    engine.dispose()
    with psycopg.connect(trading.url) as session:
        session.execute("update trading.residuals set first_seen_at = first_seen_at - interval '1 hour'")
        session.execute(STORY.read_bytes())


@contextmanager
def started_desk(
    trading: Database, simulator: Simulator, start_airflow: StartAirflow
) -> Iterator[BrowserDesk]:
    """Start Airflow's four components, tell the story meanwhile, and let the schedule find what differs."""
    accounts = open_accounts(simulator, trading)
    variables = variables_of(accounts, trading.url)
    with ExitStack() as running, ThreadPoolExecutor(max_workers=1) as background:
        starting = background.submit(
            running.enter_context, start_airflow(variables, components=airflow.COMPONENTS)
        )
        with pytest.MonkeyPatch.context() as patch:
            for name, value in variables.items():
                patch.setenv(name, value)
            tell_the_story(accounts, simulator, trading)
        processes = starting.result()
        processes.wait_for(SYNC, APPROVAL)
        find_what_differs(processes.api, processes.login)
        yield BrowserDesk(processes.login, trading.url, simulator)


def find_what_differs(api: airflow.AirflowApi, login: airflow.Login) -> None:
    """Let the schedule reconcile once, until it has asked about the held repair; then pause it.

    A run in between, at a quarter of an hour, would find other differences than the tests look for.
    """
    airflow_api = Caller(login)
    api.unpause(SYNC)

    def is_done() -> bool:
        under_way = airflow_api.count(f"dags/{SYNC}/dagRuns?state=running&state=queued&limit=1")
        asked = airflow_api.count("dags/~/dagRuns/~/hitlDetails?response_received=false&limit=1")
        return asked == 1 and under_way == 0

    assert poll_until(is_done, timeout_seconds=WAIT_SECONDS, pause_seconds=0.3), "nobody was asked"
    airflow_api.call("PATCH", f"dags/{SYNC}", {"is_paused": True})
