"""The books as of a past moment in Postgres; every statement is a named query of ``backfill.sql``."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from kraken_recon.books.store import RESIDUAL_REASON_NAMES
from kraken_recon.database.store import Store, named_queries
from kraken_recon.ledger.entries import HoldingKey
from kraken_recon.reconciliation.rules.as_of import Coverage, HoldingThen

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from datetime import datetime

    from kraken_recon.ledger.entries import LedgerEntry

# An event recorded later than this after it happened is in the index of late ones; the same hour in the SQL.
LATE: Final = timedelta(hours=1)


class BackfillStore(Store):
    """The books as of a past moment."""

    queries = named_queries(__file__, "backfill")

    def coverage(self, account_ids: Collection[int]) -> Mapping[int, Coverage]:
        """Read since when accounts have books here, and how far their ledger was read, by account id."""
        rows = self._execute("coverage", account_ids=list(account_ids))
        return {row.account_id: Coverage(row.begins_at, row.read_until) for row in rows}

    def holdings_then(
        self, account_id: int, at: datetime, read: Sequence[LedgerEntry] = ()
    ) -> list[HoldingThen]:
        """Read every holding as of a moment; entries of ``read`` that are not recorded count as happened."""
        rows = self._execute(
            "holdings_then",
            account_id=account_id,
            at=at,
            recent_from=at - LATE,
            ledger_ids=[entry.ledger_id for entry in read],
            assets=[entry.asset for entry in read],
            wallets=[entry.wallet for entry in read],
            entry_times=[entry.entry_time for entry in read],
            changes=[entry.change for entry in read],
            residual_reasons=RESIDUAL_REASON_NAMES,
        )
        return [
            HoldingThen(
                HoldingKey(row.asset, row.wallet),
                row.reported,
                row.recorded,
                row.explained,
                row.corrected,
                tuple(row.ledger_ids),
            )
            for row in rows
        ]

    def head_then(self, account_id: int, at: datetime) -> str | None:
        """Name the newest recorded entry before a moment."""
        return self._execute("head_then", account_id=account_id, at=at).scalar_one_or_none()
