"""Run the exchange's workers on two hosts, and cut one off in the middle of its work.

``python -m benchmarks two-hosts [--seed N]``; a whole run writes docs/reference/two-hosts.md.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from benchmarks.figures import RESULTS, keep, surroundings
from benchmarks.kills.desk import now
from benchmarks.kills.measure import Matrix, Outcome, keep_log, prepare
from benchmarks.kills.room import enter
from benchmarks.two_hosts import page
from benchmarks.two_hosts.hosts import HOSTS, TwoHosts, back, cut

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from benchmarks.kills.desk import Desk

COMMAND: Final = "two-hosts"
OUTPUT: Final = RESULTS / "two_hosts.json"
#: Keys of this tier may call seldom enough for two hosts to get into each other's way.
TIER: Final = "pro"
#: So many that one task would take too long, and the accounts of a run are dealt out to several.
ACCOUNTS: Final = 60
TOGETHER_SECONDS: Final = 60
BRIEF_SECONDS: Final = 8
DONE: Final = """
select hostname, count(*) from task_instance
where queue = 'exchange' and state = 'success' and end_date >= %s
group by 1
"""
RUNS: Final = """
select count(*) filter (where hosts > 1), count(*) from (
  select count(distinct hostname) as hosts from task_instance
  where task_id = 'reconcile_accounts' and state = 'success' and end_date >= %s
  group by run_id
) each
"""


def work_together(desk: Desk) -> dict[str, Any]:
    """Let both hosts work; say what each did, and what the exchange refused."""
    began = now()
    until = time.monotonic() + TOGETHER_SECONDS
    while time.monotonic() < until:
        desk.trade()
        desk.decide()
        time.sleep(2)
    return {"seconds": TOGETHER_SECONDS, **by_host(desk, began), "wrong": settled(desk)}


def by_host(desk: Desk, since: datetime) -> dict[str, Any]:
    """Say how many tasks each host has done since a moment, and what the exchange has refused so far."""
    tasks = {str(host).partition(".")[0]: int(count) for host, count in desk.airflow_rows(DONE, since)}
    [(on_both, runs)] = desk.airflow_rows(RUNS, since)
    truth = desk.control("GET", "truth")["accounts"]
    refused: dict[str, int] = {}
    for name in desk.names:
        for code, count in truth[name]["refusals"].items():
            refused[code] = refused.get(code, 0) + int(count)
    calls = sum(sum(truth[name]["calls"].values()) for name in desk.names)
    return {"tasks": tasks, "runs": runs, "runs_on_both": on_both, "calls": calls, "refused": refused}


def settled(desk: Desk) -> list[str]:
    """Wait until everything is proven, then compare all books."""
    since, until = now(), time.monotonic() + 120
    while (left := desk.unproven(since)) and time.monotonic() < until:
        time.sleep(0.5)
    return [f"not proven: {name}" for name in left] + desk.losses()


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure everything, and write the page."""
    given = list(arguments or [])
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks {COMMAND}", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", choices=[row.name for row in rows()], help="one row alone; writes no page")
    options = parser.parse_args(given)
    enter(given, COMMAND)
    with tempfile.TemporaryDirectory(prefix="kraken-recon-hosts-", ignore_cleanup_errors=True) as name:
        place = Path(name)
        place.chmod(0o711)
        deployment = TwoHosts(place)
        outcomes: list[dict[str, Any]] = []
        try:
            scene, pulse = prepare(deployment, ACCOUNTS, TIER)
            figures = surroundings(scene.desk.url) | {"seed": options.seed}
            figures["together"] = work_together(scene.desk)
            print(figures["together"], flush=True)
            for row in rows():
                if options.only in {None, row.name}:
                    began = now()
                    dice = random.Random(f"{options.seed} {row.name}")  # noqa: S311 - must be reproducible
                    outcome: Outcome = Matrix(scene, pulse, dice).play(row)
                    outcomes.append(asdict(outcome) | by_host(scene.desk, began))
                    print(outcomes[-1], flush=True)
        finally:
            for service in deployment.names():
                keep_log(f"two-hosts-{service}", deployment.log(service))
            deployment.stop()
    figures["rows"] = outcomes
    keep(figures, OUTPUT)
    if options.only is None:
        page.write(figures, ACCOUNTS, TIER)
        print(f"wrote {page.PAGE}")


def rows() -> list[Any]:
    """Say what happens, in this order."""
    first, second = HOSTS
    return [cut(first, BRIEF_SECONDS), cut(first, 0), back(first), cut(second, 0), back(second)]


if __name__ == "__main__":
    main()
