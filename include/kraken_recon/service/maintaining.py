"""Keep the trading database in shape, and what accounts are worth on record.

Invariants:
1. Safe to run at any time, as often as one likes and side by side: every step commits by itself, may be
   repeated, and takes only rows that nobody holds.
2. A step that fails stops no other, and is named.
3. Kraken is asked for prices while no transaction is open; without prices no snapshot is written.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, Protocol

from kraken_recon.domain.money import format_amount, parse_amount
from kraken_recon.domain.retention import POLICY, Month, months_missing, months_to_drop
from kraken_recon.domain.valuation import Valuation, value_holdings
from kraken_recon.errors import ConfigurationError, ExchangeError, StoreError
from kraken_recon.service.costing import what_lies_elsewhere

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from contextlib import AbstractContextManager
    from datetime import datetime
    from decimal import Decimal

    from kraken_recon.domain.records import Account
    from kraken_recon.service.costing import CostStore
    from kraken_recon.service.pricing import Prices, PriceStore

BATCH_ROWS: Final = 5_000
BATCHES_MAX: Final = 40
"""Per rule and run, so that a run after a long pause ends in time; the next one goes on."""
SNAPSHOT_BATCH_ACCOUNTS: Final = 500
PRICES_TRIES_MAX: Final = 3
# A claim is renewed long before it runs out; an hour later nobody comes back for it.
ORPHANED_AFTER: Final = timedelta(hours=1)


class MaintenanceStore(Protocol):
    """What maintenance reads and writes."""

    def lock_partitions(self) -> None:
        """Keep others from making or dropping partitions until this transaction ends."""
        ...

    def months(self) -> Collection[Month]:
        """Name the months that have partitions."""
        ...

    def make_month(self, month: Month) -> None:
        """Make the partitions of a month."""
        ...

    def drop_month(self, month: Month) -> None:
        """Drop the partitions of a month."""
        ...

    def retain(self, query: str, before: datetime, *, most: int) -> int:
        """Delete rows by a rule of the retention policy; return how many."""
        ...

    def release_claims(self, before: datetime) -> int:
        """Give back orders whose claim ran out before a moment; return how many."""
        ...

    def accounts_to_value(self, hour: datetime) -> Sequence[Account]:
        """List the open accounts without a snapshot of an hour."""
        ...

    def quantities(self, account_ids: Collection[int]) -> Mapping[int, Mapping[str, Decimal]]:
        """Read what accounts hold, by asset."""
        ...

    def write_snapshots(
        self, valuations: Mapping[int, Valuation], quote: str, *, hour: datetime, taken_at: datetime
    ) -> int:
        """Keep valuations by account; return how many are the first of the hour."""
        ...

    def curve(self, account_id: int, since: datetime) -> Sequence[Mapping[str, Any]]:
        """Read what an account was worth since a moment, oldest first."""
        ...


class MaintenanceUnit(Protocol):
    """One transaction."""

    @property
    def maintenance(self) -> MaintenanceStore:
        """The rows of maintenance."""
        ...

    @property
    def prices(self) -> PriceStore:
        """The newest price of every asset, by currency."""
        ...

    @property
    def costs(self) -> CostStore:
        """Where it is on record what went to products that no balance shows."""
        ...

    def commit(self) -> None:
        """Make the work permanent."""
        ...


@dataclass(frozen=True, slots=True)
class MaintainingPorts:
    """The outside world of maintenance."""

    open_unit_of_work: Callable[[], AbstractContextManager[MaintenanceUnit]]
    open_exchange: Callable[[Account], AbstractContextManager[Prices]]
    clock: Callable[[], datetime]


def tidy(ports: MaintainingPorts) -> dict[str, Any]:
    """Make and drop partitions, thin and forget old rows, give orphaned claims back; say what was done."""
    now = ports.clock()
    done: dict[str, int] = {}
    failed: list[str] = []

    def attempt(name: str, step: Callable[[], int]) -> None:
        try:
            done[name] = step()
        except StoreError as error:
            failed.append(f"{name}: {error}")

    attempt("months_made", lambda: make_months(ports))
    attempt("months_dropped", lambda: _drop_months(ports))
    for rule in POLICY:
        before = now - rule.after
        attempt(rule.name, lambda name=rule.name, before=before: _retain(ports, name, before))  # type: ignore[misc]
    attempt("claims_released", lambda: _release_claims(ports, now - ORPHANED_AFTER))
    return {"done": done, "failed": failed}


def make_months(ports: MaintainingPorts) -> int:
    """Make the partitions of this month and of those ahead; return how many months were missing."""
    with ports.open_unit_of_work() as unit:
        if not months_missing(ports.clock(), unit.maintenance.months()):
            return 0
    with ports.open_unit_of_work() as unit:
        unit.maintenance.lock_partitions()
        missing = months_missing(ports.clock(), unit.maintenance.months())
        for month in missing:
            unit.maintenance.make_month(month)
        unit.commit()
    return len(missing)


def _drop_months(ports: MaintainingPorts) -> int:
    with ports.open_unit_of_work() as unit:
        if not months_to_drop(ports.clock(), unit.maintenance.months()):
            return 0
    with ports.open_unit_of_work() as unit:
        unit.maintenance.lock_partitions()
        old = months_to_drop(ports.clock(), unit.maintenance.months())
        for month in old:
            unit.maintenance.drop_month(month)
        unit.commit()
    return len(old)


def _retain(ports: MaintainingPorts, query: str, before: datetime) -> int:
    total = 0
    for _ in range(BATCHES_MAX):
        with ports.open_unit_of_work() as unit:
            deleted = unit.maintenance.retain(query, before, most=BATCH_ROWS)
            unit.commit()
        total += deleted
        if deleted < BATCH_ROWS:
            break
    return total


def _release_claims(ports: MaintainingPorts, before: datetime) -> int:
    with ports.open_unit_of_work() as unit:
        released = unit.maintenance.release_claims(before)
        unit.commit()
    return released


def snapshot_assets(ports: MaintainingPorts) -> dict[str, Any]:
    """Value every open account, once an hour, and keep values and prices; say how many, and what failed."""
    make_months(ports)
    now = ports.clock()
    hour = now.replace(minute=0, second=0, microsecond=0)
    with ports.open_unit_of_work() as unit:
        accounts = unit.maintenance.accounts_to_value(hour)
    by_quote: dict[str, list[Account]] = defaultdict(list)
    for account in accounts:
        by_quote[account.quote_currency].append(account)
    written, failed = 0, []
    for quote, of_quote in sorted(by_quote.items()):
        try:
            prices = _prices(of_quote, quote, ports)
        except (ExchangeError, ConfigurationError) as error:
            failed.append(f"{len(of_quote)} accounts in {quote}: no prices: {error}")
            continue
        try:
            with ports.open_unit_of_work() as unit:
                unit.prices.keep(quote, prices, now)
                unit.commit()
        except StoreError as error:
            failed.append(f"prices in {quote}: {error}")
        for first in range(0, len(of_quote), SNAPSHOT_BATCH_ACCOUNTS):
            batch = of_quote[first : first + SNAPSHOT_BATCH_ACCOUNTS]
            try:
                written += _write_snapshots(batch, prices, ports, hour=hour, taken_at=now)
            except StoreError as error:
                failed.append(f"{len(batch)} accounts in {quote}, from {batch[0].name} on: {error}")
    return {"snapshots": written, "failed": failed}


def _write_snapshots(
    batch: Sequence[Account],
    prices: Mapping[str, Decimal],
    ports: MaintainingPorts,
    *,
    hour: datetime,
    taken_at: datetime,
) -> int:
    with ports.open_unit_of_work() as unit:
        held = unit.maintenance.quantities([account.account_id for account in batch])
        valued = {a.account_id: value_holdings(held.get(a.account_id, {}), prices) for a in batch}
        written = unit.maintenance.write_snapshots(
            valued, batch[0].quote_currency, hour=hour, taken_at=taken_at
        )
        unit.commit()
    return written


def _prices(accounts: Sequence[Account], quote: str, ports: MaintainingPorts) -> Mapping[str, Decimal]:
    """Ask by way of one account; prices are public, so another will do where its connection is broken."""
    *others, last = accounts[:PRICES_TRIES_MAX]
    for account in others:
        try:
            with ports.open_exchange(account) as exchange:
                return exchange.prices(quote)
        except (ExchangeError, ConfigurationError):
            continue
    with ports.open_exchange(last) as exchange:
        return exchange.prices(quote)


def maintain(ports: MaintainingPorts) -> dict[str, Any]:
    """Do all of it: tidy, then value the accounts."""
    tidied = tidy(ports)
    try:
        valued = snapshot_assets(ports)
    except StoreError as error:
        valued = {"snapshots": 0, "failed": [f"snapshots: {error}"]}
    return {
        "done": {**tidied["done"], "snapshots": valued["snapshots"]},
        "failed": [*tidied["failed"], *valued["failed"]],
    }


def render_maintenance(view: Mapping[str, Any]) -> list[str]:
    """Write what was done as lines for people."""
    lines = [f"{name.replace('_', ' ')}: {count}" for name, count in view["done"].items()]
    return [*lines, *(f"FAILED {problem}" for problem in view["failed"])]


def holdings_view(account: Account, days: int, ports: MaintainingPorts) -> dict[str, Any]:
    """Value an account now, at Kraken's prices, and read what it was worth.

    Raises:
        ExchangeError: Kraken told no prices.
    """
    prices = _prices([account], account.quote_currency, ports)
    now = ports.clock()
    with ports.open_unit_of_work() as unit:
        quantities = unit.maintenance.quantities([account.account_id])
        curve = unit.maintenance.curve(account.account_id, now - timedelta(days=days))
        elsewhere = what_lies_elsewhere(unit.costs, account.account_id)
    valued = value_holdings(quantities.get(account.account_id, {}), prices)
    return {
        "account": account.name,
        "quote_currency": account.quote_currency,
        "as_of": now.isoformat(),
        "value": format_amount(valued.value),
        "unpriced": valued.unpriced,
        "assets": [
            {
                "asset": asset.asset,
                "quantity": format_amount(asset.quantity),
                "price": None if asset.price is None else format_amount(asset.price),
                "value": None if asset.value is None else format_amount(asset.value),
            }
            for asset in valued.assets
        ],
        "elsewhere": [{**row, "value": _worth(row["asset"], row["quantity"], prices)} for row in elsewhere],
        "curve": [
            {
                "taken_at": row["taken_at"].isoformat(),
                "quote_currency": row["quote_currency"],
                "value": format_amount(row["value"]),
                "assets": row["assets"],
                "unpriced": row["unpriced"],
            }
            for row in curve
        ],
    }


def _worth(asset: str, quantity: str, prices: Mapping[str, Decimal]) -> str | None:
    (valued,) = value_holdings({asset: parse_amount(quantity)}, prices).assets
    return None if valued.value is None else format_amount(valued.value)
