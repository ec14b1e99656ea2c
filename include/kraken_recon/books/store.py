"""The rows of ``position_sync`` in Postgres; every statement is a named query of ``books.sql``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from kraken_recon.alerts.kinds import AlertKind
from kraken_recon.alerts.store import AlertStore
from kraken_recon.books.events import RESIDUAL_REASONS, RecordedPosition
from kraken_recon.database.store import Store, named_queries
from kraken_recon.errors import StoreError
from kraken_recon.ledger.entries import HoldingKey, LedgerEntry

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from datetime import datetime
    from decimal import Decimal
    from uuid import UUID

    from kraken_recon.books.events import Step

Place = tuple[int, HoldingKey]
CORRECTABLE: Final = (
    *("refid", "entry_time", "entry_type", "subtype", "asset", "wallet", "amount", "fee", "balance"),
)
RESIDUAL_REASON_NAMES: Final = [str(reason) for reason in RESIDUAL_REASONS]


def key_arrays(keys: Iterable[Place]) -> dict[str, list[Any]]:
    """Write keys as the parallel arrays that statements take."""
    listed = list(keys)
    return {
        "account_ids": [account for account, _ in listed],
        "assets": [key.asset for _, key in listed],
        "wallets": [key.wallet for _, key in listed],
    }


class BookStore(Store):
    """Ledger entries, positions and the events that move them."""

    queries = named_queries(__file__, "books")

    def entries_after(self, account_id: int, after: datetime | None) -> list[LedgerEntry]:
        """Read the recorded entries later than ``after``."""
        rows = self._run("entries_after", account_id=account_id, after=after)
        return [LedgerEntry(*columns) for (*columns,) in rows]

    def balances_at(self, account_id: int, at: datetime | None) -> Mapping[HoldingKey, Decimal]:
        """Sum the openings and the recorded entries up to ``at`` (None: the openings alone)."""
        rows = self._run("balances_at", account_id=account_id, at=at)
        return {HoldingKey(row.asset, row.wallet): row.balance for row in rows}

    def respell(self, account_id: int, names: Mapping[HoldingKey, HoldingKey]) -> None:
        """Call locked holdings otherwise, entries and events too; those that get one name become one.

        A plan that is held under an old name is out of date.
        """
        values: dict[str, object] = {
            "account_id": account_id,
            "assets": [key.asset for key in names],
            "old": [key.wallet for key in names],
            "new": [key.wallet for key in names.values()],
        }
        for query in ("respell_history", "seal_respelled", "respell_positions", "outdate_respelled"):
            self._execute(query, **values)
        touched = sorted({*names, *names.values()})
        self.forget_residuals((account_id, key) for key in touched)

    def forget_residuals(self, keys: Iterable[Place]) -> None:
        """Forget what earlier readings saw of these holdings."""
        self._run("forget_residuals", **key_arrays(keys))

    def correct_entry(self, account_id: int, old: LedgerEntry, new: LedgerEntry) -> bool:
        """Replace one telling of a recorded entry by another; False where the record is not the old one."""
        values: dict[str, object] = {"account_id": account_id, "ledger_id": old.ledger_id}
        values |= {name: getattr(new, name) for name in CORRECTABLE}
        values |= {f"old_{name}": getattr(old, name) for name in CORRECTABLE}
        return bool(self._run("correct_entry", **values))

    def ingest(
        self, entries: Mapping[int, Sequence[LedgerEntry]], run_ids: Mapping[int, UUID]
    ) -> set[tuple[int, str]]:
        """Insert entries that are not recorded yet; return those really inserted."""
        rows = [(account, entry) for account, listed in entries.items() for entry in listed]
        if not rows:
            return set()
        inserted = self._run(
            "ingest",
            **key_arrays((account, entry.key) for account, entry in rows),
            ledger_ids=[entry.ledger_id for _, entry in rows],
            refids=[entry.refid for _, entry in rows],
            entry_times=[entry.entry_time for _, entry in rows],
            types=[entry.entry_type for _, entry in rows],
            subtypes=[entry.subtype for _, entry in rows],
            amounts=[entry.amount for _, entry in rows],
            fees=[entry.fee for _, entry in rows],
            balances=[entry.balance for _, entry in rows],
            run_ids=[run_ids[account] for account, _ in rows],
        )
        return {(row.account_id, row.ledger_id) for row in inserted}

    def known_ids(self, entries: Mapping[int, Sequence[LedgerEntry]]) -> set[tuple[int, str]]:
        """Return which of these entries are recorded already."""
        rows = [(account, entry.ledger_id) for account, listed in entries.items() for entry in listed]
        found = self._run(
            "known_ids",
            account_ids=[account for account, _ in rows],
            ledger_ids=[ledger_id for _, ledger_id in rows],
        )
        return {(row.account_id, row.ledger_id) for row in found}

    def arrived_meanwhile(
        self, seen: Mapping[int, tuple[datetime | None, Collection[str]]]
    ) -> Mapping[Place, Decimal]:
        """Sum the entries that others recorded after this reading, per holding."""
        ids = [(account, ledger_id) for account, (_, listed) in seen.items() for ledger_id in listed]
        rows = self._run(
            "arrived_meanwhile",
            replied=list(seen),
            after=[after for after, _ in seen.values()],
            account_ids=[account for account, _ in ids],
            ledger_ids=[ledger_id for _, ledger_id in ids],
        )
        return {(row.account_id, HoldingKey(row.asset, row.wallet)): row.change for row in rows}

    def lock_positions(self, keys: Iterable[Place]) -> None:
        """Create the missing positions, then lock exactly these in key order."""
        arrays = key_arrays(keys)
        self._run("create_positions", **arrays)
        locked = self._run("lock_positions", **arrays)
        if len(locked) != len(arrays["assets"]):
            raise StoreError(f"expected to lock {len(arrays['assets'])} positions, locked {len(locked)}")

    def recorded(self, keys: Iterable[Place]) -> Mapping[Place, RecordedPosition]:
        """Read positions with the totals of their events, entries and adjustments."""
        rows = self._run("recorded", **key_arrays(keys), residual_reasons=RESIDUAL_REASON_NAMES)
        return {
            (row.account_id, HoldingKey(row.asset, row.wallet)): RecordedPosition(
                row.quantity, row.event_total, row.ledger_total, row.adjustment_total, row.adjusted_at
            )
            for row in rows
        }

    def write_steps(
        self,
        steps: Mapping[int, Sequence[Step]],
        run_ids: Mapping[int, UUID],
        plan_ids: Mapping[int, UUID] | None = None,
        available: Mapping[Place, tuple[Decimal, datetime]] | None = None,
    ) -> None:
        """Append the events and move the positions to where the steps end.

        Args:
            steps: by account.
            run_ids: by account.
            plan_ids: of what is written, by account.
            available: of locked positions, with the time of the reading; an older one changes nothing.
        """
        rows = [(account, step) for account, listed in steps.items() for step in listed]
        if rows:
            self._insert_events(rows, run_ids, plan_ids or {})
        self._move({(account, step.key): step.after for account, step in rows}, available or {})

    def _insert_events(
        self, rows: Sequence[tuple[int, Step]], run_ids: Mapping[int, UUID], plan_ids: Mapping[int, UUID]
    ) -> None:
        self._run(
            "insert_events",
            **key_arrays((account, step.key) for account, step in rows),
            before=[step.before for _, step in rows],
            after=[step.after for _, step in rows],
            causes=[str(step.cause) for _, step in rows],
            reasons=[str(step.reason) if step.reason else None for _, step in rows],
            ledger_ids=[step.ledger_id for _, step in rows],
            run_ids=[run_ids[account] for account, _ in rows],
            effective_at=[step.effective_at for _, step in rows],
            plan_ids=[plan_ids.get(account) for account, _ in rows],
        )

    def _move(
        self, ends: Mapping[Place, Decimal], available: Mapping[Place, tuple[Decimal, datetime]]
    ) -> None:
        places = ends.keys() | available.keys()
        if not places:
            return
        nothing = (None, None)
        readings = [available.get(place, nothing) for place in places]
        written = self._run(
            "move_positions",
            **key_arrays(places),
            quantities=[ends.get(place) for place in places],
            available=[quantity for quantity, _ in readings],
            as_of=[as_of for _, as_of in readings],
        )
        moved = sum(row.is_moved for row in written)
        if moved != len(ends):
            raise StoreError(f"expected to move {len(ends)} positions, moved {moved}")

    def resolve_explained(self, account_ids: Collection[int], *, ended_by: str) -> None:
        """Resolve the alerts about adjustments of these accounts that entries explain by now."""
        if account_ids:
            explained = self._run(
                "find_explained",
                account_ids=sorted(account_ids),
                kind=str(AlertKind.UNEXPLAINED_DISCREPANCY),
                residual_reasons=RESIDUAL_REASON_NAMES,
            )
            AlertStore(self._unit).resolve([row.alert_id for row in explained], ended_by=ended_by)
