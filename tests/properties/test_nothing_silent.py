"""Invariants 3, 6 and 9 on the whole life of an account.

Hypothesis plays the exchange, the fills, careless hands in the database and the clock, in any order. After
every sync the events tell how each position came to be what it is; no position is lost; the same run again
changes no byte; and once the exchange stands still and has no secrets, both books are equal.
"""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from desks.fake_exchange import Desk, bring
from desks.histories import (
    Movement,
    all_rows,
    amounts,
    at_exchange,
    happen,
    holdings,
    movements,
    on_database,
    opened_account,
    unconnected_events,
)
from kraken_recon.accounts.tolerance import Tolerance
from kraken_recon.errors import ExchangeUnavailableError, PayloadInvalidError
from kraken_recon.reconciliation.rules.policy import Guard, Mode, Policy
from kraken_recon.repairs.deciding import approve

if TYPE_CHECKING:
    from kraken_recon.ledger.entries import HoldingKey

NO_TOLERANCE = Policy(Tolerance(Decimal(0)), guard=Guard(Decimal(100), Decimal(10) ** 20))
FAULTS = (ExchangeUnavailableError("down"), PayloadInvalidError("cut off"), RuntimeError("a defect"))

OPEN_PLAN = """
select plan_id
from trading.repair_plans
where account_id = :account and kind = 'held' and closed_at is null
"""


