"""Decide what a reading of the exchange means for the recorded positions of one account.

The truth has three voices, and each pair that disagrees means something else:

- a position and its own history: *database drift*, put right at once;
- the recorded entries and Kraken's ledger: *missed entries*, applied, so the difference is explained;
- Kraken's ledger and Kraken's balance: an *exchange residual*, believed only once it stays.

Invariants:
1. ``drift = reported - recorded = explained + database_drift + residual``, exactly, for every finding.
2. The steps of a holding connect: each starts where the last ended, the first at the total of its events.
3. Nothing is decided on an incoherent reading beyond what ledger entries explain.
4. What the assessment says does not depend on the order of its inputs.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from kraken_recon.domain.money import EXACT, ZERO, exact_arithmetic

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from decimal import Decimal

    from kraken_recon.domain.ledger import Balance, HoldingKey, LedgerEntry
    from kraken_recon.domain.policy import Policy


class Action(StrEnum):
    """What was done about a difference (in a dry run: what would be done)."""

    APPLIED = "applied"
    UPDATE = "update"
    ADD = "add"
    REMOVE = "remove"
    WITHIN_TOLERANCE = "within_tolerance"
    AWAITING_CONFIRMATION = "awaiting_confirmation"
    MOVING = "moving"
    HELD = "held"
    RECORDED = "recorded"


class Cause(StrEnum):
    """Why a position changed."""

    LEDGER = "ledger"
    ADJUSTMENT = "adjustment"
    OPENING = "opening"


class Reason(StrEnum):
    """What an adjustment is for."""

    FOUND_CHANGED = "found_changed"
    DRIFT_REPAIRED = "drift_repaired"
    RESIDUAL_REPAIRED = "residual_repaired"
    RESIDUAL_REVERSED = "residual_reversed"


RESIDUAL_REASONS: Final = (Reason.RESIDUAL_REPAIRED, Reason.RESIDUAL_REVERSED)


@dataclass(frozen=True, slots=True)
class Recorded:
    """What the database holds of one position, before this run; amounts in units of the asset.

    ``ledger_total`` is the opening plus every recorded entry, ``adjustment_total`` what residual repairs
    added and have not taken back, ``adjusted_at`` the reading that the newest of them rests on.
    """

    quantity: Decimal = ZERO
    event_total: Decimal = ZERO
    ledger_total: Decimal = ZERO
    adjustment_total: Decimal = ZERO
    adjusted_at: datetime | None = None

    @property
    def expected(self) -> Decimal:
        """What the position's own history says it must be."""
        return EXACT.add(self.ledger_total, self.adjustment_total)


@dataclass(frozen=True, slots=True)
class Observation:
    """A residual seen by coherent readings, and since when it has been the same."""

    residual: Decimal
    first_seen_at: datetime
    confirmations: int = 1


@dataclass(frozen=True, slots=True)
class Step:
    """One change of one position; becomes a row of ``position_events``."""

    key: HoldingKey
    before: Decimal
    after: Decimal
    cause: Cause
    effective_at: datetime
    reason: Reason | None = None
    ledger_id: str | None = None


