"""What the pages about accounts and differences read; every statement is a query of ``pages.sql``."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from kraken_recon.database.store import Store, named_queries
from kraken_recon.errors import ConfigurationError
from kraken_recon.reconciliation.rules.counts import TOLD

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from decimal import Decimal
    from uuid import UUID


# What was written for leaves nothing outstanding.
WRITTEN: Final = ["applied", "update", "add", "remove", "recorded"]
#: What is told of each run of an account, in this order.
RUN_COLUMNS: Final = (
    *("recorded_as_of", "reported_as_of", "interval_start", "interval_end", "mode", "status", "trigger"),
    *(count.name for count in TOLD),
    *("entries_ingested", "api_calls", "seconds", "note", "error", "run_id", "dag_id", "dag_run_id"),
)
LONG_AGO: Final = datetime(1, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class AccountsPage:
    """All active accounts counted by ``rank`` and ``age_group``, and a page of them.

    ``differing_run_ids``: of each account's newest run that succeeded, where it may have left a difference;
    ``unproven_ids``: of the accounts with a rank of those that were named.
    """

    counts: list[dict[str, Any]]
    accounts: list[dict[str, Any]]
    differing_run_ids: list[UUID]
    unproven_ids: list[int]


class PageStore(Store):
    """Read-only views over one connection."""

    queries = named_queries(__file__, "pages")

    def standing(  # noqa: PLR0913 - each is a filter of the page
        self,
        now: datetime,
        ranks: Mapping[str, int],
        ages_seconds: Sequence[float],
        *,
        account: str | None = None,
        order_by: str = "worst",
        rank: int | None = None,
        age_group: int | None = None,
        part: str | None = None,
        after: tuple[int, str] | None = None,
        unproven: Collection[int] = (),
        most: int,
    ) -> AccountsPage:
        """Count active accounts by the rank of their facts and by age of their proof; read a page of them.

        Facts are a status and a digit each for: dry run, old proof, held, awaiting, findings of a dry run.
        """
        [row] = self._rows(
            "standing",
            now=now,
            facts=list(ranks),
            ranks=list(ranks.values()),
            ages_seconds=list(ages_seconds),
            account=account,
            order_by=order_by,
            rank=rank,
            age_group=age_group,
            part=part,
            after_place=after[0] if after else None,
            after_name=after[1] if after else None,
            unproven_ranks=sorted(unproven),
            most=most,
        )
        return AccountsPage(row["counts"], row["accounts"], row["differing_run_ids"], row["unproven_ids"])

    def outstanding_drift(self, run_ids: Collection[UUID]) -> list[dict[str, Any]]:
        """Sum what runs found that no entry explains and that was not written, by currency and asset."""
        return self._rows("outstanding_drift", run_ids=list(run_ids), written=WRITTEN)

    def holdings(self, account_ids: Collection[int]) -> list[dict[str, Any]]:
        """Sum the absolute holdings on record of accounts by currency and asset."""
        return self._rows("holdings", account_ids=list(account_ids))

    def without_books(self, account_ids: Collection[int]) -> int:
        """Count those of these accounts that were never opened."""
        [row] = self._rows("without_books", account_ids=list(account_ids))
        return int(row["accounts"])

    def put_right(self, since: datetime) -> list[dict[str, Any]]:
        """Sum what was written since a moment, absolute, by currency and asset: explained, and repaired."""
        return self._rows("put_right", since=since, written=WRITTEN)

    def differences(  # noqa: PLR0913 - each is a filter of the page
        self,
        *,
        account: str | None = None,
        asset: str | None = None,
        action: str | None = None,
        is_explained: bool | None = None,
        is_outstanding: bool = False,
        run_id: UUID | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        before: tuple[datetime, UUID, str, str] | None = None,
        most: int,
    ) -> list[dict[str, Any]]:
        """Read a page of what differed, what was found last first.

        Raises:
            ConfigurationError: there is no such account.
        """
        found_at, before_run_id, before_asset, before_wallet = before or (None, None, None, None)
        run_ids = [row["run_id"] for row in self._rows("outstanding_runs")] if is_outstanding else None
        return self._rows(
            "differences",
            account_id=self.account(account)["account_id"] if account else None,
            asset=asset,
            action=action,
            is_explained=is_explained,
            run_id=run_id,
            run_ids=run_ids,
            written=WRITTEN,
            since=since,
            until=until,
            before_found_at=found_at,
            before_run_id=before_run_id,
            before_asset=before_asset,
            before_wallet=before_wallet,
            most=most,
        )

    def alerts_waiting(self) -> dict[str, int]:
        """Count the alerts that nobody looks after yet, by kind."""
        return {row["kind"]: row["alerts"] for row in self._rows("alerts_waiting")}

    def alerts(  # noqa: PLR0913 - the filters of the page, each by name
        self,
        *,
        kind: str | None = None,
        account: str | None = None,
        is_unanswered: bool | None = None,
        alert_id: int | None = None,
        before: tuple[datetime, int] | None = None,
        most: int,
    ) -> list[dict[str, Any]]:
        """Read a page of the alerts that nobody resolved, what was seen last first, or one alert.

        Raises:
            ConfigurationError: there is no such account.
        """
        seen_at, last_id = before or (None, None)
        return self._rows(
            "alerts_page",
            kind=kind,
            account_id=self.account(account)["account_id"] if account else None,
            is_unanswered=is_unanswered,
            alert_id=alert_id,
            before_seen_at=seen_at,
            before_alert_id=last_id,
            most=most,
        )

    def account(self, name: str) -> dict[str, Any]:
        """Read what an account is.

        Raises:
            ConfigurationError: there is none.
        """
        rows = self._rows("account", name=name)
        if not rows:
            raise ConfigurationError(f"no account is named {name}")
        return rows[0]

    def account_positions(self, account_id: int) -> list[dict[str, Any]]:
        """Read what an account holds."""
        return self._rows("account_positions", account_id=account_id)

    def account_runs(
        self, account_id: int, *, before: tuple[datetime, UUID] | None = None, most: int
    ) -> list[dict[str, Any]]:
        """Read a page of an account's runs, newest first."""
        recorded_as_of, run_id = before or (None, None)
        runs = self._rows(
            "account_runs",
            account_id=account_id,
            before_recorded_as_of=recorded_as_of,
            before_run_id=run_id,
            most=most,
        )
        return [{name: run[name] for name in RUN_COLUMNS} for run in runs]

    def statement_wallets(self, account_id: int, asset: str) -> list[str]:
        """Name the wallets of an asset's ledger entries."""
        rows = self._rows("statement_wallets", account_id=account_id, asset=asset)
        return [row["wallet"] for row in rows]

    def statement_page(  # noqa: PLR0913 - each narrows the page
        self,
        account_id: int,
        asset: str,
        at: datetime,
        *,
        wallets: Sequence[str],
        before: tuple[datetime, int] | None = None,
        most: int,
    ) -> list[dict[str, Any]]:
        """Read entries up to a moment, newest first, that are older than one of them."""
        time, seq = before or (None, None)
        return self._rows(
            "statement_page",
            account_id=account_id,
            asset=asset,
            at=at,
            wallets=list(wallets),
            before_time=time,
            before_seq=seq,
            most=most,
        )

    def statement_after(  # noqa: PLR0913 - the same
        self,
        account_id: int,
        asset: str,
        at: datetime,
        *,
        wallets: Sequence[str],
        after: tuple[datetime, int] | None = None,
        most: int,
    ) -> list[dict[str, Any]]:
        """Read entries up to a moment, oldest first, that are newer than one of them."""
        time, seq = after or (LONG_AGO, 0)
        return self._rows(
            "statement_after",
            account_id=account_id,
            asset=asset,
            at=at,
            wallets=list(wallets),
            after_time=time,
            after_seq=seq,
            most=most,
        )

    def statement_total(self, account_id: int, asset: str, at: datetime) -> Decimal:
        """Sum all entries of an asset up to a moment."""
        [row] = self._rows("statement_total", account_id=account_id, asset=asset, at=at)
        total: Decimal = row["total"]
        return total

    def statement_newer(
        self, account_id: int, asset: str, at: datetime, than: tuple[datetime, int]
    ) -> Decimal:
        """Sum the entries of an asset up to a moment that are newer than one of them."""
        time, seq = than
        [row] = self._rows("statement_newer", account_id=account_id, asset=asset, at=at, time=time, seq=seq)
        newer: Decimal = row["newer"]
        return newer

    def statement_place(
        self, account_id: int, asset: str, ledger_ids: Collection[str]
    ) -> tuple[datetime, int] | None:
        """Find the newest of these entries."""
        rows = self._rows(
            "statement_place", account_id=account_id, asset=asset, ledger_ids=sorted(ledger_ids)
        )
        return (rows[0]["entry_time"], rows[0]["ingest_seq"]) if rows else None

    def explaining_entries(self, account_id: int, asset: str, run_id: UUID) -> frozenset[str]:
        """Name the entries that explain what a run found."""
        rows = self._rows("explaining_entries", account_id=account_id, asset=asset, run_id=run_id)
        return frozenset(row["ledger_id"] for row in rows)
