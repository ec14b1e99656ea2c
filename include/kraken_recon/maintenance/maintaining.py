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
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from kraken_recon.costs.recomputing import what_lies_elsewhere
from kraken_recon.costs.store import CostStore
from kraken_recon.errors import ConfigurationError, ExchangeError, StoreError
from kraken_recon.holdings.pricing import price_list
from kraken_recon.holdings.store import PriceStore
from kraken_recon.holdings.valuation import value_holdings
from kraken_recon.maintenance.retention import (
    POLICY,
    QUIET_RUNS_HOUR,
    months_missing,
    months_to_drop,
    quiet_runs,
)
from kraken_recon.maintenance.store import MaintenanceStore
from kraken_recon.seals.sealing import head_of, seal_due
from kraken_recon.values.money import format_amount, parse_amount
from kraken_recon.values.plain import plain

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from contextlib import AbstractContextManager

    from kraken_recon.accounts.account import Account
    from kraken_recon.database.unit_of_work import UnitOfWork
    from kraken_recon.holdings.pricing import RebasedPrices

BATCH_ROWS: Final = 5_000
BATCHES_MAX: Final = 40
"""Per rule and run, so that a run after a long pause ends in time; the next one goes on."""
SNAPSHOT_BATCH_ACCOUNTS: Final = 500
PRICES_TRIES_MAX: Final = 3
# No entry is later, so that books as of it are all that is recorded.
NOW: Final = datetime.max.replace(tzinfo=UTC)
# A claim is renewed long before it runs out; an hour later nobody comes back for it.
ORPHANED_AFTER: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class MaintainingPorts:
    """The outside world of maintenance; every run is kept for ever unless it says for how many days."""

    open_unit_of_work: Callable[[], AbstractContextManager[UnitOfWork]]
    open_exchange: Callable[[Account], AbstractContextManager[RebasedPrices]]
    clock: Callable[[], datetime]
    quiet_runs_days_kept: int | None = None


def tidy(ports: MaintainingPorts) -> dict[str, Any]:
    """Make and drop partitions, thin and forget old rows, give orphaned claims back, seal what was written.

    Return what was done, and the end of the chain of seals.
    """
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
    rules = list(POLICY)
    if ports.quiet_runs_days_kept is not None and now.hour == QUIET_RUNS_HOUR:
        rules.append(quiet_runs(ports.quiet_runs_days_kept))
    for rule in rules:
        before = now - rule.after
        attempt(rule.name, lambda name=rule.name, before=before: _retain(ports, name, before))  # type: ignore[misc]
    attempt("claims_released", lambda: _release_claims(ports, now - ORPHANED_AFTER))
    attempt("rows_sealed", lambda: seal_due(ports.open_unit_of_work))
    return {"done": done, "failed": failed, "head": _head(ports)}


def _head(ports: MaintainingPorts) -> str | None:
    """Read the end of the chain, which is logged so that it is known outside the database."""
    try:
        return str(head_of(ports.open_unit_of_work))
    except StoreError:
        return None


def make_months(ports: MaintainingPorts) -> int:
    """Make the partitions of this month and of those ahead; return how many months were missing."""
    with ports.open_unit_of_work() as unit:
        if not months_missing(ports.clock(), MaintenanceStore(unit).months()):
            return 0
    with ports.open_unit_of_work() as unit:
        MaintenanceStore(unit).lock_partitions()
        missing = months_missing(ports.clock(), MaintenanceStore(unit).months())
        for month in missing:
            MaintenanceStore(unit).make_month(month)
        unit.commit()
    return len(missing)


def _drop_months(ports: MaintainingPorts) -> int:
    with ports.open_unit_of_work() as unit:
        if not months_to_drop(ports.clock(), MaintenanceStore(unit).months()):
            return 0
    with ports.open_unit_of_work() as unit:
        MaintenanceStore(unit).lock_partitions()
        old = months_to_drop(ports.clock(), MaintenanceStore(unit).months())
        for month in old:
            MaintenanceStore(unit).drop_month(month)
        unit.commit()
    return len(old)


def _retain(ports: MaintainingPorts, query: str, before: datetime) -> int:
    total = 0
    for _ in range(BATCHES_MAX):
        with ports.open_unit_of_work() as unit:
            deleted = MaintenanceStore(unit).retain(query, before, most=BATCH_ROWS)
            unit.commit()
        total += deleted
        if deleted < BATCH_ROWS:
            break
    return total


def _release_claims(ports: MaintainingPorts, before: datetime) -> int:
    with ports.open_unit_of_work() as unit:
        released = MaintenanceStore(unit).release_claims(before)
        unit.commit()
    return released


def snapshot_assets(ports: MaintainingPorts) -> dict[str, Any]:
    """Value every open account, once an hour, and keep values and prices; say how many, and what failed."""
    make_months(ports)
    now = ports.clock()
    hour = now.replace(minute=0, second=0, microsecond=0)
    with ports.open_unit_of_work() as unit:
        accounts = MaintenanceStore(unit).accounts_to_value(hour)
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
                PriceStore(unit).keep(quote, prices, now)
                unit.commit()
        except StoreError as error:
            failed.append(f"prices in {quote}: {error}")
        for first in range(0, len(of_quote), SNAPSHOT_BATCH_ACCOUNTS):
            batch = of_quote[first : first + SNAPSHOT_BATCH_ACCOUNTS]
            try:
                written += _write_snapshots(batch, prices, ports, hour=hour, taken_at=now)
            except StoreError as error:
                failed.append(f"{len(batch)} accounts in {quote}, from {batch[0].name} on: {error}")
    try:
        revised = revise_snapshots(ports)
    except StoreError as error:
        revised = 0
        failed.append(f"hours to value anew: {error}")
    return {"snapshots": written, "revised": revised, "failed": failed}


