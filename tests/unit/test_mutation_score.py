"""The mutation score measures what it says: sound ledgers, real damages, and a page that is in step."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from benchmarks.mutations.mutations import KINDS, Mutant, leaves_no_trace, mutants
from benchmarks.mutations.score import (
    PAGE,
    SCENARIOS,
    built_in_part,
    judge,
    recorded_part,
    score,
    write_built_in,
    write_recorded,
)
from benchmarks.mutations.sound_ledgers import SoundLedger, generated

from kraken_recon.reconciliation import ledger_pages
from kraken_recon.values.money import ZERO

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def ledger() -> SoundLedger:
    return generated(7, 60)


def test_generated_ledger_is_sound_crowded_and_always_the_same(ledger: SoundLedger) -> None:
    assert ledger == generated(7, 60)
    assert ledger != generated(8, 60)
    for key, chain in ledger.chains.items():
        assert chain[0].balance_before == ledger.openings.get(key, ZERO)
        assert all(a.balance == b.balance_before and a.entry_time <= b.entry_time for a, b in pairwise(chain))
    instants = [(e.key, e.entry_time) for e in ledger.entries]
    assert len(set(instants)) < len(instants)
    assert len({e.wallet for e in ledger.entries}) > 2
    assert len({e.ledger_id for e in ledger.entries}) == len(ledger.entries)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_damages_every_row_and_nothing_else(ledger: SoundLedger, kind: str) -> None:
    made = list(mutants(ledger, kind))
    swaps = "swapped" in kind
    assert len(made) == len(ledger.entries) - (len(ledger.chains) if swaps else 0)
    for mutant in filter(None, made):
        differing = set(mutant.entries) ^ set(ledger.entries)
        assert differing
        assert {entry.ledger_id for entry in differing} <= mutant.places
        assert {entry.key for entry in differing} == set(mutant.holdings)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_sound_ledger_is_not_refused(ledger: SoundLedger, scenario: str) -> None:
    assert not judge(ledger, ledger.entries, scenario).noticed


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("kind", KINDS)
def test_reconciler_notices_every_damage_that_leaves_a_trace(
    ledger: SoundLedger, kind: str, scenario: str
) -> None:
    counts = score(ledger, kind, scenario)
    assert counts["detectable"] > 20
    assert counts["detected"] == counts["localised"] == counts["detectable"]
    assert not counts["false alarms"]


def test_score_falls_when_the_chain_is_not_checked(
    ledger: SoundLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_pages, "gaps_of", lambda _entries, _before: [])
    altered = score(ledger, "last digit of the balance altered", "open")
    assert altered["detected"] < altered["detectable"] / 2
    # What changes a holding's sum still shows as a residual of that holding.
    deleted = score(ledger, "row deleted", "open")
    assert deleted["detected"] == deleted["localised"] == deleted["detectable"]


def test_pointing_at_the_wrong_place_is_not_counted(ledger: SoundLedger) -> None:
    mutant = next(m for m in mutants(ledger, "last digit of the amount altered") if m)
    verdict = judge(ledger, mutant.entries, "open")
    far = [e.ledger_id for e in ledger.entries if e.ledger_id not in mutant.places][-2:]
    assert verdict.points_at(mutant)
    assert not replace(verdict, message=f"between entry {far[0]} and entry {far[1]}").points_at(mutant)


def test_trace_is_judged_by_every_order_of_an_instant(ledger: SoundLedger) -> None:
    key, chain = next((k, c) for k, c in ledger.chains.items() if len(c) > 3)
    renamed = tuple(replace(e, refid="other") if e is chain[1] else e for e in ledger.entries)
    altered = tuple(replace(e, fee=e.fee + 1) if e is chain[1] else e for e in ledger.entries)
    without_oldest = tuple(e for e in ledger.entries if e is not chain[0])
    for entries, known, expected in (
        (renamed, True, True),
        (altered, True, False),
        (altered, False, False),
        (without_oldest, True, False),
        (without_oldest, False, True),
    ):
        mutant = Mutant("test", entries, frozenset(), frozenset({key}))
        assert leaves_no_trace(ledger, mutant, openings_are_known=known) == expected


def test_page_is_in_step_with_the_built_in_ledgers() -> None:
    assert built_in_part(PAGE.read_text()) == write_built_in(), (
        "run `make mutation-score` and look at the diff"
    )


def test_page_is_in_step_with_the_recorded_accounts(kraken_data_dir: Path) -> None:
    assert recorded_part(PAGE.read_text()) == write_recorded(kraken_data_dir), "run `make mutation-score`"
