"""Act between any two steps of a sync: every call to the exchange, every statement, every commit."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from kraken_recon.database.unit_of_work import UnitOfWork

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import sqlalchemy as sa

    from desks.fake_exchange import Desk
    from desks.fakes import FakeExchange
    from kraken_recon.accounts.account import Account
    from kraken_recon.reconciliation.run import SyncPorts


@dataclass
class Steps:
    """Counts the steps of a sync and calls ``act`` at each with its number and name, counting from 1."""

    act: Callable[[int, str], None]
    names: list[str] = field(default_factory=list)

    def reach(self, name: str) -> None:
        self.names.append(name)
        self.act(len(self.names), name)


class _SteppedUnit(UnitOfWork):
    """A unit of work in which every statement is a step, named by its text."""

    def __init__(self, engine: sa.Engine, steps: Steps) -> None:
        super().__init__(engine)
        self._steps = steps

    @property
    def connection(self) -> Any:
        return _SteppedConnection(super().connection, self._steps)

    def commit(self) -> None:
        self._steps.reach("before commit")
        super().commit()
        self._steps.reach("after commit")


class _SteppedConnection:
    def __init__(self, connection: sa.Connection, steps: Steps) -> None:
        self._connection = connection
        self._steps = steps

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def execute(self, statement: Any, *values: Any) -> Any:
        self._steps.reach(f"before {statement}")
        return self._connection.execute(statement, *values)


def stepped_ports(desk: Desk, engine: sa.Engine, steps: Steps) -> SyncPorts:
    """Wire a sync of this desk so that every one of its steps is counted."""

    @contextmanager
    def open_unit_of_work() -> Iterator[Any]:
        steps.reach("before a unit of work")
        with _SteppedUnit(engine, steps) as unit:
            yield unit

    @contextmanager
    def open_exchange(account: Account) -> Iterator[FakeExchange]:
        exchange = desk.exchanges[account.name]
        exchange.before_call = steps.reach
        with exchange.opened():
            yield exchange

    return replace(desk.ports, open_unit_of_work=open_unit_of_work, open_exchange=open_exchange)
