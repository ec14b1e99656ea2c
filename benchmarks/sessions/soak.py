"""Run every DAG for virtual days, as fast as they run, with faults and kills, and count sessions.

A round stands for a quarter of an hour: things happen on the simulated exchange and in the books, an order
is decided, then each DAG runs as often as its schedule says. Some workers share the runs. In some rounds the
exchange fails; some runs are told to end in the middle, some are killed with their worker. A worker goes on
and on until one of those ends it, so whatever a run forgets stays and is counted. After each virtual day the
workers rest, still alive: then the number of connections must be what it was at the start. SIGINT ends the
soak after the round that goes on, with a result. The plot is drawn from the audit's own samples.
"""

from __future__ import annotations

import argparse
import base64
import json
import multiprocessing
import os
import random
import secrets
import signal
import sys
import tempfile
import time
from collections import Counter
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import psycopg
import requests

from benchmarks.figures import RESULTS, ROOT, keep
from benchmarks.sessions.leaks import server
from local_stack.databases import Database, insert_accounts, plant_drift, postgres_connection
from local_stack.exchange import SIMULATOR, Account, Exchange
from local_stack.ports import free_port
from local_stack.processes import Service, Services, poll_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from multiprocessing.connection import Connection

PLOT: Final = ROOT / "docs/images/session-soak.png"
OUTPUT: Final = RESULTS / "session_soak.json"
ROUNDS_PER_DAY: Final = 96
DAYS: Final = 4
RUNS_PER_ROUND: Final = {"session_leak_audit": 3, "order_execution": 2, "order_verification": 2}
# Runs that end as they like, are told to end, are killed.
FATES: Final = ("undisturbed",) * 26 + ("SIGTERM",) * 3 + ("SIGKILL",)
# How many requests the exchange fails in a round.
FAILURES: Final = (0, 0, 0, 5, 30)
# Most of a run is waiting.
WORKERS: Final = 5
NO_PLAN: Final = "00000000-0000-0000-0000-000000000000"
# What each worker would import again in its own process.
PERMISSIONS: Final = [
    "query-funds",
    "query-ledger",
    "query-open-trades",
    "query-closed-trades",
    "modify-trades",
    "close-trades",
]
PRELOADED: Final = (
    "airflow.sdk.execution_time.supervisor",
    "airflow.sdk.execution_time.task_runner",
    "airflow.api_fastapi.execution_api.app",
    "airflow.serialization.definitions.dag",
    "kraken_recon.wiring",
)
RUN_TIMEOUT_SECONDS: Final = 300
LOOK_SECONDS: Final = 5.0
# Longer than the server lets a session idle in a transaction.
SETTLE_SECONDS: Final = 75
DECIDE: Final = """
insert into trading.order_decisions (payload)
select jsonb_build_object('account', 'trader', 'pair', 'BTC/USD', 'side', %s::text, 'volume', '0.001')
"""
CONNECTIONS: Final = """
select concat_ws(' ', pid, application_name, backend_start, xact_start, state, wait_event, left(query, 200))
from pg_stat_activity
where datname = current_database() and backend_type = 'client backend' and pid <> pg_backend_pid()
order by backend_start
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
    accounts = [*market.accounts(), open_trader(market)]
    insert_accounts(Database(url.rsplit("/", 1)[0] + "/postgres", parts.path.lstrip("/")), accounts)
    metadata = Database(url.rsplit("/", 1)[0] + "/postgres", "airflow")
    metadata.ensure()
    os.environ |= {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": metadata.url.replace("postgresql:", "postgresql+psycopg2:"),
        "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(ROOT / "plugins"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_urlsafe(64),
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR",
        "AIRFLOW_CONN_TRADING_DB": postgres_connection(url),
        "KRAKEN_RECON_ALLOWED_HOSTS": "127.0.0.1",
        **{account.connection_variable: account.connection for account in accounts},
    }


def open_trader(market: Exchange) -> Account:
    """Open an account whose key may trade."""
    account = Account(
        name="trader",
        story="places an order in each round",
        key="trader-key",
        secret=base64.b64encode(secrets.token_bytes(64)).decode(),
        quote_currency="USD",
        base_url=market.base_url,
    )
    body = {
        "name": account.name,
        "api_key": account.key,
        "api_secret": account.secret,
        "tier": "unlimited",
        "permissions": PERMISSIONS,
        "opening": {"XXBT": "2", "ZUSD": "100000"},
    }
    requests.post(f"{market.base_url}/_sim/accounts", json=body, timeout=30).raise_for_status()
    return account


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
        for task in dag.tasks:
            task.retry_delay = timedelta(0)  # it stands for hours that pass at once
    # `dag.test` would read every file again for every run.
    empty = Path(os.environ["AIRFLOW_HOME"]) / "empty"
    empty.mkdir()
    os.environ["AIRFLOW__CORE__DAGS_FOLDER"] = str(empty)
    return dict(bag.dags)


def look(url: str) -> None:
    """Audit from outside, as an operator would on the command line; what it saw is what the plot shows."""
    from kraken_recon.database.unit_of_work import UnitOfWork  # noqa: PLC0415
    from kraken_recon.sessions.airflow_api import NoAirflow  # noqa: PLC0415 - see prepare_airflow
    from kraken_recon.sessions.auditing import AuditRequest, audit  # noqa: PLC0415
    from kraken_recon.wiring import Wiring, source_of  # noqa: PLC0415

    wiring = Wiring(url, credentials_of=lambda _: None)  # type: ignore[arg-type,return-value]
    source = source_of("trading_db", lambda: UnitOfWork(wiring.engine()))
    audit(AuditRequest(), wiring.audit_ports([source], NoAirflow(), acted_by="soak"))


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a DAG, and what shall overtake it after a delay."""

    dag_id: str
    fate: str
    delay_seconds: float
    conf: Mapping[str, str]


