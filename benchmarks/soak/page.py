"""The soak's plots and its page."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes

MIB: Final = 2**20
TABLES_SHOWN: Final = 8
COLOUR: Final = "#4c78a8"
PANELS: Final = (
    ("oldest proof, rounds", "oldest_proof_rounds", 1),
    ("connections, most in a round", "connections", 1),
    ("largest worker, MiB", "memory_bytes", MIB),
    ("log of a round, KiB", "log_bytes", 1024),
)
HEAD: Final = """\
<!-- Written by `python -m benchmarks soak`. -->
# The soak

{days} virtual days of a desk, in {rounds} rounds that stand for {hours:g} hours each: things happen at the
exchange, in the books and at a bot with tables of its own, orders are decided, every DAG runs. In two of
five rounds the exchange fails in one of eleven ways; one run in ten is told to end in the middle of its
work, one in thirty is killed with its worker. A worker goes on until one of those ends it, so that what a
run forgets stays and is counted. `make soak` repeats it and writes this page; `--seed {seed}` draws the
same faults and kills.

Taken {date} on {cores} cores of {processor}, {seconds} s, load average {load:.1f} at the start.

## After each day, at rest

The exchange answers again, everything has run once more, and all is compared with what the exchange itself
knows.

"""
MEANINGS: Final = """
*Silent* is an account that is called proven although an asset differs from the exchange. *Told* is one that
is not called proven; a demo has accounts that never are: a key that is wrong, and bitcoins that vanish
without an entry. *Doubled* and *lost* are orders by their client id; *invented* are ledger entries that the
exchange never wrote. *Desk* counts
symbols of the bot's own tables that are not what is proven after write-back: without a row that says so, or
held for somebody, because the bot made the same mistake again and a write did not last.
"""
COLUMNS: Final = (
    ("sessions left", "connections_left"),
    ("silent", "silent"),
    ("told", "told"),
    ("doubled", "orders_doubled"),
    ("lost", "orders_lost"),
    ("invented", "entries_invented"),
    ("desk: silent", "desk_silent"),
    ("desk: told", "desk_told"),
)
PLOT: Final = """
## What grows

![Age of proof, connections, memory, tables and log over the soak](../images/soak.png)

Connections seen by the audit itself, from inside and outside:

![Connections during the soak: they return to what they were](../images/soak-sessions.png)
"""

ENDS: Final = """
`position_sync` ends red by design: one of its accounts has a wrong key, the others are reconciled.
`repair_approval` looks for a plan that is gone, because nobody is there to answer. *Stopped* was told to end,
*SIGKILL* was killed with its worker.
"""


def write(result: Mapping[str, Any], page: Path) -> None:
    """Write the page."""
    taken, days = result["taken"], result["days"]
    machine = taken["machine"]
    head = HEAD.format(
        days=len(days),
        rounds=len(result["rounds"]),
        hours=24 / result["rounds_per_day"],
        seed=result["seed"],
        date=taken["date"][:10],
        cores=machine["cores"],
        processor=machine["processor"],
        seconds=f"{result['seconds']:,}",
        load=machine["load_average_at_start"],
    )
    by_day = _table(
        ("day", "orders", "entries", *(name for name, _ in COLUMNS)),
        [(day["day"], day["orders"], day["entries"], *(len(day[key]) for _, key in COLUMNS)) for day in days],
    )
    parts = (head, by_day, MEANINGS, PLOT, _growth(result), _runs(result["runs"]))
    page.write_text("".join(parts), encoding="utf-8")


def _growth(result: Mapping[str, Any]) -> str:
    rounds, days = result["rounds"], result["days"]
    half = len(rounds) // 2
    hours = 24 / result["rounds_per_day"]
    ages = sorted(one["oldest_proof_rounds"] * hours for one in rounds)
    rows = [
        ("oldest proof of an account that can be proved, hours", f"{_middle(ages):g}", f"{ages[-1]:g}"),
        *(
            (f"{words}, {moment} half", f"{_middle(values):,.1f}", f"{max(values):,.1f}")
            for words, key, unit in (
                ("largest worker, MiB", "memory_bytes", MIB),
                ("log of a round, KiB", "log_bytes", 1024),
            )
            for moment, part in (("first", rounds[:half] or rounds), ("second", rounds[half:]))
            for values in [[one[key] / unit for one in part]]
        ),
        ("connections during a round or at its end", "", max(one["connections"] for one in rounds)),
    ]
    sizes = _largest_tables(days)
    tables = [
        (f"`{name}`", *(f"{size / MIB:.2f}" for size in (values[0], values[-1]))) for name, values in sizes
    ]
    return (
        "\n"
        + _table(("", "median", "most"), rows)
        + "\nThe largest tables, indexes included, in MiB:\n\n"
        + _table(("table", "after the first day", "after the last"), tables)
    )


def _runs(runs: Mapping[str, int]) -> str:
    counted: dict[str, dict[str, int]] = defaultdict(dict)
    for key, count in runs.items():
        dag_id, _, end = key.partition(": ")
        counted[dag_id][end] = count
    ends = sorted({end for found in counted.values() for end in found})
    rows = [(f"`{dag_id}`", *(found.get(end, 0) for end in ends)) for dag_id, found in counted.items()]
    return "\n## How runs ended\n\n" + _table(("DAG", *ends), rows) + ENDS


def draw(result: Mapping[str, Any], plot: Path) -> None:
    """Draw what grows, and what must not."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - slow to import

    rounds, days = result["rounds"], result["days"]
    numbers = [one["number"] / result["rounds_per_day"] for one in rounds]
    figure = Figure(figsize=(10, 12), layout="constrained")
    axes: Sequence[Axes] = figure.subplots(len(PANELS) + 1, sharex=True)
    for panel, (title, key, unit) in zip(axes, PANELS, strict=False):
        panel.plot(numbers, [one[key] / unit for one in rounds], color=COLOUR, drawstyle="steps-post")
        panel.set_title(title)
        panel.set_ylim(bottom=0)
    last = axes[-1]
    for name, sizes in _largest_tables(days):
        last.plot([day["day"] for day in days], [size / MIB for size in sizes], label=name, marker=".")
    last.set_title("largest tables, MiB")
    last.set_ylim(bottom=0)
    last.legend(loc="upper left", fontsize="small")
    last.set_xlabel("virtual days")
    figure.savefig(plot, format="png", dpi=90)


def _largest_tables(days: Sequence[Mapping[str, Any]]) -> list[tuple[str, list[int]]]:
    last = days[-1]["table_bytes"]
    names = sorted(last, key=last.__getitem__, reverse=True)[:TABLES_SHOWN]
    return [(name, [day["table_bytes"].get(name, 0) for day in days]) for name in names]


def _middle(values: Sequence[float]) -> float:
    return sorted(values)[len(values) // 2]


def _table(head: Sequence[object], rows: Sequence[Sequence[object]]) -> str:
    lines = [head, ["---", *["--:"] * (len(head) - 1)], *rows]
    return "".join(f"| {' | '.join(map(str, line))} |\n" for line in lines)
