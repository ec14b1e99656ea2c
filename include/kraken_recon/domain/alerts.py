"""When people are told of an alert, and in how many words.

Invariants:
1. What an alert is about (its kind, account, asset and wallet) is its identity. Between its opening and its
   recovery people hear of it again only when it grows, changes its sign, or stays unanswered for long.
2. An alert has recovered when it stayed resolved for a while: one that comes and goes is told once.
3. A storm becomes one digest. The rows of all its alerts stay.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from kraken_recon.domain.alert_kinds import AlertKind
from kraken_recon.domain.money import format_amount

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from decimal import Decimal
    from uuid import UUID


class Reason(StrEnum):
    """Why people are told."""

    OPENED = "opened"
    GREW = "grew"
    FLIPPED = "flipped"
    REMINDED = "reminded"
    RECOVERED = "recovered"
    DIGEST = "digest"


@dataclass(frozen=True, slots=True)
class KindRule:
    """How often a kind must be seen before people are told, and whether it never waits for a digest."""

    confirmations: int = 1
    is_urgent: bool = False


# Kinds without a rule of their own are told of when first seen.
KIND_RULES: Final[Mapping[str, KindRule]] = {
    # Kraken refuses a call now and then; the next run mostly succeeds.
    AlertKind.SYNC_FAILURE: KindRule(confirmations=2),
    AlertKind.DEADLINE_MISSED: KindRule(is_urgent=True),
    AlertKind.STALE_POSITIONS: KindRule(is_urgent=True),
    AlertKind.WORK_OVERDUE: KindRule(is_urgent=True),
    AlertKind.WATCH_SILENT: KindRule(is_urgent=True),
}
_OTHER: Final = KindRule()


@dataclass(frozen=True, slots=True)
class TellingPolicy:
    """When people are told again, and from when on a pass is a storm.

    ``recovery_quiet`` is longer than the 15 minutes between two runs, so that one good run between two bad
    ones is no recovery.
    """

    growth_factor: int = 2
    reminder_after: timedelta = timedelta(hours=12)
    recovery_quiet: timedelta = timedelta(minutes=20)
    digest_above: int = 10
    digest_pause: timedelta = timedelta(minutes=10)
    digest_examples: int = 10


@dataclass(frozen=True, slots=True)
class Told:
    """What people were told of an identity last."""

    is_active: bool
    at: datetime
    amount: Decimal | None


@dataclass(frozen=True, slots=True)
class Standing:
    """An alert as it stands, with what people know of it."""

    alert_id: int
    kind: str
    account: str | None
    asset: str | None
    wallet: str | None
    status: str
    message: str
    amount: Decimal | None
    occurrences: int
    resolved_at: datetime | None
    resolved_by: str | None
    told: Told | None

    @property
    def rule(self) -> KindRule:
        """The rule of its kind."""
        return KIND_RULES.get(self.kind, _OTHER)


@dataclass(frozen=True, slots=True)
class Judgement:
    """An alert that people must be told of."""

    standing: Standing
    reason: Reason


@dataclass(frozen=True, slots=True)
class Notice:
    """One message to people, the same for every channel."""

    reason: Reason
    subject: str
    body: str
    alert_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Notification:
    """One message on its way to one channel; a receiver may meet the same key twice."""

    notification_id: int
    idempotency_key: UUID
    reason: str
    subject: str
    body: str
    alert_ids: tuple[int, ...]
    created_at: datetime
    attempts: int


def judge(standing: Standing, now: datetime, policy: TellingPolicy) -> Reason | None:
    """Say why people must be told of an alert now; None when they need not be."""
    told = standing.told if standing.told and standing.told.is_active else None
    if standing.status == "resolved":
        return Reason.RECOVERED if told and _is_over(standing, now, policy) else None
    if told is None:
        return Reason.OPENED if standing.occurrences >= standing.rule.confirmations else None
    if changed := _change(standing.amount, told.amount, policy):
        return changed
    is_unanswered = standing.status == "open" and now - told.at >= policy.reminder_after
    return Reason.REMINDED if is_unanswered else None


def _is_over(standing: Standing, now: datetime, policy: TellingPolicy) -> bool:
    if standing.resolved_by:
        return True
    return standing.resolved_at is not None and now - standing.resolved_at >= policy.recovery_quiet


def _change(amount: Decimal | None, told: Decimal | None, policy: TellingPolicy) -> Reason | None:
    if not amount or not told:
        return None
    if (amount < 0) is not (told < 0):
        return Reason.FLIPPED
    return Reason.GREW if abs(amount) >= policy.growth_factor * abs(told) else None


def judge_all(
    standings: Sequence[Standing], now: datetime, newest_digest_at: datetime | None, policy: TellingPolicy
) -> list[Judgement]:
    """List who must be told of what; after a digest, what is not urgent waits for the next one."""
    is_paused = newest_digest_at is not None and now - newest_digest_at < policy.digest_pause
    return [
        Judgement(standing, reason)
        for standing in standings
        if (reason := judge(standing, now, policy)) and (standing.rule.is_urgent or not is_paused)
    ]


def compose(judgements: Sequence[Judgement], policy: TellingPolicy) -> list[Notice]:
    """Write one notice for each alert, or a digest of all when there are too many to read."""
    if len(judgements) <= policy.digest_above:
        return [_notice(judgement) for judgement in judgements]
    urgent = [judgement for judgement in judgements if judgement.standing.rule.is_urgent]
    if 0 < len(urgent) <= policy.digest_above and len(urgent) < len(judgements):
        others = [judgement for judgement in judgements if not judgement.standing.rule.is_urgent]
        return [*map(_notice, urgent), *compose(others, policy)]
    return [_digest(judgements, policy)]


def _title(standing: Standing) -> str:
    about = " ".join(part for part in (standing.account, standing.asset, standing.wallet) if part)
    words = standing.kind.replace("_", " ")
    return f"{words}: {about}" if about else words


def _notice(judgement: Judgement) -> Notice:
    standing, reason = judgement.standing, judgement.reason
    lines = [standing.message]
    if standing.amount is not None:
        lines.append(f"Amount: {format_amount(standing.amount)}")
    if reason in {Reason.GREW, Reason.FLIPPED} and standing.told and standing.told.amount is not None:
        lines.append(f"Told before: {format_amount(standing.told.amount)}")
    if standing.resolved_by and reason is Reason.RECOVERED:
        lines.append(f"Resolved by {standing.resolved_by}.")
    lines += [
        f"Seen {standing.occurrences} times. What to do: docs/runbooks/alerts.md#{standing.kind}",
        f"Answer: python -m kraken_recon alerts --acknowledge {standing.alert_id} --by NAME",
    ]
    return Notice(reason, f"[{reason}] {_title(standing)}", "\n".join(lines), (standing.alert_id,))


def _digest(judgements: Sequence[Judgement], policy: TellingPolicy) -> Notice:
    accounts = {judgement.standing.account for judgement in judgements} - {None}
    counts = Counter((judgement.reason, judgement.standing.kind) for judgement in judgements)
    lines = [
        f"{count:,} {reason}: {kind.replace('_', ' ')}" for (reason, kind), count in sorted(counts.items())
    ]
    lines += ["", f"The first {policy.digest_examples}:"]
    lines += [f"- {judgement.standing.message}" for judgement in judgements[: policy.digest_examples]]
    lines += ["", "All of them: python -m kraken_recon alerts"]
    subject = f"[{Reason.DIGEST}] {len(judgements):,} alerts in {len(accounts):,} accounts"
    return Notice(
        Reason.DIGEST,
        subject,
        "\n".join(lines),
        tuple(judgement.standing.alert_id for judgement in judgements),
    )


def backoff(attempts: int) -> timedelta:
    """Say how long a channel that failed so many times in a row is left alone: at most ten minutes."""
    return timedelta(seconds=min(600, 5 * 2 ** min(attempts - 1, 10)))