class Worker:
    """A process that runs one DAG after another, until it is told to end; then another takes its place."""

    def __init__(self, dags: Mapping[str, Any]) -> None:
        self._dags = dags
        self._begin()

    def _begin(self) -> None:
        from airflow import settings  # noqa: PLC0415 - see prepare_airflow

        sys.stdout.flush()
        settings.dispose_orm(do_log=False)  # a child must not inherit a connection
        self._pipe, theirs = multiprocessing.Pipe()
        self._process = multiprocessing.get_context("fork").Process(target=_work, args=(self._dags, theirs))
        self._process.start()
        theirs.close()
        self.run: Run | None = None

    def start(self, run: Run) -> None:
        """Begin a run."""
        self.run, self._began, self._is_struck = run, time.monotonic(), False
        self._pipe.send((run.dag_id, run.conf))

    def ended(self) -> str | None:
        """Say how the run ended, if it has; meanwhile let its fate overtake it."""
        assert self.run is not None
        seconds = time.monotonic() - self._began
        with suppress(EOFError):
            if self._pipe.poll():
                end, is_over = self._pipe.recv()
                self.run = None
                if is_over:
                    self._process.join()
                    self._begin()
                return str(end)
            if self.run.fate.startswith("SIG") and not self._is_struck and seconds > self.run.delay_seconds:
                self._is_struck = True
                self._strike(signal.Signals[self.run.fate])
            if seconds < RUN_TIMEOUT_SECONDS:
                return None
            self._strike(signal.SIGKILL)
        self._process.join()
        status = self._process.exitcode or 0
        self._begin()
        if seconds >= RUN_TIMEOUT_SECONDS:
            return "too long"
        return signal.Signals(-status).name if status < 0 else "stopped"

    def stop(self) -> None:
        """End the process."""
        self._strike(signal.SIGKILL)
        self._process.join()

    def _strike(self, blow: signal.Signals) -> None:
        assert self._process.pid is not None
        with suppress(ProcessLookupError):
            os.kill(self._process.pid, blow)


def _work(dags: Mapping[str, Any], orders: Connection) -> None:
    """Run what is asked for, until told to end."""
    from airflow import settings  # noqa: PLC0415 - see prepare_airflow
    from kraken_recon.errors import RunStoppedError  # noqa: PLC0415

    is_told = Event()

    def stop(*_: object) -> None:
        # As Airflow's task runner does through on_kill; its process ends after it, like this one.
        is_told.set()
        raise RunStoppedError("the task was told to end")

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the soak's own end is for its parent
    settings.configure_orm()
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    os.dup2(nothing, 2)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while not is_told.is_set():
        dag_id, conf = orders.recv()
        try:
            signal.signal(signal.SIGTERM, stop)
            end = str(dags[dag_id].test(run_conf=conf).state)
        except BaseException:  # noqa: BLE001 - only how it ended is of interest
            end = "stopped"
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        orders.send((end, is_told.is_set()))


def soak(url: str, market: Exchange, dags: dict[str, Any], *, rounds: int, seed: int) -> dict[str, Any]:
    """Run rounds; return what the connections and the runs came to."""
    chance = random.Random(seed)  # noqa: S311 - not for secrecy
    workers = [Worker(dags) for _ in range(WORKERS)]
    start, ends, most, at_rest, left = len(connections(url)), Counter[str](), 0, list[int](), list[str]()
    began, is_over = time.monotonic(), Event()
    before = signal.signal(signal.SIGINT, lambda *_: is_over.set())
    try:
        for number in range(1, rounds + 1):
            happen(url, market, chance, number)
            with failing(market, requests_count=chance.choice(FAILURES)):
                found, at_most = play(url, workers, runs_of_a_round(dags, chance))
            ends, most = ends + found, max(most, at_most)
            is_last = number == rounds or is_over.is_set()
            if is_last or number % ROUNDS_PER_DAY == 0:
                ends += rest(url, workers, until=start)
                left = connections(url)
                at_rest.append(len(left))
            if is_last or number % 12 == 0:
                print(f"round {number} of {rounds}: {time.monotonic() - began:.0f} s", flush=True)
            if is_last:
                break
    finally:
        signal.signal(signal.SIGINT, before)
        for worker in workers:
            worker.stop()
    return {
        "rounds": number,
        "virtual_days": round(number / ROUNDS_PER_DAY, 2),
        "seconds": round(time.monotonic() - began),
        "dags": sorted(dags),
        "runs": dict(sorted(ends.items())),
        "connections_at_start": start,
        "connections_at_rest_after_each_day": at_rest,
        "connections_at_end": at_rest[-1],
        "connections_at_most": most,
        "left_at_the_end": left,
    }


