"""In which order the operations of an account happened, as its running balances prove it."""

from __future__ import annotations

from collections import defaultdict
from graphlib import CycleError, TopologicalSorter
from itertools import groupby, pairwise
from typing import TYPE_CHECKING

from kraken_recon.ledger.chain import Chain, by_holding, prove_chain
from kraken_recon.ledger.operations import EntryGroup, in_time
from kraken_recon.values.money import ZERO, exact_arithmetic

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from decimal import Decimal

    from kraken_recon.ledger.entries import HoldingKey, LedgerEntry


def grouped(
    entries: Iterable[LedgerEntry], quote: str, before: Mapping[HoldingKey, Decimal] | None = None
) -> list[EntryGroup]:
    """Group entries that belong together, each at the time of its first entry, in the order they happened."""
    return in_order(in_time(entries), quote, before)


@exact_arithmetic()
def in_order(
    groups: Sequence[EntryGroup], quote: str, before: Mapping[HoldingKey, Decimal] | None = None
) -> list[EntryGroup]:
    """Put groups of one instant in the order that the running balances prove.

    Where these leave it open (the quote currency's are not looked at), the order is by ``refid``.

    Args:
        groups: in time.
        quote: the currency that the account counts in.
        before: what holdings were before these entries (zero where not named), None where nothing is known.
    """
    shared = undecided_holdings(groups, quote)
    places = {
        entry.ledger_id: place
        for chain in _chains(groups, shared, before)
        for place, entry in enumerate(chain.entries)
    }
    return [group for same in _instants(groups) for group in _in_chain_order(same, places, quote)]


def undecided_holdings(groups: Iterable[EntryGroup], quote: str) -> set[HoldingKey]:
    """Name the holdings of which it depends on the balances in which order things happened."""
    return {key for key in _shared(groups) if key.asset != quote}


def connects(groups: Iterable[EntryGroup], before: Mapping[HoldingKey, Decimal]) -> bool:
    """Say whether the entries of these holdings go on from these balances without a gap."""
    return not any(chain.gaps for chain in _chains(groups, before.keys(), before))


def _instants(groups: Iterable[EntryGroup]) -> list[list[EntryGroup]]:
    return [list(same) for _, same in groupby(groups, key=lambda group: group.effective_at)]


def _shared(groups: Iterable[EntryGroup]) -> set[HoldingKey]:
    return {e.key for same in _instants(groups) if len(same) > 1 for group in same for e in group.entries}


def _chains(
    groups: Iterable[EntryGroup], keys: Collection[HoldingKey], before: Mapping[HoldingKey, Decimal] | None
) -> list[Chain]:
    wanted = by_holding(e for group in groups for e in group.entries if e.key in keys)
    return [
        prove_chain(key, listed, known_balance=None if before is None else before.get(key, ZERO))
        for key, listed in wanted.items()
    ]


def _in_chain_order(same: Sequence[EntryGroup], places: Mapping[str, int], quote: str) -> list[EntryGroup]:
    """Order the groups of one instant so that each holding's entries come as its balances connect.

    Groups that have no asset but the quote currency in common, not even through others, do not look at each
    other: what else happened at the same instant must not change their order.
    """
    if len(same) == 1:
        return list(same)
    return [group for related in _related(same, quote) for group in _sorted_by_chain(related, places)]


def _related(same: Sequence[EntryGroup], quote: str) -> list[list[EntryGroup]]:
    parts: list[tuple[set[str], list[EntryGroup]]] = []
    for group in same:
        assets, members = {entry.asset for entry in group.entries} - {quote}, [group]
        apart = []
        for part in parts:
            if part[0] & assets:
                assets, members = assets | part[0], part[1] + members
            else:
                apart.append(part)
        parts = [*apart, (assets, members)]
    return [sorted(members, key=lambda group: group.refid) for _, members in parts]


def _sorted_by_chain(same: Sequence[EntryGroup], places: Mapping[str, int]) -> list[EntryGroup]:
    chains: dict[HoldingKey, list[tuple[int, str]]] = defaultdict(list)
    for group in same:
        for entry in group.entries:
            if entry.ledger_id in places:
                chains[entry.key].append((places[entry.ledger_id], group.refid))
    sorter: TopologicalSorter[str] = TopologicalSorter({group.refid: () for group in same})
    for chain in chains.values():
        for (_, earlier), (_, later) in pairwise(sorted(chain)):
            if earlier != later:
                sorter.add(later, earlier)
    named = {group.refid: group for group in same}
    try:
        sorter.prepare()
    except CycleError:
        return list(same)
    ordered: list[EntryGroup] = []
    while sorter.is_active():
        ready = sorted(sorter.get_ready())
        ordered += [named[refid] for refid in ready]
        sorter.done(*ready)
    return ordered
