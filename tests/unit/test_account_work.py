"""An account on its way through a run: each stage tells what is known, and a stop keeps what was reached."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID

import pytest

from kraken_recon.accounts.account import Account
from kraken_recon.errors import StoreError
from kraken_recon.ledger.entries import HoldingKey
from kraken_recon.reconciliation.reading import Reading
from kraken_recon.reconciliation.rules.run import AccountState, Comparison
from kraken_recon.reconciliation.run import AccountWork
from kraken_recon.reconciliation.run_summary import note_of
from kraken_recon.reconciliation.stages import Compared, Failed, Left, Moving, Read, Replied, Stage, Waiting

AT = datetime(2026, 1, 1, tzinfo=UTC)
AGREES = Comparison(1, 1, {}, {})
DIFFERS = Comparison(1, 1, {HoldingKey("BTC", "spot"): Decimal(1)}, {})
UNSTEADY = Reading({}, (), None, AT, coherent=False)


def work(stage: Stage, *, is_open: bool = True) -> AccountWork:
    account = Account(1, "desk", "desk", "USD")
    return AccountWork(AccountState(account, is_open, None, None), UUID(int=1), stage)


@pytest.mark.parametrize(
    ("stage", "is_open", "needs_reading"),
    [
        (Waiting(), True, False),
        (Replied(AT, {}), True, False),
        (Compared(AT, {}, AGREES), True, False),
        (Compared(AT, {}, AGREES), False, True),
        (Compared(AT, {}, DIFFERS), True, True),
        (Moving("moves", Compared(AT, {}, DIFFERS)), True, False),
        (Failed("fails", Compared(AT, {}, DIFFERS)), True, False),
        (Read({}, DIFFERS, UNSTEADY, {}), True, False),
    ],
)
def test_only_what_was_compared_and_is_not_settled_is_read(
    stage: Stage, *, is_open: bool, needs_reading: bool
) -> None:
    assert work(stage, is_open=is_open).needs_reading == needs_reading


@pytest.mark.parametrize(
    ("stage", "status"),
    [
        (Compared(AT, {}, AGREES), "succeeded"),
        (Moving("moves", Waiting()), "moving"),
        (Read({}, DIFFERS, UNSTEADY, {}), "moving"),
        (Failed("fails", Read({}, DIFFERS, UNSTEADY, {})), "failed"),
        (Left("fails, and is not recorded", Waiting()), "failed"),
    ],
)
def test_what_a_run_came_to_follows_from_the_stage(stage: Stage, status: str) -> None:
    assert work(stage).status == status


def test_who_fails_keeps_what_was_known_and_says_why() -> None:
    one = work(Compared(AT, {}, DIFFERS))
    one.fail(StoreError("no room"))
    assert one.error == "StoreError: no room"
    assert one.is_stopped
    assert one.reached == Compared(AT, {}, DIFFERS)
    one.fail(StoreError("no room still"))
    assert one.reached == Compared(AT, {}, DIFFERS)


def test_who_moved_and_then_could_not_be_recorded_says_both() -> None:
    one = work(Moving("its books are still written", Compared(AT, {}, DIFFERS)))
    one.fail(StoreError("no room"))
    assert (one.status, one.error) == ("failed", "StoreError: no room")
    assert note_of(one) == "its books are still written"
    assert note_of(work(Failed("fails", Compared(AT, {}, DIFFERS)))) is None