@dataclass(frozen=True, slots=True)
class Finding:
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
    def unexplained(self) -> Decimal:
        """What no newly applied ledger entry accounts for."""
        return EXACT.subtract(self.drift, self.explained)


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything that one account is judged on.

    ``recorded`` names the holdings to judge and must include every holding in ``ingested``.
    ``ingested`` are the entries that this run adds, in chain order per holding. ``all_positions`` counts
    the account's positions that are not zero. ``prices`` are in the account's quote currency; empty where
    nothing needed them.
    """

    recorded: Mapping[HoldingKey, Recorded]
    ingested: Mapping[HoldingKey, Sequence[LedgerEntry]]
    balances: Mapping[HoldingKey, Balance]
    coherent: bool
    as_of: datetime
    observations: Mapping[HoldingKey, Observation]
    all_positions: int
    prices: Mapping[str, Decimal] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Assessment:
    """What to write: the steps of every position, the findings, and the residuals to remember or forget."""

    steps: tuple[Step, ...]
    findings: tuple[Finding, ...]
    observed: Mapping[HoldingKey, Observation]
    cleared: tuple[HoldingKey, ...]


@dataclass(frozen=True, slots=True)
class _Judged:
    """One holding half-way through: explained and corrected, its residual not yet decided."""

    finding: Finding
    steps: tuple[Step, ...]
    quantity: Decimal
    observation: Observation | None = None

    def with_action(self, action: Action) -> _Judged:
        return replace(self, finding=replace(self.finding, action=action))


def _repair_kind(recorded: Decimal, reported: Decimal) -> Action:
    if reported == ZERO:
        return Action.REMOVE
    return Action.ADD if recorded == ZERO else Action.UPDATE


def _reported(evidence: Evidence, key: HoldingKey) -> Decimal:
    balance = evidence.balances.get(key)
    return balance.balance if balance else ZERO


def _correct(key: HoldingKey, recorded: Recorded, as_of: datetime) -> tuple[list[Step], Decimal]:
    """Put a position back to what its own history says, on the record both ways."""
    steps: list[Step] = []
    if recorded.quantity != recorded.event_total:
        steps.append(
            Step(
                key,
                recorded.event_total,
                recorded.quantity,
                Cause.ADJUSTMENT,
                as_of,
                Reason.FOUND_CHANGED,
            )
        )
    if recorded.quantity != recorded.expected:
        steps.append(
            Step(key, recorded.quantity, recorded.expected, Cause.ADJUSTMENT, as_of, Reason.DRIFT_REPAIRED)
        )
    return steps, recorded.expected


def _taken_back(evidence: Evidence, recorded: Recorded, surplus: Decimal) -> Decimal:
    """Say how much of earlier repairs the exchange no longer shows: what brings the position nearer to it.

    ``surplus`` is what the position holds beyond the reading. A reading older than a repair takes nothing
    of it back.
    """
    adjusted = recorded.adjustment_total
    is_stale = recorded.adjusted_at is not None and recorded.adjusted_at > evidence.as_of
    if not evidence.coherent or is_stale or adjusted * surplus <= ZERO:
        return ZERO
    return min(adjusted, surplus, key=abs)


def _explain(evidence: Evidence, key: HoldingKey) -> _Judged:
    """Correct database drift, apply entries, and take back a repair whose ledger line turned up."""
    recorded = evidence.recorded[key]
    entries = evidence.ingested.get(key, ())
    steps, quantity = _correct(key, recorded, evidence.as_of)
    for entry in entries:
        after = quantity + entry.change
        steps.append(Step(key, quantity, after, Cause.LEDGER, entry.entry_time, ledger_id=entry.ledger_id))
        quantity = after
    reported = _reported(evidence, key)
    taken_back = _taken_back(evidence, recorded, quantity - reported)
    if taken_back:
        after = quantity - taken_back
        steps.append(Step(key, quantity, after, Cause.ADJUSTMENT, evidence.as_of, Reason.RESIDUAL_REVERSED))
        quantity = after
    explained = sum((entry.change for entry in entries), ZERO) - taken_back
    database_drift = recorded.expected - recorded.quantity
    finding = Finding(
        key,
        recorded.quantity,
        reported,
        explained,
        database_drift,
        reported - recorded.quantity - explained - database_drift,
        _repair_kind(recorded.quantity, recorded.expected) if database_drift else Action.APPLIED,
        tuple(entry.ledger_id for entry in entries),
    )
    return _Judged(finding, tuple(steps), quantity)


def _observe(evidence: Evidence, policy: Policy, judged: _Judged) -> _Judged:
    """Decide whether the holding's residual is only news, or stayed long enough to be judged."""
    remaining = judged.finding.reported - judged.quantity
    if remaining == ZERO:
        return judged
    if not evidence.coherent:
        return judged.with_action(Action.MOVING)
    seen = evidence.observations.get(judged.finding.key)
    if seen is None or seen.residual != remaining:
        seen = Observation(remaining, evidence.as_of)
    else:
        seen = replace(seen, confirmations=seen.confirmations + 1)
    judged = replace(judged, observation=seen)
    if evidence.as_of - seen.first_seen_at < policy.confirmation_age:
        return judged.with_action(Action.AWAITING_CONFIRMATION)
    price = evidence.prices.get(judged.finding.key.asset)
    tolerated = policy.tolerance_of(judged.finding.key.asset).covers(remaining, price)
    return judged.with_action(
        Action.WITHIN_TOLERANCE
        if tolerated
        else _repair_kind(judged.finding.recorded, judged.finding.reported)
    )


