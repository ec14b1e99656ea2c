"""When people are told of an alert, and in how many words.

Invariants:
1. What an alert is about (its kind, account, asset and wallet) is its identity. Between its opening and its
   recovery people hear of it again only when it grows, changes its sign, or stays unanswered for long.
2. An alert has recovered when it stayed resolved for a while: one that comes and goes is told once.
3. A storm becomes one digest, also when its alerts trickle in. The rows of all its alerts stay.
4. What keeps coming back must rest longer each time before it counts as over.
5. What a message quotes from outside changes neither its lines nor their direction: control characters are
   written out.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from kraken_recon.alerts.kinds import AlertKind
from kraken_recon.values.money import exact_arithmetic, format_amount

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime
    from decimal import Decimal
    from typing import Any
    from uuid import UUID


class TellingReason(StrEnum):
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
    AlertKind.LEDGER_INCOMPLETE: KindRule(confirmations=2),
    # Bots trade on these rows, and whoever changed them may do it again.
    AlertKind.DATABASE_DRIFT: KindRule(is_urgent=True),
    AlertKind.DEADLINE_MISSED: KindRule(is_urgent=True),
    AlertKind.STALE_POSITIONS: KindRule(is_urgent=True),
    AlertKind.WORK_OVERDUE: KindRule(is_urgent=True),
    AlertKind.WATCH_SILENT: KindRule(is_urgent=True),
}
_OTHER: Final = KindRule()
QUIET_DOUBLINGS_MAX: Final = 5
SUBJECT_LENGTH_MAX: Final = 200


def rule_of(kind: str) -> KindRule:
    """Find the rule of a kind."""
    return KIND_RULES.get(kind, _OTHER)


@dataclass(frozen=True, slots=True)
class TellingPolicy:
    """When people are told again, and from when on it is a storm.

    ``recovery_quiet`` is longer than the 15 minutes between two runs, so that one good run between two bad
    ones is no recovery; it doubles with each further opening within ``openings_within``. More than
    ``digest_above`` notices within ``digest_pause`` are a storm.
    """

    growth_factor: int = 2
    reminder_after: timedelta = timedelta(hours=12)
    recovery_quiet: timedelta = timedelta(minutes=20)
    openings_within: timedelta = timedelta(days=1)
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
    """An alert as it stands, with what people know of it.

    ``openings`` counts how often people were lately told that it opened.
    """

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
    openings: int = 0
    opened_at: datetime | None = None
    resolution: str | None = None
    note: str | None = None
    account_id: int | None = None
    quote_currency: str | None = None
    evidence: Mapping[str, Any] = field(default_factory=dict)

    @property
    def rule(self) -> KindRule:
        """The rule of its kind."""
        return rule_of(self.kind)


@dataclass(frozen=True, slots=True)
class Judgement:
    """An alert that people must be told of."""

    standing: Standing
    reason: TellingReason


@dataclass(frozen=True, slots=True)
class Lately:
    """What was written to people within the last ``digest_pause``.

    ``notices`` counts those of a single alert by its kind; ``digested`` names the kinds in digests.
    """

    notices: Mapping[str, int] = field(default_factory=dict)
    digested: frozenset[str] = frozenset()

    def holds_back(self, kind: str) -> bool:
        """Say whether a kind waits for the next digest: an urgent one only if a digest told of it."""
        if rule_of(kind).is_urgent:
            return kind in self.digested
        return any(not rule_of(other).is_urgent for other in self.digested)

    def count(self, *, is_urgent: bool) -> int:
        """Count the notices of single alerts that were urgent, or that were not."""
        return sum(count for kind, count in self.notices.items() if rule_of(kind).is_urgent is is_urgent)


@dataclass(frozen=True, slots=True)
class Notice:
    """One message to people, the same for every channel; ``details`` say it to programs, with links."""

    reason: TellingReason
    subject: str
    body: str
    alert_ids: tuple[int, ...]
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Context:
    """What a message says beside the alert itself.

    Attributes:
        worth: what it is about is worth so much, for people; None where the alert's own text says it.
        value: the same for programs.
        links: absolute addresses by what they are for.
    """

    worth: str | None = "not known"
    value: Mapping[str, Any] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)


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
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def links(self) -> Mapping[str, str]:
        """Absolute addresses by what they are for."""
        links: Mapping[str, str] = self.details.get("links", {})
        return links


def reason_to_tell(standing: Standing, now: datetime, policy: TellingPolicy) -> TellingReason | None:
    """Say why people must be told of an alert now; None when they need not be."""
    told = standing.told if standing.told and standing.told.is_active else None
    if standing.status == "resolved":
        return TellingReason.RECOVERED if told and _is_over(standing, now, policy) else None
    if told is None:
        return TellingReason.OPENED if standing.occurrences >= standing.rule.confirmations else None
    if changed := _change(standing.amount, told.amount, policy):
        return changed
    is_unanswered = standing.status == "open" and now - told.at >= policy.reminder_after
    return TellingReason.REMINDED if is_unanswered else None


def _is_over(standing: Standing, now: datetime, policy: TellingPolicy) -> bool:
    if standing.resolved_by:
        return True
    quiet = policy.recovery_quiet * 2 ** min(max(standing.openings - 1, 0), QUIET_DOUBLINGS_MAX)
    return standing.resolved_at is not None and now - standing.resolved_at >= quiet


@exact_arithmetic()
def _change(amount: Decimal | None, told: Decimal | None, policy: TellingPolicy) -> TellingReason | None:
    if not amount or not told:
        return None
    if (amount < 0) is not (told < 0):
        return TellingReason.FLIPPED
    return TellingReason.GREW if abs(amount) >= policy.growth_factor * abs(told) else None


def judge_all(
    standings: Sequence[Standing], now: datetime, lately: Lately, policy: TellingPolicy
) -> list[Judgement]:
    """List who must be told of what; after a digest, the rest of its storm waits for the next one."""
    return [
        Judgement(standing, reason)
        for standing in standings
        if (reason := reason_to_tell(standing, now, policy)) and not lately.holds_back(standing.kind)
    ]


def compose(
    judgements: Sequence[Judgement],
    lately: Lately,
    policy: TellingPolicy,
    context_of: Callable[[Standing | None], Context] = lambda _: Context(),
) -> list[Notice]:
    """Write one notice for each alert, or a digest where they are too many, with the last ones, to read.

    What is urgent and what is not are counted, and digested, each by itself. ``context_of`` says what else is
    known of an alert, and with None of all of them.
    """
    notices: list[Notice] = []
    for is_urgent in (True, False):
        some = [one for one in judgements if one.standing.rule.is_urgent is is_urgent]
        if len(some) + lately.count(is_urgent=is_urgent) <= policy.digest_above:
            notices += [_notice(one, context_of(one.standing)) for one in some]
        elif some:
            notices.append(_digest(some, policy, context_of(None)))
    return notices


def _about(standing: Standing) -> str:
    about = " ".join(part for part in (standing.account, standing.asset, standing.wallet) if part)
    words = standing.kind.replace("_", " ")
    return f"{words}: {about}" if about else words


def _notice(judgement: Judgement, context: Context) -> Notice:
    standing, reason = judgement.standing, judgement.reason
    is_over = reason is TellingReason.RECOVERED
    lines = _lines_of_end(standing) if is_over else [standing.message]
    lines.append(f"Account: {standing.account or 'none'}")
    if standing.amount is not None:
        asset = f" {standing.asset}" if standing.asset else ""
        lines.append(f"Amount: {format_amount(standing.amount)}{asset}")
    if (
        reason in {TellingReason.GREW, TellingReason.FLIPPED}
        and standing.told
        and standing.told.amount is not None
    ):
        lines.append(f"Told before: {format_amount(standing.told.amount)}")
    if context.worth is not None:
        lines.append(f"Value: {context.worth}")
    if not is_over:
        since = f", since {moment_words(standing.opened_at)}" if standing.opened_at else ""
        lines += [
            f"Seen {_counted(standing.occurrences, 'time')}{since}",
            f"What to do: docs/runbooks/alerts.md#{standing.kind}",
            f"Answer: python -m kraken_recon alerts --acknowledge {standing.alert_id} --by NAME",
        ]
    return Notice(
        reason,
        _subject(f"[{reason}] {_about(standing)}"),
        _written_out("\n".join(" ".join(line.split()) for line in lines)),
        (standing.alert_id,),
        _details(standing, context),
    )


def _lines_of_end(standing: Standing) -> list[str]:
    """Say what is over, since when it lasted and what ended it."""
    lines = [f"Over: {_about(standing)} (alert {standing.alert_id})", f"It was: {standing.message}"]
    if standing.opened_at and standing.resolved_at:
        lasted = standing.resolved_at - standing.opened_at
        lines.append(
            f"Open from {moment_words(standing.opened_at)} to {moment_words(standing.resolved_at)}, "
            f"for {length_words(lasted)}"
        )
    if standing.openings > 1:
        lines.append(f"Opened {standing.openings} times lately")
    if standing.resolved_by:
        note = f": {standing.note}" if standing.note else ""
        lines.append(f"Resolved by {standing.resolved_by}{note}")
    else:
        lines.append(f"Ended by: {standing.resolution or 'itself, it was no longer found'}")
    return lines


def _details(standing: Standing, context: Context) -> dict[str, Any]:
    return {
        "kind": standing.kind,
        "account": standing.account,
        "asset": standing.asset,
        "wallet": standing.wallet,
        "amount": format_amount(standing.amount) if standing.amount is not None else None,
        "value": dict(context.value),
        "opened_at": standing.opened_at.isoformat() if standing.opened_at else None,
        "resolved_at": standing.resolved_at.isoformat() if standing.resolved_at else None,
        "ended_by": standing.resolved_by or standing.resolution,
        "links": dict(context.links),
    }


def _digest(judgements: Sequence[Judgement], policy: TellingPolicy, context: Context) -> Notice:
    accounts = {judgement.standing.account for judgement in judgements} - {None}
    counts = Counter((judgement.reason, judgement.standing.kind) for judgement in judgements)
    lines = [
        f"{count:,} {reason}: {kind.replace('_', ' ')}" for (reason, kind), count in sorted(counts.items())
    ]
    shown = min(len(judgements), policy.digest_examples)
    lines += ["", f"The first {shown}:"]
    lines += [f"- {' '.join(judgement.standing.message.split())}" for judgement in judgements[:shown]]
    lines += ["", "All of them: python -m kraken_recon alerts"]
    many = f"{_counted(len(judgements), 'alert')} in {_counted(len(accounts), 'account')}"
    return Notice(
        TellingReason.DIGEST,
        f"[{TellingReason.DIGEST}] {many}",
        _written_out("\n".join(lines)),
        tuple(judgement.standing.alert_id for judgement in judgements),
        {"links": dict(context.links)},
    )


def _written_out(text: str) -> str:
    """Write out what would hide, reorder or end a line; line ends of ours stay."""
    return "".join(
        character if character == "\n" or character.isprintable() else f"\\u{ord(character):04x}"
        for character in text
    )


def _subject(text: str) -> str:
    line = _written_out(" ".join(text.split()))
    return line if len(line) <= SUBJECT_LENGTH_MAX else f"{line[: SUBJECT_LENGTH_MAX - 1]}…"


def moment_words(moment: datetime) -> str:
    """Write a moment for people."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def length_words(length: timedelta) -> str:
    """Write a length of time for people, in its two largest units."""
    seconds = max(0, int(length.total_seconds()))
    parts = [
        (count, unit)
        for count, unit in (
            (seconds // 86_400, "d"),
            (seconds // 3_600 % 24, "h"),
            (seconds // 60 % 60, "min"),
            (seconds % 60, "s"),
        )
        if count
    ]
    return " ".join(f"{count} {unit}" for count, unit in parts[:2]) or "0 s"


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def backoff(attempts: int) -> timedelta:
    """Say how long a channel that failed so many times in a row is left alone: at most ten minutes."""
    return timedelta(seconds=min(600, 5 * 2 ** min(attempts - 1, 10)))
