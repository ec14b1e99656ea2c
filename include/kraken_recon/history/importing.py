"""Import an account's history from Kraken's own exports.

Invariants:
1. Everything that an import writes is in one transaction; what is refused, or dies, leaves nothing.
2. Entries on record stay as they are: an export tells their time less exactly, and nothing else differently.
3. Entries newer than the opening move positions like a sync's. Older ones are part of the opening: it moves
   back by what they add, so today's positions stay, and opening plus entries is still the chain.
4. Opening and floor follow from the rows alone, so the same files in any order lead to the same rows.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Final
from uuid import UUID, uuid4

from kraken_recon.books.steps import Steps
from kraken_recon.books.store import BookStore
from kraken_recon.costs.recomputing import recompute_account
from kraken_recon.costs.store import CostStore
from kraken_recon.database.retrying import back_off
from kraken_recon.errors import ImportRefusedError, LockUnavailableError
from kraken_recon.history.imported_files import ExportedFiles
from kraken_recon.history.rules.extending import Extension, KnownOpening, extend, whole_second
from kraken_recon.history.rules.match_trades import TradeFinding, join_trade
from kraken_recon.history.store import HistoryStore
from kraken_recon.ledger.chain import by_holding
from kraken_recon.ledger.entries import WALLET_NAMES, differences
from kraken_recon.ledger.entry_kinds import EXCHANGING_TYPES
from kraken_recon.ledger.wallets import placed
from kraken_recon.reconciliation.entry_alerts import tell_of_added
from kraken_recon.reconciliation.store import ReconciliationStore
from kraken_recon.values.cycle_search import no_cycle_search
from kraken_recon.values.money import ZERO, exact_arithmetic

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
    from contextlib import AbstractContextManager
    from datetime import datetime
    from decimal import Decimal

    from kraken_recon.accounts.account import Account
    from kraken_recon.books.events import RecordedPosition, Step
    from kraken_recon.database.unit_of_work import UnitOfWork
    from kraken_recon.history.rules.account_history import AccountHistory
    from kraken_recon.history.rules.export_rows import LedgerExport, TradesExport
    from kraken_recon.ledger.entries import HoldingKey, LedgerEntry

TRIES_MAX: Final = 3
CONTRADICTIONS_SHOWN_MAX: Final = 20


@dataclass(frozen=True, slots=True)
class ImportedHistory:
    """What an import did; ``moved`` are positions that changed, from what to what."""

    import_id: UUID
    read: int
    imported: int
    before_opening: int
    opened: bool
    opening_source: str | None
    ledger_floor: datetime | None
    moved: Mapping[HoldingKey, tuple[Decimal, Decimal]]
    trades: int
    findings: tuple[TradeFinding, ...]


@no_cycle_search()
def import_exports(
    account: Account,
    exports: Sequence[LedgerExport | TradesExport],
    open_unit_of_work: Callable[[], AbstractContextManager[UnitOfWork]],
) -> ImportedHistory:
    """Import one account's exports, all of them or none.

    Raises:
        ImportRefusedError: a file contradicts itself, another one, or what is recorded; with every place.
        StoreError: the database cannot be used.
    """
    files = ExportedFiles.of(exports)
    for attempt in range(1, TRIES_MAX + 1):
        try:
            with open_unit_of_work() as unit:
                done = _Import(unit, account.account_id, files).run()
                recompute_account(CostStore(unit), account.name)
                if done.imported:
                    tell_of_added(unit, account, files.entries.values())
                unit.commit()
                return done
        except LockUnavailableError:
            if attempt == TRIES_MAX:
                raise
            back_off(attempt)
    raise AssertionError("unreachable: the last try returns or raises")


@dataclass(slots=True)
class _Import:
    """One transaction over one account."""

    unit: UnitOfWork
    account_id: int
    files: ExportedFiles
    import_id: UUID = field(default_factory=uuid4)

    @exact_arithmetic()
    def run(self) -> ImportedHistory:
        """Insert, lock, prove, write; in the order in which everybody locks."""
        sync, account = BookStore(self.unit), self.account_id
        self._place()
        listed = tuple(self.files.entries.values())
        inserted = sync.ingest({account: listed}, {account: self.import_id})
        history = HistoryStore(self.unit).account_history(account)
        opens = bool(listed) and not history.is_open
        if opens and HistoryStore(self.unit).lock_account(account):
            raise LockUnavailableError("another run opened the account meanwhile; import again")
        new = by_holding(e for e in listed if (account, e.ledger_id) in inserted)
        # An account that is not open may have entries already: fills brought them.
        keys = sorted({*new, *(by_holding(sync.entries_after(account, None)) if opens else ())})
        if keys:
            sync.lock_positions((account, key) for key in keys)
        on_record = {e.ledger_id: e for e in sync.entries_after(account, None)}
        before = by_holding(e for e in on_record.values() if (account, e.ledger_id) not in inserted)
        self._refuse_contradictions(on_record)
        extensions = self._extend(keys, before, new, history)
        moved = self._write(extensions)
        if opens or any(e.older or e.opening_before != e.opening_after for e in extensions):
            self._set_opening(on_record, opens=opens)
            history = HistoryStore(self.unit).account_history(account)
        self._refuse_lone_trades(on_record)
        self._advance_watermark(history, before, opens=opens)
        return ImportedHistory(
            self.import_id,
            len(listed),
            len(inserted),
            sum(e.older for e in extensions),
            opens,
            history.opening_source,
            history.ledger_floor,
            moved,
            sum(len(t.trades) for t in self.files.trades),
            tuple(f for t in self.files.trades for trade in t.trades for f in join_trade(trade, on_record)),
        )

    def _refuse_lone_trades(self, on_record: Mapping[str, LedgerEntry]) -> None:
        """Refuse trades exports alone of which no entry is known: nothing of them is ever booked."""
        named = {i for export in self.files.trades for trade in export.trades for i in trade.ledger_ids}
        if self.files.trades and not self.files.ledgers and not named & on_record.keys():
            raise ImportRefusedError(
                f"{self.files.trades[0].name} is a trades export: it is checked against the ledger, never "
                "booked, and none of its entries is on record. Export Ledgers, all assets and all types, and "
                "import that; the trades file may come along"
            )

    def _place(self) -> None:
        """Write earning wallets as they are on record, or as the API will write them."""
        if any(entry.wallet in WALLET_NAMES for entry in self.files.entries.values()):
            on_record = {e.ledger_id: e for e in BookStore(self.unit).entries_after(self.account_id, None)}
            opened = HistoryStore(self.unit).openings(self.account_id)
            entries = placed(self.files.entries.values(), on_record, opened)
            self.files = replace(self.files, entries=entries)

    def _refuse_contradictions(self, on_record: Mapping[str, LedgerEntry]) -> None:
        told = [
            f"{self.files.places[entry.ledger_id]}: entry {entry.ledger_id} is recorded with {name} {ours}, "
            f"but the file says {theirs}"
            for entry in self.files.entries.values()
            for name, ours, theirs in differences(on_record[entry.ledger_id], entry)
        ]
        if told:
            raise ImportRefusedError(
                "\n  ".join(
                    (
                        "the file contradicts what is recorded (edited, or another account's?):",
                        *told[:CONTRADICTIONS_SHOWN_MAX],
                        *(
                            (f"and {len(told) - CONTRADICTIONS_SHOWN_MAX} more",)
                            if len(told) > CONTRADICTIONS_SHOWN_MAX
                            else ()
                        ),
                    )
                )
            )

    def _extend(
        self,
        keys: Collection[HoldingKey],
        before: Mapping[HoldingKey, Sequence[LedgerEntry]],
        new: Mapping[HoldingKey, Sequence[LedgerEntry]],
        history: AccountHistory,
    ) -> list[Extension]:
        openings = HistoryStore(self.unit).openings(self.account_id)
        extensions = [
            extend(
                key,
                before.get(key, ()),
                new.get(key, ()),
                _known_opening(key, openings, history, has_entries=key in before),
            )
            for key in keys
        ]
        recorded = {entry.ledger_id: entry for entries in before.values() for entry in entries}
        self.files.refuse((gap for extension in extensions for gap in extension.gaps), recorded)
        return extensions

    def _write(self, extensions: Sequence[Extension]) -> dict[HoldingKey, tuple[Decimal, Decimal]]:
        openings = HistoryStore(self.unit).openings(self.account_id)
        recorded = BookStore(self.unit).recorded((self.account_id, extension.key) for extension in extensions)
        moved: dict[HoldingKey, tuple[Decimal, Decimal]] = {}
        steps: list[Step] = []
        for extension in extensions:
            row = recorded[self.account_id, extension.key]
            written = _steps(extension, row, openings.get(extension.key))
            if written and written[-1].after != row.quantity:
                moved[extension.key] = (row.quantity, written[-1].after)
            steps += written
        BookStore(self.unit).write_steps({self.account_id: steps}, {self.account_id: self.import_id})
        return moved

    def _set_opening(self, on_record: Mapping[str, LedgerEntry], *, opens: bool) -> None:
        """Derive where the account's history begins from its openings and entries."""
        if not opens:
            HistoryStore(self.unit).lock_account(self.account_id)
        history = HistoryStore(self.unit).account_history(self.account_id)
        open_keys = [k for k, o in HistoryStore(self.unit).openings(self.account_id).items() if o.quantity]
        oldest: dict[HoldingKey, datetime] = {}
        for entry in on_record.values():
            oldest[entry.key] = min(entry.entry_time, oldest.get(entry.key, entry.entry_time))
        floor = history.ledger_floor
        if not open_keys:
            source, floor = "ledger", None
        else:
            source = "derived"
            if all(key in oldest for key in open_keys):
                complete_from = whole_second(max(oldest[key] for key in open_keys))
                complete_from -= timedelta(microseconds=1)
                # A sync proved everything from its floor on, a file only the holdings that it names.
                floor = min(floor, complete_from) if floor and history.is_witnessed else complete_from
        HistoryStore(self.unit).set_opening(self.account_id, source, floor)

    def _advance_watermark(
        self,
        history: AccountHistory,
        before: Mapping[HoldingKey, Sequence[LedgerEntry]],
        *,
        opens: bool,
    ) -> None:
        """Let the next sync go on from here, where the files prove that nothing is missing up to here.

        A file of an open account proves it only if it goes on where the last proof ended, and holds every
        entry that is on record within its time. One that was exported with a filter proves nothing. What is
        proved so counts as read.
        """
        recorded = [entry for entries in before.values() for entry in entries]
        stretches = sorted(
            (
                (min(times), max(times), ledger)
                for ledger in self.files.ledgers
                if (times := [entry.entry_time for entry in ledger.entries])
            ),
            key=lambda stretch: stretch[:2],
        )
        for start, end, ledger in stretches:
            reaches = history.newest_entry_at is not None and start <= history.newest_entry_at <= end
            leaves_out = any(
                start < whole_second(e.entry_time) < end and e.ledger_id not in self.files.entries
                for e in recorded
            )
            if (opens or (reaches and not leaves_out)) and not _shows_single_legs(ledger.entries):
                is_first = opens and ledger is stretches[0][2]
                after = None if is_first else start - timedelta(microseconds=1)
                ReconciliationStore(self.unit).advance_proofs(
                    {self.account_id: ledger.entries}, covered={self.account_id: (after, end)}
                )


