"""What tasks read and write, as OpenLineage is told of it, is what they do."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from airflow.providers.common.compat.lineage.entities import File, Table

from desks.dag_runs import read_dags, run_dag
from desks.desk_databases import make_arena, sqlite_database
from desks.otlp_collector import OtlpCollector
from kraken_airflow.telemetry.lineage import Lineage, desk_lineage, table
from kraken_recon.desk_books.address import DeskAddress, Dialect
from kraken_recon.desk_books.declaring import parse_book
from kraken_recon.settings import LINEAGE_DATABASE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from desks.airflow import AirflowDesk

# How the program that runs a DAG is started; what is sent is written by the provider itself.
RUN = """
from opentelemetry import trace
from desks.dag_runs import read_dags, run_dag
with trace.get_tracer("airflow").start_as_current_span("worker"):
    run_dag(read_dags().dags["order_verification"])
    run_dag(read_dags().dags["position_sync"])
"""
WRITTEN = """
select relname from pg_stat_user_tables
where schemaname = 'trading' and n_tup_ins + n_tup_upd + n_tup_del > 0
"""
# Each session, key and job registers itself, whatever task it is of.
OF_EVERY_SESSION = {"session_owners", "api_keys", "heartbeats"}


def tasks() -> dict[str, Any]:
    """List the tasks of all DAGs that are of this project's operators."""
    found = {}
    for dag in read_dags().dags.values():
        for task in dag.tasks:
            kind = task.operator_class if task.is_mapped else type(task)
            if issubclass(kind, Lineage):
                found[f"{dag.dag_id}.{task.task_id}"] = task
    return found


def test_every_task_says_what_it_reads_and_writes(desk: AirflowDesk) -> None:
    found = tasks()
    assert len(found) >= 12
    tables_there = "select relname from pg_class where relnamespace = 'trading'::regnamespace"
    known = {row["relname"] for row in desk.rows(tables_there)}
    for name, task in found.items():
        entities = [one for one in (*task.inlets, *task.outlets) if isinstance(one, (Table, File))]
        assert entities, name
        named = {one.name.removeprefix("trading.") for one in entities if isinstance(one, Table)}
        assert named <= known, name


def test_a_table_is_named_as_the_providers_converter_names_an_asset_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(LINEAGE_DATABASE.name, "postgres://db.desk.example:6432/books")
    named = table("positions")
    assert (named.cluster, f"{named.database}.{named.name}") == (
        "postgres://db.desk.example:6432",
        "books.trading.positions",
    )


def test_a_sync_writes_no_table_that_it_does_not_name(desk: AirflowDesk) -> None:
    desk.account("desk", USD="1000")
    for _ in range(2):
        assert run_dag(read_dags().dags["position_sync"]).state == "success"
        deposit = {"kind": "deposit", "asset": "USD", "amount": "5"}
        desk.simulator.control.post("accounts/desk/events", deposit)
        desk.simulator.control.post("accounts/desk/residual", {"asset": "USD", "amount": "1"})
        desk.execute("update trading.positions set quantity = quantity + 1")
    written = {row["relname"] for row in desk.rows(WRITTEN)} - OF_EVERY_SESSION
    assert {"positions", "ledger_entries", "reconciliation_runs", "discrepancies"} <= written
    named = {
        one.name.removeprefix("trading.")
        for name, task in tasks().items()
        if name.startswith("position_sync.")
        for one in task.outlets
        if isinstance(one, Table)
    }
    # Of every repair and decision the schema itself notes that it is to be sealed.
    assert written - {"seals_due"} <= named


def test_openlineage_and_opentelemetry_are_told(
    desk: AirflowDesk, project_environment: dict[str, str], repository: Path, tmp_path: Path
) -> None:
    pytest.importorskip("airflow.providers.openlineage")
    desk.account("desk", USD="1000")
    database = sqlite_database(tmp_path)
    make_arena(database, {}, Decimal(1000))
    (tmp_path / "arena.yaml").write_text(ARENA.replace("alpha", "desk").replace("books.accounts", "accounts"))
    desk.monkeypatch.setenv("KRAKEN_RECON_DESK_BOOKS", str(tmp_path))
    desk.monkeypatch.setenv("AIRFLOW_CONN_ARENA_DB", database.variable)
    file = tmp_path / "events.jsonl"
    environment = project_environment | {
        **{name: value for name, value in os.environ.items() if name.startswith(("AIRFLOW", "KRAKEN"))},
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "AIRFLOW__OPENLINEAGE__TRANSPORT": json.dumps(
            {"type": "file", "log_file_path": str(file), "append": True}
        ),
        "AIRFLOW__OPENLINEAGE__NAMESPACE": "desk",
        LINEAGE_DATABASE.name: "postgres://db.desk.example:6432/books",
        "AIRFLOW__TRACES__OTEL_ON": "True",
        "OTEL_TRACES_EXPORTER": "otlp_proto_http",
    }
    with OtlpCollector() as collector:
        environment |= collector.settings
        program = [sys.executable, "-W", "ignore", "-c", RUN]
        subprocess.run(program, cwd=repository, env=environment, check=True, timeout=120)
        check_spans(collector, desk)
    events = [json.loads(line) for line in file.read_text().splitlines()]

    def of(job: str) -> Iterator[set[tuple[str, str]]]:
        [done] = [e for e in events if (e["job"]["name"], e["eventType"]) == (job, "COMPLETE")]
        return ({(one["namespace"], one["name"]) for one in done[side]} for side in ("inputs", "outputs"))

    read, written = of("order_verification.verify_orders")
    assert ("kraken", "api.kraken.com/0/private/Ledgers") in read
    assert ("postgres://db.desk.example:6432", "books.trading.orders") in read
    assert ("postgres://db.desk.example:6432", "books.trading.order_verifications") in written
    read, written = of("position_sync.reconcile_desk_books")
    tables = {(f"sqlite://{tmp_path}/desk.db", f"main.{name}") for name in ("positions", "accounts")}
    assert tables <= read
    assert tables & written == {(f"sqlite://{tmp_path}/desk.db", "main.positions")}
    quality = {
        one["name"]: one["inputFacets"]
        for event in events
        if event["eventType"] == "COMPLETE"
        for one in event["inputs"]
        if one.get("inputFacets")
    }
    # The desk's own row of a stock differs; no order was there to be judged.
    counts = {"books.trading.positions": (1, 0), "main.accounts": (1, 0), "main.positions": (0, 1)}
    assert quality.keys() == counts.keys()
    for name, (agreed, differed) in counts.items():
        [told] = quality[name]["dataQualityAssertions"]["assertions"]
        assert told["success"] is not bool(differed), name
        assert told["params"] == {"agreed": agreed, "differed": differed}, name
        assert quality[name]["dataQualityMetrics"]["rowCount"] == agreed + differed


