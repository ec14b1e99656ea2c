"""Read a stretch of Kraken's ledger page by page, and connect it with what is on record.

Invariants:
1. Rows that arrive while pages are read are seen twice, never missed.
2. What Kraken tells otherwise than it is on record is refused, and never taken over.
3. A gap that a person accepted is filled only where Kraken's telling still leaves it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from kraken_recon.errors import PayloadInvalidError
from kraken_recon.ledger.chain import Gap, by_holding, prove_chain
from kraken_recon.ledger.entries import AT_END, GAP, OURS, differences
from kraken_recon.ledger.wallets import renamed, respelled, told_apart
from kraken_recon.values.money import ZERO

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime
    from decimal import Decimal

    from kraken_recon.ledger.entries import HoldingKey, LedgerEntry, LedgerPage

PAGE_LENGTH: Final = 50
PAGES_MAX: Final = 200
LAG_MAX: Final = timedelta(minutes=5)
CONTRADICTION_ADVICE: Final = "see `python -m kraken_recon contradictions --account NAME`"


@dataclass(frozen=True, slots=True)
class KnownBooks:
    """What the database already has of the stretch that is read: entries, and the balances before it."""

    entries: Sequence[LedgerEntry]
    balances_before: Mapping[HoldingKey, Decimal]

    @property
    def accepted(self) -> list[LedgerEntry]:
        """The gaps among them that a person accepted."""
        return [entry for entry in self.entries if entry.entry_type == GAP]


@dataclass(frozen=True, slots=True)
class LedgerPages:
    """What Kraken showed of a stretch; ``entries`` may have more, which fill gaps that a person accepted.

    ``mended`` are accepted gaps that are gone from Kraken's telling.
    """

    entries: dict[str, LedgerEntry]
    reached_end: bool
    counted: int | None
    shown: int
    respelled: Mapping[HoldingKey, HoldingKey] = field(default_factory=dict)
    mended: tuple[LedgerEntry, ...] = ()

    @property
    def missing(self) -> int:
        """How many entries Kraken counted and did not show, once nothing more was shown."""
        return max(0, (self.counted or 0) - self.shown) if self.reached_end else 0

    def joined(self, other: LedgerPages) -> LedgerPages:
        """Put what was shown of another class of assets beside this; each was proved by itself."""
        return LedgerPages(
            self.entries | other.entries,
            self.reached_end and other.reached_end,
            None if self.counted is None or other.counted is None else self.counted + other.counted,
            self.shown + other.shown,
            {**self.respelled, **other.respelled},
            (*self.mended, *other.mended),
        )

    @property
    def count_words(self) -> str:
        """Say how far Kraken's count and what it shows are apart."""
        return f"Kraken counted {self.counted} entries and showed {self.shown}"


def read_pages(
    page_of: Callable[..., LedgerPage],
    after: datetime | None,
    *,
    entries_max: int | None,
    end: LedgerEntry | None = None,
) -> LedgerPages:
    """Read pages from the head back to ``after``, with the end fixed by the first page's newest entry.

    With ``end`` only what is earlier than that entry is returned: others may share its moment. Rows that
    arrive meanwhile only push older rows to later offsets; one row of overlap lets a shifted page show
    itself. Where Kraken counts more than ``entries_max``, the first page alone is read; without it, all are.

    Raises:
        PayloadInvalidError: two entries have one id.
    """
    entries: dict[str, LedgerEntry] = {}
    until = end.ledger_id if end is not None else None
    counted: int | None = None
    pages = 0
    while entries_max is None or pages < PAGES_MAX:
        pages += 1
        page = page_of(after=after, until=until, offset=max(0, len(entries) - 1))
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
        if not fresh or (len(page.entries) < PAGE_LENGTH and (counted is None or len(entries) >= counted)):
            return _earlier(LedgerPages(entries, True, counted, len(entries)), end)  # noqa: FBT003
        if counted is not None and entries_max is not None and counted > entries_max:
            break
    return LedgerPages(entries, False, counted, len(entries))  # noqa: FBT003


def _earlier(pages: LedgerPages, end: LedgerEntry | None) -> LedgerPages:
    if end is None:
        return pages
    kept = {name: entry for name, entry in pages.entries.items() if entry.entry_time < end.entry_time}
    dropped = len(pages.entries) - len(kept)
    counted = None if pages.counted is None else pages.counted - dropped
    return replace(pages, entries=kept, counted=counted, shown=len(kept))


def refuse_contradictions(
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
        if entry.entry_type in OURS:
            continue
        is_old = newest is not None and entry.entry_time < newest
        if now is None and (is_old or (proved_until is not None and entry.entry_time <= proved_until)):
            raise PayloadInvalidError(
                f"entry {entry.ledger_id} of {entry.entry_time.isoformat()} is recorded, but Kraken's ledger "
                f"no longer shows it; {CONTRADICTION_ADVICE}",
                endpoint="Ledgers",
            )


def connected(
    pages: LedgerPages, known: KnownBooks | None, accepted: Sequence[LedgerEntry] = ()
) -> tuple[LedgerPages, list[Gap]]:
    """Connect what was read with what is on record, if need be under other names of its wallets.

    Either the record takes Kraken's names, or, where Kraken has one name for several wallets, what it tells
    is written under the wallets on record. What connects in neither way is told as gaps. Without ``known``
    books the oldest entries say themselves what came before.
    """
    names = respelled(pages.entries, known.entries, known.balances_before) if known else {}
    before = renamed(known.balances_before, names) if known else None
    fillers = [replace(gap, wallet=names.get(gap.key, gap.key).wallet) for gap in accepted]
    entries, mended = _filled(pages.entries, fillers, before)
    gaps = gaps_of(entries, before)
    if not gaps or known is None:
        return replace(pages, entries=entries, respelled=names, mended=mended), gaps
    apart = told_apart(
        pages.entries | {gap.ledger_id: gap for gap in accepted}, known.entries, known.balances_before
    )
    if gaps_of(apart, known.balances_before):
        return replace(pages, entries=entries), gaps
    return replace(pages, entries=apart), []


def _filled(
    shown: Mapping[str, LedgerEntry],
    fillers: Sequence[LedgerEntry],
    before: Mapping[HoldingKey, Decimal] | None,
) -> tuple[dict[str, LedgerEntry], tuple[LedgerEntry, ...]]:
    """Add the accepted gaps that still connect something, or end a chain; name the others."""
    entries = dict(shown) | {filler.ledger_id: filler for filler in fillers}
    mended = []
    for filler in fillers:
        of = {name: entry for name, entry in entries.items() if entry.key == filler.key}
        without = {name: entry for name, entry in of.items() if name != filler.ledger_id}
        spared = len(gaps_of(without, before)) - len(gaps_of(of, before))
        if spared < 0 or (spared == 0 and filler.subtype != AT_END):
            mended.append(filler)
            del entries[filler.ledger_id]
    return entries, tuple(mended)


def gaps_of(entries: Mapping[str, LedgerEntry], before: Mapping[HoldingKey, Decimal] | None) -> list[Gap]:
    """Name every place where entries do not connect, with what was before them if that is known."""
    gaps: list[Gap] = []
    for key, of in by_holding(entries.values()).items():
        balance = before.get(key, ZERO) if before is not None else None
        gaps += prove_chain(key, of, known_balance=balance).gaps
    return gaps
