"""Every kind of leak is found and named within two samples on a real server; nothing legitimate is ended."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import psycopg
import pytest
from benchmarks.sessions.cases import CASES
from benchmarks.sessions.leaks import PAGE, document, page, run, score, server
from benchmarks.sessions.stage import Stage

from kraken_recon.database.unit_of_work import UnitOfWork, create_engine
from kraken_recon.sessions.airflow_api import NoAirflow
from kraken_recon.sessions.auditing import AuditRequest, audit
from kraken_recon.sessions.rules.leaks import ActionPolicy, Audit, Thresholds
from kraken_recon.sessions.rules.records import AuditRule
from kraken_recon.sessions.store import ServerSessions
from kraken_recon.wiring import Wiring, source_of

if TYPE_CHECKING:
    from collections.abc import Iterator

LEAKS_MIN = 8
GRANTS = Path(__file__).resolve().parents[2] / "docs/how-to/grant-the-audit.md"
# It stirs before it can be ended, or is not ours to end: another team's, or of a name of somebody's own.
LEFT_ALONE = {"short gaps", "another team's lock", "a DAG's own name"}


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with server() as url:
        yield url


def test_every_leak_is_found_named_and_ended_and_nothing_else(url: str) -> None:
    assert sum(1 for case in CASES if case.is_leak) >= LEAKS_MIN
    assert sum(1 for case in CASES if not case.is_leak) >= LEAKS_MIN
    seen = run(url, CASES, repeats=1)
    assert {one.case for one in seen} == {case.name for case in CASES}
    assert [one for one in seen if one.is_leak and not (one.is_named and one.expected <= one.rules)] == []
    assert [one for one in seen if one.is_leak and one.case not in LEFT_ALONE and not one.is_ended] == []
    assert [one for one in seen if not one.is_leak and (one.rules or one.is_ended)] == []
    assert all(counts["wrong"] == counts["missed"] == 0 for counts in score(seen).values())
    # The published page says what was seen here, to the last count, as often as it repeated each case.
    published = PAGE.read_text()
    times = re.search(r"^every case (\d+) times", published, re.MULTILINE)
    assert times
    repeats = int(times[1])
    assert published == page(document(seen * repeats, repeats=repeats)), "run `make bench-sessions`"


def test_what_holds_the_horizon_back_is_found(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("select pg_create_physical_replication_slot('nobody', true)")
        connection.execute("select pg_create_logical_replication_slot('forgotten', 'test_decoding')")
        connection.execute("begin; create table waits (x int); prepare transaction 'half done'")
    with UnitOfWork(create_engine(url)) as unit:
        sample = ServerSessions(unit).sample("trading_db", ["postgres"], is_ours=True)
    findings = Audit(sample, {}, None, thresholds=Thresholds(prepared_seconds=0)).findings()
    found = {(f.rule, f.subject) for f in findings}
    assert (AuditRule.PREPARED_TRANSACTION, "half done") in found
    assert (AuditRule.SLOT_HOLDS_HORIZON, "forgotten") in found
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("rollback prepared 'half done'")
        connection.execute("select pg_drop_replication_slot(slot_name) from pg_replication_slots")


def test_the_stage_leaves_nothing_behind(url: str) -> None:
    stage = Stage(url)
    pids = [pid for case in CASES for pid in case.open(stage)]
    stage.end()
    with psycopg.connect(url) as connection:
        left = connection.execute("select pid from pg_stat_activity where pid = any(%s)", [pids]).fetchall()
    assert left == []


def test_the_grants_of_the_how_to_are_enough_as_they_stand(url: str) -> None:
    """A fresh role, given what the page says, looks, keeps its rows, and ends only after the second step."""
    seeing, ending, elsewhere = re.findall(r"```sql\n(.*?)```", GRANTS.read_text(), re.DOTALL)
    with psycopg.connect(url, autocommit=True) as admin:
        admin.execute("create database airflow")
        admin.execute("create role trading_app login password 'app'")
        admin.execute("grant usage on schema trading to trading_app")
        admin.execute("grant all on all tables in schema trading to trading_app")
        admin.execute("revoke connect on database trading, airflow from public")
        admin.execute("grant connect on database trading to trading_app")
        admin.execute(seeing)
        with psycopg.connect(as_role(url, "trading_app:app"), application_name="kraken_recon:leak") as leak:
            leak.execute("select 1")
            for grant, outcome in ((None, "not_permitted"), (ending, "done")):
                if grant is not None:
                    admin.execute(grant)
                found = audited(as_role(url, "recon_audit:..."))["findings"]
                outcomes = [one["outcome"] for one in found if one["application_name"] == "kraken_recon:leak"]
                assert outcomes == [outcome]
            leak.close()
        metadata = as_role(url, "recon_audit:...", database="airflow")
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(metadata)
        admin.execute(elsewhere)
        looked = audited(as_role(url, "recon_audit:..."), metadata)
        assert [source["source"] for source in looked["sources"]] == ["trading_db", "airflow_db_audit"]
        assert looked["failed"] == []


def as_role(url: str, who: str, *, database: str = "trading") -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=f"{who}@{parts.hostname}:{parts.port}", path=f"/{database}").geturl()


def audited(url: str, *others: str) -> dict[str, Any]:
    wiring = Wiring(url, lambda _: pytest.fail("asks no exchange"), application_name="kraken_recon:t")
    engines = {"trading_db": wiring.engine()}
    for other in others:
        engines["airflow_db_audit"] = create_engine(other)
    sources = [
        source_of(name, partial(UnitOfWork, engine), is_ours=name == "trading_db")
        for name, engine in engines.items()
    ]
    request = AuditRequest(ActionPolicy(is_dry_run=False), Thresholds(hold_seconds=0))
    return audit(request, wiring.audit_ports(sources, NoAirflow(), acted_by="the test"))
