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

from kraken_recon.errors import PayloadInvalidError
from kraken_recon.ledger.chain import Gap, by_holding, in_chain_order, prove_chain
from kraken_recon.ledger.entries import WITHDRAWN, differences
from kraken_recon.ledger.plausible import refuse_implausible
from kraken_recon.ledger.wallets import renamed, respelled, told_apart
from kraken_recon.reconciliation.rules.run import Opening
from kraken_recon.values.money import ZERO

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from decimal import Decimal

    from kraken_recon.books.store import BookStore
    from kraken_recon.ledger.entries import Balance, HoldingKey, LedgerEntry
    from kraken_recon.reconciliation.exchange import Exchange
    from kraken_recon.reconciliation.rules.run import AccountState

PAGE_LENGTH: Final = 50
PAGES_MAX: Final = 200
OPENING_ENTRIES_MAX: Final = 1_000
# 40 pages: five minutes of the call budget that Kraken gives an Intermediate key.
STRETCH_ENTRIES_MAX: Final = 2_000
COHERENCE_TRIES_MAX: Final = 3
PROOF_TRIES_MAX: Final = 3
OVERLAP: Final = timedelta(minutes=15)
LAG_MAX: Final = timedelta(minutes=5)
CONTRADICTION_ADVICE: Final = "see `python -m kraken_recon contradictions --account NAME`"
TRUSTING_WORDS: Final = "if what is shown is all there is, `sync --trust-chain` goes on with it"


@dataclass(frozen=True, slots=True)
class KnownBooks:
    """What the database already has of the stretch that is read: entries, and the balances before it."""

    entries: Sequence[LedgerEntry]
    balances_before: Mapping[HoldingKey, Decimal]


@dataclass(frozen=True, slots=True)
class Reading:
    """An account's books as of ``as_of``: balances, and every ledger entry later than ``after``.

    ``respelled`` are holdings on record that Kraken calls otherwise: an import could not know its spelling.
    ``missing`` entries were counted by Kraken and not shown: what is shown is true, but no proof that there
    is nothing else.
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

    @property
    def head(self) -> LedgerEntry | None:
        """The newest entry, as far as times tell."""
        return max(self.entries, key=lambda entry: (entry.entry_time, entry.ledger_id), default=None)

    @property
    def chained(self) -> dict[HoldingKey, tuple[LedgerEntry, ...]]:
        """The entries per holding, in the order that the balances prove."""
        return in_chain_order(self.entries)


@dataclass(frozen=True, slots=True)
class _Pages:
    entries: dict[str, LedgerEntry]
    reached_end: bool
    counted: int | None
    respelled: Mapping[HoldingKey, HoldingKey] = field(default_factory=dict)

    @property
    def missing(self) -> int:
        """How many entries Kraken counted and did not show, once nothing more was shown."""
        return max(0, (self.counted or 0) - len(self.entries)) if self.reached_end else 0


class StillMovingError(Exception):
    """The newest entries do not connect yet; Kraken's books are still being written."""


class LongLedgerError(Exception):
    """``counted`` entries are later than ``after``: more than one reading may ask for."""

    def __init__(self, counted: int, after: datetime | None) -> None:
        super().__init__(f"{counted:,} entries wait to be read, and one run reads {STRETCH_ENTRIES_MAX:,}")
        self.counted = counted
        self.after = after


def _read_pages(
    exchange: Exchange, after: datetime | None, *, entries_max: int, end: LedgerEntry | None = None
) -> _Pages:
    """Read pages from the head back to ``after``, with the end fixed by the first page's newest entry.

    With ``end`` only what is earlier than that entry is returned: others may share its moment.

    Rows that arrive meanwhile only push older rows to later offsets, so they are seen twice, never missed;
    one row of overlap lets a shifted page show itself. Where Kraken counts more than ``entries_max``, the
    first page alone is read.
    """
    entries: dict[str, LedgerEntry] = {}
    until = end.ledger_id if end is not None else None
    counted: int | None = None
    for _ in range(PAGES_MAX):
        page = exchange.ledger_page(after=after, until=until, offset=max(0, len(entries) - 1))
        rows = [entry for entry in page.entries if after is None or entry.entry_time > after]
        fresh = [entry for entry in rows if entry.ledger_id not in entries]
        for entry in rows:
            if entries.setdefault(entry.ledger_id, entry) != entry:
                raise PayloadInvalidError(
                    f"Kraken sent two different entries with the id {entry.ledger_id}", endpoint="Ledgers"
                )
        if until is None and page.entries:
            until = max(page.entries, key=lambda e: (e.entry_time, e.ledger_id)).ledger_id
        counted = page.count if counted is None else counted
        if not fresh or (len(page.entries) < PAGE_LENGTH and _counts_agree(counted, entries)):
            return _earlier(_Pages(entries, reached_end=True, counted=counted), end)
        if counted is not None and counted > entries_max:
            break
    return _Pages(entries, reached_end=False, counted=counted)