def happen(url: str, market: Exchange, chance: random.Random, number: int) -> None:
    """Let a quarter of an hour pass on the exchange and in the books."""
    market.play_next()
    if number % 8 == 0:
        plant_drift(Database(url.rsplit("/", 1)[0] + "/postgres", urlsplit(url).path.lstrip("/")))
    decide(url, chance.choice(("buy", "sell")))


def runs_of_a_round(dags: Mapping[str, Any], chance: random.Random) -> list[Run]:
    """Draw the order and the fates of a quarter of an hour's runs."""
    # `dag.test` waits for ever for a person's answer, so its runs look for a plan that is gone.
    conf = {"repair_approval": {"plan_id": NO_PLAN}}
    dag_ids = [dag_id for dag_id in sorted(dags) for _ in range(RUNS_PER_ROUND.get(dag_id, 1))]
    chance.shuffle(dag_ids)
    return [
        Run(dag_id, chance.choice(FATES), chance.uniform(0.05, 2), conf.get(dag_id, {})) for dag_id in dag_ids
    ]


def play(url: str, workers: Sequence[Worker], runs: list[Run]) -> tuple[Counter[str], int]:
    """Let the workers share the runs; return how runs ended, and the most connections there were.

    The last ones may still go on when the next round begins.
    """
    ends, most, looked = Counter[str](), 0, time.monotonic()
    while runs:
        ends += ended(workers)
        for worker in workers:
            if worker.run is None and runs:
                worker.start(runs.pop())
        if time.monotonic() - looked > LOOK_SECONDS:
            look(url)
            most, looked = max(most, len(connections(url))), time.monotonic()
        time.sleep(0.02)
    return ends, most


def rest(url: str, workers: Sequence[Worker], *, until: int) -> Counter[str]:
    """Let every run come to its end, and the server close what its clients left; return how runs ended."""
    ends = Counter[str]()
    while any(worker.run for worker in workers):
        ends += ended(workers)
        time.sleep(0.02)
    poll_until(lambda: len(connections(url)) <= until, timeout_seconds=SETTLE_SECONDS, pause_seconds=0.5)
    look(url)
    return ends


def ended(workers: Sequence[Worker]) -> Counter[str]:
    """Count the runs that have just ended."""
    ends = Counter[str]()
    for worker in workers:
        if worker.run is not None:
            dag_id, end = worker.run.dag_id, worker.ended()
            ends.update([f"{dag_id}: {end}"] if end else [])
    return ends


def decide(url: str, side: str) -> None:
    """Decide an order, as a strategy beside the database would."""
    with psycopg.connect(url) as connection:
        connection.execute(DECIDE, (side,))


@contextmanager
def failing(market: Exchange, *, requests_count: int) -> Iterator[None]:
    """Let the exchange fail so many requests, or as many as come."""
    faults = f"{market.base_url}/_sim/faults"
    if requests_count:
        fault = {"name": "http_error", "status": 503, "count": requests_count}
        requests.post(faults, json=fault, timeout=30).raise_for_status()
    try:
        yield
    finally:
        requests.delete(faults, timeout=30).raise_for_status()


def connections(url: str) -> list[str]:
    """Name the sessions of the trading database but this one."""
    with psycopg.connect(url) as connection:
        return [str(name) for (name,) in connection.execute(CONNECTIONS)]


def main(arguments: Sequence[str] | None = None) -> None:
    """Soak, print what came of it, and draw the plot."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks session-soak", description=__doc__)
    parser.add_argument("--rounds", type=int, default=DAYS * ROUNDS_PER_DAY, help="quarters of an hour")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--plot", type=Path, default=PLOT, metavar="FILE")
    parser.add_argument("--result", type=Path, default=OUTPUT, metavar="FILE")
    parsed = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="kraken-recon-soak-", ignore_cleanup_errors=True) as place:  # noqa: SIM117
        with server() as url, exchange(Path(place)) as market:
            prepare_airflow(Path(place), url, market)
            result = soak(url, market, load_dags(), rounds=parsed.rounds, seed=parsed.seed)
            look(url)
            os.environ["KRAKEN_RECON_DSN"] = url
            from kraken_recon.cli.main import main as command  # noqa: PLC0415 - only after the soak

            command(["audit", "--plot", str(parsed.plot)])
    print(json.dumps(result, indent=2))
    keep(result, parsed.result)
    if set(result["connections_at_rest_after_each_day"]) != {result["connections_at_start"]}:
        raise SystemExit("connections were left behind")


if __name__ == "__main__":
    main()
