"""Wire the use cases to Kraken and Postgres: the one place where the two meet."""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Final

from kraken_recon import settings
from kraken_recon.accounts.store import AccountStore
from kraken_recon.database.poolers import no_direct_dsn, own_session_address, pooler_mode
from kraken_recon.database.unit_of_work import (
    SessionLimits,
    UnitOfWork,
    count_refused_locks,
    create_engine,
)
from kraken_recon.desk_books.diffing import DeskBookPorts
from kraken_recon.doctor.ports import DoctorPorts
from kraken_recon.errors import ConfigurationError, RunStoppedError
from kraken_recon.holdings.pricing import ask_for_prices
from kraken_recon.kraken.call_slots import PostgresCallSlots
from kraken_recon.kraken.client import KrakenClient, RetryPolicy
from kraken_recon.kraken.local_call_slots import InProcessCallSlots
from kraken_recon.kraken.order_reading_client import MarketCache, OrderReadingClient
from kraken_recon.kraken.rate_limits import least_seconds
from kraken_recon.kraken.slot_sessions import SlotSessions
from kraken_recon.kraken.trading_client import TradingClient
from kraken_recon.maintenance.maintaining import MaintainingPorts
from kraken_recon.maintenance.retention import QUIET_RUNS_DAYS_MIN
from kraken_recon.orders.exchange import OrderPorts
from kraken_recon.orders.rules.bounds import MINUTES_MAX, DecisionBounds
from kraken_recon.reconciliation.run import SyncPorts
from kraken_recon.sessions.auditing import AuditedServer, AuditPorts
from kraken_recon.sessions.store import ServerSessions
from kraken_recon.values.money import ZERO, parse_amount
from kraken_recon.values.usage_meter import UseMeter
from kraken_recon.verification.run import VerifyingPorts

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from sqlalchemy.engine import Engine

    from kraken_recon.accounts.account import Account
    from kraken_recon.desk_books.address import DeskAddress
    from kraken_recon.kraken.credentials import KrakenCredentials
    from kraken_recon.sessions.auditing import Airflow
    from kraken_recon.values.task_identity import TaskIdentity

KEY_CHECK_AGE_MAX: Final = timedelta(hours=24)
# Nothing waits long for names: those on record have to do then.
ASKED_FOR_NAMES: Final = RetryPolicy(attempts_max=2, deadline_seconds=15.0)
# Somebody waits for what the doctor says.
DOCTOR: Final = "kraken_recon:doctor"
ASKED_ONCE_MORE: Final = RetryPolicy(attempts_max=2, deadline_seconds=3.0, wait_first_seconds=0.2)
LOOKS_SOON: Final = SessionLimits(
    statement_timeout_seconds=3, lock_timeout_seconds=2, idle_in_transaction_timeout_seconds=10
)


def utc_now() -> datetime:
    """Read the clock of this machine, in UTC."""
    return datetime.now(UTC)


def quiet_runs_days_kept(environment: Mapping[str, str]) -> int | None:
    """Read for how many days runs are kept in which nothing happened; None: for ever.

    Raises:
        ConfigurationError: it is no whole number, or so small that pages of the last weeks would miss runs.
    """
    name = settings.QUIET_RUNS_DAYS_KEPT.name
    told = environment.get(name, "")
    if told and (not told.isdecimal() or int(told) < QUIET_RUNS_DAYS_MIN):
        raise ConfigurationError(f"{name}: expected whole days, {QUIET_RUNS_DAYS_MIN} or more, was {told!r}")
    return int(told) if told else None


def decision_bounds(environment: Mapping[str, str]) -> DecisionBounds:
    """Read what bounds decisions that do not say so themselves.

    Raises:
        ConfigurationError: a setting is no number, or beyond what makes sense.
    """

    def read(setting: settings.Setting, most: Decimal) -> Decimal:
        text = environment.get(setting.name) or setting.default
        try:
            value = parse_amount(text)
        except ValueError as error:
            raise ConfigurationError(f"{setting.name}: {error}") from error
        if not ZERO < value <= most:
            raise ConfigurationError(f"{setting.name}: expected more than 0 and at most {most}, was {text}")
        return value

    return DecisionBounds(
        timedelta(minutes=float(read(settings.MARKET_ORDER_MINUTES, MINUTES_MAX))),
        timedelta(minutes=float(read(settings.LIMIT_ORDER_MINUTES, MINUTES_MAX))),
        read(settings.PRICE_DEVIATION_PERCENT, Decimal(100)),
    )


