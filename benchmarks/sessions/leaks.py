"""Inject leaks and legitimate sessions on a real server, audit them, and score each rule.

Two samples are taken a moment apart; then the audit acts, with every rule allowed to terminate. The page
says, per rule, which share of what it named it named rightly (precision), and which share of what it ought to
name it named (recall).
"""

from __future__ import annotations

import argparse
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import psycopg

from benchmarks.figures import RESULTS, ROOT, keep
from benchmarks.sessions.cases import CASES
from benchmarks.sessions.stage import MATURE_SECONDS, THRESHOLDS, Stage, prepare
from kraken_recon.database.migrate import migrate
from kraken_recon.database.unit_of_work import UnitOfWork, create_engine
from kraken_recon.errors import ConfigurationError
from kraken_recon.sessions.auditing import AuditRequest, audit
from kraken_recon.sessions.rules.leaks import ActionPolicy
from kraken_recon.wiring import Wiring, source_of
from local_stack.postgres import EmbeddedPostgres

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from benchmarks.sessions.cases import Case

PAGE: Final = ROOT / "docs/reference/session-leak-score.md"
OUTPUT: Final = RESULTS / "session_leaks.json"
SAMPLES: Final = 2
OWNERS: Final = ("leaky_dag.", "old_script", "etl", "nightly_report")
SERVER_SETTINGS: Final = {"max_connections": "200", "wal_level": "logical", "max_prepared_transactions": "8"}


@dataclass(frozen=True, slots=True)
class Seen:
    """One injected session, the rules that named it, whether rightly by name, and whether it was ended."""

    case: str
    is_leak: bool
    expected: frozenset[str]
    rules: frozenset[str]
    is_named: bool
    is_ended: bool


@contextmanager
def server() -> Iterator[str]:
    """Yield the URL of a migrated database on a server of its own."""
    with tempfile.TemporaryDirectory(prefix="kraken-recon-leaks-", ignore_cleanup_errors=True) as place:
        Path(place).chmod(0o711)
        with EmbeddedPostgres(Path(place) / "postgres", settings=SERVER_SETTINGS) as postgres:
            with psycopg.connect(postgres.url("postgres"), autocommit=True) as administrator:
                administrator.execute("create database trading")
            url = postgres.url("trading")
            migrate(create_engine(url))
            prepare(url)
            yield url


def run(url: str, cases: Sequence[Case], *, repeats: int) -> list[Seen]:
    """Open every case, take two samples, act, and say what became of each session."""
    stage = Stage(url)
    try:
        opened = [(case, pid) for case in cases for _ in range(repeats) for pid in case.open(stage)]
        found: dict[int, dict[str, str]] = {}
        for _ in range(SAMPLES):
            time.sleep(MATURE_SECONDS)
            for finding in _audit(url, stage, is_dry_run=True)["findings"]:
                if "/" in finding["subject"]:
                    pid = int(finding["subject"].partition("/")[0])
                    found.setdefault(pid, {})[finding["rule"]] = finding["message"]
        for _ in range(2):  # what is at work is cancelled first
            _audit(url, stage, is_dry_run=False)
        left = _pids(url)
    finally:
        stage.end()
    strangers = set(found) - {pid for _, pid in opened}
    seen = [_seen(case, found.get(pid, {}), is_ended=pid not in left) for case, pid in opened]
    return seen + [_stranger(found[pid]) for pid in sorted(strangers)]


def _audit(url: str, stage: Stage, *, is_dry_run: bool) -> dict[str, Any]:
    wiring = Wiring(url, _no_credentials, application_name="kraken_recon:audit")
    source = source_of("trading_db", lambda: UnitOfWork(wiring.engine()))
    policy = ActionPolicy(actions_max=1000, is_dry_run=is_dry_run)
    ports = wiring.audit_ports([source], stage, acted_by="bench")
    return audit(AuditRequest(policy, THRESHOLDS), ports)


def _no_credentials(_: object) -> Any:  # noqa: ANN401 - never returns
    raise ConfigurationError("the audit asks no exchange")


