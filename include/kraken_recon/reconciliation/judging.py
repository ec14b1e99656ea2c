"""Judge what the readings of a batch of accounts mean, on what is recorded under the locks of the batch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from kraken_recon.books.events import RecordedPosition
from kraken_recon.books.store import BookStore, Place
from kraken_recon.errors import PayloadInvalidError
from kraken_recon.reconciliation.align_moments import as_if_moved, rolled_forward
from kraken_recon.reconciliation.plans.store import PlanStore
from kraken_recon.reconciliation.rules.assess import Assessment, assess
from kraken_recon.reconciliation.rules.evidence import Evidence
from kraken_recon.reconciliation.rules.families import missing_holdings
from kraken_recon.reconciliation.rules.policy import Mode
from kraken_recon.reconciliation.stages import Compared, Read
from kraken_recon.reconciliation.transactions import AccountRefusedError
from kraken_recon.values.money import ZERO

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from decimal import Decimal
    from uuid import UUID

    from kraken_recon.database.unit_of_work import UnitOfWork
    from kraken_recon.ledger.entries import HoldingKey, LedgerEntry
    from kraken_recon.reconciliation.rules.run import Comparison
    from kraken_recon.reconciliation.run import AccountWork, SyncRequest


class Batch:
    """The accounts of one transaction, by how far each has come."""

    def __init__(self, works: Sequence[AccountWork]) -> None:
        self.works = {work.account_id: work for work in works}
        self.matched = {w.account_id: w.stage for w in works if isinstance(w.stage, Compared)}
        self.read = {w.account_id: w.stage for w in works if isinstance(w.stage, Read)}

    @property
    def run_ids(self) -> dict[int, UUID]:
        """Name each account's run."""
        return {account: work.run_id for account, work in self.works.items()}

    @property
    def judged(self) -> list[int]:
        """Name the accounts whose drift this run knows."""
        return [*(account for account, read in self.read.items() if read.reading.coherent), *self.matched]

    def compared_again(self, account: int, comparison: Comparison) -> None:
        """Go on with another comparison of an account that was read."""
        self._go_on(account, replace(self.read[account], comparison=comparison))

    def opened_by_another(self, account: int) -> None:
        """Go on with a reading as with any other of an account that is open."""
        read = self.read[account]
        self._go_on(account, replace(read, reading=replace(read.reading, opening=None)))

    def _go_on(self, account: int, read: Read) -> None:
        self.read[account] = self.works[account].stage = read


@dataclass(frozen=True, slots=True)
class Judging:
    """One transaction's look at the accounts that were read; ``new`` are the entries that it adds."""

    unit: UnitOfWork
    batch: Batch
    request: SyncRequest
    new: Mapping[int, Mapping[HoldingKey, Sequence[LedgerEntry]]]

    @property
    def keys(self) -> list[Place]:
        """Name the holdings to judge: those that differ, were tolerated, have new entries or are opened."""
        keys: set[Place] = set()
        for account, read in self.batch.read.items():
            named = {*read.comparison.differing, *read.comparison.settled, *read.comparison.folded}
            named |= {*self.new[account]}
            if read.reading.opening:
                named |= set(read.reading.opening.quantities)
            named |= {gap.key for gap in read.reading.mended}
            keys |= {(account, key) for key in named}
        return sorted(keys)

    def assess(self, keys: Collection[Place]) -> dict[int, Assessment]:
        """Judge each account.

        Raises:
            AccountRefusedError: a balance reply is partial; nothing may be concluded from it.
        """
        books, read = BookStore(self.unit), self.batch.read
        recorded = books.recorded(keys)
        if self.request.mode is Mode.REPAIR:
            # The totals were read after the new entries were inserted; judge from before them.
            recorded = {
                (account, key): replace(
                    row,
                    ledger_total=row.ledger_total
                    - sum((entry.change for entry in self.new[account].get(key, ())), ZERO),
                )
                for (account, key), row in recorded.items()
            }
        last_repairs = self._last_repairs(recorded)
        meanwhile = books.arrived_meanwhile(
            {
                account: (of.after, [entry.ledger_id for entry in (*of.entries, *of.mended)])
                for account, of in ((account, one.reading) for account, one in read.items())
            }
        )
        by_account: dict[int, dict[HoldingKey, RecordedPosition]] = {account: {} for account in read}
        for account, key in keys:
            by_account[account][key] = recorded.get((account, key), RecordedPosition())
        return self._with_undone(
            {account: self._assess(account, by_account[account], meanwhile, last_repairs) for account in read}
        )

    def _assess(
        self,
        account: int,
        recorded: Mapping[HoldingKey, RecordedPosition],
        meanwhile: Mapping[Place, Decimal],
        last_repairs: Mapping[Place, frozenset[Decimal]],
    ) -> Assessment:
        work, read = self.batch.works[account], self.batch.read[account]
        reading, approval = read.reading, self.request.approval
        if self.request.mode is Mode.DRY_RUN:
            if reading.opening:
                recorded = as_if_moved(recorded, reading.opening.quantities)
            recorded = as_if_moved(recorded, {gap.key: -gap.change for gap in reading.mended})
        evidence = Evidence(
            recorded=recorded,
            ingested=self.new[account],
            balances=rolled_forward(reading.balances, account, meanwhile),
            coherent=reading.coherent,
            as_of=reading.as_of,
            observations=work.state.observations,
            all_positions=read.comparison.all_positions,
            prices=read.prices,
            last_repairs={key: changes for (owner, key), changes in last_repairs.items() if owner == account},
            approved=approval.changes if approval else {},
            transfers=read.transfers,
            booked=frozenset(entry.refid for entry in reading.entries),
        )
        if missing := missing_holdings(evidence):
            raise AccountRefusedError(
                work,
                PayloadInvalidError(
                    f"Kraken's balance reply leaves out {', '.join(missing)}, of which its ledger still "
                    "holds some; nothing was changed",
                    account=work.state.account.name,
                    endpoint="BalanceEx",
                ),
            )
        policy = self.request.policy
        return assess(evidence, replace(policy, overrides={**policy.overrides, **work.state.tolerances}))

    def _with_undone(self, assessments: Mapping[int, Assessment]) -> dict[int, Assessment]:
        """Tell repairs that a person undid apart from those that did not last."""
        undone = PlanStore(self.unit).undone_repairs(
            (account, key) for account, found in assessments.items() for key in found.not_converging
        )
        return {
            account: replace(
                found,
                not_converging=tuple(key for key in found.not_converging if (account, key) not in undone),
                undone={key: by for (owner, key), by in undone.items() if owner == account},
            )
            for account, found in assessments.items()
        }

    def _last_repairs(self, recorded: Mapping[Place, RecordedPosition]) -> Mapping[Place, frozenset[Decimal]]:
        """Ask about the holdings that may be repaired; most runs repair nothing and ask nothing."""
        works = self.batch.works
        seen = {(account, key) for account in self.batch.read for key in works[account].state.observations}
        return PlanStore(self.unit).last_repairs(
            sorted(
                place
                for place, row in recorded.items()
                if row.quantity != row.expected or row.adjustment_total or place in seen
            )
        )
