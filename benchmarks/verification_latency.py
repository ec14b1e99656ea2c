"""From fill to verdict, through a real scheduler and triggerer on this machine.

1. The clock starts at the exchange's own time of the trade and stops at the time of the final verdict's row.
2. Nothing is warmed up for a measured order but Airflow itself: one order is verified before the first.
3. Late books are a constant lag of the exchange's ledger; what is measured is what comes on top of it.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import random
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import psycopg
import requests

from benchmarks.figures import RESULTS, keep, publish, surroundings, taken
from benchmarks.servers import desk_databases, running_airflow
from kraken_recon.verification.ended_orders_store import CHANNEL
from local_stack import airflow
from local_stack.databases import postgres_connection
from local_stack.ports import free_port
from local_stack.postgres import EmbeddedPostgres
from local_stack.processes import Service, poll_until
from local_stack.settings import REPOSITORY, Settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

OUTPUT: Final = RESULTS / "verification_latency.json"
DAG_ID: Final = "order_verification"
GOAL_P50_SECONDS: Final = 3.0
GOAL_P99_SECONDS: Final = 10.0
PATIENCE_SECONDS: Final = 300
SECRET: Final = base64.b64encode(b"verification benchmark".ljust(64)).decode()
EVENT: Final = {
    "kind": "manual_order",
    "pair": "XBTUSD",
    "side": "buy",
    "volume": "0.001",
    "ordertype": "market",
}
END_ORDERS: Final = """
insert into trading.orders (
  account_id, source, pair, base, quote, side, order_type, volume, kraken_txid, status, ended_at,
  volume_executed, cost_executed, fee_reported
)
select account_id, 'external', 'BTC/USD', 'BTC', 'USD', 'buy', 'market', 0.001, txid, 'closed', now(), 0.001,
  50, %(fee)s
from trading.accounts, unnest(%(txids)s::text[]) as txid
returning order_id
"""
LATENCIES: Final = """
select v.order_id, extract(epoch from v.judged_at - max(f.trade_time)) as seconds, v.verdict
from trading.order_verifications v
join trading.fills f using (order_id)
where v.order_id = any(%(order_ids)s) and v.verdict in ('verified', 'mismatch')
group by v.order_id
"""
TASK_STATES: Final = """
select state, count(*) from task_instance where dag_id = 'order_verification' and state is not null group by
state
"""


@dataclass
class Desk:
    """One account at the simulator, and its orders in the trading database."""

    base_url: str
    database_url: str
    metadata_url: str
    session: requests.Session = field(default_factory=requests.Session)
    fee: Decimal = Decimal(0)

    def control(self, method: str, path: str, body: object = None) -> Any:  # noqa: ANN401 - JSON
        """Speak to the simulator's control interface."""
        reply = self.session.request(method, f"{self.base_url}/_sim/{path}", json=body, timeout=60)
        reply.raise_for_status()
        return reply.json() if reply.content else None

    def open(self) -> None:
        """Open the account, and learn what one order costs."""
        account = {"name": "desk", "api_key": "desk", "api_secret": SECRET, "tier": "unlimited"} | {
            "answers_at_once": True
        }
        self.control("POST", "accounts", account | {"opening": {"ZUSD": "10000000"}})
        self.control("POST", "prices", {"XBTUSD": "50000"})
        with psycopg.connect(self.database_url) as session:
            session.execute("insert into trading.accounts (name, kraken_conn_id) values ('desk', 'desk')")
        made = self.control("POST", "accounts/desk/events", EVENT)
        ledger = self.control("GET", "accounts/desk/statement")["ledger"]
        self.fee = next(
            Decimal(row["fee"]) for row in ledger if row["refid"] == made["trade"] and row["asset"] == "ZUSD"
        )

    def fill(self, count: int) -> list[int]:
        """Fill orders at the exchange, record at once that they ended, and return their ids."""
        txids = [self.control("POST", "accounts/desk/events", EVENT)["order"] for _ in range(count)]
        with psycopg.connect(self.database_url) as session:
            rows = session.execute(END_ORDERS, {"fee": self.fee, "txids": txids}).fetchall()
            session.execute(f"select pg_notify('{CHANNEL}', '')".encode())
        return [row[0] for row in rows]

    def latencies(self, order_ids: Sequence[int]) -> list[float]:
        """Read how long each final verdict took since its last fill, in seconds."""
        with psycopg.connect(self.database_url) as session:
            rows = session.execute(LATENCIES, {"order_ids": list(order_ids)}).fetchall()
        wrong = [order_id for order_id, _, verdict in rows if verdict != "verified"]
        assert not wrong, f"orders {wrong[:5]} were not verified"
        return [float(seconds) for _, seconds, _ in rows]

    def wait(self, order_ids: Sequence[int]) -> list[float]:
        """Wait for all verdicts and return their latencies."""
        found: list[float] = []

        def are_there() -> bool:
            found[:] = self.latencies(order_ids)
            return len(found) == len(order_ids)

        assert poll_until(are_there, timeout_seconds=PATIENCE_SECONDS, pause_seconds=0.5), (
            f"only {len(found)} of {len(order_ids)} orders were verified"
        )
        return found

    def task_states(self) -> dict[str, int]:
        """Count the DAG's task instances by state, and the triggers that tasks wait for."""
        with psycopg.connect(self.metadata_url) as session:
            states = {str(state): int(count) for state, count in session.execute(TASK_STATES.encode())}
            row = session.execute(
                "select count(*) from trigger where classpath like '%OrderVerificationTrigger%'"
            ).fetchone()
        return {**states, "triggers": row[0] if row else 0}


