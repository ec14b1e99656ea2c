"""Invariant 10: whatever way a sync ends, its sessions end with it, and none is open during a network call.

A killed process is the matter of ``integration/test_position_sync_killed``.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from desks.histories import on_database, opened_account
from desks.interruptions import Steps, stepped_ports
from desks.logins import as_writer
from kraken_recon.database.unit_of_work import create_engine
from kraken_recon.errors import ExchangeUnavailableError, LockUnavailableError, StoreError
from kraken_recon.values.intervals import RUN_INTERVAL
from local_stack.processes import poll_until

if TYPE_CHECKING:
    from desks.fake_exchange import Desk

EXITS = (
    KeyboardInterrupt,
    SystemExit,
    GeneratorExit,
    RuntimeError,
    MemoryError,
    StoreError,
    LockUnavailableError,
    ExchangeUnavailableError,
)


def sessions(desk: Desk, application: str) -> list[dict[str, object]]:
    return desk.rows(
        "select pid, state, query from pg_stat_activity where application_name = :name", name=application
    )


@on_database
@given(st.integers(1, 40), st.sampled_from(EXITS))
def test_no_session_outlives_any_way_out(desk: Desk, at: int, kind: type[BaseException]) -> None:
    name, books = opened_account(desk)
    books.add("BTC", "1")
    application = f"way out {uuid4()}"
    engine = create_engine(as_writer(desk.url), application_name=application)

    def leave(number: int, _: str) -> None:
        if number == at:
            raise kind("as it happens")

    steps = Steps(leave)
    desk.now += RUN_INTERVAL
    try:
        desk.sync_again(name, ports=stepped_ports(desk, engine, steps))
    except kind:
        assert len(steps.names) >= at
    poll_until(lambda: not sessions(desk, application), timeout_seconds=10)
    assert sessions(desk, application) == []
    assert desk.positions(name) == desk.event_totals(name)


def test_server_ends_a_sync_without_leaving_a_session_or_a_position(desk: Desk) -> None:
    at = 0
    while True:
        at += 1
        name, books = opened_account(desk)
        books.add("BTC", "1")
        before = desk.positions(name)
        application = f"ended {uuid4()}"
        engine = create_engine(as_writer(desk.url), application_name=application)

        def end_session(number: int, _: str, *, application: str = application, at: int = at) -> None:
            if number == at:
                desk.rows(
                    "select pg_terminate_backend(pid) from pg_stat_activity where application_name = :name",
                    name=application,
                )

        steps = Steps(end_session)
        desk.now += RUN_INTERVAL
        try:
            desk.sync_again(name, ports=stepped_ports(desk, engine, steps))
        except StoreError:
            assert desk.positions(name) == before
        poll_until(lambda: not sessions(desk, application), timeout_seconds=10)  # noqa: B023 - called at once
        assert desk.positions(name) == desk.event_totals(name)
        if len(steps.names) < at:
            return


@on_database
@given(missed=st.integers(0, 2), is_open=st.booleans())
def test_no_session_is_open_during_a_network_call(desk: Desk, missed: int, *, is_open: bool) -> None:
    name, books = opened_account(desk)
    if not is_open:
        desk.execute("update trading.accounts set opened_at = null where name = :name", name=name)
    for _ in range(missed):
        books.add("BTC", "1")
    application = f"network {os.getpid()} {uuid4()}"
    engine = create_engine(as_writer(desk.url), application_name=application)
    seen: list[list[dict[str, object]]] = []

    def look(_: int, step: str) -> None:
        if step in {"BalanceEx", "Ledgers", "OpenPositions"}:
            # A session closed a moment ago may still be on its way out; one inside a transaction is not.
            seen.append([s for s in sessions(desk, application) if s["state"] != "idle"])

    desk.now += RUN_INTERVAL
    desk.sync_again(name, ports=stepped_ports(desk, engine, Steps(look)))
    assert seen
    assert not any(seen), seen


def test_session_limits_are_enforced_by_the_server(desk: Desk) -> None:
    engine = create_engine(as_writer(desk.url), application_name="limits")
    with engine.connect() as connection:
        limits = {
            name: connection.execute(sa.text(f"show {name}")).scalar_one()
            for name in ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")
        }
    assert "0" not in limits.values()
    with pytest.raises(StoreError, match="expected an open unit of work"):
        desk.ports.open_unit_of_work().connection  # noqa: B018 - reading it is the test
