"""Invariant 4: a failed, partial or implausible answer changes no position, and the run says so."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from desks.histories import Movement, all_rows, happen, movements, on_database, opened_account
from kraken_recon.errors import (
    AuthenticationError,
    ConfigurationError,
    ExchangeUnavailableError,
    NonceRejectedError,
    PayloadInvalidError,
    RateLimitedError,
    RequestRefusedError,
)
from kraken_recon.ledger.entries import LedgerPage

if TYPE_CHECKING:
    from collections.abc import Callable

    from desks.fake_exchange import Desk
    from desks.fakes import FakeBooks, FakeExchange

ERRORS = (
    AuthenticationError,
    ConfigurationError,
    ExchangeUnavailableError,
    NonceRejectedError,
    PayloadInvalidError,
    RateLimitedError,
    RequestRefusedError,
    RuntimeError,
    ZeroDivisionError,
)
KEPT = ("accounts", "positions", "ledger_entries", "position_events", "residuals")


@on_database
@given(
    history=st.lists(movements, min_size=1, max_size=4),
    kind=st.sampled_from(ERRORS),
    at=st.integers(1, 4),
    onwards=st.booleans(),
)
def test_error_at_any_call_changes_nothing(
    desk: Desk, history: list[Movement], kind: type[Exception], at: int, *, onwards: bool
) -> None:
    name, books = opened_account(desk)
    for movement in history:
        happen(books, movement)
    before = all_rows(desk, name)
    exchange = desk.exchanges[name]
    calls = 0

    def fail(_: str) -> None:
        nonlocal calls
        calls += 1
        if calls == at or (onwards and calls > at):
            raise kind("as it happens")

    exchange.before_call = fail
    desk.sync(name)
    if calls < at:
        return
    run, after = desk.run(name), all_rows(desk, name)
    assert run["status"] == "failed"
    assert kind.__name__ in run["error"]
    assert (run["matched"], run["failed"], desk.findings(name)) == (0, 1, {})
    assert {table: after[table] for table in KEPT} == {table: before[table] for table in KEPT}
    assert len(after["alerts"]) == 1


def nothing_in_the_ledger(exchange: FakeExchange, books: FakeBooks) -> None:
    del books
    exchange.ledger_page = lambda **_: LedgerPage((), 0)  # type: ignore[method-assign]


def no_balances(exchange: FakeExchange, books: FakeBooks) -> None:
    del books
    exchange.balances = dict  # type: ignore[method-assign,assignment]


def one_asset_left_out(exchange: FakeExchange, books: FakeBooks) -> None:
    whole = books.balances
    exchange.balances = lambda: {  # type: ignore[method-assign]
        key: balance for key, balance in whole().items() if key.asset != "ETH"
    }


def recorded_entry_changed(exchange: FakeExchange, books: FakeBooks) -> None:
    whole = exchange.ledger_page

    def page(**arguments: object) -> LedgerPage:
        answer = whole(**arguments)  # type: ignore[arg-type]
        return replace(
            answer,
            entries=tuple(
                replace(e, amount=e.amount + 1, balance=e.balance + 1) if e.ledger_id == "L00005" else e
                for e in answer.entries
            ),
        )

    del books
    exchange.ledger_page = page  # type: ignore[method-assign,assignment]


def recorded_entry_gone(exchange: FakeExchange, books: FakeBooks) -> None:
    del exchange
    books.residuals[books.entries[4].key] = books.entries[4].change
    del books.entries[4]


FAULTS: tuple[Callable[[FakeExchange, FakeBooks], None], ...] = (
    nothing_in_the_ledger,
    no_balances,
    one_asset_left_out,
    recorded_entry_changed,
    recorded_entry_gone,
)


@on_database
@given(st.sampled_from(FAULTS), st.integers(1, 3))
def test_implausible_answer_changes_nothing_however_often_it_is_given(
    desk: Desk, fault: Callable[[FakeExchange, FakeBooks], None], times: int
) -> None:
    name, books = opened_account(desk)
    books.add("ETH", "1")
    books.add("BTC", "1", fee="0.25")
    fault(desk.exchanges[name], books)
    before = all_rows(desk, name)
    for _ in range(times):
        desk.sync(name)
        assert desk.run(name)["status"] == "failed", desk.run(name)
        after = all_rows(desk, name)
        assert {table: after[table] for table in KEPT} == {table: before[table] for table in KEPT}


@on_database
@given(st.integers(0, 3), st.sampled_from((Decimal(1), Decimal("0.000000000000000001"))))
def test_new_entry_that_is_left_out_or_altered_fails_or_waits(
    desk: Desk, place: int, change: Decimal
) -> None:
    name, books = opened_account(desk)
    key = books.add("BTC", "1").key
    for number in range(3):
        books.add("BTC", str(number + 2), fee="0.5")
    honest = books.balances()
    position = 5 + place
    altered = books.entries[position]
    books.entries[position] = replace(altered, amount=altered.amount + change)
    books.balances = lambda: honest  # type: ignore[method-assign]
    before = desk.positions(name)[key]
    desk.sync(name)
    assert desk.run(name)["status"] in {"failed", "moving"}
    assert "L0000" in (desk.run(name)["error"] or desk.run(name)["note"])
    assert desk.positions(name)[key] == before
