"""Decide what a reading of the exchange means for the recorded positions of one account.

The truth has three voices, and each pair that disagrees means something else:

- a position and its own history: *database drift*, put right at once;
- the recorded entries and Kraken's ledger: *missed entries*, applied, so the difference is explained;
- Kraken's ledger and Kraken's balance: an *exchange residual*, believed only once it stays.

Invariants:
1. ``drift = reported - recorded = explained + database_drift + residual``, exactly, for every finding.
2. The steps of a holding connect: each starts where the last ended, the first at the total of its events.
3. Nothing is decided on an incoherent reading beyond what ledger entries explain.
4. What lies in one wallet of an asset and shows in another is no difference while the asset's sum agrees.
5. A repair that was made before and did not last is not made again without a person.
6. What the assessment says does not depend on the order of its inputs.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from kraken_recon.books.events import REPAIR_REASONS, Cause, Reason, RecordedPosition, Step
from kraken_recon.books.steps import Steps
from kraken_recon.ledger.entries import TRADED
from kraken_recon.ledger.transfers import explaining
from kraken_recon.reconciliation.rules.evidence import Evidence, Observation
from kraken_recon.reconciliation.rules.families import folded_balances, unfolded
from kraken_recon.values.cycle_search import no_cycle_search
from kraken_recon.values.money import EXACT, ZERO, exact_arithmetic

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from datetime import datetime
    from decimal import Decimal

    from kraken_recon.ledger.entries import HoldingKey
    from kraken_recon.ledger.transfers import Transfer
    from kraken_recon.reconciliation.rules.policy import Policy


class Action(StrEnum):
    """What was done about a difference (in a dry run: what would be done)."""

    APPLIED = "applied"
    UPDATE = "update"
    ADD = "add"
    REMOVE = "remove"
    WITHIN_TOLERANCE = "within_tolerance"
    AWAITING_CONFIRMATION = "awaiting_confirmation"
    UNDER_WAY = "under_way"
    MOVING = "moving"
    HELD = "held"
    RECORDED = "recorded"


@dataclass(frozen=True, slots=True)
class Discrepancy:
    """One asset in one wallet that differed; becomes a row of ``discrepancies``."""

    key: HoldingKey
    recorded: Decimal
    reported: Decimal
    explained: Decimal
    database_drift: Decimal
    residual: Decimal
    action: Action
    ledger_ids: tuple[str, ...] = ()

    @property
    def drift(self) -> Decimal:
        """Reported minus recorded, signed."""
        return EXACT.subtract(self.reported, self.recorded)

    @property
    def changed_by_hand(self) -> Decimal:
        """What somebody changed in the database; putting it back is the other way round."""
        return EXACT.minus(self.database_drift)


@dataclass(frozen=True, slots=True)
class Assessment:
    """What to write: the steps of every position, the findings, and the residuals to remember or forget.

    ``held`` are the steps that a person decides about: they start where ``steps`` end. ``not_converging``
    names the holdings among them whose last repair did not last, ``undone`` those whose last repair a person
    undid, with who did. ``approval_stands`` says that what was
    approved is still exactly what there is to repair, and is among the ``steps``. ``folded`` is what Kraken
    shows more (or less) of a holding because it shows wallets of an asset in one, where nothing else differs.
    ``under_way`` are the deposits and withdrawals that explain a residual, until they end.
    """

    steps: tuple[Step, ...]
    findings: tuple[Discrepancy, ...]
    observed: Mapping[HoldingKey, Observation]
    cleared: tuple[HoldingKey, ...]
    held: tuple[Step, ...] = ()
    not_converging: tuple[HoldingKey, ...] = ()
    undone: Mapping[HoldingKey, str] = field(default_factory=dict)
    approval_stands: bool = False
    folded: Mapping[HoldingKey, Decimal] = field(default_factory=dict)
    under_way: tuple[Transfer, ...] = ()


@dataclass(frozen=True, slots=True)
class _Judged:
    """One holding half-way through: explained and corrected, its residual not yet decided.

    ``withheld`` is a correction of database drift that is left to a person.
    """

    finding: Discrepancy
    steps: tuple[Step, ...]
    quantity: Decimal
    withheld: Decimal = ZERO
    observation: Observation | None = None
    is_repeated: bool = False

    @property
    def remaining(self) -> Decimal:
        """What Kraken reports beyond where the position would be."""
        return self.finding.reported - self.quantity - self.withheld

    def with_action(self, action: Action) -> _Judged:
        return replace(self, finding=replace(self.finding, action=action))


def _repair_kind(recorded: Decimal, reported: Decimal) -> Action:
    if reported == ZERO:
        return Action.REMOVE
    return Action.ADD if recorded == ZERO else Action.UPDATE


def _reported(evidence: Evidence, key: HoldingKey) -> Decimal:
    balance = evidence.balances.get(key)
    return balance.balance if balance else ZERO


def _is_repeated(
    evidence: Evidence, admitted: Collection[HoldingKey], key: HoldingKey, change: Decimal
) -> bool:
    """Say whether this change was the last repair of the holding already, and did not last."""
    return key not in admitted and change in evidence.last_repairs.get(key, ())


def _taken_back(evidence: Evidence, recorded: RecordedPosition, surplus: Decimal) -> Decimal:
    """Say how much of earlier repairs the exchange no longer shows: what brings the position nearer to it.

    ``surplus`` is what the position holds beyond the reading. A reading older than a repair takes nothing
    of it back.
    """
    adjusted = recorded.adjustment_total
    is_stale = recorded.adjusted_at is not None and recorded.adjusted_at > evidence.as_of
    if not evidence.coherent or is_stale or adjusted * surplus <= ZERO:
        return ZERO
    return min(adjusted, surplus, key=abs)


def _explain(evidence: Evidence, key: HoldingKey, admitted: Collection[HoldingKey]) -> _Judged:
    """Correct database drift, apply entries, and take back a repair whose ledger line turned up."""
    recorded = evidence.recorded[key]
    entries = evidence.ingested.get(key, ())
    steps = Steps.begin(key, recorded, evidence.as_of)
    correction = recorded.expected - recorded.quantity
    is_repeated = bool(correction) and _is_repeated(evidence, admitted, key, correction)
    withheld = correction if is_repeated else ZERO
    if correction and not is_repeated:
        steps.adjust(recorded.expected, Reason.DRIFT_REPAIRED, evidence.as_of)
    steps.book(entries)
    reported = _reported(evidence, key)
    taken_back = _taken_back(evidence, recorded, steps.quantity + withheld - reported)
    if _is_repeated(evidence, admitted, key, -taken_back):
        taken_back = ZERO
    if taken_back:
        steps.adjust(steps.quantity - taken_back, Reason.RESIDUAL_REVERSED, evidence.as_of)
    explained = sum((entry.change for entry in entries), ZERO) - taken_back
    finding = Discrepancy(
        key,
        recorded.quantity,
        reported,
        explained,
        correction,
        reported - recorded.quantity - explained - correction,
        Action.HELD
        if is_repeated
        else _repair_kind(recorded.quantity, recorded.expected)
        if correction
        else Action.APPLIED,
        tuple(entry.ledger_id for entry in entries),
    )
    return _Judged(finding, tuple(steps.made), steps.quantity, withheld, is_repeated=is_repeated)


def _observe(evidence: Evidence, policy: Policy, judged: _Judged) -> _Judged:
    """Decide whether the holding's residual is only news, or stayed long enough to be judged."""
    remaining = judged.remaining
    if remaining == ZERO:
        return judged
    if not evidence.coherent:
        return judged if judged.withheld else judged.with_action(Action.MOVING)
    seen = evidence.observations.get(judged.finding.key)
    if seen is None or seen.residual != remaining:
        seen = Observation(remaining, evidence.as_of)
    else:
        seen = replace(seen, confirmations=seen.confirmations + 1)
    judged = replace(judged, observation=seen)
    if judged.withheld:
        # The correction comes first: what a person decides about it changes what remains.
        return judged
    if evidence.as_of - seen.first_seen_at < policy.confirmation_age:
        return judged.with_action(Action.AWAITING_CONFIRMATION)
    is_approved = judged.finding.key in evidence.approved
    if not is_approved and _under_way(evidence, judged):
        return judged.with_action(Action.UNDER_WAY)
    price = evidence.prices.get(judged.finding.key.asset)
    # What a person approved is not measured again: the run that held it may have tolerated less.
    tolerated = not is_approved and policy.tolerance_of(judged.finding.key.asset).covers(remaining, price)
    return judged.with_action(
        Action.WITHIN_TOLERANCE
        if tolerated
        else _repair_kind(judged.finding.recorded, judged.finding.reported)
    )