def revise_snapshots(ports: MaintainingPorts) -> int:
    """Value hours again whose books a proof has settled since, or something recorded late changed.

    Prices stay those of the hour; an asset that was not held then as far as was known has none. Return how
    many hours were valued.
    """
    revised = 0
    for _ in range(BATCHES_MAX):
        with ports.open_unit_of_work() as unit:
            store = MaintenanceStore(unit)
            snapshots = store.snapshots_to_revise(most=SNAPSHOT_BATCH_ACCOUNTS)
            if not snapshots:
                break
            held = store.books_then([(s.account_id, s.taken_at) for s in snapshots])
            prices = store.prices_then(snapshots)
            store.revise_snapshots(
                [
                    (
                        s,
                        value_holdings(
                            held.get((s.account_id, s.taken_at), {}),
                            {s.quote_currency: Decimal(1)} | dict(prices.get((s.account_id, s.hour), {})),
                        ),
                    )
                    for s in snapshots
                ]
            )
            unit.commit()
        revised += len(snapshots)
        if len(snapshots) < SNAPSHOT_BATCH_ACCOUNTS:
            break
    return revised


def _write_snapshots(
    batch: Sequence[Account],
    prices: Mapping[str, Decimal],
    ports: MaintainingPorts,
    *,
    hour: datetime,
    taken_at: datetime,
) -> int:
    with ports.open_unit_of_work() as unit:
        store, ids = MaintenanceStore(unit), [account.account_id for account in batch]
        held = store.books_then([(account_id, NOW) for account_id in ids])
        quote = batch[0].quote_currency
        assets = {asset for quantities in held.values() for asset in quantities}
        prices = {**_recent_prices(unit, quote, assets - prices.keys(), taken_at), **prices}
        valued = {a: value_holdings(held.get((a, NOW), {}), prices) for a in ids}
        proofs = store.fresh_proofs(ids, taken_at)
        written = store.write_snapshots(valued, quote, proofs, hour=hour, taken_at=taken_at)
        unit.commit()
    return written


def _recent_prices(
    unit: UnitOfWork, quote: str, assets: Collection[str], now: datetime
) -> dict[str, Decimal]:
    """Read the prices of what one reply of Kraken's left out: what is held is not worth nothing by that."""
    wanted = [(quote, asset) for asset in sorted(assets)]
    found = price_list(PriceStore(unit), wanted, now)
    return {asset: price for _, asset in wanted if (price := found.of(quote, asset)[0]) is not None}


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
        valued = {"snapshots": 0, "revised": 0, "failed": [f"snapshots: {error}"]}
    return {
        "done": {**tidied["done"], "snapshots": valued["snapshots"], "revised": valued["revised"]},
        "failed": [*tidied["failed"], *valued["failed"]],
        "head": tidied["head"],
    }


def render_maintenance(view: Mapping[str, Any]) -> list[str]:
    """Write what was done as lines for people."""
    lines = [f"{name.replace('_', ' ')}: {count}" for name, count in view["done"].items()]
    lines += [f"seals end at {view['head']}"] if view["head"] else []
    return [*lines, *(f"FAILED {problem}" for problem in view["failed"])]


def holdings_view(account: Account, days: int, ports: MaintainingPorts) -> dict[str, Any]:
    """Value an account now, at Kraken's prices, and read what it was worth.

    Tokenized assets are in base units, which no split changes; ``rebase_factor`` is what one of them is in
    the units of Kraken's own pages.

    Raises:
        ExchangeError: Kraken told no prices.
    """
    prices = _prices([account], account.quote_currency, ports)
    now = ports.clock()
    with ports.open_unit_of_work() as unit:
        quantities = MaintenanceStore(unit).quantities([account.account_id])
        curve = MaintenanceStore(unit).curve(account.account_id, now - timedelta(days=days))
        elsewhere = what_lies_elsewhere(CostStore(unit), account.account_id)
        has_tokenized = MaintenanceStore(unit).has_tokenized(account.account_id)
    factors: Mapping[str, Decimal] = {}
    if has_tokenized:
        with ports.open_exchange(account) as exchange:
            factors = exchange.rebase_factors()
    valued = value_holdings(quantities.get(account.account_id, {}), prices)
    return {
        "account": account.name,
        "quote_currency": account.quote_currency,
        "as_of": plain(now),
        "value": plain(valued.value),
        "unpriced": valued.unpriced,
        "assets": [
            {**asset, "rebase_factor": plain(factors.get(asset["asset"]))} for asset in plain(valued.assets)
        ],
        "elsewhere": [{**row, "value": _worth(row["asset"], row["quantity"], prices)} for row in elsewhere],
        "curve": plain(curve),
    }


def _worth(asset: str, quantity: str, prices: Mapping[str, Decimal]) -> str | None:
    (valued,) = value_holdings({asset: parse_amount(quantity)}, prices).assets
    return None if valued.value is None else format_amount(valued.value)