def measure_one_by_one(desk: Desk, count: int, *, pause_seconds: float) -> list[float]:
    """Fill single orders at random moments."""
    dice = random.Random(20_260_105)  # noqa: S311 - must be reproducible
    order_ids = []
    for _ in range(count):
        order_ids += desk.fill(1)
        time.sleep(dice.expovariate(1 / pause_seconds))
    return desk.wait(order_ids)


def measure_burst(desk: Desk, count: int) -> list[float]:
    """Fill orders as fast as the exchange takes them, each recorded and notified by itself."""
    order_ids = [order_id for _ in range(count) for order_id in desk.fill(1)]
    return desk.wait(order_ids)


def measure_waiting(desk: Desk, count: int, *, lag_seconds: int) -> dict[str, Any]:
    """Let orders wait for a lagging ledger, and count who holds a worker slot meanwhile."""
    desk.control("POST", "faults", {"name": "lag", "view": "ledger", "seconds": lag_seconds})
    started = time.monotonic()
    order_ids = desk.fill(count)
    filled_seconds = time.monotonic() - started
    samples: list[dict[str, int]] = []
    stopped = threading.Event()

    def sample() -> None:
        while not stopped.wait(0.5):
            samples.append(desk.task_states())

    def all_wait() -> bool:
        with psycopg.connect(desk.database_url) as session:
            row = session.execute(
                "select count(*) from trading.order_verifications where claimed_by is not null"
            ).fetchone()
        return bool(row and row[0] == count) and desk.task_states().get("deferred", 0) > 0

    assert poll_until(all_wait, timeout_seconds=PATIENCE_SECONDS, pause_seconds=0.2), "not all orders waited"
    deferred_seconds = time.monotonic() - started
    sampler = threading.Thread(target=sample)
    sampler.start()
    quiet_until = started + lag_seconds - 1
    try:
        time.sleep(max(0.0, quiet_until - time.monotonic()))
        stopped.set()
        sampler.join()
        seconds = desk.wait(order_ids)
    finally:
        stopped.set()
        desk.control("DELETE", "faults")
    return {
        "orders": count,
        "lag_seconds": lag_seconds,
        "filled_in_seconds": round(filled_seconds, 1),
        "all_waiting_after_seconds": round(deferred_seconds, 1),
        "samples_while_waiting": len(samples),
        "samples_with_a_running_task": sum(1 for s in samples if s.get("running") or s.get("queued")),
        "deferred_tasks_at_most": max((s.get("deferred", 0) for s in samples), default=0),
        "triggers_at_most": max((s["triggers"] for s in samples), default=0),
        "beyond_the_lag": summary([s - lag_seconds for s in seconds]),
    }


def summary(seconds: Sequence[float]) -> dict[str, Any]:
    """Say how latencies are spread."""
    ordered = sorted(seconds)
    return {
        "orders": len(ordered),
        "p50_seconds": round(statistics.median(ordered), 2),
        "p99_seconds": round(ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))], 2),
        "minimum_seconds": round(ordered[0], 2),
        "maximum_seconds": round(ordered[-1], 2),
        "ten_slowest_seconds": [round(one, 2) for one in ordered[-10:]],
    }