def _earlier(pages: _Pages, end: LedgerEntry | None) -> _Pages:
    if end is None:
        return pages
    kept = {name: entry for name, entry in pages.entries.items() if entry.entry_time < end.entry_time}
    dropped = len(pages.entries) - len(kept)
    return replace(pages, entries=kept, counted=None if pages.counted is None else pages.counted - dropped)


def _counts_agree(counted: int | None, entries: Mapping[str, LedgerEntry]) -> bool:
    return counted is None or len(entries) >= counted


def _contradictions(
    read: Mapping[str, LedgerEntry], known: Sequence[LedgerEntry], proved_until: datetime | None
) -> None:
    """Refuse a reading that tells another story than the entries recorded earlier.

    Raises:
        PayloadInvalidError: an entry has changed, or one is gone that was recorded before the newest read or
            that an earlier sync has seen.
    """
    newest = max((entry.entry_time for entry in read.values()), default=None)
    for entry in known:
        now = read.get(entry.ledger_id)
        if now is not None and (differing := differences(entry, now)):
            told = "; ".join(
                f"{name} {ours}, but Kraken now says {theirs}" for name, ours, theirs in differing
            )
            raise PayloadInvalidError(
                f"entry {entry.ledger_id} is recorded with {told}; {CONTRADICTION_ADVICE}", endpoint="Ledgers"
            )
        if entry.entry_type == WITHDRAWN:
            continue
        is_old = newest is not None and entry.entry_time < newest
        if now is None and (is_old or (proved_until is not None and entry.entry_time <= proved_until)):
            raise PayloadInvalidError(
                f"entry {entry.ledger_id} of {entry.entry_time.isoformat()} is recorded, but Kraken's ledger "
                f"no longer shows it; {CONTRADICTION_ADVICE}",
                endpoint="Ledgers",
            )


def _connected(pages: _Pages, known: KnownBooks | None) -> tuple[_Pages, list[Gap]]:
    """Connect what was read with what is on record, if need be under other names of its wallets.

    Either the record takes Kraken's names, or, where Kraken has one name for several wallets, what it tells
    is written under the wallets on record. What connects in neither way is told as gaps.
    """
    if known is None:
        return pages, _gaps(pages.entries, None)
    names = respelled(pages.entries, known.entries, known.balances_before)
    gaps = _gaps(pages.entries, renamed(known.balances_before, names))
    if not gaps:
        return replace(pages, respelled=names), gaps
    apart = told_apart(pages.entries, known.entries, known.balances_before)
    if _gaps(apart, known.balances_before):
        return pages, gaps
    return replace(pages, entries=apart), []


def _gaps(entries: Mapping[str, LedgerEntry], before: Mapping[HoldingKey, Decimal] | None) -> list[Gap]:
    gaps: list[Gap] = []
    for key, of in by_holding(entries.values()).items():
        balance = before.get(key, ZERO) if before is not None else None
        gaps += prove_chain(key, of, known_balance=balance).gaps
    return gaps


