"""Say what a run of one account came to: its findings, counts, note and alerts."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from kraken_recon.alerts.alert import Alert
from kraken_recon.alerts.kinds import AlertKind
from kraken_recon.holdings.pricing import worth_evidence, worth_words
from kraken_recon.ledger.entry_kinds import strange_entries
from kraken_recon.reconciliation.entry_alerts import strange_alerts, strange_note
from kraken_recon.reconciliation.margin.reconcile import margin_alerts, margin_awaiting, margin_note
from kraken_recon.reconciliation.rules.assess import Action, Assessment, Discrepancy
from kraken_recon.reconciliation.rules.run import RunRecord
from kraken_recon.reconciliation.stages import Compared, Failed, Moving, Read
from kraken_recon.values.money import ZERO, format_amount

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from datetime import datetime
    from decimal import Decimal
    from uuid import UUID

    from kraken_recon.accounts.account import Account
    from kraken_recon.holdings.pricing import PriceList
    from kraken_recon.ledger.entries import HoldingKey, LedgerEntry
    from kraken_recon.reconciliation.reading import Reading
    from kraken_recon.reconciliation.run import AccountWork, SyncRequest


def run_record(  # noqa: PLR0913 - what a run came to
    work: AccountWork,
    request: SyncRequest,
    *,
    as_of: datetime | None,
    head: str | None,
    counts: Mapping[str, int],
    ingested: int,
    seconds: float,
    lock_hold_ms: float,
    note: str | None,
    recorded_as_of: datetime | None = None,
) -> RunRecord:
    """Write down one account's run; ``seconds`` are those of the writing alone."""
    return RunRecord(
        run_id=work.run_id,
        account_id=work.account_id,
        interval=request.interval,
        mode=request.mode,
        status=work.status,
        trigger=request.trigger,
        recorded_as_of=recorded_as_of,
        reported_as_of=as_of,
        reported_head=head,
        counts=counts,
        entries_ingested=work.caught_up + ingested,
        api_calls=work.calls,
        seconds=work.seconds + seconds,
        lock_hold_ms=lock_hold_ms,
        note=note,
        error=work.error,
        dag_run=request.dag_run,
    )


def note_of(
    work: AccountWork, found: Collection[Discrepancy] = (), assessment: Assessment | None = None
) -> str | None:
    """Say what a person should know of a run beside its error."""
    match work.stage:
        case Moving(why=moving) | Failed(moving=str(moving)):
            return moving
    told = [*_reading_notes(work.reached.reading)] if isinstance(work.reached, Read) else []
    told += map(str, assessment.under_way if assessment else ())
    told += [strange_note(_strange(work, found)), margin_note(work)]
    return "; ".join(text for text in told if text) or None


def _reading_notes(reading: Reading) -> Iterator[str | None]:
    if reading.opening:
        yield f"opened from {_OPENING_WORDS[reading.opening.source]}"
    if reading.respelled:
        respelled = ", ".join(f"{old} is now {new}" for old, new in reading.respelled.items())
        yield f"wallets called as Kraken calls them: {respelled}"
    if reading.mended:
        mended = ", ".join(gap.ledger_id for gap in reading.mended)
        yield f"Kraken shows now what lay in gaps that a person accepted: {mended}"
    yield reading.note


def _strange(work: AccountWork, found: Collection[Discrepancy]) -> list[LedgerEntry]:
    """Pick the entries of an unknown kind among those that this run added."""
    if not isinstance(work.stage, Read):
        return []
    reading = work.stage.reading
    if reading.opening:
        return strange_entries(reading.entries)
    added = {ledger_id for finding in found for ledger_id in finding.ledger_ids}
    return strange_entries(entry for entry in reading.entries if entry.ledger_id in added)


_OPENING_WORDS: Final = {
    "ledger": "its whole ledger",
    "derived": "balances derived from the oldest entries on file; what came before is not on file",
    "balance": "the exchange's balance, because the ledger shows no entry of it",
}


def findings_of(work: AccountWork, assessment: Assessment | None) -> tuple[Discrepancy, ...]:
    """List what differed; an opening is no difference, and a tolerated residual still is one."""
    match work.stage:
        case Read(reading=reading) if assessment:
            return tuple(
                f for f in assessment.findings if not reading.opening or f.database_drift or f.residual
            )
        case Compared(balances=balances, comparison=comparison):
            return tuple(
                _settled(key, balances[key].balance if key in balances else ZERO, residual)
                for key, residual in sorted(comparison.settled.items())
            )
    return ()


def _settled(key: HoldingKey, reported: Decimal, residual: Decimal) -> Discrepancy:
    return Discrepancy(key, reported - residual, reported, ZERO, ZERO, residual, Action.WITHIN_TOLERANCE)


