"""How fast the pages in Airflow's UI answer, with 10,000 accounts and 10 million ledger entries behind them.

1. The way is the real one: HTTP to Airflow's API server, a login's token, the permission check, the rows.
2. The scheduler, the DAG processor and the triggerer do not run: a page that answers did not need them.
3. Pages take turns, so that none finds its own rows still warm from the request before.
"""

from __future__ import annotations

import argparse
import html
import re
import statistics
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urljoin

import psycopg
import requests

from benchmarks.figures import RESULTS, keep, publish, surroundings, taken
from benchmarks.pages.data import SCALES, ensure_data
from benchmarks.pages.stack import running_pages

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from benchmarks.pages.stack import PageStack

OUTPUT: Final = RESULTS / "pages.json"
GOAL_P95_MS: Final = 300
CLIENTS: Final = (1, 4)
REQUEST_TIMEOUT_SECONDS: Final = 120
COUNTED_REQUESTS: Final = 3
NEXT_PAGE: Final = re.compile(r'<a href="([^"]+)" rel="next"')
NAVIGATION: Final = re.compile(r'<a href="(?:\./)?([^"]*)"[^>]*>([^<]+)</a>')
# desk-00001 has 3 % of all entries; desk-00123 is one of many.
BIGGEST: Final = "account=desk-00001&asset=USD"
USUAL: Final = "account=desk-00123&asset=USD"


@dataclass(frozen=True, slots=True)
class Page:
    """One page: ``older`` says how many times "Older" is followed first; a download is read to its end."""

    name: str
    path: str
    older: int = 0
    is_download: bool = False


