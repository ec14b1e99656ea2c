"""Read one account's books at Kraken so that they can be trusted.

Kraken's balance and ledger are two books read at two moments, and pages shift while they are read.
Invariants:
1. A reading is coherent only if the balances before and after the ledger agree.
2. Completeness is proved by the chain of running balances, never by Kraken's count, which may only speak
   against it: where fewer entries are shown than counted, these are taken, and nothing else is concluded.
3. A reading that cannot be proved raises; it never comes back smaller.
4. One reading asks for at most ``STRETCH_ENTRIES_MAX`` new entries. Where there are more it raises, and a
   stretch with a fixed end is read in its place.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from kraken_recon.books.events import Cause, Reason, Step
from kraken_recon.errors import PayloadInvalidError
from kraken_recon.ledger.chain import by_holding, in_chain_order, prove_chain
from kraken_recon.ledger.entries import AT_END, OURS, TOKENIZED, withdrawn
from kraken_recon.ledger.plausible import refuse_implausible
from kraken_recon.ledger.wallets import respelled
from kraken_recon.reconciliation.ledger_pages import (
    CONTRADICTION_ADVICE,
    LAG_MAX,
    PAGE_LENGTH,
    PAGES_MAX,
    KnownBooks,
    LedgerPages,
    connected,
    read_pages,
    refuse_contradictions,
)
from kraken_recon.reconciliation.rules.run import Opening
from kraken_recon.values.money import EXACT

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from uuid import UUID

    from kraken_recon.books.store import BookStore
    from kraken_recon.ledger.chain import Gap
    from kraken_recon.ledger.entries import Balance, HoldingKey, LedgerEntry, LedgerPage
    from kraken_recon.reconciliation.exchange import Exchange
    from kraken_recon.reconciliation.rules.run import AccountState

OPENING_ENTRIES_MAX: Final = 1_000
# 40 pages: five minutes of the call budget that Kraken gives an Intermediate key.
STRETCH_ENTRIES_MAX: Final = 2_000
COHERENCE_TRIES_MAX: Final = 3
PROOF_TRIES_MAX: Final = 3
OVERLAP: Final = timedelta(minutes=15)
TRUSTING_WORDS: Final = "if what is shown is all there is, `sync --trust-chain` goes on with it"


@dataclass(frozen=True, slots=True)
class Reading:
    """An account's books as of ``as_of``: balances, and every ledger entry later than ``after``.

    ``respelled`` are holdings on record that Kraken calls otherwise: an import could not know its spelling.
    ``missing`` entries were counted by Kraken and not shown: what is shown is true, but no proof that there
    is nothing else. ``mended`` are gaps that a person accepted and that Kraken fills by now. Which classes of
    assets were read is said by ``has_currencies`` and ``has_tokenized``.
    """

    balances: Mapping[HoldingKey, Balance]
    entries: tuple[LedgerEntry, ...]
    after: datetime | None
    as_of: datetime
    coherent: bool
    opening: Opening | None = None
    note: str | None = None
    respelled: Mapping[HoldingKey, HoldingKey] = field(default_factory=dict)
    missing: int = 0
    mended: tuple[LedgerEntry, ...] = ()
    has_currencies: bool = True
    has_tokenized: bool = False

    @property
    def head(self) -> LedgerEntry | None:
        """The newest entry of Kraken's, as far as times tell."""
        told = (entry for entry in self.entries if entry.entry_type not in OURS)
        return max(told, key=lambda entry: (entry.entry_time, entry.ledger_id), default=None)

    @property
    def chained(self) -> dict[HoldingKey, tuple[LedgerEntry, ...]]:
        """The entries per holding, in the order that the balances prove."""
        return in_chain_order(self.entries)


class StillMovingError(Exception):
    """The newest entries do not connect yet; Kraken's books are still being written."""