class DailyCheckedClient(TradingClient):
    """A client whose key is checked once a day, however many workers and runs use it."""

    def __init__(self, *arguments: Any, slots: PostgresCallSlots, **options: Any) -> None:  # noqa: ANN401 - the base class's
        super().__init__(*arguments, slots=slots, **options)
        self._key_slots = slots

    def check_key(self) -> None:
        """Refuse a key that is too powerful or too blind, unless it was found good within the last day."""
        if self._key_slots.needs_check(KEY_CHECK_AGE_MAX):
            super().check_key()
            self._key_slots.mark_checked()


def known_assets(
    connections: Sequence[str], credentials_of: Callable[[str], KrakenCredentials]
) -> frozenset[str]:
    """Ask Kraken for all its assets, by the first of these connections that is set; no key is sent.

    Raises:
        ConfigurationError: none of them is.
        ExchangeError: Kraken does not answer soon; the names on record have to do then.
    """
    problem = ConfigurationError("no account has a connection by which to ask")
    for connection in connections:
        try:
            credentials = credentials_of(connection)
        except ConfigurationError as error:
            problem = error
            continue
        slots = InProcessCallSlots()
        with KrakenClient(credentials, account=connection, slots=slots, retries=ASKED_FOR_NAMES) as client:
            return client.known_assets()
    raise problem


def source_of(
    name: str, open_unit_of_work: Callable[[], UnitOfWork], *, is_ours: bool = True
) -> AuditedServer:
    """Wire one server to be audited."""

    @contextmanager
    def watch() -> Iterator[ServerSessions]:
        with open_unit_of_work().on_any_schema() as unit:
            yield ServerSessions(unit)

    return AuditedServer(name, watch, is_ours)


def doctor_ports(
    environment: Mapping[str, str],
    dsn_of: Callable[[str], str],
    direct_dsn: Callable[[], str | None],
    credentials_of: Callable[[str], KrakenCredentials],
    address_of: Callable[[str], DeskAddress],
) -> DoctorPorts:
    """Wire the doctor, by the ids of connections; what there is none of fails when it is asked for."""

    def open_session(connection: str) -> UnitOfWork:
        engine = create_engine(dsn_of(connection), application_name=DOCTOR, limits=LOOKS_SOON)
        return UnitOfWork(engine).on_any_schema()

    @contextmanager
    def open_key(credentials: KrakenCredentials, account: str) -> Iterator[OrderReadingClient]:
        with (
            PostgresCallSlots(
                SlotSessions(
                    dsn_of(settings.TRADING_DB.name),
                    direct_dsn=direct_dsn,
                    application_name=DOCTOR,
                    lock_timeout_seconds=LOOKS_SOON.lock_timeout_seconds,
                ),
                api_key=credentials.api_key,
                tier=credentials.tier,
                wait_limit_seconds=LOOKS_SOON.statement_timeout_seconds,
            ) as slots,
            OrderReadingClient(
                credentials, account=account, slots=slots, timeout_seconds=(2.0, 3.0), retries=ASKED_ONCE_MORE
            ) as client,
        ):
            yield client

    def own_sessions() -> str:
        dsn = dsn_of(settings.TRADING_DB.name)
        own_session_address(dsn, direct_dsn)
        return pooler_mode(dsn)

    return DoctorPorts(
        environment,
        lambda: open_session(settings.TRADING_DB.name),
        open_session,
        own_sessions,
        credentials_of,
        open_key,
        address_of,
        utc_now,
    )


