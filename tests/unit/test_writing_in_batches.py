"""Batches are written side by side, each once, and one that fails costs the others nothing."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from threading import Barrier
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from kraken_recon.accounts.account import Account
from kraken_recon.errors import PayloadInvalidError, StoreError, StoreUnreachableError
from kraken_recon.reconciliation.rules.run import AccountState
from kraken_recon.reconciliation.run import AccountWork
from kraken_recon.reconciliation.stages import Failed, Left, Waiting
from kraken_recon.reconciliation.transactions import AccountRefusedError, write_in_batches

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager


def accounts(number: int) -> list[AccountWork]:
    at = datetime(2026, 1, 5, tzinfo=UTC)
    states = [
        AccountState(
            Account(n, f"desk{n}", f"desk{n}", "USD"), is_open=True, newest_entry_at=at, ledger_floor=None
        )
        for n in range(number)
    ]
    return [AccountWork(state, uuid4(), Waiting(at)) for state in states]


@dataclass
class Sessions:
    """Where batches go: what each transaction wrote, once it was committed."""

    committed: list[list[int]] = field(default_factory=list)
    opened: int = 0

    def open(self) -> AbstractContextManager[Any]:
        self.opened += 1
        return nullcontext(Session(self))


@dataclass
class Session:
    """One of them."""

    sessions: Sessions
    batch: list[int] = field(default_factory=list)

    def commit(self) -> None:
        self.sessions.committed.append(self.batch)


def note(unit: Any, batch: Sequence[AccountWork]) -> None:
    unit.batch = [work.account_id for work in batch]


def write(works: list[AccountWork], step: Any, sessions: Sessions, *, writers: int = 2) -> None:
    write_in_batches(works, step, sessions.open, accounts_per_transaction=3, writers=writers)


def test_two_sessions_write_at_the_same_time_and_each_batch_once() -> None:
    works, sessions, both = accounts(12), Sessions(), Barrier(2)

    def step(unit: Any, batch: Sequence[AccountWork]) -> None:
        both.wait(timeout=10)
        note(unit, batch)

    write(works, step, sessions)
    assert sorted(sessions.committed) == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9, 10, 11]]
    assert sessions.opened == 2


def test_one_batch_is_written_by_the_thread_that_asked() -> None:
    sessions = Sessions()
    write(accounts(3), note, sessions)
    assert (sessions.committed, sessions.opened) == ([[0, 1, 2]], 1)


@pytest.mark.parametrize("writers", [1, 2, 5])
def test_what_is_wrong_with_one_account_is_kept_on_it_whoever_writes(writers: int) -> None:
    works, sessions = accounts(20), Sessions()
    unreadable, unwritable = works[4], works[16]

    def step(unit: Any, batch: Sequence[AccountWork]) -> None:
        if unreadable in batch and not isinstance(unreadable.stage, Failed):
            raise AccountRefusedError(
                unreadable, PayloadInvalidError("no sense", account="desk4", endpoint="X")
            )
        if unwritable in batch:
            raise StoreError("refused")
        note(unit, batch)

    write(works, step, sessions, writers=writers)
    assert sorted(n for batch in sessions.committed for n in batch) == [n for n in range(20) if n != 16]
    assert [type(work.stage) for work in works if not isinstance(work.stage, Waiting)] == [Failed, Left]


def test_without_a_database_nobody_goes_on() -> None:
    works, sessions = accounts(300), Sessions()

    def step(*_: Any) -> None:
        raise StoreUnreachableError("gone")

    with pytest.raises(StoreUnreachableError):
        write(works, step, sessions)
    assert sessions.committed == []
    assert sessions.opened <= 2