class LongLedgerError(Exception):
    """``counted`` entries are later than ``after``: more than one reading may ask for."""

    def __init__(self, counted: int, after: datetime | None, reader: LedgerReader) -> None:
        super().__init__(f"{counted:,} entries wait to be read, and one run reads {STRETCH_ENTRIES_MAX:,}")
        self.counted = counted
        self.after = after
        self.reader = reader


@dataclass(frozen=True, slots=True)
class LedgerReader:
    """Reads the ledger from the watermark on, and deeper where the stretch does not connect.

    ``known_books`` loads what the database has later than a time; ``pause`` waits between tries, in seconds;
    ``clock`` tells which entries are so new that Kraken may still be writing beside them. ``trusts_chain``
    says that a person takes the connected entries for all of them, whatever Kraken counts. Tokenized assets
    have a ledger of their own at Kraken: another reader, with a state that tells how far that was read.
    """

    exchange: Exchange
    state: AccountState
    known_books: Callable[[datetime | None], KnownBooks]
    pause: Callable[[float], None]
    clock: Callable[[], datetime]
    trusts_chain: bool = False
    is_tokenized: bool = False

    def missing(self, pages: LedgerPages, after: datetime | None) -> int:
        """Count the entries that are still to be shown, unless a person accepted that, or trusts what is."""
        return 0 if self.trusts_chain else max(0, pages.missing - self._accepted_missing(after))

    def read_all(self, end: LedgerEntry | None = None) -> tuple[LedgerPages, datetime | None]:
        """Read a proved stretch of which nothing that Kraken counts is missing.

        Raises:
            StillMovingError: fewer entries are shown than counted, or as `read` says.
        """
        pages, after = self.read(end)
        if self.missing(pages, after):
            raise StillMovingError(f"{pages.count_words}; {TRUSTING_WORDS}")
        return pages, after

    def read(self, end: LedgerEntry | None = None) -> tuple[LedgerPages, datetime | None]:
        """Read a proved stretch: up to the head, or all that is earlier than ``end``.

        Raises:
            PayloadInvalidError: the stretch does not connect, even read again and deeper.
            StillMovingError: only the newest entries do not connect yet.
            LongLedgerError: there is more than one reading may ask for.
        """
        overlap = OVERLAP
        problem: PayloadInvalidError | None = None
        gaps: list[Gap] = []
        for attempt in range(PROOF_TRIES_MAX):
            if attempt:
                self.pause(attempt)
            after = self._start(overlap, attempt)
            pages = read_pages(self._page_of, after, entries_max=self._entries_max(attempt), end=end)
            if self.state.is_open and not pages.reached_end and not attempt and pages.counted:
                raise LongLedgerError(pages.counted, after, self)
            books = self._known(after, end)
            known = books if self.state.is_open else None
            try:
                refuse_implausible(pages.entries.values(), self.clock())
                refuse_contradictions(
                    pages.entries, known.entries if known else (), self.state.newest_entry_at
                )
            except PayloadInvalidError as error:
                problem, gaps = error, []
                continue
            pages, gaps = connected(pages, known, books.accepted)
            problem = None
            if not gaps and self._is_complete(pages, after, attempt):
                return pages, after
            overlap *= 96
        raise self._failure(gaps, problem)

    def stretch_end(self, long: LongLedgerError) -> LedgerEntry:
        """Find the entry at which to end the oldest stretch that one reading may ask for, with a single call.

        Raises:
            PayloadInvalidError: Kraken counts entries there and shows none.
        """
        newer = max(0, long.counted - STRETCH_ENTRIES_MAX + PAGE_LENGTH)
        page = self._page_of(after=long.after, until=None, offset=newer)
        if not page.entries:
            raise PayloadInvalidError(
                f"expected entries after skipping {newer} of {long.counted}, was none", endpoint="Ledgers"
            )
        return max(page.entries, key=lambda entry: (entry.entry_time, entry.ledger_id))

    def reaching_back_to(self, moment: datetime | None) -> LedgerReader:
        """Begin no later than another ledger was begun at, so that one moment says where a reading begins."""
        newest = self.state.newest_entry_at
        if newest is not None:
            newest = None if moment is None else min(newest, moment + OVERLAP)
        return replace(self, state=replace(self.state, newest_entry_at=newest))

    @property
    def _page_of(self) -> Callable[..., LedgerPage]:
        return self.exchange.tokenized_ledger_page if self.is_tokenized else self.exchange.ledger_page

    def _accepted_missing(self, after: datetime | None) -> int:
        accepted = self.state.accepted_missing
        if accepted is None or (after is not None and after >= accepted.until):
            return 0
        return accepted.entries

    def _known(self, after: datetime | None, end: LedgerEntry | None) -> KnownBooks:
        known = self.known_books(after)
        return KnownBooks(
            [
                entry
                for entry in known.entries
                if (entry.wallet == TOKENIZED) is self.is_tokenized
                and (end is None or entry.entry_time < end.entry_time)
            ],
            known.balances_before,
        )

    def _start(self, overlap: timedelta, attempt: int) -> datetime | None:
        if self.state.newest_entry_at is None or attempt == PROOF_TRIES_MAX - 1:
            return self.state.ledger_floor
        # Imported entries carry whole seconds: just below one, an entry and its finer time are on one side.
        start = (self.state.newest_entry_at - overlap).replace(microsecond=0) - timedelta(microseconds=1)
        return max(start, self.state.ledger_floor) if self.state.ledger_floor else start

    def _is_complete(self, pages: LedgerPages, after: datetime | None, attempt: int) -> bool:
        """Say whether the stretch may be trusted once it connects.

        Where the count disagrees the stretch is read again, and a first reading (whose older edge nothing
        else proves) as often as allowed; what is still missing then is told with the reading.
        """
        if not pages.reached_end:
            return not self.state.is_open
        witnessed_from = 1 if self.state.is_open else PROOF_TRIES_MAX - 1
        return pages.missing <= self._accepted_missing(after) or attempt >= witnessed_from

    def _entries_max(self, attempt: int) -> int:
        if not self.state.is_open:
            return OPENING_ENTRIES_MAX
        return PAGES_MAX * PAGE_LENGTH if attempt else STRETCH_ENTRIES_MAX

    def _failure(self, gaps: list[Gap], problem: Exception | None) -> Exception:
        if problem is not None:
            return problem
        if gaps and all(abs(self.clock() - gap.noticed_at) <= LAG_MAX for gap in gaps):
            return StillMovingError("; ".join(map(str, gaps)))
        advice = f"; {CONTRADICTION_ADVICE} if Kraken never mends it" if gaps else ""
        detail = "; ".join(map(str, gaps)) or f"more than {PAGES_MAX} pages, or fewer entries than counted"
        return PayloadInvalidError(f"the ledger is incomplete: {detail}{advice}", endpoint="Ledgers")


