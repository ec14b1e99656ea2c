"""What an account with a long history costs: import, sync, explain, certify, and a month of backfill.

1. Three accounts, of which one is twice and one four times as long as the shortest: what grows with the
   history shows as a ratio.
2. Every step must leave what the exchange says; a step that does not is an error, not a figure.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import psycopg

from benchmarks.figures import RESULTS, keep, surroundings
from benchmarks.long_history.account import END, MONTH, MemoryExchange, as_export, make_entries
from benchmarks.servers import empty_database, running_server
from kraken_recon.accounts.store import AccountStore
from kraken_recon.certificates.certifying import certify, verify
from kraken_recon.certificates.store import CertificateStore
from kraken_recon.costs.recomputing import recompute_account
from kraken_recon.costs.store import CostStore
from kraken_recon.database.unit_of_work import UnitOfWork, create_engine
from kraken_recon.history.importing import import_exports
from kraken_recon.kraken.export_files import parse_export
from kraken_recon.reconciliation.backfill import SETTLING, reconcile_as_of
from kraken_recon.reconciliation.rules.policy import Mode, Policy
from kraken_recon.reconciliation.run import SyncPorts, SyncRequest
from kraken_recon.reconciliation.sync import sync_accounts
from kraken_recon.reports.report import statement
from kraken_recon.reports.report_store import ReportStore
from kraken_recon.values.intervals import RUN_INTERVAL, Interval

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from kraken_recon.accounts.account import Account

OUTPUT: Final = RESULTS / "long_history.json"
SIZES: Final = (25_000, 50_000, 100_000)
INTERVALS: Final = MONTH // RUN_INTERVAL
NAME: Final = "two-years"


@dataclass
class Bench:
    """One account on its way through the steps, on a database of its own."""

    url: str
    exchange: MemoryExchange
    figures: dict[str, dict[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.engine = create_engine(self.url, application_name="benchmark long history")
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(
                "insert into trading.accounts (name, kraken_conn_id) values (%s, %s)", [NAME, NAME]
            )

    @property
    def account(self) -> Account:
        """The one account."""
        with UnitOfWork(self.engine) as unit:
            return AccountStore(unit).find_accounts([NAME])[0]

    @property
    def ports(self) -> SyncPorts:
        """The outside world: a database and an exchange in memory."""
        return SyncPorts(lambda: UnitOfWork(self.engine), self._open_exchange, lambda: self.exchange.now)

    @contextmanager
    def _open_exchange(self, _: Account) -> Iterator[MemoryExchange]:
        self.exchange.calls = 0
        yield self.exchange

    @contextmanager
    def measured(self, step: str) -> Iterator[dict[str, Any]]:
        """Take the time of a step."""
        noted: dict[str, Any] = {}
        started, used = time.perf_counter(), time.process_time()
        yield noted
        self.figures[step] = {
            "seconds": round(time.perf_counter() - started, 3),
            "of_which_python": round(time.process_time() - used, 3),
            **noted,
        }
        print(f"{len(self.exchange.entries):>8,}  {step:<28} {self.figures[step]}", flush=True)

    def sync(self, step: str) -> None:
        """Reconcile as of now, and demand that everything agrees."""
        interval = Interval(self.exchange.now - RUN_INTERVAL, self.exchange.now)
        with self.measured(step) as noted:
            (run_id,) = sync_accounts(
                [self.account], SyncRequest(interval, Mode.REPAIR, Policy()), self.ports
            )
            noted["api_calls"] = self._run(run_id, "api_calls")
        assert self._run(run_id, "status") == "succeeded", self._run(run_id, "error")
        self._agrees()

    def _run(self, run_id: object, column: str) -> Any:  # noqa: ANN401 - a cell
        with psycopg.connect(self.url) as connection:
            row = connection.execute(
                f"select {column} from trading.reconciliation_runs where run_id = %s", [run_id]
            ).fetchone()
        assert row is not None
        return row[0]

    def _agrees(self) -> None:
        with psycopg.connect(self.url) as connection:
            rows = connection.execute("select asset, quantity from trading.positions").fetchall()
        said = {key.asset: balance.balance for key, balance in self.exchange.balances().items()}
        assert dict(rows) == said, f"positions are {rows}, the exchange says {said}"

    def told(self, moment: datetime) -> None:
        """Say that what is on record was recorded at a moment of the exchange's clock, and tidy up."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute("update trading.position_events set recorded_at = %s", [moment])
            connection.execute("update trading.accounts set opened_at = %s", [moment])
            connection.execute("vacuum (full, analyze) trading.position_events")
            connection.execute("vacuum (analyze)")

    def backfill(self, first: datetime, intervals: int) -> None:
        """Reconcile as of the end of each interval, oldest first, as the DAG does."""
        account, each = self.account, []
        with self.measured("backfill_of_a_month") as noted:
            for number in range(intervals):
                start = first + number * RUN_INTERVAL
                request = SyncRequest(
                    Interval(start, start + RUN_INTERVAL), Mode.REPAIR, Policy(), "backfill"
                )
                began = time.perf_counter()
                reconcile_as_of([account], request, self.ports)
                each.append(1000 * (time.perf_counter() - began))
            noted |= {
                "intervals": intervals,
                "median_ms": round(statistics.median(each), 2),
                "longest_ms": round(max(each), 1),
            }
        with psycopg.connect(self.url) as connection:
            statuses = connection.execute(
                "select status, count(*), sum(api_calls), sum(entries_ingested) "
                "from trading.reconciliation_runs where trigger = 'backfill' group by 1"
            ).fetchall()
        assert [row[:2] for row in statuses] == [("succeeded", intervals)], statuses
        self.figures["backfill_of_a_month"] |= {
            "api_calls": statuses[0][2],
            "entries_found": statuses[0][3],
        }