PAGES: Final = (
    Page("Is everything accounted for?", ""),
    Page("the same, ten pages on", "", older=10),
    Page("the same, stalest first", "?order=stalest"),
    Page("the same, one state", "?state=held"),
    Page("the same, part of a name", "?name=99&order=name"),
    Page("an account, the biggest", "account?name=desk-00001"),
    Page("an account, a usual one", "account?name=desk-00123"),
    Page("What differed?", "differences"),
    Page("the same, twenty pages on", "differences", older=20),
    Page("the same, unexplained now", "differences?kind=now"),
    Page("the same, one account", "differences?account=desk-00001"),
    Page("the same, a rare action of one asset", "differences?asset=OP&action=held"),
    Page("the same, one run", "differences?run={run}"),
    Page("statement of the biggest account", f"statement?{BIGGEST}"),
    Page("the same, ten pages on", f"statement?{BIGGEST}", older=10),
    Page("the same, at its oldest entry", f"statement?{BIGGEST}&entry={{entry}}"),
    Page("statement of a usual account", f"statement?{USUAL}"),
    Page("Do my orders do what they say?", "orders"),
    Page("the same, thirty days", "orders?days=30"),
    Page("the same, one account", "orders?days=30&account=desk-00001"),
    Page("the same, one level and pair", "orders?days=30&level=fills&pair=BTC/USD"),
    Page("the same, two pages on", "orders?days=30", older=2),
    Page("an order", "order?id={order}"),
    Page("Is the database healthy?", "database"),
    Page("the same, seven days, any finding", "database?hours=168&state=all"),
    Page("the same, four pages on", "database?state=all", older=4),
    Page("What wants me?", "wants"),
    Page("the same, five pages on", "wants", older=5),
    Page("the same, one account", "wants?account=desk-00008"),
    Page("a held repair", "repair?plan={plan}"),
    Page("a runbook", "docs?page=runbooks/alerts.md"),
    Page("accounts as JSON", "api/latest", is_download=True),
    Page("accounts as CSV", "api/latest.csv", is_download=True),
    Page("differences as CSV", "api/differences.csv", is_download=True),
    Page("runs of an account as CSV", "api/runs.csv?name=desk-00001", is_download=True),
    Page("statement of the biggest account as CSV", f"api/statement.csv?{BIGGEST}", is_download=True),
    Page("statement of the biggest account as JSON", f"api/statement?{BIGGEST}", is_download=True),
    Page("mismatches as CSV", "api/orders.csv?days=30", is_download=True),
    Page("slippage as CSV", "api/slippage.csv?days=30", is_download=True),
    Page("findings as CSV", "api/database.csv?state=all", is_download=True),
    Page("samples as JSON", "api/samples?hours=168", is_download=True),
    Page("alerts as CSV", "api/wants.csv", is_download=True),
)
# What paths name that only the data know.
NAMED_ROWS: Final = {
    "run": "select run_id from trading.discrepancies group by run_id order by count(*) desc, run_id limit 1",
    "entry": "select ledger_id from trading.ledger_entries where account_id = 1 and asset = 'USD' "
    "order by entry_time limit 1",
    "order": "select order_id from trading.order_verifications where verdict = 'mismatch' order by 1 limit 1",
    "plan": "select plan_id from trading.repair_plans where status = 'held' order by 1 limit 1",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """One answered request, in milliseconds to the first and to the last byte."""

    first_byte_ms: float
    ms: float
    size_bytes: int


class Reader:
    """Somebody who is logged in and reads pages."""

    def __init__(self, stack: PageStack) -> None:
        self._base_url = f"{stack.url}/kraken-recon/"
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.headers["Authorization"] = f"Bearer {stack.token()}"

    def read(self, path: str) -> Answer:
        """Read a page to its end; anything but an answer ends the benchmark."""
        size = 0
        started = time.perf_counter()
        with self._get(path) as reply:
            first_byte = time.perf_counter() - started
            for piece in reply.iter_content(65_536):
                size += len(piece)
        return Answer(1000 * first_byte, 1000 * (time.perf_counter() - started), size)

    def resolve(self, page: Page, named_rows: Mapping[str, str]) -> str:
        """Follow "Older" from a page's own path and return the path arrived at."""
        path = page.path.format_map(named_rows)
        for _ in range(page.older):
            with self._get(path) as reply:
                found = NEXT_PAGE.search(reply.text)
            if not found:
                raise SystemExit(f"{page.name} has no {page.older} older pages")
            path = urljoin(self._base_url + path, html.unescape(found[1])).removeprefix(self._base_url)
        return path

    def unlisted(self) -> list[Page]:
        """Name the pages of the navigation that ``PAGES`` does not have."""
        with self._get("") as reply:
            links = NAVIGATION.findall(reply.text.partition("<nav")[2].partition("</nav>")[0])
        listed = {page.path.partition("?")[0] for page in PAGES}
        return [Page(words, path) for path, words in links if path.partition("?")[0] not in listed]

    def blocked(self, path: str) -> tuple[int, float]:
        """Read a page that cannot answer; return its status and after how many seconds it gave up."""
        started = time.perf_counter()
        reply = self._session.get(self._base_url + path, timeout=REQUEST_TIMEOUT_SECONDS)
        return reply.status_code, time.perf_counter() - started

    def _get(self, path: str) -> requests.Response:
        reply = self._session.get(self._base_url + path, timeout=REQUEST_TIMEOUT_SECONDS, stream=True)
        if reply.status_code != requests.codes.ok:
            raise SystemExit(f"{path}: {reply.status_code} {reply.text[:500]}")
        return reply


def measure(stack: PageStack, pages: Sequence[Page], requests_each: int) -> list[dict[str, Any]]:
    """Measure every page and return what was found, page by page."""
    reader = Reader(stack)
    reader.read("wants")  # the plugin is imported by the first request
    named_rows = stack.named_rows(NAMED_ROWS)
    everything = [*pages, *(reader.unlisted() if len(pages) == len(PAGES) else ())]
    paths = {page: reader.resolve(page, named_rows) for page in everything}
    _say("first requests, and the statements of each page ...")
    found = {}
    for page, path in paths.items():
        answers, load = _counted(stack, reader, path)
        found[page] = {"page": page.name, "path": path, "older": page.older, "is_download": page.is_download}
        found[page] |= {"bytes": answers[0].size_bytes, "first_ms": round(answers[0].ms, 1)} | load
        if page.is_download:
            found[page]["first_byte"] = spread([one.first_byte_ms for one in answers])
            found[page]["whole"] = spread([one.ms for one in answers])
    quick = {page: path for page, path in paths.items() if not page.is_download}
    for clients in CLIENTS:
        _say(f"{clients} at the same time ...")
        for page, milliseconds in _together(stack, quick, clients, requests_each).items():
            found[page][f"clients_{clients}"] = spread(milliseconds)
    return list(found.values())


def _together(
    stack: PageStack, paths: dict[Page, str], clients: int, requests_each: int
) -> dict[Page, list[float]]:
    """Let clients read all pages over and over, each beginning elsewhere."""
    found: dict[Page, list[float]] = {page: [] for page in paths}
    failed: list[BaseException] = []

    def work(number: int) -> None:
        try:
            reader = Reader(stack)
            turns = list(paths.items())
            begin = number * len(turns) // clients
            for _ in range(requests_each):
                for page, path in turns[begin:] + turns[:begin]:
                    found[page].append(reader.read(path).ms)
        except BaseException as error:  # noqa: BLE001 - raised below, where somebody sees it
            failed.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]
    return found


