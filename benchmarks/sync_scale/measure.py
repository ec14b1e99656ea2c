"""The whole position_sync through a real scheduler: 10, 100, 1,000 and 10,000 accounts on one machine.

1. Airflow, PostgreSQL and the exchange share the machine's cores; each call to the exchange takes 50 ms.
2. Of each hundred accounts five have news; of the others nothing has changed since their last proof.
3. The seconds are Airflow's own, from the run's begin to its end; what processes used is read from /proc.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from benchmarks.figures import RESULTS, keep, surroundings
from benchmarks.sync_scale.processes import SCHEDULER, TASKS, WORKERS, watching
from benchmarks.sync_scale.stack import DAG_ID, POSTGRES, SIMULATOR, running_stack

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.sync_scale.stack import SyncStack

OUTPUT: Final = RESULTS / "sync_scale.json"
SCALES: Final = {"full": (10, 100, 1_000, 10_000), "small": (10, 100)}
NEWS_PERCENT: Final = 5
DELAY_MS: Final = 50.0
PATIENCE_SECONDS: Final = 420


def measure_run(stack: SyncStack, accounts: int, seed: int) -> dict[str, Any]:
    """Let one run sync the desk, and say what it took."""
    stack.grow(accounts)
    news = stack.news(NEWS_PERCENT, seed)
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
        "tasks": [vars_of(span) for span in spans],
        "task_costs": stack.task_costs(),
        "cpu_seconds": dict(watched.cpu),
        "memory_bytes": watched.memory_at_most,
        "memory_by_kind": dict(watched.memory),
        "sessions_opened": stack.sessions() - sessions,
        "sessions_at_most": watched.connections_at_most,
        "statuses": stack.statuses(run_id),
        **stack.calls(),
    }


def vars_of(span: object) -> dict[str, Any]:
    return {name: getattr(span, name) for name in span.__slots__}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scale", choices=SCALES, default="full")
    parser.add_argument("--only", type=int)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--output", type=Path, default=OUTPUT)
    options = parser.parse_args(arguments)
    scales = (options.only,) if options.only else SCALES[options.scale]
    import time
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="kraken-recon-bench-", ignore_cleanup_errors=True) as name:
        place = Path(name)
        place.chmod(0o711)
        with running_stack(place, max(scales), DELAY_MS) as stack:
            around = surroundings(stack.trading.url)
            print("up after", time.monotonic() - started, flush=True)
            rows = []
            for n in scales:
                rows.append(measure_run(stack, n, options.seed + len(rows)))
                r = rows[-1]
                print({k: v for k, v in r.items() if k not in ("tasks", "task_costs")}, flush=True)
                for t in r["tasks"]:
                    print("   ", t, flush=True)
                begins = {(t["task"], t["map_index"]): t for t in r["task_costs"] if t["moment"] == "begin"}
                for t in r["task_costs"]:
                    if t["moment"] == "end":
                        b = begins[(t["task"], t["map_index"])]
                        print("   cost", t["task"], t["map_index"], round(b["cpu_seconds"], 2), round(t["cpu_seconds"] - b["cpu_seconds"], 2), t["memory_bytes"] >> 20)
    keep({**around, "rows": rows}, options.output)
    print("done after", time.monotonic() - started, flush=True)


if __name__ == "__main__":
    main()