def _derive_opening(pages: LedgerPages, balances: Mapping[HoldingKey, Balance], as_of: datetime) -> Opening:
    """Say what each holding was before the oldest entry on file.

    An account whose whole ledger was read and starts from nothing opens from the ledger alone. Otherwise
    the oldest running balance tells what came before; a holding without entries opens at its balance.
    """
    chains = {
        key: prove_chain(key, entries, known_balance=None)
        for key, entries in by_holding(pages.entries.values()).items()
    }
    quantities = {key: chain.opening for key, chain in chains.items() if chain.opening}
    derived = bool(quantities) or not pages.reached_end
    for key, balance in balances.items():
        if key not in chains and balance.balance:
            quantities[key] = balance.balance
    oldest = min((entry.entry_time for entry in pages.entries.values()), default=None)
    source = "derived" if derived else ("balance" if quantities else "ledger")
    floor = None if pages.reached_end else oldest
    return Opening(source, quantities, (oldest - timedelta(microseconds=1)) if oldest else as_of, floor)


def read_coherently(
    reader: LedgerReader,
    first_balances: Mapping[HoldingKey, Balance],
    clock: Callable[[], datetime],
    tokenized: LedgerReader | None = None,
) -> Reading:
    """Read balance, ledger, balance until the outer two agree, a bounded number of times.

    With ``tokenized`` the ledger of tokenized assets is read beside the other.

    Raises:
        PayloadInvalidError: the ledger cannot be proved complete, or the reply is implausible.
        StillMovingError: the newest entries do not connect yet.
    """
    before = first_balances
    for _ in range(COHERENCE_TRIES_MAX):
        as_of = clock()
        pages, after = reader.read()
        missing = reader.missing(pages, after)
        if tokenized:
            others, since = tokenized.reaching_back_to(after).read()
            missing += tokenized.missing(others, since)
            pages = _whole_from(pages, others).joined(_whole_from(others, pages))
        balances = reader.exchange.balances()
        coherent = {k: b.balance for k, b in balances.items()} == {k: b.balance for k, b in before.items()}
        if coherent:
            break
        before = balances
    reading = Reading(
        balances,
        tuple(pages.entries.values()),
        after,
        as_of,
        coherent and not missing,
        note=pages.count_words if pages.missing else None,
        respelled=pages.respelled,
        missing=missing,
        mended=pages.mended,
        has_tokenized=tokenized is not None,
    )
    if not reader.state.is_open:
        if missing:
            raise StillMovingError(f"{pages.count_words}; {TRUSTING_WORDS}")
        if not coherent:
            raise StillMovingError("the account did not stand still long enough to be opened")
        reading = replace(reading, opening=_derive_opening(pages, balances, as_of))
    return reading


