"""Run every DAG for virtual weeks, as fast as they run, with faults and kills, and compare with the truth.

A round stands for an hour, or for as much of a day as is told: things happen on the simulated exchange, in
the books and at a bot with tables of its own, an order is decided, then each DAG runs at least once. Some
workers share the runs. In two of five rounds the exchange fails; some runs are told to end in the middle,
some are killed with their worker. A worker goes on and on until one of those ends it, so whatever a run
forgets stays and is counted. After each virtual day the workers rest, still alive, the exchange answers,
and `position_sync` runs once more: then everything is compared with what the exchange itself knows. SIGINT
ends the soak after the round that goes on, with a result.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import tempfile
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any, Final

from benchmarks.figures import RESULTS, ROOT, keep, surroundings
from benchmarks.sessions.leaks import server
from benchmarks.soak.desk import connections, exchange, failing, happen, load_dags, prepare_airflow
from benchmarks.soak.looks import Watch
from benchmarks.soak.page import draw, write
from benchmarks.soak.workers import Run, Worker, ended
from local_stack.processes import poll_until

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from local_stack.exchange import Exchange

PAGE: Final = ROOT / "docs/reference/soak.md"
PLOT: Final = ROOT / "docs/images/soak.png"
SESSIONS_PLOT: Final = ROOT / "docs/images/soak-sessions.png"
OUTPUT: Final = RESULTS / "soak.json"
ROUNDS_PER_DAY: Final = 24
DAYS: Final = 14
RUNS_PER_ROUND: Final = {"position_sync": 2, "order_execution": 2, "order_verification": 2}
# Runs that end as they like, are told to end, are killed.
FATES: Final = ("undisturbed",) * 26 + ("SIGTERM",) * 3 + ("SIGKILL",)
# Most of a run is waiting.
WORKERS: Final = 5
NO_PLAN: Final = "00000000-0000-0000-0000-000000000000"
LOOK_SECONDS: Final = 5.0
# Longer than the server lets a session idle in a transaction.
SETTLE_SECONDS: Final = 75


class Soak:
    """A desk at work: its workers, what became of their runs, and who watches it."""

    def __init__(self, url: str, market: Exchange, dags: dict[str, Any], place: Path, seed: int) -> None:
        self.url = url
        self.market = market
        self.dags = dags
        self.chance = random.Random(seed)  # noqa: S311 - not for secrecy
        self.watch = Watch(url, market, place / "runs.log")
        self.at_start = len(connections(url))
        self.ends = Counter[str]()
        self.workers = [Worker(dags, self.watch.log) for _ in range(WORKERS)]

    def days(self, count: int, rounds_per_day: int) -> None:
        """Run so many days, or until somebody interrupts."""
        began, is_over, rounds = time.monotonic(), Event(), count * rounds_per_day
        before = signal.signal(signal.SIGINT, lambda *_: is_over.set())
        try:
            for number in range(1, rounds + 1):
                happen(self.url, self.market, self.chance, number)
                with failing(self.market, self.chance):
                    most = self._play(self._runs())
                self.watch.after_round(self.workers, most)
                is_last = number == rounds or is_over.is_set()
                if is_last or number % rounds_per_day == 0:
                    self._end_of_day()
                if is_last or number % 12 == 0:
                    print(f"round {number} of {rounds}: {time.monotonic() - began:.0f} s", flush=True)
                if is_last:
                    return
        finally:
            signal.signal(signal.SIGINT, before)
            for worker in self.workers:
                worker.stop()

    def _runs(self) -> list[Run]:
        """Draw the order and the fates of a round's runs."""
        # `dag.test` waits for ever for a person's answer, so its runs look for a plan that is gone.
        conf = {"repair_approval": {"plan_id": NO_PLAN}}
        dag_ids = [dag_id for dag_id in sorted(self.dags) for _ in range(RUNS_PER_ROUND.get(dag_id, 1))]
        self.chance.shuffle(dag_ids)
        return [
            Run(one, self.chance.choice(FATES), self.chance.uniform(0.05, 2), conf.get(one, {}))
            for one in dag_ids
        ]

    def _play(self, runs: list[Run]) -> int:
        """Let the workers share the runs, to their ends; return the most connections there were."""
        most, looked = 0, time.monotonic()
        while runs or any(worker.run for worker in self.workers):
            self.ends += ended(self.workers)
            for worker in self.workers:
                if worker.run is None and runs:
                    worker.start(runs.pop())
            if time.monotonic() - looked > LOOK_SECONDS:
                audit_sessions(self.url)
                most, looked = max(most, len(connections(self.url))), time.monotonic()
            time.sleep(0.02)
        return max(most, len(connections(self.url)))

    def _end_of_day(self) -> None:
        """Let the desk come to rest: orders settled, everything synced, what clients left closed."""
        since = datetime.now(UTC)
        for dag_id in ("order_execution", "order_verification", "position_sync", "position_sync"):
            self._play([Run(dag_id, "undisturbed", 0, {})])
        poll_until(
            lambda: len(connections(self.url)) <= self.at_start,
            timeout_seconds=SETTLE_SECONDS,
            pause_seconds=0.5,
        )
        audit_sessions(self.url)
        day = self.watch.after_day(since)
        if not day.is_clean:
            print(f"day {day.day} is not clean: {day}", flush=True)


