"""Run every DAG for virtual days, as fast as they run, with faults and kills, and count sessions.

A round stands for a quarter of an hour: things happen on the simulated exchange and in the books, then each
DAG runs as often as its schedule says, in a process of its own. Some meet an exchange that fails, some are
told to end in the middle, some are killed. At the end the number of connections must be what it was at the
start. The plot is drawn from the audit's own samples.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import secrets
import signal
import sys
import tempfile
import time
from collections import Counter
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote, urlsplit

import psycopg
import requests

from benchmarks.session_leaks import ROOT, server
from local_stack.databases import Database, insert_accounts, plant_drift
from local_stack.exchange import SIMULATOR, Exchange
from local_stack.ports import free_port
from local_stack.processes import Service, Services, poll_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PLOT: Final = ROOT / "docs/images/session-soak.png"
ROUNDS_PER_DAY: Final = 96
RUNS_PER_ROUND: Final = {"session_leak_audit": 3}
# Runs that end as they like, meet a failing exchange, are told to end, are killed.
FATES: Final = ("undisturbed",) * 6 + ("faulty exchange",) * 2 + ("SIGTERM", "SIGKILL")
# What each run would import again in its own process.
PRELOADED: Final = (
    "airflow.sdk.execution_time.supervisor",
    "airflow.sdk.execution_time.task_runner",
    "airflow.api_fastapi.execution_api.app",
    "airflow.serialization.definitions.dag",
    "kraken_recon.bootstrap",
)
RUN_TIMEOUT_SECONDS: Final = 180
# Longer than the server lets a session idle in a transaction.
SETTLE_SECONDS: Final = 75
CONNECTIONS: Final = """
select count(*)
from pg_stat_activity
where datname = current_database() and backend_type = 'client backend' and pid <> pg_backend_pid()
"""


@contextmanager
def exchange(place: Path) -> Iterator[Exchange]:
    """Yield a running simulator with the demo's accounts."""
    services, port = Services(place), free_port()
    command = (sys.executable, "-m", "kraken_sim", "--host", "127.0.0.1", "--port", str(port))
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "include")}
    services.ensure(Service(SIMULATOR, (*command, "--scenario", "demo"), environment))
    try:
        running = Exchange(f"http://127.0.0.1:{port}")
        if not poll_until(running.answers, timeout_seconds=30):
            raise SystemExit(f"the simulator did not start:\n{services.end_of_log(SIMULATOR)}")
        yield running
    finally:
        services.stop(services.names())


def prepare_airflow(home: Path, url: str, market: Exchange) -> None:
    """Point Airflow, which is not imported yet, at a home of its own and at this desk."""
    parts = urlsplit(url)
    trading = {
        "conn_type": "postgres",
        "host": parts.hostname,
        "port": parts.port,
        "login": unquote(parts.username or ""),
        "password": unquote(parts.password or ""),
        "schema": parts.path.lstrip("/"),
    }
    accounts = market.accounts()
    insert_accounts(Database(url.rsplit("/", 1)[0] + "/postgres", parts.path.lstrip("/")), accounts)
    os.environ |= {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db",
        "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(ROOT / "plugins"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_urlsafe(64),
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR",
        "AIRFLOW_CONN_TRADING_DB": json.dumps(trading),
        "KRAKEN_RECON_ALLOWED_HOSTS": "127.0.0.1",
        **{account.connection_variable: account.connection for account in accounts},
    }


def load_dags() -> dict[str, Any]:
    """Import Airflow and every DAG of the project."""
    from airflow.dag_processing.bundles.manager import DagBundlesManager  # noqa: PLC0415 - see prepare_airflow
    from airflow.dag_processing.dagbag import DagBag, sync_bag_to_db  # noqa: PLC0415
    from airflow.utils.db import initdb  # noqa: PLC0415

    for module in PRELOADED:
        import_module(module)
    initdb()
    bag = DagBag(str(ROOT / "dags"))
    DagBundlesManager().sync_bundles_to_db()
    sync_bag_to_db(bag, "dags-folder", None)
    for dag in bag.dags.values():
        dag.deadline = None  # `dag.test` cannot run a DAG with one
    return dict(bag.dags)


def look(url: str) -> None:
    """Audit from outside, as an operator would on the command line; what it saw is what the plot shows."""
    from kraken_recon.adapters.airflow_api import NoAirflow  # noqa: PLC0415 - see prepare_airflow
    from kraken_recon.adapters.postgres.unit_of_work import PostgresUnitOfWork  # noqa: PLC0415
    from kraken_recon.bootstrap import Wiring, source_of  # noqa: PLC0415
    from kraken_recon.service.auditing import AuditRequest, audit  # noqa: PLC0415

    wiring = Wiring(url, credentials_of=lambda _: None)  # type: ignore[arg-type,return-value]
    source = source_of("trading_db", lambda: PostgresUnitOfWork(wiring.engine()))
    audit(AuditRequest(), wiring.audit_ports([source], NoAirflow(), acted_by="soak"))