def _whole_from(pages: LedgerPages, others: LedgerPages) -> LedgerPages:
    """Leave out what is older than a first reading of the other class of assets reached."""
    if others.reached_end or not others.entries:
        return pages
    oldest = min(entry.entry_time for entry in others.entries.values())
    return replace(pages, entries={n: e for n, e in pages.entries.items() if e.entry_time >= oldest})


def respell_all(store: BookStore, account_id: int, reading: Reading) -> None:
    """Call holdings on record as Kraken does, before anything is compared with what it tells of them.

    Under the locks it is asked again which those are: another run may have done it meanwhile.
    """
    if not reading.respelled:
        return
    keys = sorted({*reading.respelled, *reading.respelled.values()})
    store.lock_positions((account_id, key) for key in keys)
    names = respelled(
        {entry.ledger_id: entry for entry in reading.entries},
        store.entries_after(account_id, reading.after),
        store.balances_at(account_id, reading.after),
    )
    still = {old: new for old, new in names.items() if reading.respelled.get(old) == new}
    if still:
        store.respell(account_id, still)


def mend_gaps(store: BookStore, account_id: int, reading: Reading, run_id: UUID) -> None:
    """Take back what was booked for accepted gaps that Kraken fills by now; its own entries are booked next.

    Under the locks it is asked again which those are: another run may have done it meanwhile.
    """
    if not reading.mended:
        return
    keys = sorted({gap.key for gap in reading.mended})
    store.lock_positions((account_id, key) for key in keys)
    rows = store.recorded((account_id, key) for key in keys)
    quantities = {key: row.quantity for (_, key), row in rows.items()}
    steps = []
    for gap in reading.mended:
        emptied = withdrawn(gap)
        if gap.subtype != AT_END:
            # Kraken's own entry has led there by now, and the next one goes on from there.
            emptied = replace(emptied, balance=gap.balance)
        if store.correct_entry(account_id, gap, emptied):
            before = quantities[gap.key]
            quantities[gap.key] = after = EXACT.subtract(before, gap.change)
            steps.append(Step(gap.key, before, after, Cause.CORRECTION, gap.entry_time, Reason.GAP_MENDED))
    store.write_steps({account_id: steps}, {account_id: run_id})