def _under_way(evidence: Evidence, judged: _Judged) -> tuple[Transfer, ...]:
    """Find the transfers under way that explain a holding's residual."""
    key = judged.finding.key
    if key.wallet not in TRADED:
        return ()
    return explaining(judged.remaining, key.asset, evidence.transfers, evidence.booked)


def _undecided(judged: _Judged) -> bool:
    return judged.observation is not None and judged.finding.action in {
        Action.UPDATE,
        Action.ADD,
        Action.REMOVE,
    }


def _unrepeated(evidence: Evidence, judged: _Judged, admitted: Collection[HoldingKey]) -> _Judged:
    """Hold a residual repair that was the holding's last repair already."""
    if not _undecided(judged) or not _is_repeated(evidence, admitted, judged.finding.key, judged.remaining):
        return judged
    return replace(judged.with_action(Action.HELD), is_repeated=True)


def _guarded(
    evidence: Evidence, policy: Policy, all_judged: list[_Judged], admitted: Collection[HoldingKey]
) -> list[_Judged]:
    """Hold every residual repair of a run in which they are, together, too many or worth too much."""
    repairs = [j for j in all_judged if _undecided(j) and j.finding.key not in admitted]
    if not repairs:
        return all_judged
    prices = evidence.prices
    priced = all(j.finding.key.asset in prices for j in repairs)
    value = sum((abs(j.remaining) * prices.get(j.finding.key.asset, ZERO) for j in repairs), ZERO)
    total = sum((b.balance * prices.get(key.asset, ZERO) for key, b in evidence.balances.items()), ZERO)
    all_gone = not any(b.balance for b in evidence.balances.values())
    is_small = (
        priced
        and not all_gone
        and policy.guard.admits(
            repaired_positions=len(repairs), all_positions=evidence.all_positions, value=value, total=total
        )
    )
    if is_small:
        return all_judged
    return [j.with_action(Action.HELD) if j in repairs else j for j in all_judged]


