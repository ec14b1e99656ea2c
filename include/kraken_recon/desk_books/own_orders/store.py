"""What desks say of their own orders, in our database; every statement is a query of ``own_orders.sql``."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kraken_recon.accounts.account import Account
from kraken_recon.database.store import Store, named_queries
from kraken_recon.desk_books.rules.orders import (
    DeskOrder,
    OrderState,
    as_said,
    order_problem,
    order_said,
)
from kraken_recon.orders.rules.order import OrderType, Side
from kraken_recon.orders.rules.reports import ReportedOrder
from kraken_recon.values.money import ZERO

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy.engine import Row

    from kraken_recon.desk_books.rules.records import OrderProblem


@dataclass(frozen=True, slots=True)
class KnownOrder:
    """One of a desk's orders as it is on record; ``our_order_id`` is the order at Kraken that it is."""

    order: DeskOrder
    state: OrderState
    candidates: tuple[str, ...]
    our_order_id: int | None
    first_seen_at: datetime


@dataclass(frozen=True, slots=True)
class OrderOnRecord:
    """An order that was not found, or that Kraken tells otherwise than the desk (``mismatch`` says how)."""

    book: str
    account: str
    desk_order_id: str
    state: OrderState
    candidates: tuple[str, ...]
    changed_at: datetime
    order_id: int | None
    mismatch: str | None

    @property
    def problem(self) -> OrderProblem:
        """Say what is the matter with it."""
        return order_problem(self.desk_order_id, self.state, self.candidates, self.mismatch)


class OwnOrderStore(Store):
    """The orders of desks, and how far they were read."""

    queries = named_queries(__file__, "own_orders")

    def accounts_of_runs(self, run_ids: Collection[UUID]) -> list[Account]:
        """Read the accounts that runs could look at and were to repair."""
        rows = self._rows("accounts_of_runs", run_ids=[str(run_id) for run_id in run_ids])
        return [Account(**row) for row in rows]

    def read_until(self, book: str, account_ids: Collection[int]) -> dict[int, datetime]:
        """Say how far the orders of accounts were read in a book."""
        rows = self._run("read_until", book=book, account_ids=list(account_ids))
        return {row.account_id: row.read_until for row in rows}

    def unsettled(self, book: str, account_ids: Collection[int]) -> dict[int, dict[str, KnownOrder]]:
        """Read the orders that are looked for, by account and the desk's id."""
        found: dict[int, dict[str, KnownOrder]] = defaultdict(dict)
        for row in self._run("unsettled", book=book, account_ids=list(account_ids)):
            found[row.account_id][row.desk_order_id] = _known(row)
        return found

    def known(self, book: str, account_id: int, ids: Collection[str]) -> dict[str, KnownOrder]:
        """Read what is on record of orders, by the desk's id."""
        rows = self._run("known", book=book, account_id=account_id, desk_order_ids=sorted(ids))
        return {row.desk_order_id: _known(row) for row in rows}

    def taken(self, book: str, account_id: int, txids: Collection[str]) -> dict[str, str]:
        """Name the desk's order that each order at Kraken was found to be."""
        rows = self._run("taken", book=book, account_id=account_id, txids=sorted(txids))
        return {row.kraken_txid: row.desk_order_id for row in rows}

    def on_record(
        self, account_id: int, txids: Collection[str], cl_ord_ids: Collection[str], since: datetime
    ) -> dict[str, ReportedOrder]:
        """Read the orders at Kraken that are on record, by Kraken's id, as reports that say less."""
        rows = self._run(
            "on_record",
            account_id=account_id,
            txids=sorted(txids),
            cl_ord_ids=sorted(cl_ord_ids),
            since=since,
        )
        return {row.kraken_txid: _as_report(row) for row in rows}

    def complete(self, account_id: int) -> tuple[datetime, datetime] | None:
        """Say between which moments every order at Kraken is on record; None where none was looked for."""
        rows = self._run("complete", account_id=account_id)
        return (rows[0].read_from, rows[0].read_until) if rows else None

    def lock(self, book: str, account_id: int, order: DeskOrder, now: datetime) -> KnownOrder:
        """Keep others from settling an order, and read what is on record of it; a new one waits."""
        self._execute("keep_new", **_columns(book, account_id, order), now=now)
        [row] = self._run("lock_row", book=book, account_id=account_id, desk_order_id=order.order_id)
        return _known(row)

    def keep(  # noqa: PLR0913 - each is one column
        self,
        book: str,
        account_id: int,
        order: DeskOrder,
        state: OrderState,
        *,
        candidates: Collection[str] = (),
        our_order_id: int | None = None,
    ) -> None:
        """Keep what the desk says of an order, and what was found of it."""
        self._execute(
            "keep",
            **_columns(book, account_id, order),
            state=state.value,
            candidates=sorted(candidates),
            order_id=our_order_id,
        )

    def forget(self, book: str, account_id: int, ids: Collection[str]) -> None:
        """Forget orders that are looked for and that the desk's table has no more."""
        if ids:
            self._execute("forget", book=book, account_id=account_id, desk_order_ids=sorted(ids))

    def verify_again(self, order_id: int, *, now: datetime, deadline: datetime) -> None:
        """Have an order verified with what the desk says of it."""
        self._execute("verify_again", order_id=order_id, now=now, deadline=deadline)

    def read_through(
        self, book: str, account_ids: Collection[int], read_until: datetime, now: datetime
    ) -> None:
        """Say how far the orders of accounts were read in a book."""
        ids = sorted(account_ids)
        self._execute("read_through", book=book, account_ids=ids, read_until=read_until, now=now)

    def problems(self, book: str | None, account: str | None, *, most: int) -> list[OrderOnRecord]:
        """Read the orders that were not found, and those that Kraken tells otherwise, newest first."""
        return [
            OrderOnRecord(
                row.book,
                row.account,
                row.desk_order_id,
                OrderState(row.state),
                tuple(row.candidates),
                row.changed_at,
                row.order_id,
                row.mismatch,
            )
            for row in self._run("problems", book=book, account=account, most=most)
        ]


def _columns(book: str, account_id: int, order: DeskOrder) -> dict[str, object]:
    return {
        "book": book,
        "account_id": account_id,
        "desk_order_id": order.order_id,
        "said": json.dumps(as_said(order)),
        "changed_at": order.changed_at,
    }


def _known(row: Row[Any]) -> KnownOrder:
    said: Mapping[str, Any] = json.loads(row.said)
    return KnownOrder(
        order_said(row.desk_order_id, row.changed_at, said),
        OrderState(row.state),
        tuple(row.candidates),
        row.order_id,
        row.first_seen_at,
    )


def _as_report(row: Row[Any]) -> ReportedOrder:
    return ReportedOrder(
        kraken_txid=row.kraken_txid,
        cl_ord_id=row.cl_ord_id,
        status_reported=row.status,
        pair=row.pair,
        side=Side(row.side),
        order_type=OrderType(row.order_type),
        volume=row.volume,
        limit_price=row.limit_price,
        trigger_price=row.trigger_price,
        volume_executed=row.volume_executed,
        cost=row.cost_executed,
        fee=row.fee_reported,
        price_average=ZERO,
        opened_at=row.submitted_at or row.decided_at,
        closed_at=row.ended_at,
        expires_at=row.expires_at,
        reason=row.status_reason,
        flags=frozenset(),
    )