def check_spans(collector: OtlpCollector, desk: AirflowDesk) -> None:
    """Find every call and statement of the runs, in one trace, under the span of the task that was open."""
    spans = collector.spans("kraken_recon")
    [worker] = collector.spans("airflow")
    assert {span.trace_id for span in spans} == {worker.trace_id}
    assert {span.parent_span_id for span in spans} == {worker.span_id}
    kinds = {kind: [span for span in spans if attributes(span).get(kind)] for kind in (METHOD, SYSTEM)}
    calls = [attributes(span) for span in kinds[METHOD]]
    assert len(spans) == len(calls) + len(kinds[SYSTEM])
    port = sa.make_url(desk.simulator.base_url).port
    private = next(call for call in calls if call["url.template"] == "/0/private/BalanceEx")
    assert private == {
        METHOD: "POST",
        "http.response.status_code": 200,
        "server.address": "127.0.0.1",
        "server.port": port,
        "url.full": f"http://127.0.0.1:{port}/0/private/BalanceEx",
        "url.template": "/0/private/BalanceEx",
    }
    assert "POST /0/private/BalanceEx" in {span.name for span in spans}
    by_name = {span.name: attributes(span) for span in kinds[SYSTEM]}
    # Statements of stores, of the slots that calls wait for, and of the desk's own database.
    assert by_name["call_slots.take_slot"][SYSTEM] == "postgresql"
    found = by_name["accounts.find_accounts"]
    assert found["db.namespace"] == sa.make_url(desk.database_url).database
    assert (found["db.query.summary"], found["db.operation.name"]) == (
        "accounts.find_accounts",
        "find_accounts",
    )
    assert "sqlite" in {one[SYSTEM] for one in by_name.values()}
    text = "".join(map(str, collector.traces)).casefold()
    assert not re.search(r"select |insert |update |api-sign|nonce|key-of-desk", text)


METHOD, SYSTEM = "http.request.method", "db.system.name"


def attributes(span: Any) -> dict[str, Any]:
    return {one.key: one.value.string_value or one.value.int_value for one in span.attributes}


ARENA = """
name: arena
connection: arena_db
accounts: {alpha: 1}
positions: {table: positions, account: account_id, asset: symbol, quantity: quantity, write_back: update}
cash: {table: books.accounts, account: id, currency: USD, quantity: current_cash}
"""
TRADES = """
name: trades
connection: bot_db
accounts: {alpha: 1}
positions: {query: select 1 as account_id, account: account_id, asset: pair, quantity: amount, decimals: 8}
"""


@pytest.mark.parametrize(
    ("text", "address", "inlets", "outlets"),
    [
        (
            ARENA,
            DeskAddress("arena_db", Dialect.POSTGRESQL, "db.desk.example", None, "arena"),
            [
                ("postgres://db.desk.example:5432", "arena", "public.positions"),
                ("postgres://db.desk.example:5432", "arena", "books.accounts"),
            ],
            [("postgres://db.desk.example:5432", "arena", "public.positions")],
        ),
        (
            ARENA,
            DeskAddress("arena_db", Dialect.MYSQL, None, 3307, "arena"),
            [
                ("mysql://localhost:3307", "arena", "positions"),
                ("mysql://localhost:3307", "arena", "books.accounts"),
            ],
            [("mysql://localhost:3307", "arena", "positions")],
        ),
        (
            TRADES,
            DeskAddress("bot_db", Dialect.SQLITE, file="/srv/trades.sqlite"),
            [("sqlite:///srv/trades.sqlite", "main", "trades")],
            [],
        ),
    ],
)
def test_the_desks_tables_are_inputs_and_outputs_where_they_may_be_written(
    text: str, address: DeskAddress, inlets: list[tuple[str, ...]], outlets: list[tuple[str, ...]]
) -> None:
    declared, problems = parse_book(text, "arena.yaml")
    assert declared, problems
    found = desk_lineage(declared, address)
    assert [(one.cluster, one.database, one.name) for one in found["inlets"]] == inlets
    assert [(one.cluster, one.database, one.name) for one in found["outlets"]] == outlets
