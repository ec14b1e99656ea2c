"""Which kinds of ledger entries are known here.

A kind decides nothing about a position: every entry moves one holding by ``amount - fee``, whatever it is
called. The list only serves to tell people when Kraken begins to write something that nobody has thought of.
``docs/reference/ledger-entries.md`` says of each what it means.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from kraken_recon.ledger.entries import LedgerEntry

ANY: Final = "*"
KNOWN_KINDS: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {
        "trade": frozenset({"", "tradespot"}),
        "deposit": frozenset({""}),
        "withdrawal": frozenset({""}),
        "transfer": frozenset(
            {
                "",
                "spottostaking",
                "stakingfromspot",
                "stakingtospot",
                "spotfromstaking",
                "spottofutures",
                "spotfromfutures",
                "airdrop",
                "delistingconversion",
            }
        ),
        "staking": frozenset({""}),
        "earn": frozenset(
            {
                "",
                "reward",
                "airdrop",
                "allocation",
                "deallocation",
                "autoallocation",
                "autoallocate",
                "migration",
                "delistingconversion",
            }
        ),
        "margin": frozenset({""}),
        "rollover": frozenset({""}),
        "settled": frozenset({""}),
        "collateralconversion": frozenset({""}),
        "spend": frozenset({"", "dustsweeping"}),
        "receive": frozenset({"", "dustsweeping"}),
        "adjustment": frozenset({""}),
        # In Kraken's own list of types; no recording of one was ever seen, so no subtype is called strange.
        **dict.fromkeys(
            (
                "credit",
                "dividend",
                "sale",
                "conversion",
                "nfttrade",
                "nftcreatorfee",
                "nftrebate",
                "custodytransfer",
                "reward",
                "none",
                "hybridearnwithdrawal",
                "hybridearndeposit",
                "invite bonus",
            ),
            frozenset({ANY}),
        ),
    }
)
"""Subtypes by type; ``ANY`` admits every one. Old replies leave subtypes out, so "" is always among them."""


def is_known_kind(entry_type: str, subtype: str) -> bool:
    """Say whether this type and subtype are on the list."""
    subtypes = KNOWN_KINDS.get(entry_type, frozenset())
    return subtype in subtypes or ANY in subtypes


def strange_entries(entries: Iterable[LedgerEntry]) -> list[LedgerEntry]:
    """Pick the entries whose kind, or the wallet in whose asset code, is not known here.

    A wallet suffix that is not known leaves its dot in the asset's name: it is kept as an asset of its own.
    """
    return [e for e in entries if not is_known_kind(e.entry_type, e.subtype) or "." in e.asset]


def kind_of(entry: LedgerEntry) -> str:
    """Write an entry's kind as people read it."""
    return f"{entry.entry_type}/{entry.subtype}" if entry.subtype else entry.entry_type