@dataclass(frozen=True)
class Wiring:
    """A trading database and a way to an account's credentials.

    ``dsn`` is an address as libpq reads it, ``direct_dsn`` reads the one past a pooler; ``application_name``
    says in the database who is at work, and ``limits`` how long a session may wait and hold.
    """

    dsn: str = field(repr=False)
    credentials_of: Callable[[Account], KrakenCredentials]
    direct_dsn: Callable[[], str | None] = field(default=no_direct_dsn, repr=False)
    application_name: str = "kraken_recon"
    limits: SessionLimits = field(default_factory=SessionLimits)
    task: TaskIdentity | None = None
    clock: Callable[[], datetime] = utc_now
    stopped: threading.Event = field(default_factory=threading.Event, repr=False)
    markets: MarketCache = field(default_factory=MarketCache, repr=False)
    meter: UseMeter = field(default_factory=UseMeter, repr=False)

    def engine(self) -> Engine:
        """Make the engine; it holds no connection between units of work."""
        return self._engine_at(self.dsn)

    def _engine_at(self, dsn: str) -> Engine:
        engine = create_engine(
            dsn, application_name=self.application_name, limits=self.limits, task=self.task
        )
        count_refused_locks(engine, self.meter)
        return engine

    @cached_property
    def slot_sessions(self) -> SlotSessions:
        """The sessions in which call slots are taken, lent to one account after another."""
        return SlotSessions(
            self.dsn, direct_dsn=self.direct_dsn, application_name=self.application_name, task=self.task
        )

    def own_session_dsn(self) -> str:
        """Give the address at which a session stays its client's, past a pooler where need be.

        Raises:
            DirectConnectionNeededError: a pooler lends sessions by the transaction; no way past is known.
            StoreError: the database cannot be asked.
        """
        return own_session_address(self.dsn, self.direct_dsn)

    def open_own_session(self) -> UnitOfWork:
        """Give a unit of work whose session is its own until it is closed, over many transactions."""
        return UnitOfWork(self._engine_at(self.own_session_dsn()))

    def units_of_work(self) -> Callable[[], UnitOfWork]:
        """Give the way to one unit of work after another."""
        engine = self.engine()
        return lambda: UnitOfWork(engine)

    def sync_ports(self) -> SyncPorts:
        """Wire ``position_sync``; refused where no call slot can be had, before anything is asked."""
        self.own_session_dsn()
        return SyncPorts(
            self.units_of_work(),
            self.open_exchange,
            self.clock,
            self.pause,
            self.stopped.set,
            self.slot_sessions.keep_open,
        )

    def audit_ports(self, sources: Sequence[AuditedServer], airflow: Airflow, *, acted_by: str) -> AuditPorts:
        """Wire the session audit of servers, the trading database first."""
        return AuditPorts(self.units_of_work(), sources, airflow, acted_by)

    def order_ports(self) -> OrderPorts:
        """Wire ``order_execution``; refused where no call slot can be had, before anything is decided."""
        self.own_session_dsn()
        return OrderPorts(
            self.units_of_work(),
            self.open_exchange,
            self.clock,
            self.pause,
            self.stopped.set,
            self.application_name,
            decision_bounds(os.environ),
            self.slot_sessions.keep_open,
        )

    def verifying_ports(self) -> VerifyingPorts:
        """Wire ``order_verification``; refused where no call slot can be had, before anything is claimed."""
        self.own_session_dsn()
        return VerifyingPorts(
            self.units_of_work(),
            self.open_exchange,
            self.clock,
            self.stopped.set,
            self.slot_sessions.keep_open,
        )

    def maintaining_ports(self) -> MaintainingPorts:
        """Wire ``maintenance``."""
        return MaintainingPorts(
            self.units_of_work(), self.open_exchange, self.clock, quiet_runs_days_kept(os.environ)
        )

    def desk_book_ports(
        self,
        address_of: Callable[[str], DeskAddress],
        credentials_by_connection: Callable[[str], KrakenCredentials],
    ) -> DeskBookPorts:
        """Wire the books of desks, to the databases and to Kraken by the ids of connections."""
        ask = partial(known_assets, credentials_of=credentials_by_connection)
        return DeskBookPorts(
            self.units_of_work(),
            address_of,
            ask,
            self.clock,
            open_orders=self.open_exchange,
            worker=self.application_name,
            ask_for_prices=self.ask_for_prices,
            open_own_session=self.open_own_session,
        )

    def ask_for_prices(self, name: str, assets: Collection[str]) -> None:
        """Ask Kraken what assets are worth in an account's currency, and keep it."""
        ports = self.sync_ports()
        with ports.open_unit_of_work() as unit:
            [account] = AccountStore(unit).find_accounts([name])
        ask_for_prices(account, assets, ports)

    def pause(self, seconds: float) -> None:
        """Wait, unless the run is told to stop: every wait of every thread of a run goes through here.

        Raises:
            RunStoppedError: the run was told to stop.
        """
        if self.stopped.wait(seconds):
            raise RunStoppedError

    def budget_seconds(self, account: Account, calls: int) -> float:
        """Say how long so many calls take an account's key at least.

        Raises:
            ConfigurationError: the connection is missing or wrong.
        """
        return least_seconds(calls, self.credentials_of(account).tier)

    @contextmanager
    def open_exchange(self, account: Account) -> Iterator[TradingClient]:
        """Open one account at Kraken.

        Raises:
            ConfigurationError: the connection is missing or wrong.
        """
        credentials = self.credentials_of(account)
        self.own_session_dsn()  # refused here: past this point an order may be on its way
        with (
            PostgresCallSlots(
                self.slot_sessions,
                api_key=credentials.api_key,
                tier=credentials.tier,
                sleep=self.pause,
                meter=self.meter.of_key(account.name),
            ) as slots,
            DailyCheckedClient(
                credentials, account=account.name, slots=slots, sleep=self.pause, markets=self.markets
            ) as client,
        ):
            yield client