def _pids(url: str) -> set[int]:
    with psycopg.connect(url, autocommit=True) as connection:
        return {row[0] for row in connection.execute("select pid from pg_stat_activity")}


def _seen(case: Case, messages: Mapping[str, str], *, is_ended: bool) -> Seen:
    names = [text for text in messages.values() if any(name in text for name in OWNERS)]
    expected = frozenset(map(str, case.rules))
    return Seen(case.name, case.is_leak, expected, frozenset(messages), bool(names), is_ended)


def _stranger(messages: Mapping[str, str]) -> Seen:
    """Count a session that no case answers for, such as a victim, as a legitimate one."""
    return Seen(
        "bystander",
        is_leak=False,
        expected=frozenset(),
        rules=frozenset(messages),
        is_named=False,
        is_ended=False,
    )


def score(seen: Sequence[Seen]) -> dict[str, dict[str, int]]:
    """Count per rule what was named rightly, wrongly and not at all; further leaks of a leak are right."""
    table = {}
    for rule in sorted({rule for one in seen for rule in one.expected | one.rules}):
        table[rule] = {
            "right": sum(1 for one in seen if rule in one.rules and one.is_leak),
            "wrong": sum(1 for one in seen if rule in one.rules and not one.is_leak),
            "expected": sum(1 for one in seen if rule in one.expected),
            "missed": sum(1 for one in seen if rule in one.expected - one.rules),
        }
    return table


def document(seen: Sequence[Seen], *, repeats: int) -> dict[str, Any]:
    """Gather the results."""
    return {
        "repeats": repeats,
        "rules": score(seen),
        "cases": [
            {
                "case": case.name,
                "is_leak": case.is_leak,
                "sessions": len(of_case),
                "found": sum(1 for one in of_case if one.rules),
                "named": sum(1 for one in of_case if one.is_named),
                "ended": sum(1 for one in of_case if one.is_ended),
                "rules": sorted({rule for one in of_case for rule in one.rules}),
            }
            for case in CASES
            for of_case in [[one for one in seen if one.case == case.name]]
        ],
    }


def page(results: Mapping[str, Any]) -> str:
    """Write the results as a page."""
    lines = [
        "<!-- Written by `make bench-sessions`; a test runs the same cases. -->",
        "# Score of the session audit",
        "",
        "Leaks and legitimate sessions, injected on a real PostgreSQL server from threads and processes;",
        f"every case {results['repeats']} times, all at once. Two samples, then the audit acts with every",
        "rule allowed to terminate. The limits are the product's own, in seconds instead of minutes.",
        "",
        "These kinds were chosen by us: read the figures as *the rules cover them*, not as a field rate.",
        "",
        "| rule | named rightly | wrongly | precision | ought to name | missed | recall |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    for rule, counts in results["rules"].items():
        named = counts["right"] + counts["wrong"]
        precision = counts["right"] / named if named else 1.0
        recall = 1 - counts["missed"] / counts["expected"] if counts["expected"] else 1.0
        lines.append(
            f"| `{rule}` | {counts['right']} | {counts['wrong']} | {precision:.2f} "
            f"| {counts['expected']} | {counts['missed']} | {recall:.2f} |"
        )
    lines += [
        "",
        "| session | leak | sessions | found within two samples | task named | ended | rules |",
        "|---|---|--:|--:|--:|--:|---|",
    ]
    for case in results["cases"]:
        rules = ", ".join(f"`{rule}`" for rule in case["rules"])
        lines.append(
            f"| {case['case']} | {'yes' if case['is_leak'] else 'no'} | {case['sessions']} | {case['found']} "
            f"| {case['named']} | {case['ended']} | {rules} |"
        )
    return "\n".join([*lines, ""])


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the bench and write results and page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks session-leaks", description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args(arguments).repeats
    with server() as url:
        results = document(run(url, CASES, repeats=repeats), repeats=repeats)
    keep(results, OUTPUT)
    PAGE.write_text(page(results))
    print(page(results))


if __name__ == "__main__":
    main()