@dataclass(frozen=True, slots=True)
class LedgerReader:
    """Reads the ledger from the watermark on, and deeper where the stretch does not connect.

    ``known_books`` loads what the database has later than a time; ``pause`` waits between tries, in seconds;
    ``clock`` tells which entries are so new that Kraken may still be writing beside them. ``trusts_chain``
    says that a person takes the connected entries for all of them, whatever Kraken counts.
    """

    exchange: Exchange
    state: AccountState
    known_books: Callable[[datetime | None], KnownBooks]
    pause: Callable[[float], None]
    clock: Callable[[], datetime]
    trusts_chain: bool = False

    def missing(self, pages: _Pages) -> int:
        """Count the entries that are still to be shown, unless a person trusts what is."""
        return 0 if self.trusts_chain else pages.missing

    def read_all(self, end: LedgerEntry | None = None) -> tuple[_Pages, datetime | None]:
        """Read a proved stretch of which nothing that Kraken counts is missing.

        Raises:
            StillMovingError: fewer entries are shown than counted, or as `read` says.
        """
        pages, after = self.read(end)
        if self.missing(pages):
            raise StillMovingError(f"{_count_words(pages)}; {TRUSTING_WORDS}")
        return pages, after

    def read(self, end: LedgerEntry | None = None) -> tuple[_Pages, datetime | None]:
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
            pages = _read_pages(self.exchange, after, entries_max=self._entries_max(attempt), end=end)
            if self.state.is_open and not pages.reached_end and not attempt and pages.counted:
                raise LongLedgerError(pages.counted, after)
            known = self._known(after, end) if self.state.is_open else None
            try:
                refuse_implausible(pages.entries.values(), self.clock())
                _contradictions(pages.entries, known.entries if known else (), self.state.newest_entry_at)
            except PayloadInvalidError as error:
                problem, gaps = error, []
                continue
            pages, gaps = _connected(pages, known)
            problem = None
            if not gaps and self._is_complete(pages, attempt):
                return pages, after
            overlap *= 96
        raise self._failure(gaps, problem)

    def stretch_end(self, long: LongLedgerError) -> LedgerEntry:
        """Find the entry at which to end the oldest stretch that one reading may ask for, with a single call.

        Raises:
            PayloadInvalidError: Kraken counts entries there and shows none.
        """
        newer = max(0, long.counted - STRETCH_ENTRIES_MAX + PAGE_LENGTH)
        page = self.exchange.ledger_page(after=long.after, until=None, offset=newer)
        if not page.entries:
            raise PayloadInvalidError(
                f"expected entries after skipping {newer} of {long.counted}, was none", endpoint="Ledgers"
            )
        return max(page.entries, key=lambda entry: (entry.entry_time, entry.ledger_id))

    def _known(self, after: datetime | None, end: LedgerEntry | None) -> KnownBooks:
        known = self.known_books(after)
        if end is None:
            return known
        earlier = [entry for entry in known.entries if entry.entry_time < end.entry_time]
        return replace(known, entries=earlier)

    def _start(self, overlap: timedelta, attempt: int) -> datetime | None:
        if self.state.newest_entry_at is None or attempt == PROOF_TRIES_MAX - 1:
            return self.state.ledger_floor
        # Imported entries carry whole seconds: just below one, an entry and its finer time are on one side.
        start = (self.state.newest_entry_at - overlap).replace(microsecond=0) - timedelta(microseconds=1)
        return max(start, self.state.ledger_floor) if self.state.ledger_floor else start

    def _is_complete(self, pages: _Pages, attempt: int) -> bool:
        """Say whether the stretch may be trusted once it connects.

        Where the count disagrees the stretch is read again, and a first reading (whose older edge nothing
        else proves) as often as allowed; what is still missing then is told with the reading.
        """
        if not pages.reached_end:
            return not self.state.is_open
        witnessed_from = 1 if self.state.is_open else PROOF_TRIES_MAX - 1
        return _counts_agree(pages.counted, pages.entries) or attempt >= witnessed_from

    def _entries_max(self, attempt: int) -> int:
        if not self.state.is_open:
            return OPENING_ENTRIES_MAX
        return PAGES_MAX * PAGE_LENGTH if attempt else STRETCH_ENTRIES_MAX

    def _failure(self, gaps: list[Gap], problem: Exception | None) -> Exception:
        if problem is not None:
            return problem
        if gaps and all(abs(self.clock() - gap.noticed_at) <= LAG_MAX for gap in gaps):
            return StillMovingError("; ".join(map(str, gaps)))
        detail = "; ".join(map(str, gaps)) or f"more than {PAGES_MAX} pages, or fewer entries than counted"
        return PayloadInvalidError(f"the ledger is incomplete: {detail}", endpoint="Ledgers")


def _count_words(pages: _Pages) -> str:
    return f"Kraken counted {pages.counted} entries and showed {len(pages.entries)}"


def _derive_opening(pages: _Pages, balances: Mapping[HoldingKey, Balance], as_of: datetime) -> Opening:
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
    reader: LedgerReader, first_balances: Mapping[HoldingKey, Balance], clock: Callable[[], datetime]
) -> Reading:
    """Read balance, ledger, balance until the outer two agree, a bounded number of times.

    Raises:
        PayloadInvalidError: the ledger cannot be proved complete, or the reply is implausible.
        StillMovingError: the newest entries do not connect yet.
    """
    before = first_balances
    for _ in range(COHERENCE_TRIES_MAX):
        as_of = clock()
        pages, after = reader.read()
        balances = reader.exchange.balances()
        coherent = {k: b.balance for k, b in balances.items()} == {k: b.balance for k, b in before.items()}
        if coherent:
            break
        before = balances
    missing = reader.missing(pages)
    reading = Reading(
        balances,
        tuple(pages.entries.values()),
        after,
        as_of,
        coherent and not missing,
        respelled=pages.respelled,
        missing=missing,
    )
    if pages.missing:
        reading = replace(reading, note=_count_words(pages))
    if not reader.state.is_open:
        if missing:
            raise StillMovingError(f"{_count_words(pages)}; {TRUSTING_WORDS}")
        if not coherent:
            raise StillMovingError("the account did not stand still long enough to be opened")
        reading = replace(reading, opening=_derive_opening(pages, balances, as_of))
    return reading


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
