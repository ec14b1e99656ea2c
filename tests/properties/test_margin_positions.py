"""Margin positions: the record reaches what the exchange says in two looks, from wherever it starts."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from desks.fakes import START
from kraken_recon.ledger.entries import LedgerEntry
from kraken_recon.reconciliation.margin.rules import (
    Doubt,
    MarginEvidence,
    MarginPosition,
    MarginStatus,
    RecordedMargin,
    assess_margin,
)
from kraken_recon.values.intervals import RUN_INTERVAL

if TYPE_CHECKING:
    from collections.abc import Mapping

NAMES = ("TA", "TB", "TC")
ZERO = Decimal(0)

Record = dict[str, RecordedMargin]


def position(name: str, closed: int, fee: int) -> MarginPosition:
    return MarginPosition(
        name,
        "O",
        "XXBTZUSD",
        "buy",
        "limit",
        START,
        Decimal(3),
        Decimal(closed),
        Decimal(9),
        Decimal(fee),
        ZERO,
    )


@st.composite
def sides(draw: st.DrawFn) -> dict[str, MarginPosition]:
    names = draw(st.sets(st.sampled_from(NAMES)))
    return {name: position(name, draw(st.integers(0, 2)), draw(st.integers(1, 2))) for name in sorted(names)}


@st.composite
def records(draw: st.DrawFn) -> Record:
    rows = {}
    for name, told in draw(sides()).items():
        status = draw(st.sampled_from(MarginStatus))
        is_doubted = status is MarginStatus.UNCONFIRMED or (
            status is MarginStatus.OPEN and draw(st.booleans())
        )
        seen = (
            told
            if status is MarginStatus.UNCONFIRMED
            else draw(st.sampled_from((None, position(name, 2, 2))))
        )
        rows[name] = RecordedMargin(
            told, status, draw(st.integers(0, 3)), Doubt(seen, START) if is_doubted else None
        )
    return rows


@st.composite
def margin_entries(draw: st.DrawFn) -> list[tuple[int, LedgerEntry]]:
    refids = draw(st.lists(st.sampled_from((*NAMES, "TX", "TY")), max_size=4))
    kinds = st.sampled_from(("margin", "rollover", "settled", "collateralconversion"))
    amounts = st.sampled_from((ZERO, Decimal(5)))
    return [
        (seq, LedgerEntry(f"L{seq}", refid, START, draw(kinds), "", "USD", "spot", draw(amounts), ZERO, ZERO))
        for seq, refid in enumerate(refids, start=1)
    ]


def looked(evidence: MarginEvidence) -> Record:
    """Take over what a look found, as the rows would."""
    rows = dict(evidence.recorded)
    assessment = assess_margin(evidence, RUN_INTERVAL)
    for finding in assessment.findings:
        row, after = rows.get(finding.position_id), finding.after
        told = after or (row.position if row else None)
        assert told is not None
        if finding.is_applied:
            status = MarginStatus.OPEN if after else MarginStatus.CLOSED
            rows[finding.position_id] = RecordedMargin(told, status, 9)
        elif row is not None and row.status is MarginStatus.OPEN:
            rows[finding.position_id] = replace(row, doubt=Doubt(after, evidence.as_of))
        else:
            doubt = Doubt(told, evidence.as_of)
            rows[finding.position_id] = RecordedMargin(told, MarginStatus.UNCONFIRMED, 9, doubt)
    for name in assessment.settled:
        rows[name] = replace(rows[name], doubt=None)
    return rows


def believed(rows: Mapping[str, RecordedMargin]) -> dict[str, MarginPosition]:
    return {name: row.position for name, row in rows.items() if row.status is MarginStatus.OPEN}


@given(records(), sides(), margin_entries())
def test_two_looks_a_quarter_of_an_hour_apart_bring_the_record_to_the_exchange(
    recorded: Record, reported: dict[str, MarginPosition], entries: list[tuple[int, LedgerEntry]]
) -> None:
    first = MarginEvidence(recorded, reported, entries, START + timedelta(minutes=1))
    rows = looked(first)
    second = MarginEvidence(rows, reported, (), first.as_of + RUN_INTERVAL)
    rows = looked(second)
    assert believed(rows) == reported
    assert not any(row.doubt for row in rows.values())
    assert assess_margin(replace(second, recorded=rows), RUN_INTERVAL).findings == ()


@given(records(), sides(), margin_entries())
def test_nothing_depends_on_any_order(
    recorded: Record, reported: dict[str, MarginPosition], entries: list[tuple[int, LedgerEntry]]
) -> None:
    turned = dict(reversed(recorded.items())), dict(reversed(reported.items())), entries[::-1]
    for is_first in (False, True):
        evidence = MarginEvidence(recorded, reported, entries, START, is_first)
        backwards = MarginEvidence(*turned, START, is_first)
        assert assess_margin(evidence, RUN_INTERVAL) == assess_margin(backwards, RUN_INTERVAL)


@given(records(), sides(), margin_entries())
def test_an_open_position_is_never_changed_at_once_without_an_entry(
    recorded: Record, reported: dict[str, MarginPosition], entries: list[tuple[int, LedgerEntry]]
) -> None:
    undoubted = {
        name: replace(row, doubt=None) if row.status is MarginStatus.OPEN else row
        for name, row in recorded.items()
    }
    evidence = MarginEvidence(undoubted, reported, entries, START)
    for finding in assess_margin(evidence, RUN_INTERVAL).findings:
        assert finding.is_explained == bool(finding.ledger_ids)
        if finding.is_applied and finding.before is not None:
            assert finding.ledger_ids
