"""Find the two legs of a conversion that Kraken wrote under a ``refid`` each.

Renames and delistings (``adjustment``, ``delistingconversion``) and the staking of before 2023 (ether became
``ETH2``) give one asset and bring another, and nothing in the entries joins them but their kind and time.
Two are taken for one conversion only where neither has another candidate: a cost is never guessed.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from kraken_recon.domain.money import ZERO

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kraken_recon.domain.ledger import LedgerEntry

STAKING: Final = frozenset({"spottostaking", "stakingfromspot", "stakingtospot", "spotfromstaking"})
CONVERSIONS: Final = frozenset(
    {
        ("adjustment", ""),
        ("transfer", "delistingconversion"),
        *(("transfer", subtype) for subtype in STAKING),
    }
)
"""Types and subtypes of entries that may be one leg of a conversion."""
CONVERSION_GAP: Final = timedelta(minutes=1)
"""How far apart the two legs may be; recorded ones were 7 seconds apart."""


def shared_refids(entries: Iterable[LedgerEntry]) -> dict[str, str]:
    """Name the ``refid`` under which the incoming leg of a conversion belongs, by its ledger id."""
    listed = list(entries)
    under = Counter(entry.refid for entry in listed)
    legs = sorted(
        (e for e in listed if (e.entry_type, e.subtype) in CONVERSIONS and under[e.refid] == 1),
        key=lambda entry: (entry.entry_time, entry.ledger_id),
    )
    partners: dict[str, list[LedgerEntry]] = defaultdict(list)
    for place, leg in enumerate(legs):
        for other in legs[place + 1 :]:
            if other.entry_time - leg.entry_time > CONVERSION_GAP:
                break
            if _may_belong_together(leg, other):
                partners[leg.ledger_id].append(other)
                partners[other.ledger_id].append(leg)
    return {
        leg.ledger_id: partners[leg.ledger_id][0].refid
        for leg in legs
        if leg.change > ZERO
        and len(partners[leg.ledger_id]) == 1
        and len(partners[partners[leg.ledger_id][0].ledger_id]) == 1
    }


def _may_belong_together(one: LedgerEntry, other: LedgerEntry) -> bool:
    if one.asset == other.asset or one.change * other.change >= ZERO:
        return False
    if one.subtype in STAKING or other.subtype in STAKING:
        return one.subtype in STAKING and other.subtype in STAKING and one.amount == -other.amount
    return (one.entry_type, one.subtype) == (other.entry_type, other.subtype)
