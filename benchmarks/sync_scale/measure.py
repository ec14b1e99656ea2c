"""The whole position_sync through a real scheduler: 10, 100, 1,000 and 10,000 accounts on one machine.

1. Airflow, PostgreSQL and the exchange share the machine's cores; each call to the exchange takes 50 ms.
2. Of each hundred accounts five have news; of the others nothing has changed since their last proof. One more
   run is of quiet accounts only.
3. The seconds are Airflow's own, from the run's begin to its end; what processes used is read from /proc.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from benchmarks.figures import RESULTS, keep, publish, surroundings
from benchmarks.sync_scale.processes import watching
from benchmarks.sync_scale.stack import DAG_ID, running_stack
from benchmarks.sync_scale.tables import markdown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.sync_scale.stack import SyncStack

OUTPUT: Final = RESULTS / "sync_scale.json"
# After these, one run without news tells what a quiet account takes.
SCALES: Final = {"full": (10, 100, 1_000, 10_000), "small": (10, 100)}
NEWS_PERCENT: Final = 5
DELAY_MS: Final = 50.0
PATIENCE_SECONDS: Final = 600


def measure_run(stack: SyncStack, accounts: int, *, news_percent: int, seed: int) -> dict[str, Any]:
    """Let one run sync the desk, and say what it took."""
    stack.grow(accounts)
    news = stack.news(news_percent, seed) if news_percent else []
    stack.calls()
    stack.task_costs()
    sessions = stack.sessions()
    with watching(stack.roots(), stack.open_sessions) as watched:
        run_id = stack.api.trigger(DAG_ID, {})
        stack.wait(run_id, PATIENCE_SECONDS)
    waited, seconds, state, spans = stack.times_of(run_id)
    return {
        "accounts": accounts,
        "with_news": len(news),
        "state": state,
        "waited_seconds": waited,
        "seconds": seconds,
        "tasks": [asdict(span) for span in spans],
        "task_costs": stack.task_costs(),
        "cpu_seconds": dict(watched.cpu),
        "memory_bytes": watched.memory_at_most,
        "memory_by_kind": dict(watched.memory),
        "sessions_opened": stack.sessions() - sessions,
        "sessions_at_most": watched.connections_at_most,
        "statuses": stack.statuses(run_id),
        **stack.calls(),
    }


def measure(scales: Sequence[int], seed: int) -> dict[str, Any]:
    """Measure one run after another on one stack, the desk growing between them."""
    with tempfile.TemporaryDirectory(prefix="kraken-recon-bench-", ignore_cleanup_errors=True) as name:
        place = Path(name)
        place.chmod(0o711)
        _say("starting PostgreSQL, the exchange and Airflow ...")
        with running_stack(place, max(scales), DELAY_MS) as stack:
            around = surroundings(stack.trading.url)
            # Airflow imports what it needs with its first run.
            measure_run(stack, min(scales), news_percent=NEWS_PERCENT, seed=seed)
            rows = []
            for number, accounts in enumerate(scales, start=1):
                _say(f"{accounts:,} accounts ...")
                rows.append(measure_run(stack, accounts, news_percent=NEWS_PERCENT, seed=seed + number))
                if accounts == _of_quiet(scales):
                    quiet = measure_run(stack, accounts, news_percent=0, seed=seed)
    return {**around, "delay_ms": DELAY_MS, "rows": rows, "quiet": quiet}


def _of_quiet(scales: Sequence[int]) -> int:
    """Choose how many accounts are synced once more, without news: many, while it takes not too long."""
    return max([one for one in scales if one <= 1_000], default=min(scales))


def _say(text: str) -> None:
    print(text, flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print the table, keep the figures, and write those of a full run into the README."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scale", choices=SCALES, default="full")
    parser.add_argument("--only", type=int, metavar="ACCOUNTS", help="one row: so many accounts")
    parser.add_argument("--seed", type=int, default=1, help="chooses whose account has news")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    options = parser.parse_args(arguments)
    figures = measure((options.only,) if options.only else SCALES[options.scale], options.seed)
    text = markdown(figures)
    _say(text)
    if options.only is None and options.scale == "full":
        publish("make bench-scale", text)
    keep(figures, options.output)
