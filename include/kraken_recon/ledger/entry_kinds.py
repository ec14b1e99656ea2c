"""Every kind of ledger entry that is known here, what it means, and what of it matters to our books.

A kind decides nothing about a position: every entry moves one holding by ``amount - fee``, whatever it is
called. It matters to the cost, to margin positions and to exports where the table says so by its traits.
A kind that is not in the table is applied like any other, and people are told.

Add a kind to ``KINDS`` and nowhere else: all lists of kinds and ``docs/reference/ledger-entries.md`` follow.
"""

from __future__ import annotations

from enum import Flag, auto
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple

from kraken_recon.ledger.entries import OURS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from kraken_recon.ledger.entries import LedgerEntry

ANY: Final = "*"
TRADE: Final = "trade"


class Trait(Flag):
    """What the books must know of a kind of entry; most kinds have none of these.

    Of the last five a type has them with whatever subtype.
    """

    NONE = 0
    MOVES = auto()
    """Carries an asset from one wallet of the account to another."""
    SWAPS = auto()
    """May turn an asset into just as much of another, at once."""
    RENAMES = auto()
    """Renames or delists an asset; the other leg may come days later."""
    EXCHANGES = auto()
    """Is one of two legs that a complete export shows both of, but for dust."""
    MARGIN = auto()
    """Tells of a margin position."""
    CLOSES = auto()
    """May close a margin position."""
    ALONE = auto()
    """Is no leg of anything; a conversion of collateral may have the same ``refid``."""
    ANNOUNCED = auto()
    """Is in exports before it happens, without an id."""


class EntryKind(NamedTuple):
    """One row of the page: kinds of which the same is to be said, as ``type`` or ``type/subtype``.

    ``shape`` says how many ledger rows there are, ``cost`` what they do to the average cost, in Markdown.
    ``place`` is where an entry of one leg carries own money to or from. A type with ``ANY`` subtype is in
    Kraken's own list, and no recording of one was ever seen.
    """

    names: str
    traits: Trait
    shape: str
    meaning: str
    cost: str
    place: str | None = None

    @property
    def kinds(self) -> tuple[tuple[str, str], ...]:
        """The types and subtypes that it names; no subtype is ``""``."""
        parts = [name.partition("/") for name in self.names.split(", ")]
        return tuple((entry_type, subtype) for entry_type, _, subtype in parts)


OWN_MONEY: Final = "own money: see below"
MOVED_ALONG: Final = "none; of an exchange: moves along"
# By the heading of the page that they stand under.
# fmt: off
KINDS: Final[Mapping[str, tuple[EntryKind, ...]]] = MappingProxyType({
    "Exchanges": (
        EntryKind("trade, trade/tradespot", Trait.EXCHANGES,
                  "2 with one `refid`; 1 where the other rounds to nothing (below); 3 or 4 with fee credits "
                  "or tokenized assets",
                  "a fill on the spot market; the fee may be on either row, on both, or in `KFEE`",
                  "bought: known, at what was paid, fees included. Sold: a realised result"),
        EntryKind("spend, receive", Trait.EXCHANGES,
                  "2, one of each", "a purchase or conversion in the app, without a trade", "as a trade"),
        EntryKind("spend/dustsweeping, receive/dustsweeping", Trait.EXCHANGES,
                  "many given, one received", "small balances swept into one asset",
                  "several assets share the proceeds by what they cost; if one part is of unknown cost, no "
                  "result is booked"),
        EntryKind("conversion/*, sale/*", Trait.NONE, "2", "an exchange without a market", "as a trade"),
        EntryKind("settled", Trait.MARGIN | Trait.CLOSES,
                  "2", "a margin position settled in kind: notional against the asset", "as a trade"),
        EntryKind("collateralconversion", Trait.MARGIN,
                  "2, before a `margin` row under the same `refid`",
                  "currency changed into the one that a margin fee is taken in", "the cost moves along"),
    ),
    "In and out": (
        EntryKind("deposit", Trait.ANNOUNCED,
                  "1", "arrived; a pending one is only in exports and is skipped",
                  "unknown; money costs itself"),
        EntryKind("withdrawal", Trait.ANNOUNCED,
                  "1", "left, its fee on top", "leaves in proportion, no result"),
        EntryKind("withdrawal", Trait.ANNOUNCED,
                  "1 more, same `refid`, a **positive amount and a negative fee**",
                  "failed, cancelled or reversed: everything came back, the fee too",
                  "as if it had never left. Where the withdrawal itself is older than the books: unknown"),
        EntryKind("transfer, transfer/airdrop, earn/airdrop", Trait.NONE,
                  "1", "given for nothing; without a subtype a fork", "unknown"),
        EntryKind("transfer/spottofutures, transfer/spotfromfutures", Trait.NONE,
                  "1", "to and from the futures account, which is not reconciled here", OWN_MONEY,
                  place="futures account"),
        EntryKind("hybridearnwithdrawal/*, hybridearndeposit/*", Trait.NONE,
                  "1 each; old ones 2 with one `refid`",
                  "from the plain balance to a vault of Kraken's *DeFi Earn*, and back with what it earned",
                  f"{OWN_MONEY}; two rows: none", place="vault"),
        EntryKind("custodytransfer/*", Trait.NONE, "1", "to or from custody", OWN_MONEY, place="custody"),
        EntryKind("credit/*, dividend/*, reward/*, invite bonus/*, nftrebate/*, none/*", Trait.NONE,
                  "1", "given", "unknown; money costs itself"),
        EntryKind("nfttrade/*, nftcreatorfee/*", Trait.NONE,
                  "1", "collectibles, which have no balance", "money leaves"),
    ),
    "Between wallets": (
        EntryKind("earn/allocation, earn/deallocation, earn/autoallocation, earn/autoallocate", Trait.MOVES,
                  "2", "between the plain balance and an earning one (`.F`, `.B`)", "none"),
        EntryKind("earn/migration", Trait.MOVES | Trait.SWAPS,
                  "2", "Kraken moved a holding to another wallet; **from one asset to another** (`ETH2` to "
                  "`ETH`) it is an exchange", MOVED_ALONG),
        EntryKind("transfer/spottostaking, transfer/stakingfromspot, transfer/stakingtospot, "
                  "transfer/spotfromstaking", Trait.MOVES | Trait.SWAPS,
                  "2 with **two** `refid`s, some seconds apart",
                  "the staking of before 2023. Ether became `ETH2`: an exchange", MOVED_ALONG),
        EntryKind("earn", Trait.SWAPS,
                  "1 or 2", "what the oldest exports call all of `earn`, and the migration of 2023 and 2024",
                  "by its rows: a reward, a move or an exchange"),
        EntryKind("staking, earn/reward", Trait.NONE,
                  "1", "a reward; `earn` takes a commission as fee", "unknown"),
    ),
    "Margin": (
        EntryKind("margin", Trait.MARGIN | Trait.CLOSES | Trait.ALONE,
                  "1, amount 0, `refid` is the opening trade",
                  "a position was opened; the fee is all that moves", "the fee leaves"),
        EntryKind("margin", Trait.MARGIN | Trait.CLOSES | Trait.ALONE,
                  "1, amount not 0, `refid` is the closing trade",
                  "closed or liquidated, all or part: the result, less the fee",
                  "money comes or goes at its own value; it is in no asset's realised result"),
        EntryKind("rollover", Trait.MARGIN | Trait.ALONE,
                  "1, `refid` is the opening trade", "the fee for four hours", "leaves"),
    ),
    "Renames and delistings": (
        EntryKind("adjustment", Trait.RENAMES,
                  "1, or 2 which **may have different `refid`s**",
                  "conversions outside trading: an asset is renamed or replaced",
                  "moves along where the other row is certain, else unknown"),
        EntryKind("transfer/delistingconversion, earn/delistingconversion", Trait.RENAMES,
                  "2 or more, perhaps with different `refid`s, seconds to days apart",
                  "an asset is delisted and turned into another, or into money",
                  "as an exchange, where the other row is certain"),
    ),
})
# fmt: on

