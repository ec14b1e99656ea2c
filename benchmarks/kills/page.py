"""The page docs/reference/kill-matrix.md: what each row came to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from benchmarks.figures import ROOT
from benchmarks.kills.deployment import HASTE

if TYPE_CHECKING:
    from collections.abc import Mapping

PAGE: Final = ROOT / "docs/reference/kill-matrix.md"
PAGE_TEXT: Final = """\
<!-- Written by `make kill-matrix`. -->
# Kill matrix

Every part of the deployment is killed, stopped, cut off or filled up, one after another, while
`position_sync` and `order_execution` are at work on six accounts that trade. Does it come back by itself?
What does a person see? How long until every account is proven again and every order settled and verified?
Is anything lost or doubled?

{verdict}

- Everything of [docker-compose.yaml](../how-to/run-on-celery.md) runs, as processes in name spaces of their
  own: API server, scheduler, DAG processor, triggerer, two Celery workers, watch, Redis, PostgreSQL with
  `fsync`, and the simulator as the exchange. What ended is started again as Docker does it (`restart:
  unless-stopped`), and health checks are asked with the file's own commands, {haste} times as often as the
  file says.
- Each row begins with a trade of every account at the exchange and two decided orders, and strikes in the
  middle of a running task; orders go on being decided meanwhile. Runs follow each other without waiting for
  their schedule.
- *Proven again* counts from the end of the disturbance; where nobody undoes it, from its beginning. Then
  the books are compared with the exchange's own: every ledger entry there once, every position the balance
  and the sum of its events, every order at the exchange exactly once or proved not to be there
  (`not_placed`, which raises an alert).
- *A person sees* is what was found: messages that arrived at a channel, rows of `alerts`, tasks in the UI,
  what Docker shows of containers, Airflow's health page, lines of logs at level warning or above.

`make kill-matrix` does all of it, as root; `python -m benchmarks kill-matrix --seed {seed} --only ROW` one
row again. Measured on {cores} cores, {processor}, {date}, PostgreSQL {server}, load average {load:.1f} at the
start.

| what happens | back by itself | proven again | lost or doubled | a person sees |
|---|---|--:|---|---|
{rows}

## What nobody brings back

A PostgreSQL or Redis that hangs for good is not ended by anybody: a long recovery looks the same. While the
database is away the watch says so after two minutes ([what to
do](../runbooks/alerts.md#when-the-database-does-not-answer)). A task whose process hangs keeps its run
until `dagrun_timeout` (30 minutes for `position_sync`), and `deadline_missed` and `stale_positions` are
told before that.
"""


def written(figures: Mapping[str, Any]) -> str:
    """Write the page."""
    machine = figures["machine"]
    rows = [row for row in figures["rows"] if not row["failure"]]
    failed = "".join(
        f"\n\n**Not done**: {row['does']} ({row['failure']})." for row in figures["rows"] if row["failure"]
    )
    if unplayed := figures.get("unplayed"):
        failed += f"\n\n**Interrupted**; not played: {', '.join(f'`{name}`' for name in unplayed)}."
    without = [row for row in rows if row["remedy"] or row["left"]]
    wrong = [row for row in rows if row["wrong"]]
    slowest = max(rows, key=lambda row: row["seconds"])
    verdict = (
        f"**{len(rows) - len(without)} of {len(rows)} came back by themselves; "
        f"{len(wrong) or 'none'} lost or doubled anything.** The slowest was proven again after "
        f"{slowest['seconds']:.0f} s ({slowest['does']}).{failed}"
    )
    return PAGE_TEXT.format(
        verdict=verdict,
        haste=HASTE,
        seed=figures["seed"],
        cores=machine["cores"],
        processor=machine["processor"],
        date=figures["date"][:16].replace("T", " "),
        server=figures["server"]["server_version"],
        load=machine["load_average_at_start"],
        rows="\n".join(_line(row) for row in rows),
    )


def _line(row: Mapping[str, Any]) -> str:
    back = "yes"
    if row["remedy"]:
        back = f"**no** ({row['remedy']}): start it again"
    if row["left"]:
        back = f"**no**, not even started again: {', '.join(row['left'])}"
    seconds = f"{row['seconds']:.0f} s"
    cells = (
        row["does"],
        back,
        seconds,
        "; ".join(row["wrong"]) or "nothing",
        "<br>".join(row["seen"]) or "nothing",
    )
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


def write(figures: Mapping[str, Any]) -> None:
    """Write the page where it stands."""
    PAGE.write_text(written(figures), encoding="utf-8")
