"""All parts of the stack together: one database server, one exchange, one Airflow."""

from __future__ import annotations

import contextlib
import fcntl
import json
import shlex
import subprocess
import sys
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from local_stack import airflow
from local_stack.databases import Database, insert_accounts, postgres_connection
from local_stack.errors import LocalStackError
from local_stack.exchange import SIMULATOR, STAGED_WRONG_KEY, Exchange
from local_stack.ports import free_port, require_free
from local_stack.postgres import EmbeddedPostgres
from local_stack.processes import Service, Services, poll_until
from local_stack.settings import REPOSITORY, code_version, write_private

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from local_stack.exchange import Account
    from local_stack.settings import Settings

START_TIMEOUT_SECONDS = 30
MONTH_DAYS = 30
PROGRAM_TIMEOUT_SECONDS = 240
POSTGRES_SETTINGS = {"max_connections": "200", "shared_preload_libraries": "pg_stat_statements"}


class Stack:
    """The stack of one state directory. Every step may be repeated: what runs is left running."""

    def __init__(self, settings: Settings, say: Callable[[str], None]) -> None:
        self.settings = settings
        self.services = Services(settings.state_dir)
        self._say = say

    @contextlib.contextmanager
    def exclusive(self) -> Iterator[None]:
        """Keep a second command away while this one changes the stack.

        Raises:
            LocalStackError: another one is at work.
        """
        self.settings.state_dir.mkdir(mode=0o711, parents=True, exist_ok=True)
        with (self.settings.state_dir / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise LocalStackError("Another make demo or make down is at work; wait for it.") from None
            yield

    def check_ports(self) -> None:
        """Check, before anything is started, that the ports that somebody chose are not taken.

        Raises:
            LocalStackError: one is; the message names it, its holder and the variable to set.
        """
        chosen = self.settings
        if not self.services.is_running(airflow.API_SERVER):
            require_free(
                chosen.airflow_port,
                variable="RECON_AIRFLOW_PORT",
                purpose="Airflow",
                host=chosen.airflow_host,
            )
        if chosen.simulator_port and not self.services.is_running(SIMULATOR):
            require_free(chosen.simulator_port, variable="RECON_SIM_PORT", purpose="the exchange simulator")
        if chosen.postgres_port and not chosen.postgres_url and self.postgres().pid is None:
            require_free(chosen.postgres_port, variable="RECON_PG_PORT", purpose="PostgreSQL")

    def postgres(self) -> EmbeddedPostgres:
        """Return our server; it is not started by this."""
        return EmbeddedPostgres(
            self.settings.state_dir / "postgres",
            port=self.settings.postgres_port,
            detached=True,
            settings=POSTGRES_SETTINGS,
        )

    def start_databases(self) -> tuple[Database, Database, Database]:
        """Return Airflow's database, the trading database and a bot's own, on a running server."""
        if self.settings.postgres_url:
            url = self.settings.postgres_url
            self._say(f"PostgreSQL of your own, at {urlsplit(url).hostname}")
            names = ("kraken_recon_demo_airflow", "kraken_recon_demo_trading", "kraken_recon_demo_arena")
        else:
            url = self.postgres().start().url("postgres")
            self._say(f"PostgreSQL on port {urlsplit(url).port}")
            names = ("airflow", "trading", "arena")
        metadata, trading, arena = (Database(url, name) for name in names)
        for database in (metadata, trading, arena):
            database.ensure()
        return metadata, trading, arena

    def start_exchange(self) -> tuple[Exchange, bool]:
        """Start the simulator, unless it runs; tell whether it was started, and so has no past yet.

        Its port is kept across restarts.
        """
        remembered = self.settings.state_dir / "simulator-port"
        if self.settings.simulator_port:
            port = self.settings.simulator_port
        elif self.services.is_running(SIMULATOR):
            port = int(remembered.read_text())
        else:
            port = free_port(prefer=int(remembered.read_text()) if remembered.exists() else 0)
        remembered.write_text(str(port))
        command = (sys.executable, "-m", "kraken_sim", "--host", "127.0.0.1", "--port", str(port))
        is_new = self.services.ensure(
            Service(
                SIMULATOR,
                (*command, "--scenario", "demo", "--days-ago", str(MONTH_DAYS)),
                self.settings.program_environment(),
                code_version("include/kraken_sim"),
            )
        )
        exchange = Exchange(f"http://127.0.0.1:{port}")
        listens = poll_until(
            lambda: exchange.answers() or not self.services.is_running(SIMULATOR),
            timeout_seconds=START_TIMEOUT_SECONDS,
            pause_seconds=0.05,
        )
        if not listens or not self.services.is_running(SIMULATOR):
            raise LocalStackError(
                f"The exchange simulator did not start:\n{self.services.end_of_log(SIMULATOR)}"
            )
        self._say(f"the exchange simulator on port {port}")
        return exchange, is_new

    def exchange_identity(self) -> str:
        """Return what tells this exchange, with its history, from one started anew."""
        record = self.settings.state_dir / "run" / f"{SIMULATOR}.json"
        return record.read_text() if record.exists() else ""

    def migrate_trading(self, trading: Database) -> None:
        """Bring the trading schema up to date, with the project's own command."""
        self._finished("kraken_recon", "migrate", variables={"KRAKEN_RECON_DSN": trading.url})

    def play_month(self, exchange: Exchange, variables: dict[str, str]) -> str:
        """Let the accounts live through a month in fast motion; return what the program says of it.

        Raises:
            LocalStackError: it failed.
        """
        return self._finished("demo_month", exchange.base_url, variables=variables).strip()

    def let_bot_trade(self, arena: Database, variables: dict[str, str]) -> list[str]:
        """Let the bot book in its own database what is new at the exchange; return what it says.

        Raises:
            LocalStackError: it failed.
        """
        told = self._finished("demo_bot", variables=variables | {"DEMO_BOT_DSN": arena.url})
        return told.splitlines()

    def _finished(self, module: str, *arguments: str, variables: dict[str, str]) -> str:
        """Run a program of the project to its end; return what it says."""
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-m", module, *arguments],
            env=self.settings.program_environment() | variables,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PROGRAM_TIMEOUT_SECONDS,
            check=False,
        )
        if done.returncode != 0:
            command = " ".join(["python -m", module, *arguments])
            raise LocalStackError(f"`{command}` failed:\n{done.stdout}{done.stderr}")
        return done.stdout

    def introduce(self, accounts: list[Account], trading: Database) -> None:
        """Write the accounts into the trading database, and keep their keys for the connections."""
        insert_accounts(trading, accounts)
        kept = {account.connection_variable: account.connection for account in accounts}
        write_private(self._keys_file, json.dumps(kept))

    def publish_variables(self, metadata: Database, trading: Database, arena: Database) -> dict[str, str]:
        """Return the variables that a task or a command needs, and keep them for `variables`."""
        variables = {
            "KRAKEN_RECON_DSN": trading.url,
            "KRAKEN_RECON_ALLOWED_HOSTS": "127.0.0.1",
            "KRAKEN_RECON_KNOWN_TROUBLE": STAGED_WRONG_KEY,
            "AIRFLOW_HOME": str(airflow.home_of(self.settings)),
            "AIRFLOW_CONN_TRADING_DB": postgres_connection(trading.url),
            "AIRFLOW_CONN_AIRFLOW_DB_AUDIT": postgres_connection(metadata.url),
            "KRAKEN_RECON_AUDITED_CONNECTIONS": "trading_db,airflow_db_audit",
            "AIRFLOW_CONN_ARENA_DB": postgres_connection(arena.url),
            "KRAKEN_RECON_DESK_BOOKS": str(REPOSITORY / "include/demo_bot/desk_books"),
            "AIRFLOW_CONN_AIRFLOW_API": _airflow_connection(airflow.login_of(self.settings)),
            **json.loads(self._keys_file.read_text()),
        }
        write_private(self._variables_file, json.dumps(variables))
        lines = [f"export {name}={shlex.quote(value)}\n" for name, value in variables.items()]
        write_private(self.settings.state_dir / "stack.env", "".join(lines))
        return variables

    def variables(self) -> dict[str, str]:
        """Return the variables of the last start; ``stack.env`` holds the same for a shell.

        Raises:
            LocalStackError: the stack was never started.
        """
        if not self._variables_file.exists():
            raise LocalStackError("The stack was not started yet: make demo")
        found: dict[str, str] = json.loads(self._variables_file.read_text())
        return found

    @property
    def _keys_file(self) -> Path:
        return self.settings.state_dir / "keys.json"

    @property
    def _variables_file(self) -> Path:
        return self.settings.state_dir / "variables.json"

    def start_airflow(self, metadata: Database, variables: dict[str, str]) -> tuple[airflow.AirflowApi, bool]:
        """Start Airflow's components, and wait until all of them are well; tell whether any was started."""
        environment = airflow.airflow_environment(
            self.settings, metadata_url=metadata.url, connections=variables
        )
        airflow.forget_old_logs(self.settings)
        version = airflow.installed_version()
        if metadata.marking() != version:
            self._say("preparing Airflow's own database ...")
            airflow.migrate(environment)
            metadata.mark(version)
        started = [
            service.name
            for service in airflow.component_services(self.settings, environment)
            if self.services.ensure(service)
        ]
        api = airflow.AirflowApi(airflow.login_of(self.settings))
        if started:
            self._say("starting Airflow's API server, scheduler, DAG processor and triggerer ...")
        api.wait_until_healthy(self.services)
        return api, bool(started)

    def stop(self) -> list[str]:
        """Stop everything; return what was running."""
        stopped = self.services.stop(self.services.names())
        if (self.settings.state_dir / "postgres").is_dir() and self.postgres().stop():
            stopped.append("postgres")
        return stopped


def _airflow_connection(login: airflow.Login) -> str:
    return json.dumps(
        {"conn_type": "http", "host": login.url, "login": login.user, "password": login.password}
    )
