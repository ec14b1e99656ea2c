"""What a task says in its log: what was asked, what differed, what was done, and where to look.

At most ten lines at INFO, whatever the number of accounts: what agrees is counted, what does not is
named, the first of it. All of it is on the dashboard, which the last line names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from kraken_airflow.dag_parts.links import DASHBOARD, airflow_path
from kraken_recon.ledger.entries import HoldingKey
from kraken_recon.reconciliation.rules.counts import TOLD

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

LINES_MAX: Final = 10
NAMES_MAX: Final = 10
LABEL_LENGTH_MAX: Final = 250  # task_instance.rendered_map_index


def story(lines: Sequence[str], page: str) -> list[str]:
    """Cut the lines to what fits, and end with where to look."""
    room = LINES_MAX - 1
    left = len(lines) - room + 1
    told = list(lines) if len(lines) <= room else [*lines[: room - 1], f"and {left} more"]
    return [*told, f"Look at {airflow_path()}{DASHBOARD}{page}"]


def named(names: Sequence[str]) -> str:
    """List the first names, and count the others."""
    shown = ", ".join(names[:NAMES_MAX])
    return shown if len(names) <= NAMES_MAX else f"{shown} and {len(names) - NAMES_MAX} more"


def label_of(names: Sequence[str]) -> str:
    """Write names for Airflow's lists; the column is bounded, and a longer text would fail the task's end."""
    shown = named(names)
    return shown if len(shown) <= LABEL_LENGTH_MAX else shown[: LABEL_LENGTH_MAX - 1] + "…"


def counted(count: int, noun: str) -> str:
    """Write a number of things."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def account_lines(report: Mapping[str, Any]) -> list[str]:
    """Name the accounts of which there is something to say, worst first, and count those that agree."""
    telling = [account for account in report["accounts"] if _says_something(account)]
    agreeing = [account for account in report["accounts"] if not _says_something(account)]
    lines = [account_line(account) for account in sorted(telling, key=_places_behind)]
    if agreeing:
        positions = sum(account["checked"] for account in agreeing)
        names = named([account["account"] for account in agreeing])
        agree = "agrees" if len(agreeing) == 1 else "agree"
        subject = counted(len(agreeing), "account")
        lines.append(f"{subject} {agree} with Kraken in all of {counted(positions, 'position')}: {names}")
    return lines


def account_line(account: Mapping[str, Any]) -> str:
    """Write one account of a report as one line for people."""
    counts = ", ".join(f"{account[count.name]} {count.words}" for count in TOLD if account[count.name])
    remark = account["error"] or account["note"]
    return (
        f"{account['account']}: {account['status']} ({account['mode']}); {counts or 'nothing checked'}; "
        f"{account['api_calls']} API calls, {account['seconds']} s" + (f"; {remark}" if remark else "")
    )


def difference_lines(report: Mapping[str, Any]) -> Iterator[str]:
    """Write each position that differed with its explanation; the first accounts first."""
    for account in report["accounts"]:
        for finding in account["findings"]:
            yield (
                f"{account['account']} {HoldingKey(finding['asset'], finding['wallet'])}: "
                f"recorded {finding['db_quantity']}, "
                f"Kraken {finding['exchange_quantity']}: {finding['explanation']}"
            )


def total_line(report: Mapping[str, Any]) -> str:
    """Count the accounts by how their runs ended, and the positions by what became of them."""
    statuses = [account["status"] for account in report["accounts"]]
    ended = ", ".join(f"{statuses.count(status)} {status}" for status in dict.fromkeys(sorted(statuses)))
    counts = [f"{report['totals'][count.name]} {count.words}" for count in TOLD]
    return f"{counted(len(statuses), 'account')}: {ended}; positions: {', '.join(counts)}"


def _says_something(account: Mapping[str, Any]) -> bool:
    if account["status"] != "succeeded" or account["error"] or account["note"]:
        return True
    return any(account[count.name] for count in TOLD if not count.is_agreement)


def _places_behind(account: Mapping[str, Any]) -> tuple[bool, str]:
    return account["status"] != "failed", account["account"]
