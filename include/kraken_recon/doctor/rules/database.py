"""What is wrong with the trading database, and with who looks after it."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from kraken_recon.alerts.silence_rules import Job
from kraken_recon.doctor.rules.diagnosis import not_checked, warning, well, wrong

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kraken_recon.doctor.rules.diagnosis import Diagnosis
    from kraken_recon.doctor.rules.readings import AuditRole, DatabaseReading

CLOCKS_APART_MAX: Final = timedelta(seconds=5)
LACKS_TOLD_MAX: Final = 8
_NOTHING_WORKS: Final = "Nothing is reconciled, no order is followed, and no alert is raised."
_NOBODY_IS_TOLD: Final = "Nobody is told of alerts, and nobody notices when the scheduler is down."
_REFUSALS: Final = (
    (
        ("password", "authentication", "no pg_hba.conf entry", "role "),
        "Put the login and the password into KRAKEN_RECON_DSN and the connection trading_db again.",
    ),
    (
        ("does not exist",),
        "Name the right database in KRAKEN_RECON_DSN, or create it and run `python -m kraken_recon migrate`.",
    ),
    (
        ("too many", "remaining connection slots"),
        "End what holds connections: `python -m kraken_recon audit`.",
    ),
)
_IS_DOWN: Final = "See whether the server runs and can be reached from here: `pg_isready --dbname=...`."


def not_usable(told: str, remedy: str = "") -> Diagnosis:
    """Say what to do about a database that lets nobody in, by its own words where nobody knows better."""
    known = next((does for words, does in _REFUSALS if any(word in told for word in words)), _IS_DOWN)
    return wrong("database", told, _NOTHING_WORKS, remedy or known)


def diagnose_database(reading: DatabaseReading, expected_revision: str) -> Iterator[Diagnosis]:
    """Say how the server, its schema and the role are; what needs a schema is silent without one."""
    yield _server(reading)
    yield _clocks(reading)
    if reading.revision or not reading.has_schema:
        yield _schema(reading, expected_revision)
    if reading.has_schema:
        yield _rights(reading)


def _server(reading: DatabaseReading) -> Diagnosis:
    name = f"PostgreSQL {reading.server_version // 10_000}.{reading.server_version % 10_000}"
    if reading.takes_no_writes:
        remedy = "Let KRAKEN_RECON_DSN and trading_db lead to the primary, as a role that may write."
        return wrong("database", f"{name} takes no writes: a standby, or read only", _NOTHING_WORKS, remedy)
    return well("database", f"{name} answers {reading.login}")


def _clocks(reading: DatabaseReading) -> Diagnosis:
    apart = reading.clock_ahead
    if abs(apart) <= CLOCKS_APART_MAX:
        return well("database clock", "the server's clock and this machine's agree")
    seconds = abs(apart).total_seconds()
    side = "ahead of" if apart > timedelta(0) else "behind"
    return warning(
        "database clock",
        f"the server's clock is {seconds:.0f} s {side} this machine's",
        "Ages of proofs, claims and heartbeats are judged wrongly.",
        "Set the clock of the one that is off: `timedatectl`, `chronyc tracking`.",
    )


def _schema(reading: DatabaseReading, expected: str) -> Diagnosis:
    found = reading.revision
    if not found:
        what = "there is no trading schema in this database"
        return wrong("schema", what, _NOTHING_WORKS, "Run `python -m kraken_recon migrate`.")
    if found == expected:
        return well("schema", f"the trading schema is at revision {found}, as this code expects")
    told = f"the trading schema is at revision {found}, and this code expects {expected}"
    # Revisions are numbers of one width.
    if found < expected:
        meaning = "The schema is older than the code: statements fail on what is missing."
        return wrong(
            "schema", told, meaning, "Stop the workers, run `python -m kraken_recon migrate`, start."
        )
    meaning = "The schema is newer than the code: what this code writes may be wrong there."
    return wrong("schema", told, meaning, "Install the newer release here too; a schema never goes back.")


def _rights(reading: DatabaseReading) -> Diagnosis:
    if not reading.lacks:
        return well("role", f"{reading.login} may do all that {reading.role} may")
    more = len(reading.lacks) - LACKS_TOLD_MAX
    told = "; ".join(reading.lacks[:LACKS_TOLD_MAX]) + (f"; and {more} more" if more > 0 else "")
    return wrong(
        "role",
        f"{reading.login} lacks {told}",
        "What needs these rights fails, and is rolled back as a whole.",
        f"`python -m kraken_recon migrate` as the owner; or, as an administrator: grant {reading.role} to "
        f'"{reading.login}"',
    )


def pooled(mode: str) -> Diagnosis:
    """Say what stands before the database."""
    told = "nothing stands before the server" if mode == "none" else f"a pooler pools by {mode}"
    return well("pooler", f"{told}; sessions can be kept")


def sessions_are_lent(told: str, remedy: str) -> Diagnosis:
    """Say that no session can be kept, because a pooler lends them."""
    meaning = (
        "No account can be asked about: a call slot is held by a session. Wake-ups and desk books fail, too."
    )
    return wrong("pooler", told, meaning, remedy)


def diagnose_audit(role: AuditRole) -> Diagnosis:
    """Say what the audit sees of a server's sessions, and what it may end."""
    check = f"session audit {role.connection}"
    remedy = f'As an administrator: grant pg_read_all_stats to "{role.login}"; docs/how-to/grant-the-audit.md'
    if role.sees_all_sessions:
        may = "and may end them" if role.may_signal else "and reports them"
        return well(check, f"{role.login} sees every session {may}")
    if role.may_signal:
        return wrong(
            check,
            f"{role.login} has pg_signal_backend and lacks pg_read_all_stats",
            "It may end sessions whose beginning it cannot see, and would end the wrong one.",
            remedy,
        )
    return warning(
        check,
        f"{role.login} lacks pg_read_all_stats, and so sees its own role's sessions alone",
        "A session that another role left open is not found.",
        remedy,
    )


