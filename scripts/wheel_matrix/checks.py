"""What is tried in each clean environment, step by step, each by its exit status and what it says."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from local_stack.databases import Database, postgres_connection
from wheel_matrix.cells import ROOT, Cell

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from local_stack.exchange import Account

UV: Final = Path(sys.executable).with_name("uv")
DAGS: Final = tuple(sorted(path.stem for path in (ROOT / "dags").glob("*.py")))
EXTRAS: Final = ("celery", "fab", "slack", "smtp")
HOOK: Final = "kraken_airflow.hooks.kraken.KrakenHook"
SHOWN: Final = ("sqlalchemy", "psycopg", "alembic", "pydantic")
#: Whether a channel can be made, or what is said where the provider is absent.
CHANNELS: Final = """
import json, os
from kraken_airflow.alerting.channels import send
from kraken_recon.errors import ConfigurationError
for kind in ("smtp", "slackwebhook"):
    os.environ["AIRFLOW_CONN_CHANNEL"] = json.dumps({"conn_type": kind})
    try:
        send("channel", None)
    except ConfigurationError as error:
        print(error)
    except AttributeError:
        print("made")
"""


class CheckFailedError(Exception):
    """A step did not do what it should; the text says how."""


@dataclass(frozen=True, slots=True)
class Desk:
    """What runs beside the clean environments."""

    server_url: str
    account: Account


@dataclass(slots=True)
class Result:
    """What came out of one cell.

    Attributes:
        steps: each step that was tried, in order, with what failed; empty where it passed.
        skipped: why nothing was tried.
    """

    cell: Cell
    versions: dict[str, str] = field(default_factory=dict)
    steps: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    skipped: str = ""

    @property
    def is_good(self) -> bool:
        """Whether nothing failed."""
        return not any(self.steps.values())


class CleanEnvironment:
    """An environment with the wheel, its dependencies by the cell's constraints, and nothing else."""

    def __init__(self, cell: Cell, python: str, wheel: Path, place: Path, desk: Desk) -> None:
        self.cell, self._wheel, self._place, self._desk = cell, wheel, place, desk
        self._bin = place / "venv/bin"
        self._database = Database(desk.server_url, re.sub(r"\W", "_", f"matrix_{cell.airflow}_{cell.python}"))
        self._base = python

    def try_all(self) -> Result:
        """Take every step; one that others need ends them when it fails."""
        result, began = Result(self.cell), time.monotonic()
        steps: Mapping[str, Callable[[], None]] = {
            "installs": self._install,
            "commands": self._commands,
            "DAGs": self._dags,
            "sync": self._look_at_the_sync,
            "extras": self._extras,
        }
        for name, step in steps.items():
            try:
                step()
                result.steps[name] = ""
            except CheckFailedError as error:
                result.steps[name] = str(error)
                break
            if name == "installs":
                result.versions = self._versions()
        result.seconds = time.monotonic() - began
        return result

    def _install(self) -> None:
        """Install the bare wheel: what an extra brings must not be needed."""
        self._run([str(UV), "venv", "--quiet", "--python", self._base, str(self._bin.parent)])
        self._install_wheel()
        self._run([str(UV), "pip", "check", "--python", self._python])

    def _install_wheel(self, extras: str = "") -> None:
        wheel = f"kraken-recon{extras} @ {self._wheel.as_uri()}"
        install = [str(UV), "pip", "install", "--quiet", "--python", self._python, wheel]
        self._run([*install, "--constraint", str(self.cell.constraints)])

    def _versions(self) -> dict[str, str]:
        told = self._run([str(UV), "pip", "list", "--format", "json", "--python", self._python])
        return {one["name"]: one["version"] for one in json.loads(told) if one["name"] in SHOWN}

    def _commands(self) -> None:
        self._database.recreate()
        command, account = str(self._bin / "kraken-recon"), self._desk.account
        self._run([command, "--version"])
        self._run([command, "migrate"])
        added = [command, "account", "add", account.name, "--connection", account.connection_id]
        self._run([*added, "--quote", account.quote_currency])
        self._run([command, "sync", "--account", account.name, "--dry-run"])

    def _dags(self) -> None:
        bundle = self._place / "bundle"
        bundle.mkdir()
        for dag in DAGS:
            (bundle / f"{dag}.py").write_text(f"from kraken_airflow.dags.{dag} import DAG\n")
        program = Path(__file__).with_name("in_airflow.py")
        arguments = [str(program), str(bundle), self._desk.account.name]
        told = json.loads(self._run([self._python, "-I", "-W", "ignore", *arguments]).splitlines()[-1])
        expected = {
            "dags": list(DAGS),
            "import_errors": {},
            "plugin_errors": {},
            "hook": HOOK,
            "sync": "success",
        }
        wrong = {name: told[name] for name, value in expected.items() if told[name] != value}
        if len(told["plugins"]) != 1 or not told["plugins"][0].startswith("kraken-recon=="):
            wrong["plugins"] = told["plugins"]
        if wrong:
            raise CheckFailedError(json.dumps(wrong))

    def _look_at_the_sync(self) -> None:
        """Ask the tables, not the run, whether the account is proved."""
        told = json.loads(self._run([str(self._bin / "kraken-recon"), "report", "--json"]))
        [account] = told["accounts"]
        if account["status"] != "succeeded":
            raise CheckFailedError(json.dumps(account))

    def _extras(self) -> None:
        """See what absent extras make of a channel, then install them and see that nothing is missing."""
        channels = [self._python, "-I", "-W", "ignore", "-c", CHANNELS]
        said = self._run(channels)
        # Airflow itself brings the provider of e-mail.
        if "pip install 'kraken-recon[slack]'" not in said:
            raise CheckFailedError(said)
        self._install_wheel(f"[{','.join(EXTRAS)}]")
        self._run([str(UV), "pip", "check", "--python", self._python])
        said = self._run(channels)
        if "pip install" in said:
            raise CheckFailedError(said)
        for part in ("fab.auth_manager.fab_auth_manager", "celery.executors.celery_executor"):
            self._run([self._python, "-I", "-W", "ignore", "-c", f"import airflow.providers.{part}"])

    @property
    def _python(self) -> str:
        return str(self._bin / "python")

    def _run(self, command: Sequence[str]) -> str:
        """Run a program and return what it prints.

        Raises:
            CheckFailedError: its exit status is not 0.
        """
        done = subprocess.run(
            command, env=self._variables(), cwd=self._place, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            said = (done.stderr or done.stdout).strip().splitlines()[-25:]
            raise CheckFailedError(
                "\n".join([f"exit status {done.returncode} of {' '.join(command)[:300]}", *said])
            )
        return done.stdout

    def _variables(self) -> dict[str, str]:
        home, account, url = self._place / "airflow", self._desk.account, self._database.url
        kept = {name: os.environ[name] for name in ("HOME", "PATH", "SSL_CERT_FILE") if name in os.environ}
        kept |= {
            name: value for name, value in os.environ.items() if name.startswith(("UV_", "HTTP", "http"))
        }
        return {
            **kept,
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__DAGS_FOLDER": str(self._place / "bundle"),
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db",
            "AIRFLOW_CONN_TRADING_DB": postgres_connection(url),
            account.connection_variable: account.connection,
            "KRAKEN_RECON_DSN": url,
            "KRAKEN_RECON_ALLOWED_HOSTS": "127.0.0.1",
            "UV_PYTHON_DOWNLOADS": "never",
        }


def build_wheel(place: Path) -> Path:
    """Build the wheel, as pip would."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(place)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return next(place.glob("kraken_recon-*.whl"))


def forget(place: Path) -> None:
    """Remove an environment of some hundred megabytes."""
    shutil.rmtree(place, ignore_errors=True)
