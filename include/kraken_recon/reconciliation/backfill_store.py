"""The books as of a past moment in Postgres; every statement is a named query of ``backfill.sql``."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Final

import sqlalchemy as sa

from kraken_recon.books.events import RESIDUAL_REASONS
from kraken_recon.database.named_sql import load
from kraken_recon.database.store import Store
from kraken_recon.ledger.entries import HoldingKey
from kraken_recon.reconciliation.rules.as_of import Coverage, HoldingThen

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from datetime import datetime

    from kraken_recon.ledger.entries import LedgerEntry
    from kraken_recon.reconciliation.rules.assess import Discrepancy
    from kraken_recon.reconciliation.rules.run import RunRecord

# An event recorded later than this after it happened is in the index of late ones; the same hour in the SQL.
LATE: Final = timedelta(hours=1)
QUERIES: Final = {name: sa.text(query) for name, query in load(__file__, "backfill").items()}


class BackfillStore(Store):
    """The books as of a past moment."""

    def coverage(self, account_ids: Collection[int]) -> Mapping[int, Coverage]:
        """Read since when accounts have books here, and how far their ledger was read, by account id."""
        rows = self._connection.execute(QUERIES["coverage"], {"account_ids": list(account_ids)})
        return {row.account_id: Coverage(row.begins_at, row.read_until) for row in rows}

    def holdings_then(
        self, account_id: int, at: datetime, read: Sequence[LedgerEntry] = ()
    ) -> list[HoldingThen]:
        """Read every holding as of a moment; entries of ``read`` that are not recorded count as happened."""
        rows = self._connection.execute(
            QUERIES["holdings_then"],
            {
                "account_id": account_id,
                "at": at,
                "recent_from": at - LATE,
                "ledger_ids": [entry.ledger_id for entry in read],
                "assets": [entry.asset for entry in read],
                "wallets": [entry.wallet for entry in read],
                "entry_times": [entry.entry_time for entry in read],
                "changes": [entry.change for entry in read],
                "residual_reasons": [str(reason) for reason in RESIDUAL_REASONS],
            },
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
        return self._connection.execute(
            QUERIES["head_then"], {"account_id": account_id, "at": at}
        ).scalar_one_or_none()

    def record_run(self, run: RunRecord, findings: Sequence[Discrepancy]) -> None:
        """Write a run as of its interval's end with its discrepancies, unless it has succeeded before."""
        written = self._connection.execute(
            QUERIES["record_run_then"],
            {
                "run_id": run.run_id,
                "account_id": run.account_id,
                "interval_start": run.interval.start,
                "interval_end": run.interval.end,
                "mode": str(run.mode),
                "status": run.status,
                "trigger": run.trigger,
                "reported_as_of": run.reported_as_of,
                "reported_head": run.reported_head,
                **{name: run.counts.get(name, 0) for name in ("checked", "matched", "explained", "failed")},
                "entries_ingested": run.entries_ingested,
                "api_calls": run.api_calls,
                "seconds": Decimal(f"{run.seconds:.3f}"),
                "lock_hold_ms": Decimal(f"{run.lock_hold_ms:.3f}"),
                "note": run.note,
                "error": run.error,
                "dag_id": run.dag_run.dag_id if run.dag_run else None,
                "dag_run_id": run.dag_run.run_id if run.dag_run else None,
            },
        ).all()
        if not written:
            return
        self._connection.execute(QUERIES["forget_findings"], {"run_id": run.run_id})
        if findings:
            self._connection.execute(
                QUERIES["insert_findings"],
                [
                    {
                        "run_id": run.run_id,
                        "account_id": run.account_id,
                        "asset": finding.key.asset,
                        "wallet": finding.key.wallet,
                        "recorded": finding.recorded,
                        "reported": finding.reported,
                        "explained": finding.explained,
                        "database_drift": finding.database_drift,
                        "residual": finding.residual,
                        "action": str(finding.action),
                        "ledger_ids": list(finding.ledger_ids),
                    }
                    for finding in findings
                ],
            )
