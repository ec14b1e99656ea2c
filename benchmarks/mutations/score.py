"""How many damages of a ledger the product notices, and whether it points at the right place.

Every row of good ledgers is damaged, one at a time, in every way of ``mutations``. The exchange
then shows the damaged ledger beside the true balances, and the product reads and judges it as in a sync.
"""

from __future__ import annotations

import argparse
import os
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.figures import ROOT
from benchmarks.mutations.mutations import KINDS, Mutant, leaves_no_trace, mutants
from benchmarks.mutations.sound_ledgers import SoundLedger, generated, recorded
from kraken_recon.accounts.account import Account
from kraken_recon.books.events import RecordedPosition
from kraken_recon.errors import PayloadInvalidError
from kraken_recon.ledger.chain import by_holding
from kraken_recon.ledger.entries import Balance, LedgerPage
from kraken_recon.reconciliation.ledger_pages import PAGE_LENGTH, KnownBooks
from kraken_recon.reconciliation.reading import (
    LedgerReader,
    StillMovingError,
    read_coherently,
)
from kraken_recon.reconciliation.rules.assess import assess
from kraken_recon.reconciliation.rules.evidence import Evidence
from kraken_recon.reconciliation.rules.families import missing_holdings
from kraken_recon.reconciliation.rules.policy import Policy
from kraken_recon.reconciliation.rules.run import AccountState
from kraken_recon.values.money import ZERO

INTRODUCTION: Final = """\
<!-- Written by `python -m benchmarks mutation-score`; a test compares it with what that says. -->
# Mutation score of the reconciler

How many damages of an account's ledger does the reconciler notice, and does it point at the right place?
Every row of good ledgers is damaged, one row at a time, in every way below. The exchange then shows the
damaged ledger beside the true balances, and the product's own code reads it, chains it and judges it as in a
sync. `make mutation-score` measures again and writes this page.

- *No change*: the damage changes nothing, such as turning the sign of zero, or swapping two equal times.
- *No trace*: the damaged books are as consistent as sound ones. That is decided by trying every order of
  every instant, without the product's chain logic; the product refused none of them by mistake.
- *Detected*: the run fails, or shows a residual. The score is *detected* out of *detectable*.
- *Pointed at*: the error names the damaged row or a direct neighbour in its chain, or the residual is one of
  a holding that the damage touches. *Places* says how many gaps and residuals are named per damage: a product
  that names every row points nowhere. One altered row breaks the chain before and after itself, two swapped
  rows before, between and after.

The ledgers: {ledgers}.
"""

EXPLANATION: Final = """\
## What leaves no trace, and what is not pointed at

- **A row that moves nothing** (no amount, no fee: Kraken writes them for margin positions) may be left out or
  shown twice: no balance tells. No position is wrong by it either.
- **The oldest rows of a holding at a first reading.** What was there before them is known from these rows
  alone. Where one is left out, altered or shown twice so that the rest still connects, the account opens on
  another quantity, and its opening is recorded as *derived*. Its positions are right all the same, because
  the end of the chain was compared with the balance. Once an account is open this cannot happen any more.
- **Rows that lead back to where they began** have no order of their own within an instant. Where one of them
  is shown twice, instants may change roles and the gap is named further on, between two rows that are true:
  the damaged books fit both stories, and nothing in them says which one is meant.
- **What no balance carries** is not damaged here, because no chain can show it: ids, references, types, and
  times that stay between those of the neighbours. In entries that are recorded already, a changed one of
  these is refused when the entry is read again.
- **Damages that cancel out** are not tried: every damage here is one row, or two neighbours.
"""

RECORDED: Final = """\
The same on recordings of accounts that are not part of the repository:
{ledgers}.
"""

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from decimal import Decimal

    from kraken_recon.ledger.entries import HoldingKey, LedgerEntry
    from kraken_recon.ledger.transfers import Transfer
    from kraken_recon.reconciliation.margin.rules import MarginPosition
    from kraken_recon.reconciliation.reading import Reading

PAGE: Final = ROOT / "docs" / "reference" / "mutation-score.md"
RECORDINGS_VARIABLE: Final = "KRAKEN_DATA_DIR"
RECORDED_HEADING: Final = "## On recorded accounts"
#: Several accounts rather than one large one: every damage costs a reading of the whole account.
SEEDS: Final = (1, 2, 3, 4, 5)
ENTRIES_MIN: Final = 104
ACCOUNT: Final = Account(1, "desk", "desk", "USD")
SCENARIOS: Final = {
    "open": "an account whose history is on record from its opening on",
    "first": "an account that is read for the first time",
}