def run_once(url: str, dag: Any, fate: str, delay_seconds: float) -> str:  # noqa: ANN401 - a DAG
    """Run a DAG in a process of its own and let its fate overtake it; say how it ended."""
    from airflow import settings  # noqa: PLC0415 - see prepare_airflow

    sys.stdout.flush()
    settings.dispose_orm(do_log=False)  # a child must not inherit a connection
    child = os.fork()
    if child == 0:
        _be_the_run(dag)
    if fate.startswith("SIG"):
        time.sleep(delay_seconds)
        with suppress(ProcessLookupError):
            os.kill(child, signal.Signals[fate])
    ended: list[int] = []

    def is_over() -> bool:
        look(url)
        pid, status = os.waitpid(child, os.WNOHANG)
        ended.extend([status] if pid else [])
        return bool(ended)

    if not poll_until(is_over, timeout_seconds=RUN_TIMEOUT_SECONDS, pause_seconds=0.2):
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        return "too long"
    if os.WIFSIGNALED(ended[0]):
        return signal.Signals(os.WTERMSIG(ended[0])).name
    return {0: "success", 1: "failed"}.get(os.WEXITSTATUS(ended[0]), "stopped")


def _be_the_run(dag: Any) -> None:  # noqa: ANN401 - a DAG
    """Never return."""
    from airflow import settings  # noqa: PLC0415 - see prepare_airflow
    from kraken_recon.errors import RunStoppedError  # noqa: PLC0415

    def stop(*_: object) -> None:
        # As Airflow's task runner does through on_kill.
        raise RunStoppedError("the task was told to end")

    signal.signal(signal.SIGTERM, stop)
    settings.configure_orm()
    status = 2
    with suppress(BaseException), Path(os.devnull).open("w") as nothing:
        os.dup2(nothing.fileno(), 1)
        os.dup2(nothing.fileno(), 2)
        status = 0 if str(dag.test().state) == "success" else 1
    os._exit(status)


def soak(url: str, market: Exchange, dags: dict[str, Any], *, rounds: int, seed: int) -> dict[str, Any]:
    """Run rounds; return what the connections and the runs came to."""
    chance = random.Random(seed)  # noqa: S311 - not for secrecy
    trading = Database(url.rsplit("/", 1)[0] + "/postgres", urlsplit(url).path.lstrip("/"))
    start, ends, most = connections(url), Counter[str](), 0
    began = time.monotonic()
    for number in range(rounds):
        market.play_next()
        if number % 8 == 7:
            plant_drift(trading)
        for dag_id, dag in sorted(dags.items()):
            for _ in range(RUNS_PER_ROUND.get(dag_id, 1)):
                fate = chance.choice(FATES)
                with failing(market, is_failing=fate == "faulty exchange"):
                    ends[run_once(url, dag, fate, chance.uniform(0.05, 3))] += 1
                most = max(most, connections(url))
    poll_until(lambda: connections(url) <= start, timeout_seconds=SETTLE_SECONDS, pause_seconds=0.5)
    return {
        "rounds": rounds,
        "virtual_days": round(rounds / ROUNDS_PER_DAY, 2),
        "seconds": round(time.monotonic() - began),
        "dags": sorted(dags),
        "runs": dict(sorted(ends.items())),
        "connections_at_start": start,
        "connections_at_end": connections(url),
        "connections_after_a_run_at_most": most,
    }


@contextmanager
def failing(market: Exchange, *, is_failing: bool) -> Iterator[None]:
    """Let the exchange fail meanwhile."""
    faults = f"{market.base_url}/_sim/faults"
    if is_failing:
        fault = {"name": "http_error", "status": 503}
        requests.post(faults, json=fault, timeout=30).raise_for_status()
    try:
        yield
    finally:
        if is_failing:
            requests.delete(faults, timeout=30).raise_for_status()


def connections(url: str) -> int:
    """Count the sessions of the trading database but this one."""
    with psycopg.connect(url) as connection:
        row = connection.execute(CONNECTIONS).fetchone()
    assert row is not None
    return int(row[0])


def main(arguments: Sequence[str] | None = None) -> None:
    """Soak, print what came of it, and draw the plot."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks session-soak", description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS_PER_DAY, help="quarters of an hour (one day)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--plot", type=Path, default=PLOT, metavar="FILE")
    parsed = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="kraken-recon-soak-", ignore_cleanup_errors=True) as place:  # noqa: SIM117
        with server() as url, exchange(Path(place)) as market:
            prepare_airflow(Path(place), url, market)
            result = soak(url, market, load_dags(), rounds=parsed.rounds, seed=parsed.seed)
            look(url)
            os.environ["KRAKEN_RECON_DSN"] = url
            from kraken_recon.__main__ import main as command  # noqa: PLC0415 - only after the soak

            command(["audit", "--plot", str(parsed.plot)])
    print(json.dumps(result, indent=2))
    if result["connections_at_end"] != result["connections_at_start"]:
        raise SystemExit("connections were left behind")


if __name__ == "__main__":
    main()