def measure(server_url: str, count: int, *, intervals: int = INTERVALS) -> dict[str, Any]:
    """Take an account of this length through every step; its last month is missed until the backfill."""
    entries = make_entries(count)
    outage = END - MONTH
    known = [entry for entry in entries if entry.entry_time < outage]
    newest = len(known) - 10
    while known[newest].entry_time == known[newest - 1].entry_time:
        newest -= 1  # never between the legs of a trade
    export = as_export(known[:newest])
    with empty_database(server_url) as url:
        bench = Bench(url, MemoryExchange(entries, known[newest - 1].entry_time))
        with bench.measured("parse_export"):
            parsed = parse_export("ledgers.csv", export)
        with bench.measured("import"):
            import_exports(bench.account, [parsed], bench.ports.open_unit_of_work)
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("vacuum (analyze)")
        bench.sync("first_sync_after_import")
        bench.exchange.now = outage
        bench.sync("sync_of_10_new_entries")
        bench.told(outage)
        bench.exchange.now = END + SETTLING
        bench.backfill(outage, intervals)
        bench.sync("sync_after_the_backfill")
        with bench.measured("whole_recomputation"), UnitOfWork(bench.engine) as unit:
            assert not recompute_account(CostStore(unit), NAME).anything
        with bench.measured("explain_one_asset") as noted, UnitOfWork(bench.engine) as unit:
            noted["entries"] = len(statement(ReportStore(unit), NAME, "BTC", END)["entries"])
        with bench.measured("certify"), UnitOfWork(bench.engine) as unit:
            document = certify(CertificateStore(unit), NAME, END, now=bench.exchange.now)
        text = json.dumps(document).encode()
        with bench.measured("verify_certificate"):
            verify(text)
    return bench.figures


def _ratios(by_size: dict[int, dict[str, Any]], measure: str) -> dict[str, list[float]]:
    """Say how many times longer each step takes from each size to the next."""
    sizes = sorted(by_size)
    return {
        step: [
            round(by_size[larger][step][measure] / max(0.001, by_size[smaller][step][measure]), 2)
            for smaller, larger in pairwise(sizes)
        ]
        for step in by_size[sizes[0]]
    }


def main(arguments: Sequence[str]) -> None:
    """Measure every size, print the figures, and keep those of a full run."""
    parser = argparse.ArgumentParser(
        prog="benchmarks history", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, metavar="ENTRIES")
    parser.add_argument("--intervals", type=int, default=INTERVALS, help="how many to backfill")
    parser.add_argument("--server", metavar="URL", help="a superuser's URL; default: a server of its own")
    parser.add_argument("--output", type=Path, help=f"default for a full run: {OUTPUT.name} in results/")
    options = parser.parse_args(arguments)
    with running_server(options.server) as server_url:
        taken_on = surroundings(server_url)
        by_size = {n: measure(server_url, n, intervals=options.intervals) for n in options.sizes}
    figures = {
        **taken_on,
        "entries": by_size,
        "ratios": {measure: _ratios(by_size, measure) for measure in ("seconds", "of_which_python")},
    }
    print(json.dumps(figures["ratios"], indent=2))
    output = options.output
    if output is None and tuple(options.sizes) == SIZES and options.intervals == INTERVALS:
        output = OUTPUT
    if output:
        keep(figures, output)
