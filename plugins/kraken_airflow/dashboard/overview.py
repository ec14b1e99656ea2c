"""Decide what the page says about a report: one answer, one verdict per account, and what differed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Literal

from kraken_recon.domain.intervals import RUN_INTERVAL

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Level = Literal["good", "watch", "bad"]
# One run may be late or moving before anybody is alarmed.
PROOF_AGE_MAX: Final = 2 * RUN_INTERVAL
FINDINGS_SHOWN_MAX: Final = 200
LEDGER_IDS_SHOWN_MAX: Final = 3


@dataclass(frozen=True, slots=True)
class AccountView:
    """One account's line: ``verdict`` says why it has its ``level``."""

    name: str
    level: Level
    verdict: str
    proof: str
    proven_at: str | None
    checked: int
    agreed: int
    differed: int
    explained: int
    repaired: int
    held: int
    awaiting: int
    api_calls: int
    seconds: str
    is_dry_run: bool
    error: str | None
    note: str | None


@dataclass(frozen=True, slots=True)
class FindingView:
    """One asset in one wallet that differed; amounts are text, exact."""

    account: str
    asset: str
    wallet: str
    recorded: str
    reported: str
    drift: str
    explained: str
    unexplained: str
    action: str
    level: Level
    explanation: str
    ledger_ids: str
    all_ledger_ids: str


@dataclass(frozen=True, slots=True)
class AlertView:
    """One thing that a person must look at."""

    kind: str
    account: str
    asset: str
    message: str
    occurrences: int
    opened: str
    last_seen: str


@dataclass(frozen=True, slots=True)
class Overview:
    """The whole page."""

    level: Level
    answer: str
    reason: str
    accounts: tuple[AccountView, ...]
    findings: tuple[FindingView, ...]
    findings_left_out: int
    nothing_differed: str
    alerts: tuple[AlertView, ...]
    generated_at: str


def overview_of(report: Mapping[str, Any], now: datetime) -> Overview:
    """Judge a report of the latest runs at a moment."""
    accounts = tuple(_account(account, now) for account in report["accounts"])
    findings = [
        _finding(account["account"], finding)
        for account in report["accounts"]
        for finding in account["findings"]
    ]
    level, answer, reason = _answer(accounts)
    return Overview(
        level,
        answer,
        reason,
        accounts,
        tuple(findings[:FINDINGS_SHOWN_MAX]),
        max(0, len(findings) - FINDINGS_SHOWN_MAX),
        _nothing_differed(report["accounts"]),
        tuple(_alert(alert, now) for alert in report["alerts"]),
        now.strftime("%Y-%m-%d %H:%M:%S UTC"),
    )


def _answer(accounts: Sequence[AccountView]) -> tuple[Level, str, str]:
    if not accounts:
        return "watch", "Nothing to say yet", "No account is active."
    troubled = [account for account in accounts if account.level != "good"]
    if not troubled:
        everything = "The account is" if len(accounts) == 1 else f"All {len(accounts)} accounts are"
        return "good", "Yes", f"{everything} accounted for, to the last unit or within tolerance."
    level: Level = "bad" if any(account.level == "bad" for account in troubled) else "watch"
    return (
        level,
        "No" if level == "bad" else "Almost",
        f"{len(troubled)} of {len(accounts)} accounts {'needs' if len(troubled) == 1 else 'need'} a look: "
        + ", ".join(account.name for account in troubled[:5])
        + (" ..." if len(troubled) > 5 else "")  # noqa: PLR2004 - a line's worth of names
        + ".",
    )


def _nothing_differed(accounts: Sequence[Mapping[str, Any]]) -> str:
    """Word an empty list; an account that nobody could ask has not agreed."""
    asked = [account for account in accounts if account["status"] == "succeeded"]
    if not asked:
        return "Not known: no account was reconciled by its latest run."
    if len(asked) < len(accounts):
        return "Nothing in the accounts that were reconciled; the others are not known."
    return "Nothing: every position agreed."


def _account(account: Mapping[str, Any], now: datetime) -> AccountView:
    level, verdict = _verdict(account, now)
    proven_at = account["proven_at"]
    return AccountView(
        name=account["account"],
        level=level,
        verdict=verdict,
        proof=_ago(proven_at, now) if proven_at else "never",
        proven_at=proven_at,
        checked=account["checked"],
        agreed=account["matched"],
        differed=len(account["findings"]),
        explained=account["explained"],
        repaired=account["updated"] + account["added"] + account["removed"],
        held=account["held"],
        awaiting=account["awaiting"],
        api_calls=account["api_calls"],
        seconds=account["seconds"] or "-",
        is_dry_run=account["mode"] == "dry_run",
        error=account["error"],
        note=account["note"],
    )


def _verdict(account: Mapping[str, Any], now: datetime) -> tuple[Level, str]:  # noqa: PLR0911 - a decision list
    """Say whether the account is accounted for; the worst that is true of it decides."""
    status = account["status"]
    if status == "failed":
        return "bad", "not reconciled"
    if status == "never run":
        return "watch", "not reconciled yet"
    proven_at = account["proven_at"]
    if not proven_at or now - datetime.fromisoformat(proven_at) > PROOF_AGE_MAX:
        return "bad", "last proof is too old"
    if account["held"]:
        return "bad", "a repair waits for a person"
    if account["mode"] == "dry_run" and account["findings"]:
        return "watch", "dry run: differences were not repaired"
    if account["awaiting"]:
        return "watch", "a difference waits for confirmation"
    if status == "moving":
        return "watch", "was moving; the next run looks again"
    return "good", "accounted for"


def _finding(account: str, finding: Mapping[str, Any]) -> FindingView:
    ids = finding["ledger_ids"]
    more = len(ids) - LEDGER_IDS_SHOWN_MAX
    return FindingView(
        account=account,
        asset=finding["asset"],
        wallet=finding["wallet"],
        recorded=finding["db_quantity"],
        reported=finding["exchange_quantity"],
        drift=finding["drift"],
        explained=finding["explained"],
        unexplained=finding["unexplained"],
        action=finding["action"].replace("_", " "),
        level=_action_level(finding["action"]),
        explanation=finding["explanation"],
        ledger_ids=", ".join(ids[:LEDGER_IDS_SHOWN_MAX]) + (f" and {more} more" if more > 0 else ""),
        all_ledger_ids=" ".join(ids),
    )


def _action_level(action: str) -> Level:
    if action == "held":
        return "bad"
    return "good" if action in {"applied", "within_tolerance"} else "watch"


def _alert(alert: Mapping[str, Any], now: datetime) -> AlertView:
    asset = alert["asset"] or ""
    return AlertView(
        kind=alert["kind"].replace("_", " "),
        account=alert["account"] or "",
        asset=f"{asset}.{alert['wallet']}" if asset and alert["wallet"] not in (None, "spot") else asset,
        message=alert["message"],
        occurrences=alert["occurrences"],
        opened=_ago(alert["opened_at"], now),
        last_seen=_ago(alert["last_seen_at"], now),
    )


def _ago(moment: str, now: datetime) -> str:
    """Say how long ago in the largest unit that fits."""
    age = max(now - datetime.fromisoformat(moment), timedelta(0))
    for unit, name in ((timedelta(days=1), "d"), (timedelta(hours=1), "h"), (timedelta(minutes=1), "min")):
        if age >= unit:
            return f"{age // unit} {name} ago"
    return f"{age // timedelta(seconds=1)} s ago"
