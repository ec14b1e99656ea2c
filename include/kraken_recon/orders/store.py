"""Orders, decisions, events and fills in Postgres; every statement is a named query of ``orders.sql``."""

from __future__ import annotations

import json
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any, Final

from kraken_recon.accounts.account import Account
from kraken_recon.database.arrays import json_rows
from kraken_recon.database.store import Store, named_queries
from kraken_recon.errors import NotOnRecordError, StoreError
from kraken_recon.orders.rules.order import (
    Fill,
    NewDecision,
    Order,
    OrderStatus,
    OrderType,
    Side,
    Source,
    TimeInForce,
    may_become,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from datetime import datetime
    from decimal import Decimal

    from sqlalchemy.engine import CursorResult, Row


_ORDER_FIELDS: Final = tuple(field.name for field in fields(Order))
_FILL_FIELDS: Final = tuple(field.name for field in fields(Fill))
_DECIDED_ONLY: Final = ("reason", "ai_model", "ai_prompt_sha256", "ai_answer")


class OrderStore(Store):
    """Orders, decisions and fills."""

    queries = named_queries(__file__, "orders")

    def add_decision(self, payload: str, *, key: str | None, via: str, received_at: datetime) -> int:
        """Keep a decision as it came; return its id."""
        row = self._execute("add_decision", payload=payload, key=key, via=via, received_at=received_at).one()
        return int(row.decision_id)

    def first_of_key(self, key: str, *, judging: int | None = None) -> NewDecision | None:
        """Keep others from using a key until the transaction ends, and find what it stands for."""
        self._execute("lock_key", key=key)
        row = self._execute("first_of_key", key=key, judging=judging).one_or_none()
        return None if row is None else NewDecision(**row._asdict())

    def new_decisions(self, *, after: int | None, limit: int) -> list[NewDecision]:
        """List decisions that nobody has judged yet."""
        return [
            NewDecision(**row._asdict()) for row in self._execute("new_decisions", after=after, limit=limit)
        ]

    def lock_decision(self, decision_id: int) -> bool:
        """Take a decision to judge it; False when somebody else does or did."""
        return self._execute("lock_decision", decision_id=decision_id).one_or_none() is not None

    def judge_decision(
        self,
        decision_id: int,
        *,
        order_id: int | None = None,
        refusal: str | None = None,
        first: int | None = None,
        key: str | None = None,
    ) -> None:
        """Say what came of a locked decision: an order, a refusal, or nothing new under its key."""
        done = self._execute(
            "judge_decision",
            decision_id=decision_id,
            order_id=order_id,
            refusal=refusal,
            first=first,
            key=key,
        )
        _expect_one(done, f"decision {decision_id}")

    def decision(self, decision_id: int) -> tuple[str, str | None, int | None]:
        """Read a decision's status, refusal and order; of one that repeats another, that one's."""
        row = self._execute("decision", decision_id=decision_id).one()
        return row.status, row.refusal, row.order_id

    def insert_order(self, values: Mapping[str, Any]) -> int | None:
        """Write a new order, columns by name; None where Kraken's id is known already."""
        columns = dict.fromkeys((*_ORDER_FIELDS, *_DECIDED_ONLY))
        row = self._execute("insert_order", **{**columns, **values}).one_or_none()
        return None if row is None else int(row.order_id)

    def accounts_at_work(self) -> list[Account]:
        """Name the active accounts that have orders to place or to follow."""
        return [Account(**row._asdict()) for row in self._execute("accounts_at_work")]

    def account_of(self, order_id: int) -> Account:
        """Find the account of an order (``NotOnRecordError`` for an unknown one)."""
        row = self._execute("account_of_order", order_id=order_id).one_or_none()
        if row is None:
            raise NotOnRecordError(f"there is no order {order_id}")
        return Account(**row._asdict())

    def lock_account(self, account_id: int) -> None:
        """Become the only one who sizes orders of this account."""
        self._execute("lock_account", account_id=account_id).one()

    def find_decided(self, account_id: int, put_off: Collection[int]) -> tuple[int, str] | None:
        """Find the oldest decided order, and its pair, without taking it."""
        row = self._execute("has_decided", account_id=account_id, put_off=list(put_off)).one_or_none()
        return None if row is None else (row.order_id, row.pair)

    def lock_expired(self, now: datetime, account_id: int | None = None) -> list[Order]:
        """Take the decided orders, of an account or of all, that may no longer leave; skip others' own."""
        return [_order(row) for row in self._execute("lock_expired", now=now, account_id=account_id)]

    def take_decided(self, order_id: int) -> Order | None:
        """Take a decided order; None when somebody else has taken it."""
        row = self._execute("take_decided", order_id=order_id).one_or_none()
        return None if row is None else _order(row)

    def claimed(self, account_id: int, asset: str, read_from: datetime) -> Decimal:
        """Sum what orders may take of an asset that a reading begun at ``read_from`` may not show."""
        row = self._execute("claims_on", account_id=account_id, asset=asset, read_from=read_from).one()
        claimed: Decimal = row.claimed
        return claimed

    def orders(self, order_ids: Collection[int]) -> list[Order]:
        """Read orders by id."""
        return [_order(row) for row in self._execute("orders", order_ids=sorted(order_ids))]

    def lock_orders(self, order_ids: Collection[int]) -> list[Order]:
        """Lock orders in key order and read them as they are now."""
        return [_order(row) for row in self._execute("lock_orders", order_ids=sorted(order_ids))]

    def unresolved(self, account_id: int) -> list[Order]:
        """Read the orders whose request left and whose outcome is not known."""
        return [_order(row) for row in self._execute("unresolved", account_id=account_id)]

    def followed(self, account_id: int) -> list[Order]:
        """Read the orders that are open, or have ended while their fills are not complete here."""
        return [_order(row) for row in self._execute("followed", account_id=account_id)]

    def known_at_kraken(
        self, account_id: int, *, txids: Collection[str], cl_ord_ids: Collection[str]
    ) -> list[Order]:
        """Read the orders that bear one of these ids."""
        rows = self._execute(
            "known_at_kraken", account_id=account_id, txids=sorted(txids), cl_ord_ids=sorted(cl_ord_ids)
        )
        return [_order(row) for row in rows]

    def save(
        self, before: Order, after: Order, what: str, *, by: str, detail: Mapping[str, Any] | None = None
    ) -> None:
        """Write what became of a locked order, and why, as the next event of its story."""
        if before.status is not after.status and not may_become(before.status, after.status):
            raise ValueError(
                f"order {before.order_id} may not become {after.status.value} from {before.status.value}"
            )
        values = asdict(after) | {"status_before": before.status.value, "status": after.status.value}
        wanted = self.queries["save_order"].compile().params
        done = self._execute("save_order", **{name: values[name] for name in wanted})
        _expect_one(done, f"order {before.order_id}")
        self.add_event(before.order_id, before.status, after.status, what, by=by, detail=detail)

    def is_the_desks(self, order: Order, what: str, *, by: str) -> None:
        """Say of a locked order that was found at Kraken that it is the desk's own."""
        self._execute("is_the_desks", order_id=order.order_id)
        self.add_event(order.order_id, order.status, order.status, what, by=by)

    def add_event(  # noqa: PLR0913 - each is one column
        self,
        order_id: int,
        before: OrderStatus | None,
        after: OrderStatus,
        what: str,
        *,
        by: str,
        detail: Mapping[str, Any] | None = None,
    ) -> None:
        """Append to an order's story."""
        self._execute(
            "add_event",
            order_id=order_id,
            status_before=before.value if before else None,
            status_after=after.value,
            what=what,
            detail=json.dumps(detail or {}, default=str),
            recorded_by=by,
        )

    def record_fills(self, account_id: int, fills: Mapping[str, tuple[int, Fill]]) -> set[str]:
        """Record fills by trade id, each with its order's id; return those that are new."""
        if not fills:
            return set()
        listed = (
            {**asdict(fill), "trade_id": trade_id, "order_id": order_id}
            for trade_id, (order_id, fill) in fills.items()
        )
        rows = self._execute("record_fills", account_id=account_id, fills=json_rows(listed))
        return {row.trade_id for row in rows}

    def fills_of(self, order_ids: Collection[int]) -> dict[int, list[tuple[Fill, int]]]:
        """Read the fills of orders by order, each with the number of its ledger entries here."""
        found: dict[int, list[tuple[Fill, int]]] = {order_id: [] for order_id in order_ids}
        for row in self._execute("fills_of", order_ids=sorted(order_ids)):
            values = row._asdict()
            fill = Fill(
                **{name: values[name] for name in _FILL_FIELDS if name != "side"}, side=Side(row.side)
            )
            found[row.order_id].append((fill, row.entries))
        return found

    def notify_ended(self) -> None:
        """Wake whoever verifies orders, once this transaction commits."""
        self._execute("notify_ended")

    def take_looks(
        self, names: Collection[str] | None, *, now: datetime, due_before: datetime
    ) -> dict[int, datetime | None]:
        """Take the accounts whose orders are due to be looked through; return up to when that was done."""
        rows = self._execute(
            "take_looks", names=None if names is None else sorted(names), now=now, due_before=due_before
        )
        return {row.account_id: row.read_until for row in rows}

    def looked_through(self, account_id: int, read_from: datetime, read_until: datetime) -> None:
        """Say from when and up to when an account's orders at Kraken were looked through, for now."""
        self._execute("looked_through", account_id=account_id, read_from=read_from, read_until=read_until)

    def recorded_holdings(
        self, account_id: int, assets: Collection[str], *, before: datetime
    ) -> dict[str, Decimal]:
        """Read what should be in the wallets that trading draws on, by asset; empty before the opening."""
        rows = self._execute("recorded_holdings", account_id=account_id, assets=sorted(assets), before=before)
        return {row.asset: row.quantity for row in rows}

    def under_way(self, account_id: int, asset: str) -> Decimal:
        """Sum what orders that are open, or whose fills are not all here, may have taken of an asset."""
        taken: Decimal = self._execute("under_way", account_id=account_id, asset=asset).scalar_one()
        return taken

    def recorded_trades(self, account_id: int, trade_ids: Collection[str]) -> set[str]:
        """Name those of these trades that are recorded as fills."""
        rows = self._execute("recorded_trades", account_id=account_id, trade_ids=sorted(trade_ids))
        return {row.trade_id for row in rows}

    def lately_absent(self, account_id: int, *, after: datetime) -> list[Order]:
        """Read the orders that were declared not placed since, because Kraken's books did not show them."""
        return [_order(row) for row in self._execute("lately_absent", account_id=account_id, after=after)]

    def give_fills(self, order_id: int, to_order_id: int) -> None:
        """Let what belongs to one order be another's, and give up what was to be verified of the first."""
        self._execute("give_fills", order_id=order_id, to_order_id=to_order_id)
        self._execute("give_desk_orders", order_id=order_id, to_order_id=to_order_id)
        self._execute("drop_waiting_verification", order_id=order_id)

    def trace(self, order_id: int) -> dict[str, Any]:
        """Read everything on record of an order, rows as mappings; empty for an unknown one."""
        order = self._execute("trace_order", order_id=order_id).mappings().one_or_none()
        if order is None:
            return {}
        parts: dict[str, Sequence[Any]] = {
            name: self._rows(f"trace_{name}", order_id=order_id) for name in ("events", "entries")
        }
        parts["fills"] = [asdict(fill) for fill, _ in self.fills_of([order_id])[order_id]]
        verifications = self._execute("trace_verifications", order_id=order_id)
        parts["verifications"] = [json.loads(row.verification) for row in verifications]
        return {"order": dict(order), **parts}


def _order(row: Row[Any]) -> Order:
    values = row._asdict()
    return Order(
        **{
            **{name: values[name] for name in _ORDER_FIELDS},
            "source": Source(row.source),
            "side": Side(row.side),
            "order_type": OrderType(row.order_type),
            "time_in_force": TimeInForce(row.time_in_force),
            "status": OrderStatus(row.status),
        }
    )


def _expect_one(done: CursorResult[Any], what: str) -> None:
    if done.rowcount != 1:
        raise StoreError(f"expected to write {what}, wrote {done.rowcount} rows")
