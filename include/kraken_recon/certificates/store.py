"""What a certificate is built from, in one snapshot; every statement is in ``certificates.sql``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kraken_recon.certificates.rules.build_and_check import Adjustment, HoldingEvidence, ProvingRun
from kraken_recon.database.store import Store, named_queries
from kraken_recon.errors import ConfigurationError
from kraken_recon.ledger.entries import HoldingKey, LedgerEntry
from kraken_recon.reconciliation.rules.assess import Action, Discrepancy
from kraken_recon.values.money import ZERO

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from uuid import UUID


def _key(row: Mapping[str, Any]) -> HoldingKey:
    return HoldingKey(row["asset"], row["wallet"])


class CertificateStore(Store):
    """What a certificate is built from."""

    queries = named_queries(__file__, "certificates")

    def begin_snapshot(self) -> None:
        """See one state of the database from now on; must come before anything else of the transaction."""
        self._execute("snapshot")

    def schema_version(self) -> str:
        """Read which migration the database is at."""
        return str(self._rows("schema_version")[0]["version_num"])

    def account(self, name: str) -> tuple[int, str | None]:
        """Find an account's id, and how it was opened; None where it was not.

        Raises:
            ConfigurationError: there is no such account.
        """
        rows = self._rows("account", name=name)
        if not rows:
            raise ConfigurationError(f"no account is named {name}; see `python -m kraken_recon report`")
        return int(rows[0]["account_id"]), rows[0]["opening_source"]

    def proving_runs(self, account_id: int, at: datetime) -> list[ProvingRun]:
        """Find the newest succeeded run up to a moment, and the newest that also read the ledger."""
        rows = self._rows("proving_runs", account_id=account_id, at=at)
        findings = self._findings([row["run_id"] for row in rows])
        return [ProvingRun(**row, findings=tuple(findings.get(row["run_id"], ()))) for row in rows]

    def _findings(self, run_ids: Sequence[UUID]) -> dict[UUID, list[Discrepancy]]:
        found: dict[UUID, list[Discrepancy]] = {}
        for row in self._rows("findings", run_ids=list(run_ids)):
            found.setdefault(row["run_id"], []).append(
                Discrepancy(
                    _key(row),
                    row["db_quantity"],
                    row["exchange_quantity"],
                    row["explained"],
                    row["database_drift"],
                    row["residual"],
                    Action(row["action"]),
                    tuple(row["ledger_ids"]),
                )
            )
        return found

    def holdings(self, account_id: int, at: datetime, run: ProvingRun) -> list[HoldingEvidence]:
        """Read all that is on record of each holding up to a moment; late is what came after ``run``."""
        entries: dict[HoldingKey, list[LedgerEntry]] = {}
        late: dict[HoldingKey, set[str]] = {}
        adjustments: dict[HoldingKey, list[Adjustment]] = {}
        for row in self._rows(
            "entries",
            account_id=account_id,
            at=at,
            reported_as_of=run.reported_as_of,
            recorded_as_of=run.recorded_as_of,
        ):
            if row.pop("is_late"):
                late.setdefault(_key(row), set()).add(row["ledger_id"])
            entries.setdefault(_key(row), []).append(LedgerEntry(**row))
        for row in self._rows("adjustments", account_id=account_id, at=at):
            adjustments.setdefault(_key(row), []).append(
                Adjustment(row["event_id"], row["effective_at"], row["reason"], row["amount"], row["run_id"])
            )
        sums = {
            _key(row): row
            for row in self._rows("holdings", account_id=account_id, at=at, recorded_as_of=run.recorded_as_of)
        }
        return [
            HoldingEvidence(
                key,
                sums[key]["opening"] if key in sums else ZERO,
                tuple(entries.get(key, ())),
                sums[key]["recorded"] if key in sums else ZERO,
                tuple(adjustments.get(key, ())),
                frozenset(late.get(key, ())),
                sums[key]["opening_moved_later"] if key in sums else ZERO,
            )
            for key in sorted(sums.keys() | entries.keys())
        ]