def audit_sessions(url: str) -> None:
    """Audit from outside, as an operator would on the command line; what it saw is what the plot shows."""
    from kraken_recon.database.unit_of_work import UnitOfWork  # noqa: PLC0415
    from kraken_recon.sessions.airflow_api import NoAirflow  # noqa: PLC0415 - see prepare_airflow
    from kraken_recon.sessions.auditing import AuditRequest, audit  # noqa: PLC0415
    from kraken_recon.wiring import Wiring, source_of  # noqa: PLC0415

    wiring = Wiring(url, credentials_of=lambda _: None)  # type: ignore[arg-type,return-value]
    source = source_of("trading_db", lambda: UnitOfWork(wiring.engine()))
    audit(AuditRequest(), wiring.audit_ports([source], NoAirflow(), acted_by="soak"))


def measure(days: int, rounds_per_day: int, seed: int, sessions_plot: Path) -> Mapping[str, Any]:
    """Soak a desk of its own, draw the sessions, and return all figures."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="kraken-recon-soak-", ignore_cleanup_errors=True) as place:  # noqa: SIM117
        with server() as url, exchange(Path(place)) as market:
            taken = surroundings(url)
            prepare_airflow(Path(place), url, market)
            soak = Soak(url, market, load_dags(), Path(place), seed)
            soak.days(days, rounds_per_day)
            audit_sessions(url)
            os.environ["KRAKEN_RECON_DSN"] = url
            from kraken_recon.cli.main import main as command  # noqa: PLC0415 - only after the soak

            command(["audit", "--plot", str(sessions_plot)])
            return {
                "taken": taken,
                "seed": seed,
                "rounds_per_day": rounds_per_day,
                "seconds": round(time.monotonic() - began),
                "dags": sorted(soak.dags),
                "runs": dict(sorted(soak.ends.items())),
                "connections_at_start": soak.at_start,
                "is_clean": all(day.is_clean for day in soak.watch.days),
                **soak.watch.figures(),
            }


def main(arguments: Sequence[str] | None = None) -> None:
    """Soak, print what came of it, draw the plots and write the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks soak", description=__doc__)
    parser.add_argument("--days", type=int, default=DAYS)
    parser.add_argument("--rounds-per-day", type=int, default=ROUNDS_PER_DAY, metavar="N")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--plot", type=Path, default=PLOT, metavar="FILE")
    parser.add_argument("--sessions-plot", type=Path, default=SESSIONS_PLOT, metavar="FILE")
    parser.add_argument("--page", type=Path, default=PAGE, metavar="FILE")
    parser.add_argument("--result", type=Path, default=OUTPUT, metavar="FILE")
    parsed = parser.parse_args(arguments)
    result = measure(parsed.days, parsed.rounds_per_day, parsed.seed, parsed.sessions_plot)
    print(json.dumps({name: result[name] for name in ("seconds", "runs", "is_clean")}, indent=2))
    keep(result, parsed.result)
    draw(result, parsed.plot)
    write(result, parsed.page)
    if not result["is_clean"]:
        raise SystemExit("something is left, lost, doubled or wrong: see the page")


if __name__ == "__main__":
    main()
