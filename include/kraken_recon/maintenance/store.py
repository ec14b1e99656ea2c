"""Maintenance in Postgres: the queries of ``maintenance.sql``."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final

from kraken_recon.accounts.account import Account
from kraken_recon.database.store import SCHEMA, Store, named_queries
from kraken_recon.holdings.valuation import Unsettled
from kraken_recon.maintenance.retention import Month

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from datetime import datetime
    from decimal import Decimal

    from kraken_recon.holdings.valuation import Valuation, ValuedAsset

PARTITIONED: Final = ("asset_snapshots", "asset_snapshot_rows")


class MaintenanceStore(Store):
    """What is kept how long, and what accounts were worth."""

    queries = named_queries(__file__, "maintenance")

    def lock_partitions(self) -> None:
        """Keep others from making or dropping partitions until this transaction ends."""
        self._execute("lock_partitions")

    def months(self) -> set[Month]:
        """Name the months that have a partition of every table."""
        return set.intersection(*(self._months_of(table) for table in PARTITIONED))

    def _months_of(self, table: str) -> set[Month]:
        names = self._execute("partitions", parent=f"{SCHEMA}.{table}").scalars()
        return {_month_of(table, name) for name in names}

    def make_month(self, month: Month) -> None:
        """Make the partitions of a month, where they are missing."""
        self._execute("make_month", of_day=month.start.date())

    def drop_month(self, month: Month) -> None:
        """Drop the partitions of a month, and all their rows."""
        self._execute("drop_month", of_day=month.start.date())

    def retain(self, query: str, before: datetime, *, most: int) -> int:
        """Delete rows by a rule of the retention policy; return how many."""
        return self._execute(query, before=before, most=most).rowcount

    def release_claims(self, before: datetime) -> int:
        """Give back orders whose claim ran out before a moment; return how many."""
        return self._execute("release_claims", before=before).rowcount

    def accounts_to_value(self, hour: datetime) -> list[Account]:
        """List the open accounts without a snapshot of an hour."""
        return [Account(**row._asdict()) for row in self._execute("accounts_to_value", hour=hour)]

    def quantities(self, account_ids: Collection[int]) -> Mapping[int, Mapping[str, Decimal]]:
        """Read what accounts hold, by asset."""
        found: dict[int, dict[str, Decimal]] = defaultdict(dict)
        for row in self._execute("quantities", account_ids=sorted(account_ids)):
            found[row.account_id][row.asset] = row.quantity
        return found

    def has_tokenized(self, account_id: int) -> bool:
        """Say whether an account holds tokenized assets."""
        [row] = self._execute("has_tokenized", account_id=account_id)
        return bool(row.has_tokenized)

    def fresh_proofs(self, account_ids: Collection[int], now: datetime) -> Mapping[int, datetime]:
        """Read as of when accounts were proven whose newest run is a fresh proof that still stands."""
        rows = self._execute("fresh_proofs", account_ids=sorted(account_ids), now=now)
        return {row.account_id: row.proven_at for row in rows}

    def snapshots_to_revise(self, *, most: int) -> list[Unsettled]:
        """List snapshots that a later proof settles, or that something recorded since concerns."""
        return [Unsettled(**row._asdict()) for row in self._execute("snapshots_to_revise", most=most)]

    def books_then(
        self, moments: Collection[tuple[int, datetime]]
    ) -> Mapping[tuple[int, datetime], Mapping[str, Decimal]]:
        """Read what accounts held at moments, by asset, as it is known now."""
        found: dict[tuple[int, datetime], dict[str, Decimal]] = defaultdict(dict)
        rows = self._execute(
            "books_then",
            account_ids=[account for account, _ in moments],
            moments=[moment for _, moment in moments],
        )
        for row in rows:
            found[row.account_id, row.moment][row.asset] = row.quantity
        return found

    def prices_then(
        self, snapshots: Collection[Unsettled]
    ) -> Mapping[tuple[int, datetime], Mapping[str, Decimal]]:
        """Read the prices that snapshots were taken at, by account and hour."""
        found: dict[tuple[int, datetime], dict[str, Decimal]] = defaultdict(dict)
        for row in self._execute("prices_then", **_places(snapshots)):
            found[row.account_id, row.hour][row.asset] = row.price
        return found

    def revise_snapshots(self, valuations: Sequence[tuple[Unsettled, Valuation]]) -> None:
        """Write snapshots anew, with the proofs that they rest on now."""
        places = _places([snapshot for snapshot, _ in valuations])
        self._execute("forget_snapshot_rows", **places)
        self._execute(
            "revise_snapshots",
            **places,
            values=[valued.value for _, valued in valuations],
            assets=[len(valued.assets) for _, valued in valuations],
            unpriced=[valued.unpriced for _, valued in valuations],
            proven_at=[snapshot.proven_at for snapshot, _ in valuations],
        )
        self._write_rows(
            [(s.account_id, s.hour, asset) for s, valued in valuations for asset in valued.assets]
        )

    def write_snapshots(
        self,
        valuations: Mapping[int, Valuation],
        quote: str,
        proofs: Mapping[int, datetime],
        *,
        hour: datetime,
        taken_at: datetime,
    ) -> int:
        """Keep valuations by account, with the proofs they rest on; return how many are the hour's first."""
        ids = sorted(valuations)
        written = self._execute(
            "write_snapshots",
            hour=hour,
            taken_at=taken_at,
            quote_currency=quote,
            account_ids=ids,
            values=[valuations[i].value for i in ids],
            assets=[len(valuations[i].assets) for i in ids],
            unpriced=[valuations[i].unpriced for i in ids],
            proven_at=[proofs.get(i) for i in ids],
        )
        new = sorted(row.account_id for row in written)
        self._write_rows([(i, hour, asset) for i in new for asset in valuations[i].assets])
        return len(new)

    def _write_rows(self, rows: Sequence[tuple[int, datetime, ValuedAsset]]) -> None:
        self._execute(
            "write_snapshot_rows",
            account_ids=[account for account, _, _ in rows],
            hours=[hour for _, hour, _ in rows],
            assets=[asset.asset for _, _, asset in rows],
            quantities=[asset.quantity for _, _, asset in rows],
            prices=[asset.price for _, _, asset in rows],
            values=[asset.value for _, _, asset in rows],
        )

    def curve(self, account_id: int, since: datetime) -> Sequence[Mapping[str, Any]]:
        """Read what an account was worth since a moment, oldest first."""
        return self._rows("curve", account_id=account_id, since=since)


def _places(snapshots: Collection[Unsettled]) -> dict[str, Any]:
    return {
        "account_ids": [snapshot.account_id for snapshot in snapshots],
        "hours": [snapshot.hour for snapshot in snapshots],
    }


def _month_of(table: str, partition: str) -> Month:
    year, number = partition.removeprefix(f"{table}_").split("_")
    return Month(int(year), int(number))
