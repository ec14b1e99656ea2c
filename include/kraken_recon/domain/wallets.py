"""Which suffix of the API stands for an earning wallet that an export names by a word.

Kraken has written ``.F``, ``.B`` and ``.M`` for one and the same wallet at different times. What is on record
under the same ids decides; else a spelling of that wallet that connects with what is on record; else a free
one. Four wallets of one asset stay four holdings.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from kraken_recon.domain.chain import prove_chain
from kraken_recon.domain.ledger import SPOT, WALLET_NAMES, HoldingKey, is_same_wallet
from kraken_recon.domain.money import exact_arithmetic

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from decimal import Decimal

    from kraken_recon.domain.ledger import LedgerEntry

SPELLINGS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "liquid": ("F",),
        "bonded": ("B", "S", "M"),
        "flexible": ("F", "B", "M"),
        "locked": ("B", "S", "M"),
    }
)
"""The suffixes that each wallet has been seen with, the likeliest first."""


@exact_arithmetic()
def placed(
    entries: Iterable[LedgerEntry], on_record: Mapping[str, LedgerEntry], opened: Collection[HoldingKey] = ()
) -> dict[str, LedgerEntry]:
    """Write exported entries under the wallets that the record, or the API, has for them.

    Args:
        entries: of a file; earning wallets have one of ``WALLET_NAMES``.
        on_record: all entries of the account, by id.
        opened: holdings that the account began with.
    """
    listed = list(entries)
    named: dict[HoldingKey, list[LedgerEntry]] = defaultdict(list)
    recorded: dict[HoldingKey, list[LedgerEntry]] = defaultdict(list, {key: [] for key in opened})
    for entry in on_record.values():
        recorded[entry.key].append(entry)
    for entry in listed:
        if entry.wallet in WALLET_NAMES:
            named[entry.key].append(entry)
        elif entry.ledger_id not in on_record:
            recorded[entry.key].append(entry)
    taken: set[HoldingKey] = set()
    wallets: dict[HoldingKey, str] = {}
    for key, own in named.items():
        known = {on_record[e.ledger_id].wallet for e in own if e.ledger_id in on_record}
        if len(known) == 1:
            wallets[key] = known.pop()
            taken.add(HoldingKey(key.asset, wallets[key]))
    for key in sorted(named.keys() - wallets.keys(), key=lambda key: WALLET_NAMES.index(key.wallet)):
        wallets[key] = _spelling(key, named[key], recorded, taken)
        taken.add(HoldingKey(key.asset, wallets[key]))
    return {entry.ledger_id: replace(entry, wallet=wallets.get(entry.key, entry.wallet)) for entry in listed}


def _spelling(
    key: HoldingKey,
    entries: Sequence[LedgerEntry],
    recorded: Mapping[HoldingKey, Sequence[LedgerEntry]],
    taken: Collection[HoldingKey],
) -> str:
    places = [HoldingKey(key.asset, wallet) for wallet in SPELLINGS[key.wallet]]
    free = [place for place in places if place not in taken]
    for place in free:
        if place in recorded and _connect(place, [*recorded[place], *entries]):
            return place.wallet
    return next((place.wallet for place in free if place not in recorded), key.wallet)


def _connect(key: HoldingKey, entries: Iterable[LedgerEntry]) -> bool:
    cut = [replace(e, entry_time=e.entry_time.replace(microsecond=0)) for e in entries]
    return not prove_chain(key, cut, known_balance=None).gaps


@exact_arithmetic()
def respelled(
    read: Mapping[str, LedgerEntry],
    known: Collection[LedgerEntry],
    balances: Mapping[HoldingKey, Decimal],
) -> dict[HoldingKey, HoldingKey]:
    """Find the holdings on record that Kraken calls otherwise, with its name for them.

    The same entry under another suffix says so. So does a holding that nothing is on record of and that goes
    on exactly where an earning wallet of the same asset stood that Kraken does not name.

    Args:
        read: what Kraken tells, by id.
        known: what is on record of the same time.
        balances: what each holding was before it.
    """
    names: dict[HoldingKey, HoldingKey] = {}
    for entry in known:
        now = read.get(entry.ledger_id)
        if now is not None and now.key != entry.key:
            names[entry.key] = now.key
    told = {entry.key: entry for entry in sorted(read.values(), key=lambda e: e.entry_time, reverse=True)}
    recorded = {entry.key for entry in known} | {key for key, balance in balances.items() if balance}
    for key, first in told.items():
        before = first.balance_before
        for old in sorted(recorded - told.keys() - names.keys()):
            is_free = key not in recorded and key not in names.values() and key.wallet != SPOT
            is_other = old.asset == key.asset and is_same_wallet(old.wallet, key.wallet)
            if is_free and is_other and before and balances.get(old) == before:
                names[old] = key
    return {old: new for old, new in names.items() if old not in told}
