"""What the page says of schedules that were run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from benchmarks.races.figures import Bounds, HuntFigures, PairFigures

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchmarks.races.pairs import Pair

BOUNDS: Final = Bounds()
INTRODUCTION: Final = """\
<!-- Written by `python -m benchmarks races`. -->
# Race schedules

What comes of two sessions that meet in the middle of their work, whichever of them goes on at each step?
`make races` brings every pair below together: the product's own use cases, each on sessions of its own on a
real PostgreSQL. Before every statement, every commit and every call to the exchange both stand still, and
the explorer says who goes on. Who waits for a lock is said by the server. After each schedule the desk is
brought back to the same rows.

A schedule with *n* preemptions stops a session *n* times although it could go on. Those with fewer come
first, in an order of chance (`--seed {seed}`), as far as {schedules} schedules or {seconds:.0f} seconds of a
pair go; the table says what was left. Then come {samples} with {more}. Orders that cannot differ, because
the steps that are swapped touch different tables or only read, are left out (sleep sets); rows are not told
apart, so more is run than would be needed. What triggers write is not seen in a statement: theirs is only
added to, and read by nobody here.

After every schedule:

- *conservation*: each position is the sum of its events, the events of entries come to the entries, no
  entry moved a position twice, each event goes on where the last one ended, and what differs from the
  exchange is told of. A desk's row is what it was, what we wrote and what the bot booked.
- *one after the other*: positions, entries, events, costs, residuals, plans, alerts, decisions, writes to
  desks and how each run ended are what some order of the same work leaves where nobody meets anybody. Who
  of two came first with the same entry may be either; how far the ledger is proved lies between what these
  orders come to.
- *nothing foreign*: no error but the product's own, where such an order has it as well, and no deadlock.
"""

FIGURES: Final = """\
## What came of it

{total:,} schedules, {wrong} of them wrong. {date}, {processor}, {cores} cores, two pairs side by side; load
at the start {load:.1f}.

| {heads} |
|{lines}|
{rows}

*Steps* are of each of the two in the first schedule. *Orders* differ in the order of steps that depend on
each other; *states* are the beginnings of such orders. *No time for* counts known beginnings of schedules
that were not run. What they could do to each other:

{about}
{wrongs}
## Locks that are taken away

An explorer that finds nothing proves little unless it would have found something. So each kind of lock (and
the comparison's look at who is still writing) is taken out of its one statement, and nothing else
is changed; schedules with up to one preemption have to notice.

| one per | statement | pair | noticed after | by | what is wrong then |
|---|---|---|---|---|---|
{locks}
"""

REPLAYING: Final = """\
## One schedule again

A schedule has a code: `A12B3A4` lets the first session do twelve steps, then the second one three, and so
on. `python -m benchmarks races --pair sync-fill --schedule A12B3A4` runs it and prints every step;
`--without position` takes that lock away first. `python -m benchmarks races --pair sync-fill --seed {seed}`
makes one row of the table again.
"""
HEADS: Final = (
    "pair", "steps", "0, 1, 2 preemptions", "no time for", f"{BOUNDS.sampled_preemptions} preemptions",
    "orders", "states", "waits for a lock", "s", "wrong",
)  # fmt: skip


def page(
    pairs: Sequence[PairFigures],
    hunts: Sequence[HuntFigures],
    where: Mapping[str, object],
    seed: int,
    told: Mapping[str, Pair],
) -> str:
    """Write the page."""
    machine = where["machine"]
    assert isinstance(machine, dict)
    introduction = INTRODUCTION.format(
        seconds=BOUNDS.seconds_max,
        schedules=BOUNDS.schedules_max,
        seed=seed,
        samples=BOUNDS.samples,
        more=BOUNDS.sampled_preemptions,
    )
    figures = FIGURES.format(
        total=sum(of.schedules for of in pairs),
        wrong=sum(len(codes) for of in pairs for codes in of.wrongs.values()),
        date=where["date"],
        processor=machine["processor"],
        cores=machine["cores"],
        load=machine["load_average_at_start"],
        heads=" | ".join(HEADS),
        lines="|".join("---" for _ in HEADS),
        rows="\n".join(map(_row, pairs)),
        about="\n".join(f"- `{of.name}`: {told[of.name].about}" for of in pairs),
        wrongs=_wrongs(pairs),
        locks="\n".join(map(_lock_row, hunts)),
    )
    return f"{introduction}\n{figures}\n{REPLAYING.format(seed=seed)}"


def _row(of: PairFigures) -> str:
    counted = ", ".join(str(of.by_preemptions.get(n, 0)) for n in range(BOUNDS.preemptions + 1))
    steps, wrong = " + ".join(map(str, of.steps)), sum(map(len, of.wrongs.values()))
    cells = (
        f"`{of.name}`", steps, counted, of.left, of.sampled, of.orders, f"{of.states:,}", of.waits,
        f"{of.seconds:.0f}", wrong,
    )  # fmt: skip
    return f"| {' | '.join(map(str, cells))} |"


def _wrongs(pairs: Sequence[PairFigures]) -> str:
    told = [
        f"- `{of.name}`, {len(codes)} schedules such as `{codes[0]}`: {wrong}"
        for of in pairs
        for wrong, codes in of.wrongs.items()
    ]
    return "\n" + "\n".join(told) + "\n" if told else ""


def _lock_row(of: HuntFigures) -> str:
    noticed = (
        (f"{of.schedules} schedules", f"`{of.code}`", _short(of.wrong)) if of.code else ("**never**", "", "")
    )
    return f"| {' | '.join((of.per, f'`{of.statement}`', f'`{of.pair}`', *noticed))} |"


def _short(wrong: str) -> str:
    told = wrong.partition(": {")[0].partition(": [")[0]
    return told[:160].replace("|", "/")
