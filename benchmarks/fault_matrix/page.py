"""The page about the matrix: a table for each class of faults, then all that is not as it must be."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from benchmarks.fault_matrix.jobs import JOBS
from benchmarks.figures import ROOT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchmarks.fault_matrix.cells import Outcome

PAGE: Final = ROOT / "docs" / "reference" / "fault-matrix.md"
INTRODUCTION: Final = """\
<!-- Written by `python -m benchmarks fault-matrix`. -->
# Fault matrix

Every [fault of the simulated Kraken](simulator-faults.md), and what may be wrong outside of it, at every job.
In each cell an account lives beside a healthy neighbour; its job meets the fault in {runs} runs, then the
fault is taken back and the job runs on. Afterwards all is compared with the truth that only the simulator
knows: positions of both accounts, their events, every ledger entry, every order, every verdict, a bot's rows.

{figures}

| a cell says | which means |
|---|---|
| - | the job never meets this fault |
| ok | what was recorded was true all the time, and nobody was bothered |
| told | people were told (the last column: by what), nothing false was recorded; good again after one run |
| told, N | good again after N runs |
| held, N | what Kraken said was false, was recorded and told; it was put right by itself after N runs |
| by hand | told until a person decided by the command that the failing run names |
| believed | its contract rules out what the exchange said; [why it is believed](#what-is-believed) |
| 5 told, 2 ok | of all ways to alter a field (dropped, null, of another type, ...) |
| **defect** | see below the tables |

A run is repeated by `python -m benchmarks fault-matrix --seed {seed}`, a row or a cell of it by
`--only 'FAULT'` or `--only 'FAULT/JOB'`, such as `--only 'hang seconds=1.5/position_sync'`.
"""


def render(outcomes: Sequence[Outcome], around: Mapping[str, Any], seconds: float, seed: int) -> str:
    """Write the page."""
    machine = around["machine"]
    met = [one for one in outcomes if one.struck]
    broken = [one for one in outcomes if one.defects]
    figures = (
        f"{len(outcomes)} cells, {len(met)} of which met their fault, in {seconds:.0f} s on"
        f" {machine['cores']} cores"
        f" ({machine['processor']}), {around['date'][:10]}; **{len(broken)} with defects**."
    )
    parts = [INTRODUCTION.format(runs="two", figures=figures, seed=seed)]
    groups: dict[str, list[Outcome]] = {}
    for one in outcomes:
        groups.setdefault(one.cell.fault.group, []).append(one)
    parts += [f"## {group}\n\n{table(rows)}" for group, rows in groups.items()]
    lies: dict[str, list[str]] = {}
    for one in outcomes:
        if one.cell.fault.lie and (one.wrong or one.untold):
            lies.setdefault(one.cell.fault.lie, []).append(f"`{one.cell.name}`")
    believed = "".join(f"- {why.strip('.')}: {', '.join(names)}\n" for why, names in lies.items())
    parts.append(f"## What is believed\n\n{believed or 'Nothing of it was seen.'}\n")
    parts.append("## Defects\n\n" + ("\n".join(map(defect_lines, broken)) or "None.\n"))
    return "\n".join(parts)


def table(outcomes: Sequence[Outcome]) -> str:
    """Write one class of faults, a line for each; all ways to alter a field are one line."""
    lines = [f"| fault | {' | '.join(JOBS)} | told by |", f"|---|{'---|' * len(JOBS)}---|"]
    rows: dict[str, list[Outcome]] = {}
    for one in outcomes:
        rows.setdefault(one.cell.fault.row, []).append(one)
    for name, row in rows.items():
        told = sorted({word for one in row for word in one.told if one.struck})
        cells = [summed([one for one in row if one.cell.job == job]) for job in JOBS]
        lines.append(f"| {name} | {' | '.join(cells)} | {', '.join(told)} |")
    return "\n".join(lines) + "\n"


def summed(outcomes: Sequence[Outcome]) -> str:
    """Say in a word what became of a cell; of several ways to alter a field, how often which word."""
    words = [shown(one) for one in outcomes]
    if len(words) == 1:
        return words[0]
    counts = Counter(word.partition(",")[0] for word in words if word != "-")
    return ", ".join(f"{count} {word}" for word, count in counts.most_common()) or "-"


def shown(outcome: Outcome) -> str:
    """Say in a word what became of a cell."""
    if outcome.defects:
        return "**defect**"
    if not outcome.struck:
        return "-"
    if outcome.by_hand:
        return "by hand"
    after = f", {outcome.recovered_after}" if (outcome.recovered_after or 0) > 1 else ""
    if outcome.wrong or outcome.untold:
        return f"believed{after}"
    if outcome.harmed:
        return f"held{after}"
    return f"told{after}" if outcome.told else f"ok{after}"


def defect_lines(outcome: Outcome) -> str:
    """Write what is not as it must be in one cell."""
    return f"- `{outcome.cell.name}`\n" + "".join(f"  - {defect[:300]}\n" for defect in outcome.defects)
