"""Put exported entries into a holding's recorded history, behind or ahead of its opening.

Invariants:
1. Opening plus all entries equals the end of the chain, before and after.
2. Entries older than the opening are part of it: what they add, the opening loses, so the position stays.
3. A place that does not connect is returned as a gap with both neighbours; nothing is guessed across it.

Exports cut times to whole seconds while the exchange's replies do not, so within a second only the balances
decide the order.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING

from kraken_recon.ledger.chain import Chain, Gap, prove_chain
from kraken_recon.values.money import ZERO

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from datetime import datetime
    from decimal import Decimal

    from kraken_recon.ledger.entries import HoldingKey, LedgerEntry


@dataclass(frozen=True, slots=True)
class KnownOpening:
    """What a holding's recorded history begins with, and at which moment; None: at the very first entry."""

    quantity: Decimal
    at: datetime | None


@dataclass(frozen=True, slots=True)
class Extension:
    """How a holding's history grows.

    ``added`` are the new entries in chain order, the first ``older`` of them from before the opening.
    ``begins_at`` is just before the first entry of the whole history.
    """

    key: HoldingKey
    added: tuple[LedgerEntry, ...]
    older: int
    opening_before: Decimal
    opening_after: Decimal
    begins_at: datetime
    gaps: tuple[Gap, ...] = ()


def whole_second(moment: datetime) -> datetime:
    """Cut a time as Kraken's exports do."""
    return moment.replace(microsecond=0)


def extend(
    key: HoldingKey,
    recorded: Sequence[LedgerEntry],
    new: Collection[LedgerEntry],
    known: KnownOpening | None,
) -> Extension:
    """Chain a holding's recorded and new entries, and find what its opening must be from now on.

    Args:
        key: the holding.
        recorded: its entries on record.
        new: its entries to add, none of them on record.
        known: its opening on record, or None where nothing says what the holding began with.
    """
    chain = _prove(key, [*recorded, *new], known)
    new_ids = {entry.ledger_id for entry in new}
    # A gap between two recorded entries was there before, and is not the file's.
    gaps = [gap for gap in chain.gaps if any(e and e.ledger_id in new_ids for e in (gap.after, gap.before))]
    place = 0
    if known is not None and not gaps:
        found = _opening_place(chain, recorded, known)
        if isinstance(found, Gap):
            gaps.append(found)
        else:
            place = found
    originals = {entry.ledger_id: entry for entry in new}
    return Extension(
        key,
        tuple(originals[entry.ledger_id] for entry in chain.entries if entry.ledger_id in new_ids),
        sum(1 for entry in chain.entries[:place] if entry.ledger_id in new_ids),
        known.quantity if known is not None else ZERO,
        chain.opening,
        whole_second(chain.entries[0].entry_time) - timedelta(microseconds=1),
        tuple(gaps),
    )


def _prove(key: HoldingKey, entries: Sequence[LedgerEntry], known: KnownOpening | None) -> Chain:
    """Chain entries on whole seconds; where they fit the recorded opening as they are, it decides."""
    cut = [
        replace(entry, entry_time=whole_second(entry.entry_time)) if entry.entry_time.microsecond else entry
        for entry in entries
    ]
    if known is not None:
        chain = prove_chain(key, cut, known_balance=known.quantity)
        if not chain.gaps:
            return chain
    return prove_chain(key, cut, known_balance=None)


def _opening_place(chain: Chain, recorded: Sequence[LedgerEntry], known: KnownOpening) -> int | Gap:
    """Find before which entry the recorded opening stands: where the running balance is its quantity."""
    seconds = [entry.entry_time for entry in chain.entries]
    if recorded:
        first = whole_second(min(entry.entry_time for entry in recorded))
        least, most = 0, sum(1 for second in seconds if second <= first) - 1
    elif known.at is None:
        least = most = 0
    else:
        moment = whole_second(known.at)
        least = sum(1 for second in seconds if second < moment)
        most = sum(1 for second in seconds if second <= moment)
    balances = [chain.opening, *(entry.balance for entry in chain.entries)]
    for place in range(most, least - 1, -1):
        if balances[place] == known.quantity:
            return place
    after = chain.entries[most - 1] if most else None
    if after is not None:
        return Gap(chain.key, after, None, known.quantity - balances[most])
    return Gap(chain.key, None, chain.entries[0], balances[0] - known.quantity)