def audit_not_asked(connection: str, why: str) -> Diagnosis:
    """Say that the audit's role could not be asked about."""
    return not_checked(f"session audit {connection}", why, "docs/how-to/grant-the-audit.md")


def diagnose_heartbeats(reading: DatabaseReading) -> Iterator[Diagnosis]:
    """Say which jobs fell silent, and which never worked."""
    if reading.heartbeats is None:
        yield not_checked("jobs", "the heartbeats cannot be read: see schema and role")
        return
    beats = {beat.job: beat for beat in reading.heartbeats}
    for job in Job:
        check = "watch" if job is Job.WATCH else f"job {job}"
        beat = beats.pop(job, None)
        if beat is None:
            if job is Job.WATCH:
                yield _watch_never_ran()
            elif job is Job.POSITION_SYNC and reading.accounts:
                yield warning(
                    check,
                    "it has never worked here, and there are accounts",
                    "No account is reconciled by a schedule.",
                    "Unpause it: `airflow dags unpause position_sync`; docs/runbooks/position_sync.md",
                )
            else:
                yield not_checked(check, "it has never worked here; nothing is expected of it until it has")
        elif beat.is_silent:
            meaning, remedy = _silence_of(job)
            yield wrong(check, beat.message, meaning, remedy)
        else:
            yield well(check, f"worked within its {beat.limit_minutes} minutes")


def _silence_of(job: Job) -> tuple[str, str]:
    """Say what follows from a job's silence, and what to do."""
    if job is Job.WATCH:
        return _NOBODY_IS_TOLD, "Look at its log and start it again: docs/runbooks/alerts.md"
    remedy = f"See whether the scheduler runs and the DAG is unpaused: docs/runbooks/{job}.md"
    return "What it does is not done.", remedy


def _watch_never_ran() -> Diagnosis:
    return warning(
        "watch",
        "the watch has never worked here",
        _NOBODY_IS_TOLD,
        "Run `python -m kraken_airflow.watch`: docs/how-to/connect-alerts.md",
    )
