"""Every kind of leak is found and named within two samples on a real server; nothing legitimate is ended."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import psycopg
import pytest
from benchmarks.session_cases import CASES, Stage
from benchmarks.session_leaks import PAGE, RESULTS, page, run, score, server

from kraken_recon.adapters.postgres.unit_of_work import PostgresUnitOfWork, create_engine
from kraken_recon.domain.session_records import Rule
from kraken_recon.domain.sessions import Audit, Thresholds

if TYPE_CHECKING:
    from collections.abc import Iterator

LEAKS_MIN = 8
# It stirs before it can be ended, or is not ours to end.
LEFT_ALONE = {"short gaps", "another team's lock"}


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


def test_what_holds_the_horizon_back_is_found(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("select pg_create_physical_replication_slot('nobody', true)")
        connection.execute("select pg_create_logical_replication_slot('forgotten', 'test_decoding')")
        connection.execute("begin; create table waits (x int); prepare transaction 'half done'")
    with PostgresUnitOfWork(create_engine(url)) as unit:
        sample = unit.watch.sample("trading_db", ["postgres"], is_ours=True)
    findings = Audit(sample, {}, None, thresholds=Thresholds(prepared_seconds=0)).findings()
    found = {(f.rule, f.subject) for f in findings}
    assert (Rule.PREPARED_TRANSACTION, "half done") in found
    assert (Rule.SLOT_HOLDS_HORIZON, "forgotten") in found
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


def test_the_page_is_in_step() -> None:
    assert PAGE.read_text() == page(json.loads(RESULTS.read_text()))
