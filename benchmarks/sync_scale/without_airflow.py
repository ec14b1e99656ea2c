"""What ``sync_accounts`` itself takes of quiet accounts: no scheduler, the exchange in another process.

1. Each count is synced by a fresh process, which has to open all its connections.
2. CPU time and memory are that process's alone, neither the exchange's nor the database's.
3. Connections to the exchange are counted as they are opened, those to the database by the server.
"""

from __future__ import annotations

import argparse
import json
import os
import pstats
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import psycopg
import requests

from benchmarks.servers import running_server, scratch_database
from benchmarks.sync_scale.quiet_sync import TIER, account_name, secret_of
from local_stack.processes import dying_with_parent
from local_stack.settings import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

COUNTS: Final = (10, 100, 1_000, 2_000)
OPENING: Final = {"ZUSD": "1000", "XXBT": "1.5", "XETH": "4", "SOL": "20"}
STATISTICS_TIMEOUT_SECONDS: Final = 10
PROFILE_LINES: Final = 60


def measure(
    counts: Sequence[int] = COUNTS,
    *,
    server_url: str | None = None,
    tree: Path = REPOSITORY,
    profile: Path | None = None,
) -> list[dict[str, Any]]:
    """Sync so many quiet accounts, count by count.

    Returns, for each count: ``accounts``, ``seconds``, ``cpu_ms_per_account`` of the product alone, its
    ``memory_mib``, ``calls`` to the exchange, ``connections_to_exchange`` and ``connections_to_database``.

    Args:
        counts: how many accounts; all of them are opened first.
        server_url: of a PostgreSQL to use instead of one of our own.
        tree: the checkout whose product is measured.
        profile: where to write, for pstats, what a run of its own over all spends its time on.
    """
    with (
        running_server(server_url) as server,
        scratch_database(server) as dsn,
        exchange() as url,
        psycopg.connect(dsn, autocommit=True) as observer,
    ):
        desk = _Desk(observer, dsn, url, tree)
        desk.run("kraken_recon", "migrate")
        desk.open(max(counts))
        # Their ledgers are proved, and their keys checked, once a day: not what a quiet account costs.
        desk.sync(max(counts))
        if profile is not None:
            desk.sync(max(counts), str(profile))
        return [desk.measured(count) for count in counts]


def table(figures: Sequence[dict[str, Any]]) -> str:
    """Write the figures as rows of Markdown."""
    head = (
        "| quiet accounts | seconds | CPU ms each | memory | calls | connections to exchange | to database |"
    )
    rows = [
        f"| {one['accounts']:,} | {one['seconds']:.1f} | {one['cpu_ms_per_account']:.2f}"
        f" | {one['memory_mib']:.0f} MiB | {one['calls']:,} | {one['connections_to_exchange']:,}"
        f" | {one['connections_to_database']:,} |"
        for one in figures
    ]
    return "\n".join([head, "|---:|---:|---:|---:|---:|---:|---:|", *rows])


@contextmanager
def exchange() -> Iterator[str]:
    """Run the simulator and yield its address."""
    command = [sys.executable, "-m", "kraken_sim", "--port", "0"]
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(  # noqa: S603 - nothing here comes from outside
            command,
            stdout=subprocess.PIPE,
            stderr=output,
            text=True,
            env=_environment(REPOSITORY),
            preexec_fn=dying_with_parent(),  # noqa: PLW1509 - started from the main thread
        )
        try:
            assert process.stdout is not None
            yield process.stdout.readline().split()[-1]
        finally:
            process.terminate()
            process.wait()


@dataclass
class _Desk:
    """Accounts at the exchange and in the books, and the runs over them."""

    observer: psycopg.Connection[Any]
    dsn: str
    exchange_url: str
    tree: Path
    runs: int = 0

    def open(self, count: int) -> None:
        """Open accounts at the exchange and in the books."""
        names = [account_name(number) for number in range(count)]
        with requests.Session() as session:
            for name in names:
                account = {"name": name, "api_key": name, "api_secret": secret_of(name), "tier": TIER}
                session.post(
                    f"{self.exchange_url}/_sim/accounts", json=account | {"opening": OPENING}, timeout=60
                ).raise_for_status()
        self.observer.execute(
            "insert into trading.accounts (name, kraken_conn_id)"
            " select name, name from unnest(%s::text[]) as name",
            [names],
        )

    def sync(self, count: int, *profile: str) -> dict[str, Any]:
        """Sync the first accounts in a process of its own."""
        self.runs += 1
        program = ("benchmarks.sync_scale.quiet_sync", self.dsn, self.exchange_url, "0", str(count))
        found: dict[str, Any] = json.loads(self.run(*program, str(self.runs), *profile))
        return found

    def run(self, *program: str) -> str:
        """Run a module of the measured checkout, and return what it prints."""
        return subprocess.run(  # noqa: S603 - nothing here comes from outside
            [sys.executable, "-m", *program],
            env={**_environment(self.tree), "KRAKEN_RECON_DSN": self.dsn},
            cwd=REPOSITORY,
            stdout=subprocess.PIPE,
            check=True,
            text=True,
        ).stdout

    def measured(self, count: int) -> dict[str, Any]:
        """Sync the first accounts, and say what it took."""
        before = _sessions(self.observer)
        figures = self.sync(count)
        [(statuses, calls)] = self.observer.execute(
            "select array_agg(distinct status::text), sum(api_calls) from trading.reconciliation_runs"
            " where interval_end = (select max(interval_end) from trading.reconciliation_runs)"
        ).fetchall()
        assert statuses == ["succeeded"], statuses
        return {
            **figures,
            "cpu_ms_per_account": 1000 * figures["cpu_seconds"] / count,
            "calls": int(calls),
            "connections_to_database": _sessions(self.observer) - before,
        }


def _environment(tree: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (tree / "include", REPOSITORY)))}


def _sessions(observer: psycopg.Connection[Any]) -> int:
    """Count the sessions that the database ever had, once those that ended have said so."""
    found, looked_until = -1, time.monotonic() + STATISTICS_TIMEOUT_SECONDS
    while time.monotonic() < looked_until:
        [(now,)] = observer.execute(
            "select sessions from pg_stat_database where datname = current_database()"
        ).fetchall()
        if now == found:
            break
        found = now
        time.sleep(1.1)
    return int(found)


def main() -> None:
    """Print the table, of the checkout that is given; with ``--profile``, also what the time goes to."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("counts", type=int, nargs="*", default=COUNTS, help="how many quiet accounts")
    parser.add_argument("--tree", type=Path, default=REPOSITORY, help="another checkout of the product")
    parser.add_argument("--profile", type=Path, help="a file for pstats")
    options = parser.parse_args()
    print(table(measure(options.counts, tree=options.tree, profile=options.profile)))
    if options.profile:
        pstats.Stats(str(options.profile)).sort_stats("tottime").print_stats(PROFILE_LINES)


if __name__ == "__main__":
    main()
