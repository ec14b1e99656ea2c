"""Open margin positions: what Kraken says of them against what is on record, and why they differ.

A margin position is no holding: it moves no balance until it is closed or settled. But every change of one
leaves rows in the ledger, so the ledger explains it: an opening and a rollover under the id of the position,
a closing or settlement under the id of the trade that closed it.

Invariants:
1. What has a row in the ledger is taken over at once; what has none must stay the same over two looks, at
   least the confirmation age apart, and is then taken over with an alert.
2. A finding that changes nothing on record (a first doubt) is told once, not at every look.
3. Nothing depends on the order of positions or entries.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from kraken_recon.ledger.entry_kinds import CLOSING_TYPES
from kraken_recon.values.money import EXACT, ZERO

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from datetime import datetime, timedelta
    from decimal import Decimal
    from uuid import UUID

    from kraken_recon.ledger.entries import LedgerEntry


class MarginAction(StrEnum):
    """What a look at the open positions found, and did (in a dry run: would do)."""

    OPENING = "opening"
    OPENED = "opened"
    CHANGED = "changed"
    CLOSED = "closed"
    AWAITING_CONFIRMATION = "awaiting_confirmation"


class MarginStatus(StrEnum):
    """Where a position on record stands; an unconfirmed one was seen once, without a ledger entry."""

    OPEN = "open"
    UNCONFIRMED = "unconfirmed"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class MarginPosition:
    """One open position as Kraken tells it; named by the trade that opened it.

    Volumes are in the base asset, money in the quote currency of ``pair`` (Kraken's own name of the market).
    ``terms``, ``rollover_at``, ``value`` and ``net`` change by themselves and are kept only as last seen.
    """

    position_id: str
    order_id: str
    pair: str
    side: str
    order_type: str
    opened_at: datetime
    volume: Decimal
    volume_closed: Decimal
    cost: Decimal
    fee: Decimal
    margin: Decimal
    terms: str = field(default="", compare=False)
    rollover_at: datetime | None = field(default=None, compare=False)
    value: Decimal | None = field(default=None, compare=False)
    net: Decimal | None = field(default=None, compare=False)

    @property
    def volume_left(self) -> Decimal:
        """What is still open, in the base asset."""
        return EXACT.subtract(self.volume, self.volume_closed)


class MarginState(NamedTuple):
    """When an account was last asked for its positions, and how many it has on record as not closed."""

    checked_at: datetime | None
    on_record: int


@dataclass(frozen=True, slots=True)
class Doubt:
    """A difference without a ledger entry: what Kraken said instead (None: nothing), and since when."""

    reported: MarginPosition | None
    since: datetime


@dataclass(frozen=True, slots=True)
class RecordedMargin:
    """A position on record, and what is doubted of it.

    ``ledger_seq`` is the place in our own ingested sequence up to which entries were on record when it came
    to stand like this: only later ones can explain that it no longer does.
    """

    position: MarginPosition
    status: MarginStatus
    ledger_seq: int
    doubt: Doubt | None = None


@dataclass(frozen=True, slots=True)
class MarginFinding:
    """One position that differed: from what, to what, and the entries that say why."""

    position_id: str
    action: MarginAction
    before: MarginPosition | None
    after: MarginPosition | None
    ledger_ids: tuple[str, ...] = ()
    is_explained: bool = True

    @property
    def is_applied(self) -> bool:
        """Say whether the record is changed by it (in a dry run: would be)."""
        return self.action is not MarginAction.AWAITING_CONFIRMATION


@dataclass(frozen=True, slots=True)
class MarginLook:
    """One account's answer to the question for its open positions, in one run."""

    account_id: int
    run_id: UUID
    as_of: datetime
    reported: Mapping[str, MarginPosition]
    is_first: bool


@dataclass(frozen=True, slots=True)
class MarginChange:
    """What a position's row becomes by a look."""

    look: MarginLook
    row: RecordedMargin


@dataclass(frozen=True, slots=True)
class MarginEvidence:
    """Everything that one account's positions are judged on.

    ``entries`` are its entries of ``MARGIN_TYPES`` that have explained nothing yet, in any order, each with
    its place in our ingested sequence; ``is_first_look`` says that the account was never asked before.
    """

    recorded: Mapping[str, RecordedMargin]
    reported: Mapping[str, MarginPosition]
    entries: Sequence[tuple[int, LedgerEntry]]
    as_of: datetime
    is_first_look: bool = False


@dataclass(frozen=True, slots=True)
class MarginAssessment:
    """What differed, and which doubts are gone because both sides agree again."""

    findings: tuple[MarginFinding, ...]
    settled: tuple[str, ...]


def assess_margin(evidence: MarginEvidence, confirmation_age: timedelta) -> MarginAssessment:
    """Judge every position that is on record as not closed, or reported."""
    findings, settled = [], []
    on_record = {key for key, row in evidence.recorded.items() if row.status is not MarginStatus.CLOSED}
    for position_id in sorted(on_record | set(evidence.reported)):
        row = evidence.recorded.get(position_id)
        reported = evidence.reported.get(position_id)
        if row is not None and row.status is MarginStatus.OPEN and row.position == reported:
            settled += [position_id] * (row.doubt is not None)
            continue
        finding = _judge(evidence, position_id, row, confirmation_age)
        if finding is not None:
            findings.append(finding)
    return MarginAssessment(tuple(findings), tuple(settled))


def _judge(
    evidence: MarginEvidence, position_id: str, row: RecordedMargin | None, confirmation_age: timedelta
) -> MarginFinding | None:
    """Explain a difference from the ledger, or wait until it has stayed."""
    reported = evidence.reported.get(position_id)
    is_open = row is not None and row.status is MarginStatus.OPEN
    before = row.position if row is not None and is_open else None
    action = _action(is_open=is_open, is_reported=reported is not None, is_first=evidence.is_first_look)
    explaining = _explaining(evidence, position_id, row)
    if explaining or action is MarginAction.OPENING:
        return MarginFinding(position_id, action, before, reported, explaining)
    if row is not None and row.status is MarginStatus.UNCONFIRMED and reported is None:
        return MarginFinding(position_id, action, None, None, is_explained=False)
    doubt = row.doubt if row is not None and row.status is not MarginStatus.CLOSED else None
    if doubt is None or doubt.reported != reported:
        awaiting = MarginAction.AWAITING_CONFIRMATION
        return MarginFinding(position_id, awaiting, before, reported, is_explained=False)
    if evidence.as_of - doubt.since < confirmation_age:
        return None
    return MarginFinding(position_id, action, before, reported, is_explained=False)


def _action(*, is_open: bool, is_reported: bool, is_first: bool) -> MarginAction:
    if not is_reported:
        return MarginAction.CLOSED
    if is_open:
        return MarginAction.CHANGED
    return MarginAction.OPENING if is_first else MarginAction.OPENED


def _explaining(evidence: MarginEvidence, position_id: str, row: RecordedMargin | None) -> tuple[str, ...]:
    """Name the entries that may account for a change: the position's own, and closings of a trade's.

    A closing trade's row does not name the position, and one trade may close several. So every closing since
    the record was right counts; rows that name another position do not.
    """
    own = [(seq, entry) for seq, entry in evidence.entries if entry.refid == position_id]
    if row is None or row.status is not MarginStatus.OPEN:
        return _ids([entry for _, entry in own])
    reported = evidence.reported.get(position_id)
    if reported is not None and reported.volume_closed <= row.position.volume_closed:
        return _ids([entry for seq, entry in own if seq > row.ledger_seq])
    known = {*evidence.recorded, *evidence.reported}
    closings = [
        entry
        for seq, entry in evidence.entries
        if seq > row.ledger_seq
        and entry.entry_type in CLOSING_TYPES
        and entry.refid not in known
        and entry.entry_time >= row.position.opened_at
    ]
    # The row of an opening moves nothing: it explains a closing only where nothing else does.
    return _ids([entry for entry in closings if entry.amount != ZERO] or closings)


def _ids(entries: Collection[LedgerEntry]) -> tuple[str, ...]:
    return tuple(sorted(entry.ledger_id for entry in entries))
