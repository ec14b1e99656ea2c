"""However a task leaves the trading database, nothing of it stays, and the audit names it before.

Every operator, sensor, trigger and hook of the package that takes the trading database's connection is found
by itself, and stopped inside its first transaction.
"""

from __future__ import annotations

import importlib
import inspect
import json
import os
import pkgutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

import kraken_airflow
from kraken_airflow.operators.maintenance import CleanAirflowOperator
from kraken_recon.database.unit_of_work import UnitOfWork
from kraken_recon.sessions.airflow_api import NoAirflow
from kraken_recon.sessions.auditing import AuditRequest, audit
from kraken_recon.sessions.rules.leaks import ActionPolicy, Thresholds
from kraken_recon.wiring import Wiring, source_of
from local_stack.processes import poll_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from desks.airflow import AirflowDesk

SESSIONS = """
select pid, state
from pg_stat_activity
where datname = current_database() and starts_with(application_name, 'af1|')
"""
LOCKS = """
select l.pid
from pg_locks l
join pg_class c on c.oid = l.relation
where c.relnamespace = 'trading'::regnamespace and l.pid <> pg_backend_pid()
"""
# How long the server itself needs to end a session that idles in a transaction, and some.
SERVER_TIMEOUT_SECONDS = 75
PROGRAM = Path(__file__).with_name("task_program.py")
NO_ID = "00000000-0000-0000-0000-000000000001"
DECLARED = """
name: arena
connection: arena_db
accounts: {desk: 1}
positions: {table: positions, account: account_id, asset: symbol, quantity: quantity}
"""
# What required arguments may be called. Another one makes a test fail that says so.
ARGUMENTS: dict[str, Any] = {
    "accounts": ["desk"],
    "account": "desk",
    "book": "arena",
    "mode": "repair",
    "tolerance": "0.001",
    "run_ids": [],
    "order_ids": [1],
    "order_id": 1,
    "name": "desk",
    "names": '["desk"]',
    "plan_id": NO_ID,
    "answer": {"chosen_options": ["Approve"], "responded_by_user": {"id": "1", "name": "alice"}},
}
# What classes need beyond their required arguments, to have something to do.
MORE_ARGUMENTS: dict[str, dict[str, Any]] = {"RecordDecisionOperator": {"decision": '{"account": "desk"}'}}


def touching() -> list[type]:
    """List every class of the package that takes the trading database's connection, but no base class."""
    found: dict[str, type] = {}
    for module in pkgutil.walk_packages(kraken_airflow.__path__, "kraken_airflow."):
        if ".dashboard" in module.name:
            continue
        for kind in vars(importlib.import_module(module.name)).values():
            is_ours = inspect.isclass(kind) and kind.__module__.startswith("kraken_airflow.")
            # What cleans Airflow's database runs Airflow's own program, and opens no session itself.
            if is_ours and "trading_conn_id" in parameters(kind) and kind is not CleanAirflowOperator:
                found[kind.__name__] = kind
    return sorted((kind for kind in found.values() if not is_base(kind)), key=lambda kind: kind.__name__)


def is_base(kind: type) -> bool:
    """Tell a class that only others build upon: an operator without work of its own."""
    works = kind.__name__ != "TradingDbOperator" and {"execute", "poke", "work"} & vars(kind).keys()
    return hasattr(kind, "on_kill") and not works


def parameters(kind: type) -> dict[str, inspect.Parameter]:
    """Collect what the constructors of a class and of its bases in the package take."""
    taken: dict[str, inspect.Parameter] = {}
    for base in reversed(kind.__mro__):
        if base.__module__.startswith("kraken_airflow.") and "__init__" in vars(base):
            constructor = inspect.unwrap(vars(base)["__init__"])
            taken |= inspect.signature(constructor).parameters
    return taken


def arguments_of(kind: type) -> dict[str, Any]:
    """Give every required argument a value."""
    required = [
        name
        for name, parameter in parameters(kind).items()
        if parameter.default is parameter.empty
        and parameter.kind in (parameter.KEYWORD_ONLY, parameter.POSITIONAL_OR_KEYWORD)
        and name != "self"
    ]
    unknown = [name for name in required if name not in ARGUMENTS]
    assert not unknown, f"say in ARGUMENTS what {kind.__name__} may take for {unknown}"
    return {name: ARGUMENTS[name] for name in required} | MORE_ARGUMENTS.get(kind.__name__, {})


