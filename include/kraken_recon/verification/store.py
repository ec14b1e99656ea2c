"""Order verification in Postgres; every statement is a named query of ``verification.sql``."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import fields
from typing import TYPE_CHECKING, Any, Final

from kraken_recon.accounts.account import Account
from kraken_recon.database.store import Store, named_queries
from kraken_recon.desk_books.rules.orders import OrderInBook, order_said
from kraken_recon.ledger.entries import LedgerEntry
from kraken_recon.orders.rules.order import Fill, Order, OrderStatus, OrderType, Side, Source, TimeInForce
from kraken_recon.verification.rules.records import Booked, ClaimedOrder, Judged, RecordedEntries, WindowCount

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from datetime import datetime

    from sqlalchemy.engine import Row

_KINDS: Final = {
    "source": Source,
    "side": Side,
    "order_type": OrderType,
    "time_in_force": TimeInForce,
    "status": OrderStatus,
}
_ORDER_FIELDS: Final = tuple(field.name for field in fields(Order))
_ENTRY_FIELDS: Final = tuple(field.name for field in fields(LedgerEntry))
_FILL_FIELDS: Final = tuple(field.name for field in fields(Fill))


class VerificationStore(Store):
    """The verification of orders."""

    queries = named_queries(__file__, "verification")

    def enlist(self, *, now: datetime, deadline: datetime, ended_after: datetime | None) -> int:
        """Give ended orders their row; return how many are new."""
        return len(self._execute("enlist", now=now, deadline=deadline, ended_after=ended_after).all())

    def claim(
        self,
        token: str,
        *,
        now: datetime,
        until: datetime,
        most: int,
        order_ids: Collection[int] | None = None,
    ) -> list[int]:
        """Take due orders that nobody works on; return their ids."""
        ids = sorted(order_ids) if order_ids is not None else None
        rows = self._execute("claim", token=token, now=now, until=until, most=most, order_ids=ids)
        return [row.order_id for row in rows]

    def make_due(self, order_id: int, *, now: datetime) -> None:
        """Let one order be verified again now, unless its verdict is final."""
        self._execute("make_due", order_id=order_id, now=now)

    def renew(self, token: str, *, until: datetime) -> int:
        """Keep what is claimed for a longer time; return how many are."""
        return self._execute("renew", token=token, until=until).rowcount

    def let_go(self, token: str) -> None:
        """Give up what is claimed without a verdict."""
        self._execute("let_go", token=token)

    def claimed(self, token: str) -> list[ClaimedOrder]:
        """Read the claimed orders."""
        return [_claimed_order(row) for row in self._execute("claimed", token=token)]

    def fills_of(self, order_ids: Collection[int]) -> Mapping[int, Mapping[str, Fill]]:
        """Read the recorded fills of orders, by order and trade id."""
        found: dict[int, dict[str, Fill]] = defaultdict(dict)
        for row in self._execute("fills_of", order_ids=sorted(order_ids)).mappings():
            values = {name: row[name] for name in _FILL_FIELDS} | {"side": Side(row["side"])}
            found[row["order_id"]][row["trade_id"]] = Fill(**values)
        return found

    def desk_rows_of(self, order_ids: Collection[int]) -> Mapping[int, tuple[OrderInBook, ...]]:
        """Read what books of the desk's say of orders, by order."""
        found: dict[int, tuple[OrderInBook, ...]] = {}
        for row in self._execute("desk_rows_of", order_ids=sorted(order_ids)):
            said = order_said(row.desk_order_id, row.changed_at, json.loads(row.said))
            found[row.order_id] = (*found.get(row.order_id, ()), OrderInBook(row.book, said))
        return found

    def recorded(self, account_id: int, ledger_ids: Collection[str]) -> RecordedEntries:
        """Read recorded entries, and what each moved its position by."""
        rows = (
            self._execute("movements", account_id=account_id, ledger_ids=sorted(ledger_ids)).mappings().all()
        )
        return RecordedEntries(
            {row["ledger_id"]: LedgerEntry(**{name: row[name] for name in _ENTRY_FIELDS}) for row in rows},
            {row["ledger_id"]: row["moved"] for row in rows if row["moved"] is not None},
        )

    def booked(self, account_id: int, trade_ids: Collection[str]) -> Booked:
        """Say which trades have entries in an account's recorded ledger, and which are in another's books."""
        rows = self._execute("booked", account_id=account_id, trade_ids=sorted(trade_ids)).all()
        return Booked(
            frozenset(row.trade_id for row in rows if row.account_id == account_id),
            {row.trade_id: row.name for row in rows if row.account_id != account_id},
        )

    def record(self, token: str, judged: Sequence[Judged], *, now: datetime) -> set[int]:
        """Write verdicts with their levels; return the orders whose verdict was ours to write."""
        if not judged:
            return set()
        rows = self._execute(
            "record",
            token=token,
            now=now,
            order_ids=[j.order_id for j in judged],
            verdicts=[str(j.verification.verdict) for j in judged],
            failed_levels=[" ".join(j.verification.failed_levels) for j in judged],
            messages=[j.verification.message for j in judged],
            due_at=[j.due_at for j in judged],
        )
        written = {row.order_id for row in rows}
        results = [(j.order_id, r) for j in judged if j.order_id in written for r in j.verification.levels]
        if results:
            self._execute(
                "record_levels",
                now=now,
                order_ids=[order_id for order_id, _ in results],
                levels=[str(result.level) for _, result in results],
                verdicts=[str(result.verdict) for _, result in results],
                expected=[json.dumps(dict(result.expected)) for _, result in results],
                observed=[json.dumps(dict(result.observed)) for _, result in results],
                messages=[result.message for _, result in results],
            )
        return written

    def waiting(self, *, now: datetime, due_before: datetime, ended_after: datetime) -> int:
        """Count the orders that are due, or have no row yet, and that nobody works on."""
        found = self._execute("waiting", now=now, due_before=due_before, ended_after=ended_after)
        return int(found.scalar_one())

    def overdue(
        self, account_ids: Collection[int], *, now: datetime
    ) -> Mapping[tuple[int, str], tuple[int, int]]:
        """Count overdue orders without a final verdict by account and asset, with the first one's id."""
        rows = self._execute("overdue", account_ids=sorted(account_ids), now=now)
        return {(row.account_id, row.base): (row.orders, row.first_order_id) for row in rows}

    def compute_rates(self, window_seconds: Sequence[int], *, now: datetime) -> None:
        """Count the verdicts of the current windows and of those before them."""
        self._execute("compute_rates", window_seconds=list(window_seconds), now=now)

    def rates(self, *, now: datetime, account: str | None = None) -> list[WindowCount]:
        """Read the counts of the current windows and of those before them."""
        return [WindowCount(**row) for row in self._execute("rates", now=now, account=account).mappings()]

    def verification(self, order_id: int) -> Mapping[str, Any] | None:
        """Read one order with its verification, if it has one; None where there is no such order."""
        row = self._execute("verification", order_id=order_id).mappings().one_or_none()
        return dict(row) if row is not None else None

    def levels(self, order_id: int) -> list[dict[str, Any]]:
        """Read the levels of one order."""
        return self._rows("levels", order_id=order_id)

    def latest(self, account: str, *, most: int = 50) -> list[dict[str, Any]]:
        """Read the newest verdicts of an account."""
        return self._rows("latest", account=account, most=most)


def _claimed_order(row: Row[Any]) -> ClaimedOrder:
    values = row._mapping  # noqa: SLF001 - SQLAlchemy's public accessor
    order = {name: values[name] for name in _ORDER_FIELDS}
    order |= {name: kind(values[name]) for name, kind in _KINDS.items()}
    account = Account(
        values["account_id"], values["account_name"], values["kraken_conn_id"], values["quote_currency"]
    )
    return ClaimedOrder(Order(**order), account, values["attempts"], values["verified_until"])