def _counted(stack: PageStack, reader: Reader, path: str) -> tuple[list[Answer], dict[str, Any]]:
    """Read a page a few times; say what one request makes of statements, per database."""
    stack.forget_statements()
    answers = [reader.read(path) for _ in range(COUNTED_REQUESTS)]
    load: dict[str, Any] = {}
    for database in ("trading", "airflow"):
        ran = stack.statements(database)
        load[database] = {
            "statements": round(sum(one.calls for one in ran) / COUNTED_REQUESTS, 1),
            "ms": round(sum(one.ms for one in ran) / COUNTED_REQUESTS, 1),
            "pages_read": round(sum(one.pages_read for one in ran) / COUNTED_REQUESTS),
            "slowest_ms": round(max((one.ms / one.calls for one in ran), default=0), 1),
            "slowest": max(ran, key=lambda one: one.ms, default=None),
        }
        slowest = load[database].pop("slowest")
        load[database]["slowest"] = " ".join(slowest.query.split())[:200] if slowest else None
    load["airflow"]["tables"] = sorted({table for one in ran for table in one.tables})
    return answers, load


def measure_bounds(stack: PageStack) -> dict[str, Any]:
    """Lock a table away from the pages: they give up, and Airflow goes on answering meanwhile."""
    reader = Reader(stack)
    found: list[tuple[int, float]] = []
    with psycopg.connect(stack.trading_url) as session:
        session.execute("lock table trading.accounts in access exclusive mode")
        waiting = threading.Thread(target=lambda: found.append(reader.blocked("")))
        waiting.start()
        beside = []
        while waiting.is_alive():
            started = time.perf_counter()
            # session: allowed - the lock must be held meanwhile, that is what is measured
            requests.get(f"{stack.url}/api/v2/version", timeout=REQUEST_TIMEOUT_SECONDS).raise_for_status()
            beside.append(1000 * (time.perf_counter() - started))
            waiting.join(0.1)
        session.rollback()
    ((status, seconds),) = found
    return {
        "status": status,
        "gave_up_after_seconds": round(seconds, 2),
        "airflow_meanwhile": spread(beside),
    }


def spread(milliseconds: Sequence[float]) -> dict[str, Any]:
    """Say how durations are spread."""
    ordered = sorted(milliseconds)
    return {
        "requests": len(ordered),
        "p50_ms": round(statistics.median(ordered), 1),
        "p95_ms": round(ordered[min(len(ordered) - 1, int(len(ordered) * 0.95))], 1),
        "max_ms": round(ordered[-1], 1),
    }


def table(figures: dict[str, Any]) -> str:
    """Write the figures as a table for people."""
    head = f"{'page':<44} {'p50':>6} {'p95':>6} {'max':>6} | {'4: p50':>7} {'p95':>6} {'max':>6}"
    lines = [f"{head} | {'sql':>4} {'ms':>6} | {'Airflow':>7}"]
    for row in figures["pages"]:
        sql = f"{row['trading']['statements']:>4.0f} {row['trading']['ms']:>6.0f}"
        told = f"| {sql} | {row['airflow']['statements']:>7.0f}"
        if row["is_download"]:
            whole = f"first byte {row['first_byte']['p50_ms']:.0f}, whole {row['whole']['p50_ms']:.0f} ms"
            lines.append(f"{row['page']:<44} {whole:<44} {told}")
            continue
        one, four = row["clients_1"], row["clients_4"]
        lines.append(
            f"{row['page']:<44} {one['p50_ms']:>6.0f} {one['p95_ms']:>6.0f} {one['max_ms']:>6.0f} "
            f"| {four['p50_ms']:>7.0f} {four['p95_ms']:>6.0f} {four['max_ms']:>6.0f} {told}"
        )
    missed = slow_pages(figures)
    told = f"MISSED by {', '.join(missed)}" if missed else "met"
    lines.append(f"goal p95 < {GOAL_P95_MS} ms with one client: {told}")
    bounds = figures["bounds"]
    lines.append(
        f"with its table locked a page gives up after {bounds['gave_up_after_seconds']} s "
        f"({bounds['status']}), "
        f"Airflow answers meanwhile in {bounds['airflow_meanwhile']['p95_ms']} ms (p95)"
    )
    return "\n".join(lines)


