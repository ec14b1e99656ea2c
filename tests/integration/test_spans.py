"""What spans say of calls and statements that fail, and what they cost where nobody collects them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from kraken_recon.database.unit_of_work import UnitOfWork, create_engine
from kraken_recon.errors import ExchangeUnavailableError
from kraken_recon.kraken.client import KrakenClient, RetryPolicy
from kraken_recon.kraken.credentials import KrakenCredentials
from kraken_recon.kraken.local_call_slots import InProcessCallSlots
from kraken_recon.values.spans import asking

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Simulator

SECRET = "aGlkZGVuIGtleQ=="


@pytest.fixture
def exported(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    """Collect the spans of this process, as long as the test lasts."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    return exporter


@pytest.fixture
def client(simulator: Simulator) -> Iterator[KrakenClient]:
    credentials = KrakenCredentials("hidden-login", SECRET, simulator.base_url, "unlimited")
    policy = RetryPolicy(attempts_max=2)
    slots = InProcessCallSlots()
    with KrakenClient(credentials, account="a", slots=slots, retries=policy, sleep=lambda _: None) as opened:
        yield opened


def test_a_call_that_is_sent_again_says_so_and_what_came_of_each(
    simulator: Simulator, client: KrakenClient, exported: InMemorySpanExporter
) -> None:
    simulator.control.post("faults", {"name": "http_error", "status": 502, "count": 1})
    simulator.control.post("faults", {"name": "reset", "count": 1})
    with pytest.raises(ExchangeUnavailableError):
        client.balances()
    assert client.prices("USD")
    again, lost, *well = exported.get_finished_spans()
    told = [{**span.attributes} for span in (again, lost)]
    assert [one.get("http.request.resend_count") for one in told] == [None, 1]
    assert {one.get("error.type") for one in told} == {"502", "ProtocolError"}
    assert {one.get("http.response.status_code") for one in told} == {502, None}
    assert {span.status.status_code for span in (again, lost)} == {StatusCode.ERROR}
    assert {span.name for span in well} == {"GET /0/public/AssetPairs", "GET /0/public/Ticker"}
    for span in well:
        assert span.kind is trace.SpanKind.CLIENT
        assert span.status.status_code is StatusCode.UNSET
        assert not {"error.type", "http.request.resend_count"} & span.attributes.keys()
    hidden = ("hidden-login", SECRET, "nonce", "?")
    assert not [word for span in exported.get_finished_spans() for word in hidden if word in span.to_json()]


def test_a_statement_that_fails_says_its_code_and_no_value(
    database_url: str, exported: InMemorySpanExporter
) -> None:
    unreadable = sa.text("select cast(:amount as int)")
    with UnitOfWork(create_engine(database_url)) as unit:
        assert unit.locked_tables() == []
        with pytest.raises(sa.exc.DataError):
            unit.connection.execute(unreadable, {"amount": "12.34567"})
    # What SQLAlchemy asks a server for at first comes before them.
    *_, named, failed = exported.get_finished_spans()
    assert (named.name, named.kind, named.status.status_code) == (
        "locks.locked_tables",
        trace.SpanKind.CLIENT,
        StatusCode.UNSET,
    )
    url = sa.make_url(database_url)
    assert {**failed.attributes} == {
        "db.system.name": "postgresql",
        "db.namespace": url.database,
        "db.operation.name": "SELECT",
        "db.query.summary": "SELECT",
        "server.address": url.host or url.query["host"],
        "server.port": url.port or int(str(url.query["port"])),
        "error.type": "22P02",
        "db.response.status_code": "22P02",
    }
    assert failed.status.status_code is StatusCode.ERROR
    assert "12.34567" not in failed.to_json()
    assert not failed.events


def test_a_span_that_nobody_collects_costs_next_to_nothing() -> None:
    rounds = 2_000
    started = time.process_time()
    for _ in range(rounds):
        with asking("name", {}) as span:
            assert span is None
    # Measured: 2 microseconds. The quickest statement takes a hundred times as long.
    assert (time.process_time() - started) / rounds < 50e-6