def counts_of(work: AccountWork, found: Sequence[Discrepancy]) -> dict[str, int]:
    """Count what a run checked and found."""
    if work.error:
        return {"failed": 1}
    actions = Counter(finding.action for finding in found)
    checked = work.reached.comparison.checked if isinstance(work.reached, (Compared, Read)) else 0
    return {
        "checked": checked,
        "matched": max(0, checked - sum(1 for finding in found if finding.drift)),
        "within_tolerance": actions[Action.WITHIN_TOLERANCE],
        "explained": sum(1 for finding in found if finding.explained or finding.action is Action.UNDER_WAY),
        "updated": actions[Action.UPDATE],
        "added": actions[Action.ADD],
        "removed": actions[Action.REMOVE],
        "held": actions[Action.HELD],
        "awaiting": actions[Action.AWAITING_CONFIRMATION] + actions[Action.MOVING] + margin_awaiting(work),
    }


def _count_alerts(work: AccountWork) -> list[Alert]:
    """Say that Kraken counts more entries than it shows."""
    if not isinstance(work.stage, Read) or not work.stage.reading.missing:
        return []
    name, reading = work.state.account.name, work.stage.reading
    message = (
        f"{name}: {reading.note}; until it shows them all nothing is repaired, and nothing counts as "
        f"proven. If what is shown is all there is: sync --account {name} --trust-chain"
    )
    evidence = {"run_id": str(work.run_id), "missing": str(reading.missing)}
    return [Alert(AlertKind.LEDGER_INCOMPLETE, work.account_id, None, None, message, evidence=evidence)]


def _hand_change_words(finding: Discrepancy) -> str:
    """Tell what somebody changed by hand apart from what missed entries explain."""
    change = format_amount(finding.changed_by_hand)
    by_hand = f"was changed in the database by {change} without a reason on record"
    missed = f"; missed entries explain {format_amount(finding.explained)}" if finding.explained else ""
    return f"{by_hand}, which was put back{missed}"


def failure_alert(work: AccountWork, reason: str | None) -> Alert:
    """Say that an account could not be reconciled."""
    return Alert(
        AlertKind.SYNC_FAILURE,
        work.account_id,
        None,
        None,
        f"{work.state.account.name}: {reason}",
        evidence={"run_id": str(work.run_id)},
    )


def alerts_of(
    work: AccountWork,
    found: Collection[Discrepancy],
    prices: PriceList,
    assessment: Assessment | None = None,
) -> list[Alert]:
    """Name what a person must look at, and what it is worth."""
    if work.error:
        return [failure_alert(work, work.error)]
    account = work.state.account
    alerts = [*margin_alerts(work), *strange_alerts(account, _strange(work, found)), *_count_alerts(work)]
    for finding in found:
        kind, text = _kind_of(finding, assessment)
        if kind:
            alerts.append(difference_alert(kind, text, account, finding, run_id=work.run_id, prices=prices))
    return alerts


def _kind_of(finding: Discrepancy, assessment: Assessment | None) -> tuple[AlertKind | None, str]:
    if assessment and finding.key in assessment.not_converging:
        return AlertKind.REPAIR_NOT_CONVERGING, "needs the same repair as last time, which did not last"
    if assessment and finding.key in assessment.undone:
        return AlertKind.HELD_REPAIR, undone_words(assessment.undone[finding.key])
    if finding.database_drift:
        return AlertKind.DATABASE_DRIFT, _hand_change_words(finding)
    if finding.action is Action.HELD:
        return AlertKind.HELD_REPAIR, "differs by more than one run may repair"
    if finding.action in {Action.UPDATE, Action.ADD, Action.REMOVE}:
        return AlertKind.UNEXPLAINED_DISCREPANCY, "differed without a ledger entry, and was repaired"
    return None, ""


def undone_words(by: str) -> str:
    """Say why a difference is there again that was repaired before."""
    return f"is wrong again, because {by} undid its repair"


def difference_alert(  # noqa: PLR0913 - what an alert about a difference says
    kind: AlertKind, text: str, account: Account, finding: Discrepancy, *, run_id: UUID, prices: PriceList
) -> Alert:
    """Make the alert about one holding that differed, with what the difference is worth."""
    amount = finding.database_drift or finding.residual
    worth = prices.worth_of_changes(account.quote_currency, {finding.key.asset: amount})
    return Alert(
        kind,
        account.account_id,
        finding.key.asset,
        finding.key.wallet,
        f"{account.name}: {finding.key} {text}: recorded {format_amount(finding.recorded)}, "
        f"Kraken {format_amount(finding.reported)}; worth {worth_words(worth)}",
        amount=amount,
        evidence={
            "run_id": str(run_id),
            "recorded": format_amount(finding.recorded),
            "reported": format_amount(finding.reported),
            "changed_by_hand": format_amount(finding.changed_by_hand),
            "explained": format_amount(finding.explained),
            **worth_evidence(worth),
        },
    )
