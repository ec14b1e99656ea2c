"""Act between any two steps of a sync: every call to the exchange, every call to the store, every commit."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from kraken_recon.adapters.postgres.unit_of_work import PostgresUnitOfWork

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import sqlalchemy as sa

    from desk import Desk
    from fakes import FakeExchange
    from kraken_recon.domain.records import Account
    from kraken_recon.service.sync import SyncPorts


@dataclass
class Steps:
    """Counts the steps of a sync and calls ``act`` at each with its number and name, counting from 1."""

    act: Callable[[int, str], None]
    names: list[str] = field(default_factory=list)

    def reach(self, name: str) -> None:
        self.names.append(name)
        self.act(len(self.names), name)


class _SteppedStore:
    def __init__(self, store: object, steps: Steps) -> None:
        self._store = store
        self._steps = steps

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._store, name)

        def stepped(*args: object, **kwargs: object) -> object:
            self._steps.reach(f"before {name}")
            return method(*args, **kwargs)

        return stepped


class _SteppedUnit:
    def __init__(self, unit: PostgresUnitOfWork, steps: Steps) -> None:
        self._unit = unit
        self._steps = steps

    @property
    def sync(self) -> Any:
        return _SteppedStore(self._unit.sync, self._steps)

    @property
    def costs(self) -> Any:
        return _SteppedStore(self._unit.costs, self._steps)

    @property
    def margin(self) -> Any:
        return _SteppedStore(self._unit.margin, self._steps)

    @property
    def plans(self) -> Any:
        return _SteppedStore(self._unit.plans, self._steps)

    @property
    def backfill(self) -> Any:
        return _SteppedStore(self._unit.backfill, self._steps)

    @property
    def prices(self) -> Any:
        return _SteppedStore(self._unit.prices, self._steps)

    @property
    def turns(self) -> Any:
        return _SteppedStore(self._unit.turns, self._steps)

    def commit(self) -> None:
        self._steps.reach("before commit")
        self._unit.commit()
        self._steps.reach("after commit")


def stepped_ports(desk: Desk, engine: sa.Engine, steps: Steps) -> SyncPorts:
    """Wire a sync of this desk so that every one of its steps is counted."""

    @contextmanager
    def open_unit_of_work() -> Iterator[Any]:
        steps.reach("before a unit of work")
        with PostgresUnitOfWork(engine) as unit:
            yield _SteppedUnit(unit, steps)

    @contextmanager
    def open_exchange(account: Account) -> Iterator[FakeExchange]:
        exchange = desk.exchanges[account.name]
        exchange.before_call = steps.reach
        with exchange.opened():
            yield exchange

    return replace(desk.ports, open_unit_of_work=open_unit_of_work, open_exchange=open_exchange)
