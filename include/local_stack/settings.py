"""What the environment says about the stack; `.env.example` explains each variable."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple, Self

from local_stack.errors import LocalStackError

if TYPE_CHECKING:
    from collections.abc import Mapping

REPOSITORY = Path(__file__).resolve().parents[2]
PORT_MAX = 65535


class Variable(NamedTuple):
    """One environment variable of the stack."""

    name: str
    meaning: str
    default: str = ""


STATE_DIR = Variable(
    "RECON_STATE_DIR", "Where the stack keeps its data, logs and generated passwords.", ".recon"
)
AIRFLOW_HOST = Variable("RECON_AIRFLOW_HOST", "Where Airflow's UI and API listen.", "127.0.0.1")
AIRFLOW_PORT = Variable("RECON_AIRFLOW_PORT", "Their port.", "8080")
SIMULATOR_PORT = Variable(
    "RECON_SIM_PORT", "The simulated Kraken's port; 0 takes a free one and keeps it.", "0"
)
POSTGRES_PORT = Variable("RECON_PG_PORT", "PostgreSQL's port; 0 takes a free one and keeps it.", "0")
POSTGRES_BINARIES = Variable(
    "RECON_PG_BIN", "A directory with PostgreSQL's programs.", "those that make setup installs"
)
POSTGRES_URL = Variable(
    "KRAKEN_RECON_POSTGRES_URL", "A PostgreSQL server of your own for the demo.", "one is started"
)
TEST_POSTGRES_URL = Variable(
    "KRAKEN_RECON_TEST_POSTGRES_URL", "A PostgreSQL server of your own for the tests.", "one is started"
)
RECORDINGS = Variable(
    "KRAKEN_DATA_DIR", "Recorded replies of the real Kraken, used where the directory exists."
)
VARIABLES = (
    STATE_DIR,
    AIRFLOW_HOST,
    AIRFLOW_PORT,
    SIMULATOR_PORT,
    POSTGRES_PORT,
    POSTGRES_BINARIES,
    POSTGRES_URL,
    TEST_POSTGRES_URL,
    RECORDINGS,
)

# All that the services inherit; anything else would restart them whenever a shell differs.
INHERITED = ("PATH", "HOME", "USER", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH", "VIRTUAL_ENV")


@dataclass(frozen=True, slots=True)
class Settings:
    """Where the stack lives and listens.

    Attributes:
        airflow_port: fixed, because people bookmark it.
        simulator_port: 0 takes a free one and keeps it.
        postgres_port: the same.
        postgres_url: a server of somebody else's, instead of the embedded one; empty for none.
        recordings: recorded Kraken replies to load as accounts, if the directory exists.
    """

    state_dir: Path
    airflow_host: str
    airflow_port: int
    simulator_port: int
    postgres_port: int
    postgres_url: str
    recordings: Path

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Self:
        """Read the variables.

        Raises:
            LocalStackError: a port is not a port.
        """
        given = os.environ if environment is None else environment
        recordings = given.get(RECORDINGS.name) or REPOSITORY.parent / "shared" / "kraken_data"
        return cls(
            state_dir=(REPOSITORY / (given.get(STATE_DIR.name) or STATE_DIR.default)).absolute(),
            airflow_host=given.get(AIRFLOW_HOST.name) or AIRFLOW_HOST.default,
            airflow_port=_port(given, AIRFLOW_PORT),
            simulator_port=_port(given, SIMULATOR_PORT),
            postgres_port=_port(given, POSTGRES_PORT),
            postgres_url=given.get(POSTGRES_URL.name, ""),
            recordings=Path(recordings).absolute(),
        )

    def program_environment(self) -> dict[str, str]:
        """Return the environment in which a program of this project runs."""
        inherited = {name: os.environ[name] for name in INHERITED if name in os.environ}
        return {
            **inherited,
            "PYTHONPATH": str(REPOSITORY / "include"),
            "PYTHONUNBUFFERED": "1",
            "TZ": "UTC",
        }


def code_version(*directories: str) -> str:
    """Return a digest that changes when a program in one of the project's directories was edited."""
    digest = hashlib.sha256()
    for directory in directories:
        for path in sorted((REPOSITORY / directory).rglob("*.py")):
            status = path.stat()
            digest.update(f"{path} {status.st_size} {status.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read, and replace the old one in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.unfinished")
    unfinished.unlink(missing_ok=True)
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    unfinished.replace(path)


def private_log(path: Path) -> BinaryIO:
    """Begin a log that only its owner may read, also where an older one was open to all."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.fchmod(descriptor, 0o600)
    return os.fdopen(descriptor, "wb")


def kept_secret(state_dir: Path, name: str, *, length_bytes: int) -> str:
    """Return a random secret of this state directory, made when first asked for."""
    path = state_dir / "secrets.json"
    known: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}
    if name not in known:
        known[name] = secrets.token_urlsafe(length_bytes)
        write_private(path, json.dumps(known, indent=2))
    return known[name]


def _port(given: Mapping[str, str], variable: Variable) -> int:
    text = given.get(variable.name) or variable.default
    if not text.isdigit() or int(text) > PORT_MAX:
        raise LocalStackError(f"{variable.name}={text} is not a port number.")
    return int(text)
