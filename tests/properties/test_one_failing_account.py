"""Invariant 7: whatever fails for some accounts, the others are reconciled, and every failure is visible."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from desks.histories import at_exchange, fresh_account, on_database
from kraken_recon.errors import ExchangeUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable

    from desks.fake_exchange import Desk
    from desks.fakes import FakeExchange


def _unavailable(exchange: FakeExchange) -> None:
    def fail(_: str) -> None:
        raise ExchangeUnavailableError("down")

    exchange.before_call = fail


def _defective(exchange: FakeExchange) -> None:
    exchange.balances = lambda: {}["a defect"]  # type: ignore[method-assign]


def _implausible(exchange: FakeExchange) -> None:
    exchange.balances = dict  # type: ignore[method-assign,assignment]


def _beyond_what_the_database_holds(exchange: FakeExchange) -> None:
    exchange.books.add("BTC", "1" + "0" * 25)


def _unwritable(exchange: FakeExchange) -> None:
    exchange.books.add("BTC\0", "1")


FAULTS = (None, None, _unavailable, _defective, _implausible, _beyond_what_the_database_holds, _unwritable)


@on_database
@given(st.lists(st.sampled_from(FAULTS), min_size=2, max_size=5))
def test_accounts_that_do_not_fail_are_reconciled(
    desk: Desk, faults: list[Callable[[FakeExchange], None] | None]
) -> None:
    names = []
    for fault in faults:
        name, books = fresh_account(desk)
        books.add("BTC", "1", entry_type="deposit")
        books.add("ETH", "2", entry_type="deposit")
        if fault:
            fault(desk.exchanges[name])
        names.append(name)
    desk.sync(*names)
    for name, fault in zip(names, faults, strict=True):
        alerts = desk.rows(
            "select kind from trading.alerts where account_id = :account", account=desk.account_id(name)
        )
        if fault:
            assert desk.run(name)["status"] == "failed"
            assert desk.run(name)["error"]
            assert desk.positions(name) == {}
            assert alerts == [{"kind": "sync_failure"}]
        else:
            assert desk.run(name)["status"] == "succeeded"
            assert desk.positions(name) == at_exchange(desk.books[name])
            assert alerts == []
