"""Invariant 6: a write that would reach fewer rows than it should is refused whole.

That no row is deleted is part of the life in ``test_nothing_silent``; that concurrent writers lose nothing
is shown with real processes in ``integration/test_position_sync_side_by_side``.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from desks.fakes import START
from desks.histories import HOLDINGS, all_rows, on_database, opened_account
from kraken_recon.books.events import Cause, Reason, Step
from kraken_recon.books.store import BookStore
from kraken_recon.database.unit_of_work import UnitOfWork
from kraken_recon.errors import StoreError
from kraken_recon.ledger.entries import HoldingKey

if TYPE_CHECKING:
    from desks.fake_exchange import Desk


@on_database
@given(st.sets(st.sampled_from(HOLDINGS)), st.sets(st.sampled_from(("GONE", "NEVER")), min_size=1))
def test_step_of_a_position_that_is_not_there_moves_nothing(
    desk: Desk, present: set[HoldingKey], absent: set[str]
) -> None:
    name, _ = opened_account(desk)
    account, before = desk.account_id(name), all_rows(desk, name)
    keys = [*present, *(HoldingKey(asset, "spot") for asset in absent)]
    steps = [
        Step(key, Decimal(0), Decimal(1), Cause.ADJUSTMENT, START, Reason.DRIFT_REPAIRED) for key in keys
    ]
    with pytest.raises(StoreError, match="expected to move"), UnitOfWork(desk.engine) as unit:
        BookStore(unit).write_steps({account: steps}, {account: uuid4()})
    assert all_rows(desk, name) == before


@on_database
@given(st.lists(st.sampled_from(HOLDINGS), min_size=1, unique=True))
def test_only_the_positions_named_are_locked(desk: Desk, keys: list[HoldingKey]) -> None:
    name, _ = opened_account(desk)
    account = desk.account_id(name)
    with UnitOfWork(desk.engine) as unit, desk.engine.connect() as other:
        BookStore(unit).lock_positions((account, key) for key in keys)
        free = other.execute(
            sa.text(
                "select asset, wallet from trading.positions where account_id = :account"
                " for no key update skip locked"
            ),
            {"account": account},
        ).all()
        assert {HoldingKey(*row) for row in free} == set(HOLDINGS) - set(keys)