def _undecided(judged: _Judged) -> bool:
    return judged.observation is not None and judged.finding.action in {
        Action.UPDATE,
        Action.ADD,
        Action.REMOVE,
    }


def _is_wallet_move(asset: str, all_judged: Sequence[_Judged]) -> bool:
    """Say whether an asset's residuals cancel over its wallets: then Kraken only moved it between them."""
    family = [j for j in all_judged if j.finding.key.asset == asset]
    return sum((j.finding.reported - j.quantity for j in family), ZERO) == ZERO


def _guarded(evidence: Evidence, policy: Policy, all_judged: list[_Judged]) -> list[_Judged]:
    """Hold every residual repair of a run in which they are, together, too many or worth too much."""
    repairs = [
        j for j in all_judged if _undecided(j) and not _is_wallet_move(j.finding.key.asset, all_judged)
    ]
    if not repairs:
        return all_judged
    prices = evidence.prices
    priced = all(j.finding.key.asset in prices for j in repairs)
    value = sum(
        (abs(j.finding.reported - j.quantity) * prices.get(j.finding.key.asset, ZERO) for j in repairs), ZERO
    )
    total = sum((b.balance * prices.get(key.asset, ZERO) for key, b in evidence.balances.items()), ZERO)
    all_gone = not any(b.balance for b in evidence.balances.values())
    admitted = (
        priced
        and not all_gone
        and policy.guard.admits(
            repaired_positions=len(repairs), all_positions=evidence.all_positions, value=value, total=total
        )
    )
    if admitted:
        return all_judged
    return [j.with_action(Action.HELD) if j in repairs else j for j in all_judged]


def _finish(judged: _Judged, as_of: datetime) -> _Judged:
    """Write the step of a residual repair that is allowed; its residual is then no longer remembered."""
    if not _undecided(judged):
        return judged
    step = Step(
        judged.finding.key,
        judged.quantity,
        judged.finding.reported,
        Cause.ADJUSTMENT,
        as_of,
        Reason.RESIDUAL_REPAIRED,
    )
    return replace(judged, steps=(*judged.steps, step), quantity=judged.finding.reported, observation=None)


@exact_arithmetic()
def assess(evidence: Evidence, policy: Policy) -> Assessment:
    """Judge every holding in ``evidence.recorded``: those of one account that differ or have new entries."""
    all_judged = [_observe(evidence, policy, _explain(evidence, key)) for key in sorted(evidence.recorded)]
    finished = [_finish(j, evidence.as_of) for j in _guarded(evidence, policy, all_judged)]
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
            if evidence.coherent and j.observation is None and j.finding.key in evidence.observations
        ),
    )


@exact_arithmetic()
def missing_holdings(evidence: Evidence) -> tuple[str, ...]:
    """Name the assets that the reply leaves out although Kraken's own ledger still holds some.

    An asset may be absent from a balance reply only when its family of wallets ends in zero; otherwise the
    reply is partial, and nothing may be concluded from it. Not so where just as much of another asset, of
    which the ledger knows nothing, is in the reply: Kraken gave the asset a new code (``LUNA`` became
    ``LUNC``). Both are then residuals, which a person decides on.
    """
    held: dict[str, Decimal] = {}
    for key, recorded in evidence.recorded.items():
        ingested = sum((entry.change for entry in evidence.ingested.get(key, ())), ZERO)
        held[key.asset] = held.get(key.asset, ZERO) + recorded.ledger_total + ingested
    reported: dict[str, Decimal] = {}
    for key, balance in evidence.balances.items():
        reported[key.asset] = reported.get(key.asset, ZERO) + balance.balance
    new = Counter(total for asset, total in reported.items() if total and held.get(asset) == ZERO)
    missing = []
    for asset, quantity in sorted(held.items()):
        if quantity and asset not in reported:
            if new[quantity]:
                new[quantity] -= 1
            else:
                missing.append(asset)
    return tuple(missing)
