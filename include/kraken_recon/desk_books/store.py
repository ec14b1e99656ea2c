"""What judges a desk book, and what is said of it, in our own database; every statement is a named query."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from kraken_recon.accounts.account import Account
from kraken_recon.alerts.kinds import OF_DESK_BOOKS
from kraken_recon.database.arrays import json_rows
from kraken_recon.database.store import Store, named_queries
from kraken_recon.desk_books.rules.compare import ProvenPositions
from kraken_recon.desk_books.rules.memory import AssetStanding, JudgedBefore, LastWrite
from kraken_recon.ledger.entries import TRADED, LedgerEntry

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from datetime import datetime
    from decimal import Decimal
    from uuid import UUID

AccountAsset = tuple[int, str]
RUN_COLUMNS: Final = (
    *("book", "run_id", "account_id", "status", "read_at", "as_of", "ledger_seq", "declaration"),
    *("rows", "position_rows", "agreed", "waiting", "within_tolerance"),
    *("reported", "updated", "inserted", "removed", "held", "problems"),
)
DIFFERENCE_COLUMNS: Final = (
    *("run_id", "book", "account_id", "asset", "is_cash", "proven", "desk", "difference", "explanation"),
    *("ledger_ids", "alternatives", "action", "reason", "first_seen_at"),
)


@dataclass(frozen=True, slots=True)
class ProvenAccount:
    """An account with its newest proof; ``proven_at`` is None, and it is not fresh, where there is none.

    ``run_id`` is the run that proved it, where that matters.
    """

    account_id: int
    name: str
    kraken_conn_id: str
    quote_currency: str
    is_active: bool
    proven_at: datetime | None
    is_fresh: bool
    freshness_limit_minutes: int
    run_id: UUID | None = None

    @property
    def account(self) -> Account:
        """The account itself."""
        return Account(self.account_id, self.name, self.kraken_conn_id, self.quote_currency)

    @property
    def proving_run(self) -> UUID:
        """The run that proved it, of an account that was looked up by its run."""
        if self.run_id is None:
            raise ValueError(f"account {self.name} was not looked up by a run")
        return self.run_id


class DeskBookStore(Store):
    """What the books of desks are judged by."""

    queries = named_queries(
        __file__,
        "desk_books",
        run_columns=", ".join(RUN_COLUMNS),
        new_run_columns=", ".join(f"excluded.{name}" for name in RUN_COLUMNS),
        difference_columns=", ".join(DIFFERENCE_COLUMNS),
    )

    def proofs(self, names: Collection[str] | None, now: datetime) -> list[ProvenAccount]:
        """Read accounts by name with their newest proof; all of them, or those named."""
        rows = self._rows("proofs", names=sorted(names) if names is not None else None, now=now)
        return [ProvenAccount(**{**row, "is_fresh": bool(row["is_fresh"])}) for row in rows]

    def positions(self, account_ids: Collection[int]) -> dict[int, ProvenPositions]:
        """Read what is proven, by account."""
        rows = self._run("positions", account_ids=list(account_ids))
        return {row.account_id: ProvenPositions(row.assets, row.wallets, row.quantities) for row in rows}

    def entries(self, after: Mapping[AccountAsset, int]) -> dict[AccountAsset, list[LedgerEntry]]:
        """Read the ledger entries of assets, each of an account, that were recorded after one of them."""
        wanted = sorted(after)
        return self._entries("entries", **_columns(wanted), after=[after[one] for one in wanted])

    def entries_named(self, wanted: Collection[AccountAsset]) -> dict[AccountAsset, list[LedgerEntry]]:
        """Read ledger entries by their accounts and ids, each under its account and asset."""
        ordered = sorted(wanted)
        ids = {"account_ids": [a for a, _ in ordered], "ledger_ids": [one for _, one in ordered]}
        return self._entries("entries_named", **ids)

    def _entries(self, query: str, **values: object) -> dict[AccountAsset, list[LedgerEntry]]:
        found: dict[AccountAsset, list[LedgerEntry]] = defaultdict(list)
        for row in self._run(query, **values):
            found[row.account_id, row.asset].append(LedgerEntry(*tuple(row)[1:]))
        return found

    def ledger_heads(self, account_ids: Collection[int]) -> dict[int, int]:
        """Name the last ledger entry of accounts, in the order in which they were recorded."""
        rows = self._run("ledger_heads", account_ids=list(account_ids))
        return {row.account_id: row.ledger_seq for row in rows}

    def available(self, wanted: Collection[AccountAsset]) -> dict[int, dict[str, Decimal]]:
        """Read what Kraken makes available of these assets in the spot wallets, by account and asset."""
        found: dict[int, dict[str, Decimal]] = defaultdict(dict)
        for row in self._run("available", **_columns(wanted), wallets=sorted(TRADED)):
            found[row.account_id][row.asset] = row.available
        return found

    def judged_before(self, book: str, account_ids: Collection[int]) -> dict[int, JudgedBefore]:
        """Read the newest run that judged each account in a book."""
        rows = self._run("judged_before", book=book, account_ids=list(account_ids))
        return {row.account_id: JudgedBefore(*tuple(row)[1:]) for row in rows}

    def standings(self, book: str, account_ids: Collection[int]) -> dict[AccountAsset, AssetStanding]:
        """Read what stood out of accounts in a book when they were last judged."""
        rows = self._run("standings", book=book, account_ids=list(account_ids))
        return {(row.account_id, row.asset): AssetStanding(*tuple(row)[2:]) for row in rows}

    def last_writes(self, book: str, wanted: Collection[AccountAsset]) -> dict[AccountAsset, LastWrite]:
        """Read our last write to each of these assets in a book."""
        return {
            (row.account_id, row.asset): LastWrite(
                row.written_at,
                row.ledger_seq,
                row.change,
                row.quantity,
                row.explanation,
                tuple(row.ledger_ids),
                row.undone_by,
            )
            for row in self._run("last_writes", book=book, **_columns(wanted))
        }

    def approved(self, book: str, account_ids: Collection[int]) -> dict[int, tuple[UUID, dict[str, Decimal]]]:
        """Read what a person approved of accounts in a book: the plan, and its changes by asset."""
        found: dict[int, tuple[UUID, dict[str, Decimal]]] = {}
        for row in self._run("approved", book=book, account_ids=list(account_ids)):
            found.setdefault(row.account_id, (row.plan_id, {}))[1][row.asset] = row.change
        return found

    def proved_by(self, run_ids: Collection[UUID], book: str) -> list[ProvenAccount]:
        """Read the accounts that these runs proved, and that were not judged by them in a book yet."""
        rows = self._rows("proved_by", run_ids=[str(run_id) for run_id in run_ids], book=book)
        return [ProvenAccount(**row) for row in rows]

    def ever_held(self, wanted: Collection[AccountAsset]) -> set[AccountAsset]:
        """Say which of these assets an account ever had."""
        return {(row.account_id, row.asset) for row in self._run("ever_held", **_columns(wanted))}

    def orders_of_trades(self, wanted: Collection[AccountAsset]) -> dict[int, dict[str, str]]:
        """Name the order of each trade of these assets, by account and the trade's id."""
        found: dict[int, dict[str, str]] = defaultdict(dict)
        for row in self._run("orders_of_trades", **_columns(wanted)):
            found[row.account_id][row.trade_id] = row.kraken_txid
        return found

    def average_costs(self, wanted: Collection[AccountAsset]) -> dict[int, dict[str, Decimal]]:
        """Read average costs of these assets, by account and asset, where known for the whole quantity."""
        found: dict[int, dict[str, Decimal]] = defaultdict(dict)
        for row in self._run("average_costs", **_columns(wanted)):
            found[row.account_id][row.asset] = row.avg_cost
        return found

    def record(
        self,
        book: str,
        runs: Sequence[Mapping[str, Any]],
        differences: Sequence[Mapping[str, Any]],
    ) -> None:
        """Write what was said of accounts in a book, with their differences."""
        self._execute("forget_differences", book=book, run_ids=[str(run["run_id"]) for run in runs])
        self._execute("record_runs", runs=json_rows(runs))
        if differences:
            self._execute("record_differences", differences=json_rows(differences))

    def record_standings(self, book: str, standings: Mapping[int, Mapping[str, AssetStanding]]) -> None:
        """Keep what does not agree of accounts that were judged as a whole, and nothing of what agrees."""
        rows = [
            {
                "book": book,
                "account_id": account_id,
                "asset": asset,
                "agreed_at": one.agreed_at,
                "agreed_seq": one.agreed_seq,
                "difference": one.difference,
                "explanation": one.explanation,
                "first_seen_at": one.first_seen_at,
            }
            for account_id, by_asset in standings.items()
            for asset, one in by_asset.items()
        ]
        account_ids = sorted(standings)
        self._execute("record_standings", book=book, account_ids=account_ids, standings=json_rows(rows))

    def counts_of_runs(self, run_ids: Collection[UUID]) -> dict[str, dict[str, int]]:
        """Count by book how the accounts stand in it that these runs proved."""
        found: dict[str, dict[str, int]] = defaultdict(dict)
        for row in self._run("counts_of_runs", run_ids=[str(run_id) for run_id in run_ids]):
            found[row.book][row.status] = row.accounts
        return dict(found)

    def alerted_books(self) -> set[str]:
        """Name the books about which people are still told something."""
        return {row.book for row in self._run("alerted_books", kinds=list(OF_DESK_BOOKS))}

    def recorded_assets(self) -> set[str]:
        """Name every asset that is on record."""
        return {row.asset for row in self._run("recorded_assets")}


def _columns(wanted: Collection[AccountAsset]) -> dict[str, list[object]]:
    ordered = sorted(wanted)
    return {"account_ids": [a for a, _ in ordered], "assets": [asset for _, asset in ordered]}
