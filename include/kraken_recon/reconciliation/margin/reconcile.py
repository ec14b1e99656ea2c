"""Reconcile open margin positions: when to ask for them, what differs, and what is written.

Invariants:
1. Nothing changed costs no call: accounts without positions on record are asked only where their ledger was
   read and told of margin, or was read and they have not been asked for a day.
2. A failed answer fails the account's run before anything of it is booked.
3. A position's row never changes without an event that says from what, to what, why, and by which run.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from kraken_recon.alerts.alert import Alert
from kraken_recon.alerts.kinds import AlertKind
from kraken_recon.ledger.entry_kinds import MARGIN_TYPES
from kraken_recon.reconciliation.margin.rules import (
    Doubt,
    MarginAction,
    MarginAssessment,
    MarginChange,
    MarginEvidence,
    MarginFinding,
    MarginLook,
    MarginState,
    MarginStatus,
    RecordedMargin,
    assess_margin,
)
from kraken_recon.reconciliation.rules.policy import Mode
from kraken_recon.reconciliation.stages import Compared, Read
from kraken_recon.values.money import format_amount

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kraken_recon.ledger.entries import HoldingKey, LedgerEntry
    from kraken_recon.reconciliation.margin.store import MarginStore
    from kraken_recon.reconciliation.run import AccountWork, SyncPorts, SyncRequest

WHOLE_CHECK_AGE_MAX: Final = timedelta(days=1)
#: Imported entries carry whole seconds and may lie before the trade that they belong to.
BEFORE_OPENING: Final = timedelta(minutes=1)


def must_ask(work: AccountWork, state: MarginState) -> bool:
    """Say whether an account's open positions could differ from those on record."""
    if not isinstance(work.stage, (Compared, Read)):
        return False
    if state.on_record:
        return True
    if isinstance(work.stage, Compared):
        return False
    reading = work.stage.reading
    if state.checked_at is None or reading.as_of - state.checked_at > WHOLE_CHECK_AGE_MAX:
        return True
    return any(entry.entry_type in MARGIN_TYPES for entry in reading.entries)


def ask_positions(work: AccountWork, state: MarginState, ports: SyncPorts) -> None:
    """Ask Kraken for an account's open positions."""
    with work.asking(ports) as exchange:
        as_of, reported = ports.clock(), exchange.open_positions()
    work.margin = MarginLook(work.account_id, work.run_id, as_of, reported, state.checked_at is None)


def reconcile_margin(
    store: MarginStore,
    works: Sequence[AccountWork],
    new: Mapping[int, Mapping[HoldingKey, Sequence[LedgerEntry]]],
    request: SyncRequest,
) -> None:
    """Compare what accounts answered with what is on record, and write what differs.

    ``new`` are the entries that this run adds (in a dry run: would add). Each work gets its findings.
    """
    asked = {work.account_id: work for work in works if not work.error}
    looks = {account: work.margin for account, work in asked.items() if work.margin is not None}
    if not looks:
        return
    is_repair = request.mode is Mode.REPAIR
    recorded = store.recorded({account: look.reported for account, look in looks.items()}, locked=is_repair)
    newest = store.newest_entries(looks)
    entries = _entries(store, looks, recorded)
    changes: list[MarginChange] = []
    for account, look in looks.items():
        on_record = entries.get(account, [])
        if not is_repair:
            on_record += _unrecorded(new.get(account, {}), newest.get(account, 0))
        evidence = MarginEvidence(recorded[account], look.reported, on_record, look.as_of, look.is_first)
        assessment = assess_margin(evidence, request.policy.confirmation_age)
        asked[account].margin_findings = assessment.findings
        changes += _changes(look, recorded[account], assessment, newest.get(account, 0))
    if is_repair:
        store.write(changes)
        store.see(list(looks.values()))
    store.record(
        [(look, finding) for account, look in looks.items() for finding in asked[account].margin_findings],
        applies=is_repair,
    )


def _entries(
    store: MarginStore,
    looks: Mapping[int, MarginLook],
    recorded: Mapping[int, Mapping[str, RecordedMargin]],
) -> dict[int, list[tuple[int, LedgerEntry]]]:
    """Collect the entries on record that may explain differences."""
    since = {}
    for account, look in looks.items():
        known = (*(row.position for row in recorded[account].values()), *look.reported.values())
        if known:
            since[account] = min(position.opened_at for position in known) - BEFORE_OPENING
    return {account: list(listed) for account, listed in store.entries(since).items()} if since else {}


def _unrecorded(
    new: Mapping[HoldingKey, Sequence[LedgerEntry]], newest: int
) -> list[tuple[int, LedgerEntry]]:
    """Give what a dry run read and does not record the places after all that is on record."""
    fresh = [entry for entries in new.values() for entry in entries if entry.entry_type in MARGIN_TYPES]
    return list(enumerate(fresh, start=newest + 1))


def _changes(
    look: MarginLook,
    recorded: Mapping[str, RecordedMargin],
    assessment: MarginAssessment,
    ledger_seq: int,
) -> list[MarginChange]:
    changes = []
    for finding in assessment.findings:
        row = recorded.get(finding.position_id)
        position = finding.after or (row.position if row else None)
        if position is None:
            continue
        if finding.is_applied:
            status = MarginStatus.CLOSED if finding.after is None else MarginStatus.OPEN
            after = RecordedMargin(position, status, ledger_seq)
        elif row is not None and row.status is MarginStatus.OPEN:
            after = replace(row, doubt=Doubt(finding.after, look.as_of))
        else:
            doubt = Doubt(position, look.as_of)
            after = RecordedMargin(position, MarginStatus.UNCONFIRMED, ledger_seq, doubt)
        changes.append(MarginChange(look, after))
    changes += [
        MarginChange(look, replace(recorded[position_id], doubt=None)) for position_id in assessment.settled
    ]
    return changes


def margin_note(work: AccountWork) -> str | None:
    """Say in a few words how the positions of an account stand."""
    if work.margin is None or work.error:
        return None
    changed = len(work.margin_findings)
    held = len(work.margin.reported)
    if not changed and not held:
        return None
    counted = f"{held} margin position{'' if held == 1 else 's'} open"
    return f"{counted}, {changed} changed" if changed else counted


def margin_awaiting(work: AccountWork) -> int:
    """Count the positions whose difference waits for a later look."""
    return sum(1 for finding in work.margin_findings if not finding.is_applied)


def margin_alerts(work: AccountWork) -> list[Alert]:
    """Name the positions that changed, and stayed so, without anything in the ledger that says why."""
    return [
        Alert(
            AlertKind.MARGIN_DISCREPANCY,
            work.account_id,
            position.pair,
            finding.position_id,
            f"{work.state.account.name}: margin position {finding.position_id} "
            f"({position.side} {position.pair}) {_changed(finding)} without a ledger entry",
        )
        for finding in work.margin_findings
        if not finding.is_explained
        and finding.is_applied
        and (position := finding.after or finding.before) is not None
    ]


def _changed(finding: MarginFinding) -> str:
    match finding.action:
        case MarginAction.CLOSED:
            return "is gone"
        case MarginAction.CHANGED if finding.before and finding.after:
            return (
                f"changed (open volume {format_amount(finding.before.volume_left)} to "
                f"{format_amount(finding.after.volume_left)})"
            )
        case _:
            return "appeared"
