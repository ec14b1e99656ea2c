"""What a desk calls an asset, and what we call it.

Invariants:
1. A name is understood in one way or not at all: what neither the declaration nor Kraken knows is unknown.
2. Names that the declaration maps come before any rule.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from kraken_recon.desk_books.declaration import Spelling
from kraken_recon.desk_books.rules.records import DeskProblem
from kraken_recon.ledger.asset_names import (
    LEGACY_NAMES,
    QUOTE_CURRENCIES,
    STATE_CURRENCIES,
    parse_kraken_code,
)
from kraken_recon.ledger.entries import SPOT
from kraken_recon.orders.decisions import nearest
from kraken_recon.plain_text import one_line

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from kraken_recon.desk_books.declaration import AssetColumn, DeskBook, Holds

ALWAYS_KNOWN: Final = frozenset({*LEGACY_NAMES.values(), *QUOTE_CURRENCIES, *STATE_CURRENCIES})
_SEPARATOR: Final = re.compile(r"[/\-_:]")
_LEGACY_ID_CHARACTERS: Final = 4
_LEGACY_IDS: Final = {ours: code for code, ours in LEGACY_NAMES.items() if len(code) == _LEGACY_ID_CHARACTERS}
"""Kraken's ids of its oldest assets, by our names; all newer ones are called the same."""


class Meant(NamedTuple):
    """What a name of the desk's means: an asset, and the wallet if the name has one."""

    asset: str
    wallet: str = SPOT


def known_assets(codes: Iterable[str]) -> frozenset[str]:
    """Name the assets that Kraken knows, from codes in any of its spellings."""
    return ALWAYS_KNOWN | {parse_kraken_code(code).asset for code in codes}


@dataclass(slots=True)
class Names:
    """How one book names assets; ``known`` are the assets that Kraken knows, by our names."""

    column: AssetColumn
    known: Collection[str]
    _read: dict[str, Meant | None] = field(default_factory=dict, init=False, repr=False)
    _folded: dict[str, str] = field(default_factory=dict, init=False, repr=False)

    def read(self, name: str) -> Meant | None:
        """Say what a name means; None where nobody knows it."""
        if name not in self._read:
            self._read[name] = self._meant(name.strip())
        return self._read[name]

    def written(self, asset: str, quote_currency: str) -> str:
        """Write an asset as the desk spells it; a pair is quoted in the account's currency."""
        if self.column.spelled is Spelling.KRAKEN:
            return _LEGACY_IDS.get(asset, asset)
        return f"{asset}/{quote_currency}" if self.column.spelled is Spelling.PAIR else asset

    def market(self, name: str) -> tuple[str, str | None] | None:
        """Say which market a name means: base and quote, or an asset alone; None where nobody knows it.

        However assets are spelled, orders may name pairs, with a separator or without.
        """
        text = name.strip()
        parts = _SEPARATOR.split(text)
        if len(parts) > 1 and text not in self.column.also:
            base, quote = self._part(parts[0]), self._part(parts[1])
            return (base.asset, quote.asset) if base and quote else None
        alone = self._part(text)
        if alone is not None:
            return alone.asset, None
        found = {
            (base.asset, quote.asset)
            for place in range(1, len(text))
            if self._is_quote(text[place:])
            and (quote := self._part(text[place:]))
            and (base := self._part(text[:place]))
        }
        return found.pop() if len(found) == 1 else None

    def _meant(self, name: str) -> Meant | None:
        if name in self.column.also:
            return Meant(self.column.also[name])
        if self.column.spelled is Spelling.PAIR:
            return self._base(name)
        return self._asset(name)

    def _asset(self, name: str) -> Meant | None:
        if name in self.known and self.column.spelled is Spelling.PLAIN:
            return Meant(name)
        key = parse_kraken_code(name)
        if key.asset in self.known:
            return Meant(key.asset, key.wallet)
        other = self._in_any_case(name)
        return None if other is None else Meant(other)

    def _in_any_case(self, name: str) -> str | None:
        """Find the one asset whose name differs in nothing but the case of its letters."""
        if not self._folded:
            for asset in self.known:
                folded = asset.casefold()
                self._folded[folded] = "" if folded in self._folded else asset
            self._folded |= {
                code.casefold(): ours
                for code, ours in LEGACY_NAMES.items()
                if code.casefold() not in self._folded and ours in self.known
            }
        return self._folded.get(name.casefold()) or None

    def _base(self, pair: str) -> Meant | None:
        """Find the base of a pair; without a separator, both parts have to be known in one way only."""
        parts = _SEPARATOR.split(pair)
        if len(parts) > 1:
            return self._part(parts[0])
        splits = [(pair[:place], pair[place:]) for place in range(1, len(pair))]
        meant = {self._part(base) for base, quote in splits if self._is_quote(quote) and self._part(base)}
        return meant.pop() if len(meant) == 1 else None

    def _part(self, name: str) -> Meant | None:
        return Meant(self.column.also[name]) if name in self.column.also else self._asset(name)

    def _is_quote(self, name: str) -> bool:
        found = self._part(name)
        return found is not None and found.asset in QUOTE_CURRENCIES


def is_kept(asset: str, holds: Holds) -> bool:
    """Say whether a table is meant to keep an asset."""
    if holds.which == "listed":
        return asset in holds.assets
    return holds.which == "all" or asset not in STATE_CURRENCIES


def unknown_in(book: DeskBook, known: Collection[str]) -> list[DeskProblem]:
    """Tell of every asset that a declaration names and Kraken does not know."""
    also = book.positions.asset.also
    named = [
        *((f"positions.asset.also.{name}", asset) for name, asset in sorted(also.items())),
        *(("positions.holds", asset) for asset in book.positions.holds.assets),
        *(("tolerance.assets", asset) for asset in sorted(book.tolerance.assets)),
        *([("cash.currency", book.cash.currency)] if book.cash else []),
    ]
    return [
        DeskProblem(
            f"{book.name} {where}",
            f"{one_line(asset)} is no asset that Kraken knows{nearest(asset, known)}",
            "Write the name that we use, such as BTC for XXBT.",
        )
        for where, asset in named
        if asset not in known
    ]