_ALL: Final = [kind for listed in KINDS.values() for kind in listed]
_KNOWN: Final = frozenset(kind for row in _ALL for kind in row.kinds)
_TYPES: Final = frozenset(entry_type for entry_type, _ in _KNOWN)


def _kinds_with(trait: Trait) -> frozenset[tuple[str, str]]:
    return frozenset(kind for row in _ALL if trait in row.traits for kind in row.kinds)


def _types_with(trait: Trait) -> frozenset[str]:
    return frozenset(entry_type for entry_type, _ in _kinds_with(trait))


MOVES: Final = _kinds_with(Trait.MOVES)
SWAPS: Final = _kinds_with(Trait.SWAPS)
RENAMES: Final = _kinds_with(Trait.RENAMES)
CONVERSIONS: Final = SWAPS | RENAMES
"""Types and subtypes of entries that may be one leg of a conversion."""
EXCHANGING_TYPES: Final = _types_with(Trait.EXCHANGES)
MARGIN_TYPES: Final = _types_with(Trait.MARGIN)
CLOSING_TYPES: Final = _types_with(Trait.CLOSES)
LONE_TYPES: Final = _types_with(Trait.ALONE)
ANNOUNCED_TYPES: Final = _types_with(Trait.ANNOUNCED)
PLACES: Final[Mapping[str, str]] = MappingProxyType(
    {name.removesuffix("/*"): row.place for row in _ALL if row.place for name in row.names.split(", ")}
)
"""Where entries of one leg carry own money to and from, by type or by type and subtype."""


def is_known_kind(entry_type: str, subtype: str) -> bool:
    """Say whether this type and subtype are in the table; old replies leave the subtype of any type out."""
    if not subtype:
        return entry_type in _TYPES
    return not _KNOWN.isdisjoint({(entry_type, subtype), (entry_type, ANY)})


def strange_entries(entries: Iterable[LedgerEntry]) -> list[LedgerEntry]:
    """Pick the entries whose kind, or the wallet in whose asset code, is not known here.

    A wallet suffix that is not known leaves its dot in the asset's name: it is kept as an asset of its own.
    Entries of ours, which stand for what a person accepted, are no news.
    """
    return [
        entry
        for entry in entries
        if entry.entry_type not in OURS and (not is_known_kind(*entry.kind) or "." in entry.asset)
    ]


def kind_of(entry: LedgerEntry) -> str:
    """Write an entry's kind as people read it."""
    return "/".join(filter(None, entry.kind))


def as_columns(kinds: Iterable[tuple[str, str]]) -> list[str]:
    """Write kinds as statements compare them: type and subtype joined, whatever the subtype."""
    return sorted("/".join(kind) for kind in kinds)
