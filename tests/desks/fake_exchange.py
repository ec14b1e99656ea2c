"""A desk on a real database: accounts, syncs and the questions that tests ask about them."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from desks.fakes import START, FakeBooks, FakeExchange
from desks.logins import as_writer
from desks.pooled_sessions import pooled_engine
from kraken_recon.accounts.store import AccountStore
from kraken_recon.books.booking_entries import book_entries
from kraken_recon.database.retrying import repeated
from kraken_recon.database.unit_of_work import UnitOfWork
from kraken_recon.ledger.entries import HoldingKey
from kraken_recon.reconciliation.rules.policy import Mode, Policy
from kraken_recon.reconciliation.run import SyncPorts, SyncRequest
from kraken_recon.reconciliation.sync import sync_accounts
from kraken_recon.values.intervals import RUN_INTERVAL, Interval

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from decimal import Decimal
    from uuid import UUID

    from kraken_recon.accounts.account import Account
    from kraken_recon.ledger.entries import LedgerEntry


@dataclass(repr=False)
class Desk:
    """Accounts of one trading database, each with fake books at the exchange."""

    url: str
    books: dict[str, FakeBooks] = field(default_factory=dict)
    exchanges: dict[str, FakeExchange] = field(default_factory=dict)
    now: datetime = START

    def __post_init__(self) -> None:
        self.engine = pooled_engine(as_writer(self.url), owner=self)
        self._administrator = pooled_engine(self.url, owner=self)

    def __repr__(self) -> str:
        return f"Desk({len(self.books)} accounts)"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:  # noqa: FBT001 - hypothesis calls it
        # Without this, hypothesis would print every book of every account.
        del cycle
        printer.text(repr(self))

    def account(self, name: str = "desk") -> FakeBooks:
        """Add an account and return its books."""
        self.execute(
            "insert into trading.accounts (name, kraken_conn_id) values (:name, :name)"
            " on conflict do nothing",
            name=name,
        )
        self.books[name] = FakeBooks()
        self.exchanges[name] = FakeExchange(self.books[name])
        return self.books[name]

    @contextmanager
    def open_exchange(self, account: Account) -> Iterator[FakeExchange]:
        """Open the account's fake exchange."""
        with self.exchanges[account.name].opened() as exchange:
            yield exchange

    @property
    def ports(self) -> SyncPorts:
        """The outside world of a sync on this desk."""
        return SyncPorts(
            lambda: UnitOfWork(self.engine), self.open_exchange, lambda: self.now, lambda _: None
        )

    def sync(self, *names: str, mode: Mode = Mode.REPAIR, policy: Policy | None = None) -> list[UUID]:
        """Run one sync at the next quarter of an hour."""
        self.now += RUN_INTERVAL
        return self.sync_again(*names, mode=mode, policy=policy)

    def sync_again(
        self,
        *names: str,
        mode: Mode = Mode.REPAIR,
        policy: Policy | None = None,
        ports: SyncPorts | None = None,
    ) -> list[UUID]:
        """Run the same interval again."""
        with UnitOfWork(self.engine) as unit:
            accounts = AccountStore(unit).find_accounts(names or None)
        interval = Interval(self.now - RUN_INTERVAL, self.now)
        request = SyncRequest(interval, mode, policy or Policy(), concurrency=2)
        return sync_accounts(accounts, request, ports or self.ports)

    def execute(self, statement: str, **values: object) -> None:
        """Run SQL as the administrator and commit."""
        with self._administrator.begin() as connection:
            connection.execute(sa.text(statement), values)

    def rows(self, query: str, **values: object) -> list[dict[str, Any]]:
        """Read rows."""
        with self._administrator.connect() as connection:
            return [dict(row) for row in connection.execute(sa.text(query), values).mappings()]

    def positions(self, name: str = "desk") -> dict[HoldingKey, Decimal]:
        """Read an account's positions that are not zero."""
        return {
            HoldingKey(row["asset"], row["wallet"]): row["quantity"]
            for row in self.rows(
                "select p.* from trading.positions p join trading.accounts a using (account_id) "
                "where a.name = :name and quantity <> 0",
                name=name,
            )
        }

    def event_totals(self, name: str = "desk") -> dict[HoldingKey, Decimal]:
        """Sum an account's events that do not come to zero."""
        return {
            HoldingKey(row["asset"], row["wallet"]): row["total"]
            for row in self.rows(
                "select asset, wallet, sum(quantity_after - quantity_before) as total "
                "from trading.position_events v join trading.accounts a using (account_id) "
                "where a.name = :name group by 1, 2 having sum(quantity_after - quantity_before) <> 0",
                name=name,
            )
        }

    def account_id(self, name: str = "desk") -> int:
        """Look up an account's id."""
        return int(
            self.rows("select account_id from trading.accounts where name = :name", name=name)[0][
                "account_id"
            ]
        )

    def run(self, name: str = "desk") -> dict[str, Any]:
        """Read an account's newest run."""
        return self.rows(
            "select r.* from trading.reconciliation_runs r join trading.accounts a using (account_id) "
            "where a.name = :name order by recorded_as_of desc limit 1",
            name=name,
        )[0]

    def findings(self, name: str = "desk") -> dict[str, dict[str, Any]]:
        """Read what the newest run found, by holding."""
        return {
            str(HoldingKey(row["asset"], row["wallet"])): row
            for row in self.rows(
                "select * from trading.discrepancies where run_id = :run", run=self.run(name)["run_id"]
            )
        }


def minutes(count: int) -> timedelta:
    """Name a length of time."""
    return timedelta(minutes=count)


def bring(
    engine: sa.Engine, entries: Mapping[int, Sequence[LedgerEntry]], *, run_id: UUID | None = None
) -> int:
    """Book ledger entries as a fill does, in one transaction; return how many were new."""

    def write(unit: UnitOfWork) -> int:
        accounts = {account.account_id: account for account in AccountStore(unit).find_accounts(None)}
        booked = book_entries(
            unit, {accounts[a]: of for a, of in entries.items()}, datetime.now(UTC), run_id=run_id
        )
        unit.commit()
        return booked

    return repeated(write, lambda: UnitOfWork(engine))
