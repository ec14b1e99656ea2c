"""Whatever accounts took lately, every one is in exactly one group, and none waits for somebody slow."""

from __future__ import annotations

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kraken_recon.reconciliation.rules.forecast import forecast
from kraken_recon.reconciliation.rules.grouping import (
    ACCOUNTS_MAX,
    GROUP_SECONDS,
    GROUPS_MAX,
    NEW_ACCOUNT_SECONDS,
    AccountCost,
    in_groups,
)

SECONDS = st.one_of(
    st.none(), st.floats(0, 0.5), st.floats(0, GROUP_SECONDS), st.floats(GROUP_SECONDS, 100 * GROUP_SECONDS)
)
SIDE_BY_SIDE = st.integers(1, 16)


def accounts(seconds: list[float | None]) -> list[AccountCost]:
    return [AccountCost(f"desk {number}", cost, 1) for number, cost in enumerate(seconds)]


@given(st.lists(SECONDS, max_size=300), SIDE_BY_SIDE)
@example([1.0] * 3_000, 4)
@example([GROUP_SECONDS] * 3 * GROUPS_MAX, 4)
def test_every_account_is_in_exactly_one_group_in_its_order(
    seconds: list[float | None], side_by_side: int
) -> None:
    given_accounts = accounts(seconds)
    groups = in_groups(given_accounts, side_by_side)
    names = [name for group in groups for name in group.names]
    assert sorted(names) == sorted(account.name for account in given_accounts)
    assert len(groups) <= GROUPS_MAX
    order = {account.name: place for place, account in enumerate(given_accounts)}
    for group in groups:
        assert group.names
        assert group.names == sorted(group.names, key=order.__getitem__)


@given(st.lists(SECONDS, min_size=1, max_size=300), SIDE_BY_SIDE)
def test_who_is_slow_keeps_nobody_else_waiting(seconds: list[float | None], side_by_side: int) -> None:
    groups = in_groups(accounts(seconds), side_by_side)
    slow = [any(one.expected_seconds >= GROUP_SECONDS for one in group.accounts) for group in groups]
    assert slow == sorted(slow), "the groups of slow accounts come last"
    for group, is_slow in zip(groups, slow, strict=True):
        if is_slow:
            assert all(one.expected_seconds >= GROUP_SECONDS for one in group.accounts)


@given(
    st.lists(st.one_of(st.none(), st.floats(0, GROUP_SECONDS / 2)), min_size=1, max_size=300), SIDE_BY_SIDE
)
def test_groups_are_balanced_and_bounded(seconds: list[float | None], side_by_side: int) -> None:
    given_accounts = accounts(seconds)
    groups = in_groups(given_accounts, side_by_side)
    loads = [sum(one.expected_seconds for one in group.accounts) for group in groups]
    costliest = max(one.expected_seconds for one in given_accounts)
    assert max(loads) - min(loads) <= costliest + 1e-6
    assert max(loads) / side_by_side <= GROUP_SECONDS + costliest
    # As few as that takes: each is a process of Airflow.
    assert len(groups) <= math.ceil((sum(loads) + 1e-6) / side_by_side / GROUP_SECONDS)


@pytest.mark.parametrize(
    ("count", "groups"), [(10, 1), (100, 1), (1_000, 3), (10_000, 25), (200_000, GROUPS_MAX)]
)
def test_quiet_accounts_share_few_tasks(count: int, groups: int) -> None:
    found = in_groups(accounts([0.1] * count), 4)
    assert len(found) == groups
    assert max(len(group.accounts) for group in found) <= max(ACCOUNTS_MAX, math.ceil(count / groups))


def test_an_account_without_a_run_is_taken_to_need_time() -> None:
    quiet, new = AccountCost("quiet", 0.1, 1), AccountCost("new")
    assert new.expected_seconds == NEW_ACCOUNT_SECONDS
    groups = in_groups([quiet] * 50 + [new] * 20, 4)
    assert [len([one for one in group.accounts if one is new]) for group in groups] == [7, 7, 6]


@given(st.lists(SECONDS, min_size=1, max_size=100), SIDE_BY_SIDE, st.integers(1, 50), st.floats(-100, 2_000))
def test_a_forecast_names_exactly_who_is_done_after_the_deadline(
    seconds: list[float | None], side_by_side: int, slots: int, left: float
) -> None:
    groups = in_groups(accounts(seconds), side_by_side)
    found = forecast(groups, side_by_side=side_by_side, slots=slots, seconds_left=left)
    assert found.accounts == len(seconds)
    late = {one.name: one.done_after_seconds for one in found.late}
    assert len(late) == len(found.late)
    assert all(after > left for after in late.values())
    more = forecast(groups, side_by_side=side_by_side, slots=slots + 1, seconds_left=left)
    assert more.seconds <= found.seconds + max(group.seconds(side_by_side) for group in groups)
    endless = forecast(groups, side_by_side=side_by_side, slots=slots, seconds_left=found.seconds)
    assert not endless.late