@dataclass
class DamagedExchange:
    """Satisfies the ``Exchange`` port: true balances beside a ledger that was tampered with."""

    entries: Sequence[LedgerEntry]
    true_balances: Mapping[HoldingKey, Balance]
    calls: int = 0

    def __post_init__(self) -> None:
        self._newest_first = sorted(self.entries, key=lambda entry: entry.entry_time)[::-1]

    def check_key(self) -> None:
        """Accept any key."""

    def balances(self) -> Mapping[HoldingKey, Balance]:
        """Answer ``BalanceEx``."""
        return self.true_balances

    def ledger_page(self, *, after: datetime | None, until: str | None, offset: int) -> LedgerPage:
        """Answer ``Ledgers``: newest first, ``after`` exclusive, ``until`` inclusive."""
        rows = self._newest_first
        if until is not None:
            newest = next(entry for entry in rows if entry.ledger_id == until)
            rows = [entry for entry in rows if entry.entry_time <= newest.entry_time]
        if after is not None:
            rows = [entry for entry in rows if entry.entry_time > after]
        return LedgerPage(tuple(rows[offset : offset + PAGE_LENGTH]), len(rows))

    def tokenized_ledger_page(self, *, after: datetime | None, until: str | None, offset: int) -> LedgerPage:
        """Know no tokenized assets."""
        del after, until, offset
        return LedgerPage((), 0)

    def transfers(self) -> tuple[Transfer, ...]:
        """Know nothing that is under way."""
        return ()

    def open_positions(self) -> Mapping[str, MarginPosition]:
        """Know no margin."""
        return {}

    def prices(self, quote: str) -> Mapping[str, Decimal]:
        """Know no prices."""
        del quote
        return {}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the product said of one ledger: whether it noticed anything, and which places it named."""

    noticed: bool
    message: str = ""
    residuals: frozenset[HoldingKey] = frozenset()

    @property
    def places(self) -> int:
        """How many gaps and residuals it named: pointing everywhere is not pointing."""
        return self.message.count("is not accounted for") + len(self.residuals)

    def points_at(self, mutant: Mutant) -> bool:
        """Say whether it named the damaged row, a direct neighbour, or the residual of a touched holding."""
        return bool(self.residuals & mutant.holdings) or any(name in self.message for name in mutant.places)


def judge(ledger: SoundLedger, entries: Sequence[LedgerEntry], scenario: str) -> Verdict:
    """Let the product read and judge these entries beside the true balances of ``ledger``.

    Args:
        ledger: the truth.
        entries: what the exchange shows of it.
        scenario: ``open``: the account's openings are on record; ``first``: it was never read before.
    """
    balances = {key: Balance(amount, ZERO, ZERO, ZERO) for key, amount in ledger.balances.items()}
    now = max(entry.entry_time for entry in ledger.entries) + timedelta(days=1)
    state = AccountState(ACCOUNT, scenario == "open", None, None)
    reader = LedgerReader(
        DamagedExchange(entries, balances),
        state,
        lambda _: KnownBooks((), ledger.openings),
        lambda _: None,
        lambda: now,
    )
    try:
        reading = read_coherently(reader, balances, lambda: now)
    except (PayloadInvalidError, StillMovingError) as error:
        return Verdict(noticed=True, message=str(error))
    return _residuals(ledger, reading)


def _residuals(ledger: SoundLedger, reading: Reading) -> Verdict:
    openings = reading.opening.quantities if reading.opening else ledger.openings
    keys = {*reading.balances, *by_holding(reading.entries)}
    opened = {key: openings.get(key, ZERO) for key in keys}
    evidence = Evidence(
        recorded={key: RecordedPosition(amount, amount, amount) for key, amount in opened.items()},
        ingested=reading.chained,
        balances=reading.balances,
        coherent=reading.coherent,
        as_of=reading.as_of,
        observations={},
        all_positions=len(keys),
    )
    missing = missing_holdings(evidence)
    residuals = frozenset(f.key for f in assess(evidence, Policy()).findings if f.residual)
    return Verdict(bool(missing or residuals), residuals=residuals)


def score(ledger: SoundLedger, kind: str, scenario: str) -> Counter[str]:
    """Damage every row of a ledger in one way and count what became of it."""
    counts: Counter[str] = Counter()
    for mutant in mutants(ledger, kind):
        if mutant is None:
            counts["unchanged"] += 1
            continue
        verdict = judge(ledger, mutant.entries, scenario)
        if leaves_no_trace(ledger, mutant, openings_are_known=scenario == "open"):
            counts["without trace"] += 1
            counts["false alarms"] += verdict.noticed
        else:
            counts["detectable"] += 1
            counts["detected"] += verdict.noticed
            counts["localised"] += verdict.noticed and verdict.points_at(mutant)
            counts["places"] += verdict.places
    return counts


def measure(ledgers: Sequence[SoundLedger]) -> dict[tuple[str, str], Counter[str]]:
    """Score every scenario and kind over these ledgers, on every processor."""
    tasks = [(ledger, kind, scenario) for ledger in ledgers for scenario in SCENARIOS for kind in KINDS]
    totals: dict[tuple[str, str], Counter[str]] = {(s, k): Counter() for s in SCENARIOS for k in KINDS}
    # Forking would copy whatever threads and connections the caller has.
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
        for (_, kind, scenario), counts in zip(
            tasks, pool.map(score, *zip(*tasks, strict=True)), strict=True
        ):
            totals[scenario, kind].update(counts)
    return totals


def built_in_ledgers() -> list[SoundLedger]:
    """Write the ledgers that the page is about."""
    return [generated(seed, ENTRIES_MIN) for seed in SEEDS]


# --- the page ---------------------------------------------------------------------------------------------

COLUMNS: Final = (
    "rows damaged",
    "no change",
    "no trace",
    "detectable",
    "detected",
    "pointed at",
    "score",
    "places",
)


def _line(kind: str, counts: Counter[str]) -> list[str]:
    changed = counts["detectable"] + counts["without trace"]
    share = f"{100 * counts['detected'] / counts['detectable']:.1f} %" if counts["detectable"] else "-"
    places = f"{counts['places'] / counts['detected']:.1f}" if counts["detected"] else "-"
    figures = (
        changed + counts["unchanged"],
        *(counts[name] for name in ("unchanged", "without trace", "detectable", "detected", "localised")),
    )
    return [kind, *map(str, figures), share, places]


def tables(ledgers: Sequence[SoundLedger]) -> str:
    """Measure, and write one table per scenario.

    Raises:
        AssertionError: the product refuses a sound ledger, or a damage that left no trace.
    """
    for ledger in ledgers:
        for scenario in SCENARIOS:
            verdict = judge(ledger, ledger.entries, scenario)
            assert not verdict.noticed, f"{ledger.name} is sound, but was refused: {verdict}"
    totals = measure(ledgers)
    parts = []
    for scenario, words in SCENARIOS.items():
        lines = [_line(kind, totals[scenario, kind]) for kind in KINDS]
        everything = sum((totals[scenario, kind] for kind in KINDS), Counter[str]())
        assert not everything["false alarms"], f"{everything['false alarms']} sound ledgers were refused"
        parts.append(
            "\n".join(
                (
                    f"{words[0].upper()}{words[1:]}:\n",
                    f"| damage | {' | '.join(COLUMNS)} |",
                    f"|---|{'--:|' * len(COLUMNS)}",
                    *(f"| {' | '.join(line)} |" for line in (*lines, _line("**all**", everything))),
                )
            )
        )
    return "\n\n".join(parts) + "\n"


def _described(ledgers: Sequence[SoundLedger]) -> str:
    entries = [entry for ledger in ledgers for entry in ledger.entries]
    instants = Counter((ledger.name, e.key, e.entry_time) for ledger in ledgers for e in ledger.entries)
    crowded = sum(count for count in instants.values() if count > 1)
    return (
        f"{len(ledgers)} accounts, {len(entries)} entries, {len({e.asset for e in entries})} assets, "
        f"{sum(len(ledger.chains) for ledger in ledgers)} holdings, wallets "
        f"{', '.join(sorted({e.wallet for e in entries}))};\n"
        f"{crowded} entries share their instant with another of the same holding"
    )


def built_in_part(page: str) -> str:
    """Cut off what a page says of recorded accounts."""
    return page.partition(RECORDED_HEADING)[0]


def recorded_part(page: str) -> str:
    """Cut out what a page says of recorded accounts; empty where it says nothing."""
    return "".join(page.partition(RECORDED_HEADING)[1:])


def write_built_in() -> str:
    """Measure the built-in ledgers and write the page up to the recorded accounts."""
    ledgers = built_in_ledgers()
    return (
        INTRODUCTION.format(ledgers=_described(ledgers)) + "\n" + tables(ledgers) + "\n" + EXPLANATION + "\n"
    )


def write_recorded(directory: Path) -> str:
    """Measure the recorded accounts and write their part of the page."""
    ledgers = recorded(directory)
    return f"{RECORDED_HEADING}\n\n{RECORDED.format(ledgers=_described(ledgers))}\n{tables(ledgers)}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and write the page; the recorded part is kept as it is where there are no recordings."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks mutation-score", description=__doc__)
    parser.add_argument("--seed", type=int, help="measure one generated ledger instead, and write no page")
    parser.add_argument("--entries", type=int, default=ENTRIES_MIN, help="at least so many, with --seed")
    options = parser.parse_args(arguments)
    if options.seed is not None:
        ledger = generated(options.seed, options.entries)
        print(f"{_described([ledger])}\n\n{tables([ledger])}")
        return
    directory = os.environ.get(RECORDINGS_VARIABLE)
    known = PAGE.read_text(encoding="utf-8") if PAGE.exists() else ""
    page = write_built_in() + (write_recorded(Path(directory)) if directory else recorded_part(known))
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(page, encoding="utf-8")
    print(page)