@contextmanager
def stack(place: Path) -> Iterator[Desk]:
    """Run a durable PostgreSQL, the simulator and Airflow's four components, with the DAG at work."""
    with EmbeddedPostgres(place / "postgres", durable=True, settings={"max_connections": "200"}) as server:
        trading, metadata = desk_databases(server.url("postgres"))
        port = free_port()
        settings = Settings(place, "127.0.0.1", free_port(), port, 0, server.url("postgres"), place)
        environment = _environment(settings, trading.url, metadata.url, f"http://127.0.0.1:{port}")
        program = (sys.executable, "-m", "kraken_sim", "--host", "127.0.0.1", "--port", str(port))
        simulator = Service("simulator", program, environment, "")
        with running_airflow(settings, environment, simulator, dag_id=DAG_ID, pools={"kraken_api": 4}):
            yield Desk(f"http://127.0.0.1:{port}", trading.url, metadata.url)


def _environment(settings: Settings, trading_url: str, metadata_url: str, base_url: str) -> dict[str, str]:
    connections = {
        "KRAKEN_RECON_ALLOWED_HOSTS": "127.0.0.1",
        "AIRFLOW_CONN_TRADING_DB": postgres_connection(trading_url),
        "AIRFLOW_CONN_DESK": json.dumps(
            {
                "conn_type": "kraken",
                "login": "desk",
                "password": SECRET,
                "host": base_url,
                "extra": {"tier": "unlimited"},
            }
        ),
        "PYTHONPATH": os.pathsep.join(str(REPOSITORY / name) for name in ("include", "plugins", "config")),
    }
    return airflow.airflow_environment(settings, metadata_url=metadata_url, connections=connections)


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Measure everything and return the figures."""
    with tempfile.TemporaryDirectory(prefix="kraken-recon-bench-", ignore_cleanup_errors=True) as name:
        place = Path(name)
        place.chmod(0o711)
        with stack(place) as desk:
            around = surroundings(desk.database_url)
            desk.open()
            desk.wait(desk.fill(1))
            _say("Airflow is warm; orders one by one ...")
            single = measure_one_by_one(desk, options.orders, pause_seconds=1.0)
            _say(f"{summary(single)}; a burst ...")
            burst = measure_burst(desk, options.burst)
            _say(f"{summary(burst)}; orders that wait ...")
            waiting = measure_waiting(desk, options.waiting, lag_seconds=options.lag)
            states = Counter(desk.task_states())
    return {
        **around,
        "one_by_one": summary(single) | {"mean_pause_seconds": 1.0},
        "burst": summary(burst),
        "waiting": waiting,
        "tasks_run": states["success"],
    }


def table(figures: dict[str, Any]) -> str:
    """Write the figures as the table of the README."""
    waiting = figures["waiting"]
    rows = [
        "| | orders | p50 s | p99 s | max s | goal |",
        "|---|--:|--:|--:|--:|---|",
        _row("single orders at random moments, one a second", figures["one_by_one"]),
        _row("a burst, each order notified by itself", figures["burst"]),
        _row(f"beyond a ledger lag of {waiting['lag_seconds']} s", waiting["beyond_the_lag"]),
    ]
    slots = (
        f"While the {waiting['orders']:,} orders waited, {waiting['samples_with_a_running_task']} of "
        f"{waiting['samples_while_waiting']} samples found a task in a worker slot, and at most "
        f"{waiting['triggers_at_most']} triggers."
    )
    return "\n".join((taken(figures), "", *rows, "", slots))


def _row(title: str, found: dict[str, Any]) -> str:
    is_met = found["p50_seconds"] < GOAL_P50_SECONDS and found["p99_seconds"] < GOAL_P99_SECONDS
    told = "met" if is_met else "**missed**"
    return (
        f"| {title} | {found['orders']:,} | {found['p50_seconds']:.2f} | {found['p99_seconds']:.2f} "
        f"| {found['maximum_seconds']:.2f} "
        f"| p50 < {GOAL_P50_SECONDS:g}, p99 < {GOAL_P99_SECONDS:g}: {told} |"
    )


def _say(text: str) -> None:
    print(text, flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print the table, keep the figures and put them into the README."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--orders", type=int, default=200, help="single orders")
    parser.add_argument("--burst", type=int, default=200, help="orders at once")
    parser.add_argument("--waiting", type=int, default=1_000, help="orders that wait for late books")
    parser.add_argument("--lag", type=int, default=140, help="seconds by which the ledger lags for them")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    options = parser.parse_args(arguments)
    figures = measure(options)
    _say("\n" + table(figures))
    keep(figures, options.output)
    publish("make bench-verification", table(figures))
