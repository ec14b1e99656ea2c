"""Which suffix of the API stands for an earning wallet that an export names by a word.

Kraken has written ``.F``, ``.B`` and ``.M`` for one and the same wallet at different times. What is on record
under the same ids decides; else a spelling of that wallet that connects with what is on record; else a free
one. Four wallets of one asset stay four holdings.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from decimal import Decimal
from itertools import groupby
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from kraken_recon.ledger.chain import prove_chain
from kraken_recon.ledger.entries import SPOT, WALLET_NAMES, HoldingKey, is_same_wallet
from kraken_recon.values.money import ZERO, exact_arithmetic

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from kraken_recon.ledger.entries import LedgerEntry

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

    The same entries under another suffix say so. So does a holding that nothing is on record of and that goes
    on exactly where an earning wallet of the same asset stood that Kraken does not name. Two holdings may get
    one name, and two may change theirs; whether that is right, the balances must prove (``renamed``).

    Args:
        read: what Kraken tells, by id.
        known: what is on record of the same time.
        balances: what each holding was before it.
    """
    called: dict[HoldingKey, set[HoldingKey]] = defaultdict(set)
    for entry in known:
        if entry.ledger_id in read:
            called[entry.key].add(read[entry.ledger_id].key)
    names = {old: min(new) for old, new in called.items() if len(new) == 1 and old not in new}
    told = {entry.key: entry for entry in sorted(read.values(), key=lambda e: e.entry_time, reverse=True)}
    recorded = {entry.key for entry in known} | {key for key, balance in balances.items() if balance}
    for key, first in told.items():
        before = first.balance_before
        for old in sorted(recorded - told.keys() - names.keys()):
            is_free = key not in recorded and key not in names.values() and key.wallet != SPOT
            is_other = old.asset == key.asset and is_same_wallet(old.wallet, key.wallet)
            if is_free and is_other and before and balances.get(old) == before:
                names[old] = key
    return names


@exact_arithmetic()
def renamed(
    balances: Mapping[HoldingKey, Decimal], names: Mapping[HoldingKey, HoldingKey]
) -> dict[HoldingKey, Decimal]:
    """Write balances under other names; holdings that get one name are added up."""
    totals: dict[HoldingKey, Decimal] = defaultdict(Decimal)
    for key, balance in balances.items():
        totals[names.get(key, key)] += balance
    return dict(totals)


def told_apart(
    read: Mapping[str, LedgerEntry],
    known: Collection[LedgerEntry],
    balances: Mapping[HoldingKey, Decimal],
) -> dict[str, LedgerEntry]:
    """Write what Kraken tells under the wallets on record, where it calls several of them by one name.

    An entry on record keeps its wallet. A new one belongs to the wallet that stood where it begins: the one
    that Kraken names if that fits, else another earning wallet of the asset. Arguments as for ``respelled``.
    """
    on_record = {entry.ledger_id: entry.key for entry in known}
    running = dict(balances)
    earning = sorted(key for key in {*on_record.values(), *balances} if key.wallet != SPOT)
    apart: dict[str, LedgerEntry] = {}
    in_order = sorted(read.values(), key=lambda entry: (entry.entry_time, entry.ledger_id))
    for _, together in groupby(in_order, key=lambda entry: entry.entry_time):
        # Entries of one moment have no order of their own: first those that go on from where a wallet stood.
        moment = list(together)
        while moment:
            fitting = ((entry, _stood_at(entry, on_record, running, earning)) for entry in moment)
            entry, key = next(((entry, key) for entry, key in fitting if key), (moment[0], None))
            key = key or on_record.get(entry.ledger_id, entry.key)
            running[key] = entry.balance
            apart[entry.ledger_id] = (
                entry if entry.wallet == key.wallet else replace(entry, wallet=key.wallet)
            )
            moment.remove(entry)
    return apart


def _stood_at(
    entry: LedgerEntry,
    on_record: Mapping[str, HoldingKey],
    running: Mapping[HoldingKey, Decimal],
    earning: Iterable[HoldingKey],
) -> HoldingKey | None:
    siblings = (k for k in earning if k.asset == entry.asset and is_same_wallet(k.wallet, entry.wallet))
    own = on_record.get(entry.ledger_id)
    places = (own,) if own else (entry.key, *siblings)
    return next((key for key in places if running.get(key, ZERO) == entry.balance_before), None)