def _shows_single_legs(entries: Iterable[LedgerEntry]) -> bool:
    """Say whether most trades lack their other leg, as in an export of one asset; dust alone may lack it."""
    legs = Counter(
        entry.operation or entry.ledger_id for entry in entries if entry.entry_type in EXCHANGING_TYPES
    )
    return 2 * sum(1 for count in legs.values() if count == 1) > len(legs)


def _known_opening(
    key: HoldingKey,
    openings: Mapping[HoldingKey, KnownOpening],
    history: AccountHistory,
    *,
    has_entries: bool,
) -> KnownOpening | None:
    """Say what is known of a holding's beginning: nothing, before a sync or a file told of it."""
    if not history.is_open:
        return None
    if key in openings:
        return openings[key]
    if not has_entries and not history.is_witnessed:
        return None
    if history.opening_source == "ledger":
        return KnownOpening(ZERO, None)
    return KnownOpening(ZERO, history.first_opening_at or history.ledger_floor)


def _steps(extension: Extension, row: RecordedPosition, opening: KnownOpening | None) -> list[Step]:
    """Write how a position follows: its opening moved, then every new entry.

    The opening is taken back at the moment at which it stood, and set anew where the history begins now: a
    statement as of any time finds the right one.
    """
    added, begins_at = extension.added, extension.begins_at
    moves_opening = extension.opening_before != extension.opening_after
    if not added and not moves_opening:
        return []
    steps = Steps.begin(extension.key, row, added[-1].entry_time if added else begins_at)
    if moves_opening and extension.opening_before:
        stood_at = opening.at if opening is not None and opening.at is not None else begins_at
        steps.open_by(-extension.opening_before, stood_at)
    if moves_opening and extension.opening_after:
        steps.open_by(extension.opening_after, begins_at)
    steps.book(added)
    return steps.made