def markdown(figures: dict[str, Any]) -> str:
    """Write the figures as the tables of the README."""
    data = figures["data"]
    missed = slow_pages(figures)
    size = (
        f"{data['rows']['accounts']:,} accounts, {data['rows']['ledger_entries']:,} entries, "
        f"{data['database_bytes'] / 2**30:.1f} GiB."
    )
    judged = f"missed by {len(missed)} of the pages" if missed else "met by every page"
    lines = [
        taken(figures),
        f"{size} Goal p95 < {GOAL_P95_MS} ms with one reader: {judged}.",
        "",
        "| page | one: p50 ms | p95 | max | four: p50 ms | p95 | max | its SQL ms |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in figures["pages"]:
        if not row["is_download"]:
            times = [row[f"clients_{n}"][name] for n in CLIENTS for name in ("p50_ms", "p95_ms", "max_ms")]
            cells = " | ".join(f"{value:.0f}" for value in (*times, row["trading"]["ms"]))
            lines.append(f"| {row['page']} | {cells} |")
    lines += ["", "| download | kB | first byte ms | whole ms |", "|---|---|---|---|"]
    lines += [
        f"| {row['page']} | {row['bytes'] / 1000:.0f} | {row['first_byte']['p50_ms']:.0f} "
        f"| {row['whole']['p50_ms']:.0f} |"
        for row in figures["pages"]
        if row["is_download"]
    ]
    return "\n".join(lines)


def slow_pages(figures: dict[str, Any]) -> list[str]:
    """Name the pages that miss the goal."""
    return [
        row["page"]
        for row in figures["pages"]
        if not row["is_download"] and row["clients_1"]["p95_ms"] >= GOAL_P95_MS
    ]


def _say(text: str) -> None:
    print(text, flush=True)


@contextmanager
def _place(given: Path | None) -> Iterator[Path]:
    """Yield the directory of everything: the one that is given stays, one of our own goes."""
    if given:
        given.mkdir(mode=0o711, parents=True, exist_ok=True)
        yield given.absolute()
        return
    with tempfile.TemporaryDirectory(prefix="kraken-recon-bench-", ignore_cleanup_errors=True) as name:
        Path(name).chmod(0o711)
        yield Path(name)


def main(arguments: Sequence[str] | None = None) -> None:
    """Build or reuse the data, measure, print the table, and keep the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scale", choices=SCALES, default="full")
    parser.add_argument("--requests", type=int, default=60, help="of each page by each client")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="where the data stay for the next time")
    parser.add_argument("--only", default="", help="pages whose name or path contains this")
    parser.add_argument("--plans", type=Path, metavar="FILE", help="keep plans of statements over 20 ms here")
    parser.add_argument("--serve", action="store_true", help="measure nothing; serve until Ctrl-C")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    options = parser.parse_args(arguments)
    pages = [page for page in PAGES if options.only in page.name or options.only in page.path]
    with _place(options.keep) as place, running_pages(place, with_plans=bool(options.plans)) as stack:
        around = surroundings(stack.metadata.url)
        data = ensure_data(stack.trading, SCALES[options.scale], _say)
        _say(f"{data['rows']['accounts']:,} accounts, {data['rows']['ledger_entries']:,} entries")
        stack.start_airflow()
        if options.serve:
            _say(f"{stack.url}/kraken-recon/\ntoken {stack.token()}\ndatabase {stack.trading_url}")
            sys.stdin.read()
            return
        found = measure(stack, pages, options.requests)
        figures = {**around, "data": data, "pages": found, "bounds": measure_bounds(stack)}
        if options.plans:
            options.plans.write_text(stack.server_log())
    _say("\n" + table(figures))
    keep(figures, options.output)
    if options.scale == "full" and options.output == OUTPUT and not options.only:
        publish("make bench-pages", markdown(figures))