class Tasks:
    """The program that runs tasks, and what it says."""

    def __init__(self, environment: dict[str, str], log: Path) -> None:
        self._log = log
        self._lines = log.with_suffix(".out")
        modules = sorted({kind.__module__ for kind in touching()})
        with log.open("wb") as errors, self._lines.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-W", "ignore", str(PROGRAM), *modules],
                env=environment,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=errors,
            )
        self.wait_for("ready")

    def start(self, kind: type, fault: str) -> None:
        order = {
            "module": kind.__module__,
            "name": kind.__name__,
            "arguments": arguments_of(kind),
            "fault": fault,
            "task_instance_id": str(uuid4()),
            "environment": {
                name: value
                for name, value in os.environ.items()
                if name.startswith(("AIRFLOW_CONN", "KRAKEN"))
            },
        }
        assert self._process.stdin is not None
        self._lines.write_bytes(b"")
        self._process.stdin.write(f"{json.dumps(order)}\n".encode())
        self._process.stdin.flush()

    def wait_for(self, word: str) -> list[str]:
        """Wait for a line that begins with a word, and return its other words."""

        def said() -> list[str]:
            lines = [line.split() for line in self._lines.read_text().splitlines()]
            return next((line for line in lines if line and line[0] == word), [])

        poll_until(lambda: bool(said()) or self._process.poll() is not None, timeout_seconds=60)
        assert said(), f"never {word}:\n{self._lines.read_text()}{self._log.read_text()[-3000:]}"
        return said()[1:]

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


@pytest.fixture(scope="module")
def tasks(project_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tasks]:
    tasks = Tasks({**project_environment, **os.environ}, tmp_path_factory.mktemp("tasks") / "tasks.log")
    yield tasks
    tasks.close()


@pytest.fixture
def desk_of_one(desk: AirflowDesk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AirflowDesk:
    desk.account("desk", USD="1")
    (tmp_path / "arena.yaml").write_text(DECLARED)
    monkeypatch.setenv("KRAKEN_RECON_DESK_BOOKS", str(tmp_path))
    return desk


def named_by_the_audit(url: str) -> list[dict[str, Any]]:
    """Audit with no patience at all, and end nothing."""
    wiring = Wiring(url, lambda _: pytest.fail("asks no exchange"))
    source = source_of("trading_db", lambda: UnitOfWork(wiring.engine()))
    ports = wiring.audit_ports([source], NoAirflow(), acted_by="the test")
    impatient = AuditRequest(ActionPolicy(), Thresholds(hold_seconds=0, settle_seconds=0))
    with UnitOfWork(wiring.engine()) as unit:
        # What these sessions declared is longer than a test can wait.
        unit.connection.exec_driver_sql("update trading.session_owners set hold_seconds = 0")
        unit.commit()
    findings: list[dict[str, Any]] = audit(impatient, ports)["findings"]
    return findings


def test_there_is_something_to_interrupt() -> None:
    names = {kind.__name__ for kind in touching()}
    assert {
        "TradingDbHook",
        "ListAccountsOperator",
        "ReconcileAccountsOperator",
        "AuditSessionsOperator",
    } <= names
    assert "TradingDbOperator" not in names


@pytest.mark.parametrize("fault", ["exception", "timeout", "SIGTERM", "SIGKILL"])
@pytest.mark.parametrize("kind", touching(), ids=lambda kind: kind.__name__)
def test_nothing_stays(desk_of_one: AirflowDesk, tasks: Tasks, kind: type, fault: str) -> None:
    desk = desk_of_one
    tasks.start(kind, fault)
    (pid,) = tasks.wait_for("reached")
    if fault != "exception":
        assert poll_until(
            lambda: any(row["state"] == "idle in transaction" for row in desk.rows(SESSIONS)),
            timeout_seconds=10,
        )
        found = named_by_the_audit(desk.database_url)
        assert ("idle_in_transaction", "a_dag", kind.__name__) in {
            (finding["rule"], finding["dag_id"], finding["task_id"]) for finding in found
        }
    if fault != "exception":
        # A task's time limit is an alarm of its own process.
        os.kill(int(pid), signal.SIGALRM if fault == "timeout" else signal.Signals[fault])
    if fault != "SIGKILL" and (fault, kind.__name__) != ("SIGTERM", "TradingDbHook"):
        assert tasks.wait_for("ended")[1] != "success"
    assert poll_until(lambda: desk.rows(SESSIONS) == [], timeout_seconds=SERVER_TIMEOUT_SECONDS)
    assert desk.rows(LOCKS) == []
