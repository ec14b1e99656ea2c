"""Average costs and realised results in Postgres; every statement is a named query of ``costs.sql``."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final

from kraken_recon.costs.average_cost import AssetCost
from kraken_recon.costs.records import (
    CostKey,
    CostProgress,
    CostScope,
    CountedCost,
    QuoteTotal,
    Written,
)
from kraken_recon.database.store import Store, named_queries
from kraken_recon.errors import ConfigurationError
from kraken_recon.ledger.conversions import CONVERSION_GAP, RENAME_GAP
from kraken_recon.ledger.entries import NO_OPERATION, HoldingKey, LedgerEntry
from kraken_recon.ledger.entry_kinds import CONVERSIONS, MOVES, RENAMES, as_columns

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from datetime import datetime
    from decimal import Decimal

    from kraken_recon.costs.average_cost import RealisedResult

NO_NAMES: Final = {"no_operation": sorted(NO_OPERATION)}
#: Twice as far as two legs may lie apart: what competes for the other leg is seen as well.
NEAR: Final = {
    "near": 2 * CONVERSION_GAP,
    "far": 2 * RENAME_GAP,
    "conversions": as_columns(CONVERSIONS),
    "renames": as_columns(RENAMES),
    **NO_NAMES,
}


def _key_arrays(keys: Collection[CostKey]) -> dict[str, list[Any]]:
    return {
        "account_ids": [key.account_id for key in keys],
        "assets": [key.asset for key in keys],
        "quotes": [key.quote for key in keys],
    }


class CostStore(Store):
    """Average costs and realised results."""

    queries = named_queries(__file__, "costs")

    def account(self, name: str) -> tuple[int, str]:
        """Find an account's id and quote currency.

        Raises:
            ConfigurationError: there is no such account.
        """
        row = self._execute("account", name=name).one_or_none()
        if row is None:
            raise ConfigurationError(f"no account is named {name}; see `python -m kraken_recon report`")
        return row.account_id, row.quote_currency

    def assets(self, account_id: int) -> list[str]:
        """Name the assets that an account has or had."""
        return [row.asset for row in self._execute("assets", account_id=account_id)]

    def linked(self, keys: Collection[CostKey], paid: Collection[tuple[CostKey, str]]) -> CostScope:
        """Add the assets that these were exchanged with, directly or not, and find all their positions."""
        rows = self._execute(
            "linked",
            **_key_arrays(keys),
            paying_account_ids=[key.account_id for key, _ in paid],
            paying_quotes=[key.quote for key, _ in paid],
            refids=[refid for _, refid in paid],
            **NEAR,
        ).all()
        return CostScope(
            tuple(CostKey(row.account_id, row.asset, row.quote) for row in rows),
            tuple((row.account_id, HoldingKey(row.asset, wallet)) for row in rows for wallet in row.wallets),
        )

    def lock(self, positions: Sequence[tuple[int, HoldingKey]]) -> None:
        """Lock these positions in key order."""
        self._execute(
            "lock",
            account_ids=[account for account, _ in positions],
            assets=[key.asset for _, key in positions],
            wallets=[key.wallet for _, key in positions],
        )

    def entries(self, keys: Collection[CostKey]) -> Mapping[int, Sequence[LedgerEntry]]:
        """Read the entries of these assets and the quote legs of their trades, by account."""
        found: dict[int, dict[str, LedgerEntry]] = defaultdict(dict)
        # By place, and by id: a quote leg comes once for each asset that it paid for.
        columns: list[Any]
        for account_id, *columns in self._execute("entries", **_key_arrays(keys), **NEAR):
            found[account_id][columns[0]] = LedgerEntry(*columns)
        return {account_id: list(entries.values()) for account_id, entries in found.items()}

    def openings(self, keys: Collection[CostKey]) -> Mapping[int, Mapping[HoldingKey, Decimal]]:
        """Sum what the holdings of these assets opened with, by account."""
        found: dict[int, dict[HoldingKey, Decimal]] = defaultdict(dict)
        for row in self._execute("openings", **_key_arrays(keys)):
            found[row.account_id][HoldingKey(row.asset, row.wallet)] = row.quantity
        return found

    def wallets(self, keys: Collection[CostKey]) -> Sequence[tuple[int, HoldingKey]]:
        """Name the existing positions of these assets."""
        rows = self._execute("wallets", **_key_arrays(keys))
        return [(row.account_id, HoldingKey(row.asset, row.wallet)) for row in rows]

    def progress(self, keys: Collection[CostKey]) -> Mapping[CostKey, CostProgress]:
        """Read the stored figures of these assets, and how much of each is on record by now."""
        found = {}
        for row in self._execute("progress", **_key_arrays(keys)):
            cost = AssetCost(row.known, row.unknown, row.moving, row.cost, row.realised, row.as_of)
            stored = CountedCost(cost, row.entries_counted, row.opening_counted)
            key = CostKey(row.account_id, row.asset, row.quote)
            found[key] = CostProgress(stored, row.entries, row.opening)
        return found

    def news(self, keys: Collection[CostKey]) -> Mapping[int, Sequence[LedgerEntry]]:
        """Read, by account, entries later than those counted of these assets, and all that share a refid."""
        found: dict[int, list[LedgerEntry]] = defaultdict(list)
        columns: list[Any]
        for account_id, *columns in self._execute("news", **_key_arrays(keys), **NO_NAMES):
            found[account_id].append(LedgerEntry(*columns))
        return found

    def entries_of_kinds(self, account_id: int, kinds: Collection[str]) -> list[LedgerEntry]:
        """Read an account's entries of these types, or ``type/subtype``; none of them may be trades."""
        rows = self._execute("entries_of_kinds", account_id=account_id, kinds=sorted(kinds))
        return [LedgerEntry(*columns) for (*columns,) in rows]

    def balances_before(
        self, account_id: int, places: Mapping[HoldingKey, datetime | None]
    ) -> Mapping[HoldingKey, Decimal]:
        """Sum the openings of these holdings and their entries up to a time each (None: no entries)."""
        rows = self._execute(
            "balances_before",
            account_id=account_id,
            assets=[key.asset for key in places],
            wallets=[key.wallet for key in places],
            until=list(places.values()),
        )
        return {HoldingKey(row.asset, row.wallet): row.balance for row in rows}

    def quote_totals(self, keys: Collection[CostKey]) -> Mapping[int, QuoteTotal]:
        """Sum openings and entries of these quote currencies, by account."""
        return {
            row.account_id: QuoteTotal(row.quantity, row.moving, row.as_of, row.opening, row.entries)
            for row in self._execute("quote_totals", **_key_arrays(keys), moves=as_columns(MOVES))
        }

    def write(
        self,
        costs: Mapping[CostKey, CountedCost],
        results: Collection[tuple[int, RealisedResult]],
        rebuilt: Collection[CostKey],
    ) -> Written:
        """Bring costs, results and the positions' averages of these assets up to date where they differ."""
        keys: dict[str, list[Any]] = {
            "account_ids": [key.account_id for key in costs],
            "assets": [key.asset for key in costs],
        }
        figures = [counted.cost for counted in costs.values()]
        averages = [cost.average for cost in figures]
        written = self._execute(
            "write_costs",
            **keys,
            known=[cost.quantity_known for cost in figures],
            unknown=[cost.quantity_unknown for cost in figures],
            moving=[cost.quantity_moving for cost in figures],
            costs=[cost.cost for cost in figures],
            averages=averages,
            realised=[cost.realised for cost in figures],
            as_of=[cost.as_of for cost in figures],
            entries_counted=[counted.entries for counted in costs.values()],
            openings_counted=[counted.opening for counted in costs.values()],
        )
        changed = self._write_results(rebuilt, results)
        moved = self._execute("set_averages", **keys, averages=averages)
        return Written(written.rowcount, changed, moved.rowcount)

    def _write_results(
        self, rebuilt: Collection[CostKey], results: Collection[tuple[int, RealisedResult]]
    ) -> int:
        result_keys = {
            "refids": [result.refid for _, result in results],
            "account_ids": [account_id for account_id, _ in results],
            "assets": [result.asset for _, result in results],
        }
        forgotten = 0
        if rebuilt:
            forgotten = self._execute(
                "forget_results",
                account_ids=[key.account_id for key in rebuilt],
                assets=[key.asset for key in rebuilt],
                refids=result_keys["refids"],
                result_account_ids=result_keys["account_ids"],
                result_assets=result_keys["assets"],
            ).rowcount
        if not results:
            return forgotten
        written = self._execute(
            "write_results",
            **result_keys,
            quantities=[result.quantity for _, result in results],
            proceeds=[result.proceeds for _, result in results],
            costs=[result.cost for _, result in results],
            results=[result.result for _, result in results],
            unknown_shares=[result.unknown_share for _, result in results],
            effective_at=[result.effective_at for _, result in results],
        )
        return forgotten + written.rowcount

    def costs(self, account_id: int, asset: str | None) -> list[dict[str, Any]]:
        """Read the stored figures of an account's assets, or of one."""
        return self._rows("costs", account_id=account_id, asset=asset)