def _repair(judged: _Judged, as_of: datetime) -> Step:
    """Write the step that a person holds, or that may be made: of the drift withheld, or of the residual."""
    after = judged.quantity + judged.withheld if judged.withheld else judged.finding.reported
    reason = Reason.DRIFT_REPAIRED if judged.withheld else Reason.RESIDUAL_REPAIRED
    return Step(judged.finding.key, judged.quantity, after, Cause.ADJUSTMENT, as_of, reason)


def _finish(judged: _Judged, as_of: datetime) -> _Judged:
    """Write the step of a residual repair that is allowed; its residual is then no longer remembered."""
    if not _undecided(judged):
        return judged
    step = _repair(judged, as_of)
    return replace(judged, steps=(*judged.steps, step), quantity=step.after, observation=None)


def changes_of(steps: Iterable[Step]) -> dict[HoldingKey, Decimal]:
    """Sum what repairs among these steps change, per holding; entries and observations are left out."""
    changes: dict[HoldingKey, Decimal] = {}
    for step in steps:
        if step.reason in REPAIR_REASONS:
            changes[step.key] = EXACT.add(
                changes.get(step.key, ZERO), EXACT.subtract(step.after, step.before)
            )
    return changes


@exact_arithmetic()
@no_cycle_search()
def assess(evidence: Evidence, policy: Policy) -> Assessment:
    """Judge every holding in ``evidence.recorded``: those of one account that differ or have new entries.

    What a person approved is let past the guard, and may repeat a repair, when all of it is still exactly
    what there is to repair; otherwise none of it is.
    """
    judged = _assess(evidence, policy, ())
    if not evidence.approved:
        return judged
    changes = changes_of((*judged.steps, *judged.held))
    if any(changes.get(key) != change for key, change in evidence.approved.items()):
        return judged
    return replace(_assess(evidence, policy, evidence.approved.keys()), approval_stands=True)


def _assess(evidence: Evidence, policy: Policy, admitted: Collection[HoldingKey]) -> Assessment:
    folded, neutral = folded_balances(evidence)
    if folded:
        evidence = replace(evidence, balances=unfolded(evidence.balances, folded))
    all_judged = [
        _unrepeated(evidence, _observe(evidence, policy, _explain(evidence, key, admitted)), admitted)
        for key in sorted(evidence.recorded)
    ]
    finished = [_finish(j, evidence.as_of) for j in _guarded(evidence, policy, all_judged, admitted)]
    return Assessment(
        steps=tuple(step for j in finished for step in j.steps),
        findings=tuple(
            j.finding
            for j in finished
            if j.finding.drift or j.finding.explained or j.finding.database_drift or j.steps
        ),
        observed={j.finding.key: j.observation for j in finished if j.observation is not None},
        cleared=tuple(
            j.finding.key
            for j in finished
            if evidence.coherent
            and j.observation is None
            and j.finding.key in evidence.observations
            and j.finding.key not in neutral
        ),
        held=tuple(_repair(j, evidence.as_of) for j in finished if j.finding.action is Action.HELD),
        not_converging=tuple(j.finding.key for j in finished if j.is_repeated),
        folded=neutral if evidence.coherent else {},
        under_way=tuple(
            transfer
            for j in finished
            if j.finding.action is Action.UNDER_WAY
            for transfer in _under_way(evidence, j)
        ),
    )