class AccountLife(RuleBasedStateMachine):
    """One account with its exchange, its database and everybody who touches them."""

    desk: Desk

    def __init__(self) -> None:
        super().__init__()
        self.name, self.books = opened_account(self.desk)
        self.account = self.desk.account_id(self.name)
        self.exchange = self.desk.exchanges[self.name]
        self.known: set[tuple[str, str]] = set()

    def tamper(self, statement: str, key: HoldingKey, quantity: Decimal = Decimal(0)) -> None:
        self.desk.execute(
            statement, account=self.account, asset=key.asset, wallet=key.wallet, quantity=quantity
        )

    @rule(happening=st.lists(movements, min_size=1, max_size=3))
    def books_move(self, happening: list[Movement]) -> None:
        self.books.now = max(self.books.now, self.desk.now)
        for movement in happening:
            happen(self.books, movement)

    @rule(data=st.data())
    def fill_brings_entries(self, data: st.DataObject) -> None:
        newest = self.books.entries[-5:]
        chosen = data.draw(st.lists(st.sampled_from(newest), max_size=3, unique_by=lambda e: e.ledger_id))
        bring(self.desk.engine, {self.account: chosen})

    @rule(key=holdings, quantity=amounts)
    def somebody_updates_a_position(self, key: HoldingKey, quantity: Decimal) -> None:
        self.tamper(
            "update trading.positions set quantity = :quantity"
            " where (account_id, asset, wallet) = (:account, :asset, :wallet)",
            key,
            quantity,
        )

    @rule(key=holdings)
    def somebody_copies_the_exchange_by_hand(self, key: HoldingKey) -> None:
        self.somebody_updates_a_position(key, self.books.balances()[key].balance)

    @rule(key=holdings)
    def somebody_deletes_a_position(self, key: HoldingKey) -> None:
        self.tamper(
            "delete from trading.positions where (account_id, asset, wallet) = (:account, :asset, :wallet)",
            key,
        )
        self.known.discard(tuple(key))

    @rule(quantity=amounts, asset=st.sampled_from(("DOGE", "SOL")))
    def somebody_invents_a_position(self, asset: str, quantity: Decimal) -> None:
        self.desk.execute(
            "insert into trading.positions (account_id, asset, quantity) values (:account, :asset, :quantity)"
            " on conflict (account_id, asset, wallet) do update set quantity = excluded.quantity",
            account=self.account,
            asset=asset,
            quantity=quantity,
        )

    @rule(key=holdings, residual=st.sampled_from(tuple(map(Decimal, ("0", "0.5", "-0.25", "0.0001")))))
    def exchange_knows_more_than_its_ledger(self, key: HoldingKey, residual: Decimal) -> None:
        self.books.residuals[key] = residual

    @rule(key=holdings, hold=st.sampled_from((Decimal(0), Decimal(7))))
    def orders_hold_funds(self, key: HoldingKey, hold: Decimal) -> None:
        self.books.holds[key] = hold

    @rule(policy=st.sampled_from((Policy(), NO_TOLERANCE)))
    def sync(self, policy: Policy) -> None:
        self.desk.sync(self.name, policy=policy)
        assert self.desk.run(self.name)["status"] == "succeeded", self.desk.run(self.name)["error"]
        self.check_books()
        before = all_rows(self.desk, self.name)
        self.desk.sync_again(self.name, policy=policy)
        assert all_rows(self.desk, self.name) == before

    @rule()
    def dry_run(self) -> None:
        before = all_rows(self.desk, self.name)
        self.desk.sync(self.name, mode=Mode.DRY_RUN)
        assert self.desk.run(self.name)["status"] == "succeeded", self.desk.run(self.name)["error"]
        after = all_rows(self.desk, self.name)
        for table in ("accounts", "positions", "ledger_entries", "position_events", "residuals", "alerts"):
            assert after[table] == before[table]

    @rule(fault=st.sampled_from(FAULTS), at=st.integers(1, 4))
    def sync_fails(self, fault: Exception, at: int) -> None:
        before = all_rows(self.desk, self.name)
        calls = 0

        def fail(_: str) -> None:
            nonlocal calls
            calls += 1
            if calls == at:
                raise fault

        self.exchange.before_call = fail
        self.desk.sync(self.name)
        self.exchange.before_call = lambda _: None
        if calls < at:
            self.check_books()
            return
        assert self.desk.run(self.name)["status"] == "failed"
        after = all_rows(self.desk, self.name)
        for table in ("accounts", "positions", "ledger_entries", "position_events", "residuals"):
            assert after[table] == before[table]

    def check_books(self) -> None:
        positions = self.desk.positions(self.name)
        assert positions == self.desk.event_totals(self.name)
        open_residuals = {
            (row["asset"], row["wallet"]): row["residual"]
            for row in self.desk.rows(
                "select asset, wallet, residual from trading.residuals where account_id = :account",
                account=self.account,
            )
        }
        held = {
            (row["asset"], row["wallet"]): row["quantity_after"] - row["quantity_before"]
            for row in self.desk.rows(
                f"select * from trading.repair_plan_rows where plan_id in ({OPEN_PLAN})"
                " and reason = 'drift_repaired'",
                account=self.account,
            )
        }
        exchange = at_exchange(self.books)
        for key in {*positions, *exchange}:
            drift = exchange.get(key, Decimal(0)) - positions.get(key, Decimal(0))
            left = open_residuals.get(tuple(key), Decimal(0)) + held.get(tuple(key), Decimal(0))
            assert drift == left, key

    @rule()
    def person_approves_what_is_held(self) -> None:
        for row in self.desk.rows(OPEN_PLAN, account=self.account):
            self.desk.now += timedelta(seconds=1)
            decision = approve(row["plan_id"], "somebody", self.desk.ports, policy=NO_TOLERANCE)
            assert decision.status in {"applied", "outdated"}
            self.check_books()

    @invariant()
    def no_position_row_is_lost(self) -> None:
        now = {
            (row["asset"], row["wallet"])
            for row in self.desk.rows(
                "select asset, wallet from trading.positions where account_id = :account",
                account=self.account,
            )
        }
        assert self.known <= now
        self.known = now

    @invariant()
    def events_connect(self) -> None:
        assert unconnected_events(self.desk, self.name) == []

    @precondition(lambda self: self.books.residuals)
    @rule()
    def ledger_catches_up(self) -> None:
        self.books.residuals.clear()

    def teardown(self) -> None:
        self.books.residuals.clear()
        self.desk.sync(self.name)
        self.person_approves_what_is_held()
        assert self.desk.positions(self.name) == self.desk.event_totals(self.name) == at_exchange(self.books)
        self.desk.sync(self.name)
        assert self.desk.run(self.name)["api_calls"] == 1


def test_every_life_of_an_account_is_told_by_its_events(desk: Desk) -> None:
    life = type("Life", (AccountLife,), {"desk": desk})
    run_state_machine_as_test(life, settings=settings(on_database, stateful_step_count=12))
