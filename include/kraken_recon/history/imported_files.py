"""The files of one import: every entry and trade once, where each stands, and why they do not connect."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kraken_recon.errors import ImportRefusedError
from kraken_recon.history.rules.export_rows import LedgerExport, TradesExport
from kraken_recon.history.rules.extending import whole_second
from kraken_recon.ledger.chain import by_holding, prove_chain
from kraken_recon.ledger.entries import differences
from kraken_recon.values.money import format_amount

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from kraken_recon.ledger.chain import Gap
    from kraken_recon.ledger.entries import LedgerEntry


@dataclass(frozen=True, slots=True)
class ExportedFiles:
    """Every entry and trade of the given files once, and where each entry stands."""

    ledgers: tuple[LedgerExport, ...]
    entries: Mapping[str, LedgerEntry]
    places: Mapping[str, str]
    trades: tuple[TradesExport, ...]

    @classmethod
    def of(cls, exports: Sequence[LedgerExport | TradesExport]) -> ExportedFiles:
        """Merge files that may overlap; each ledger must connect on its own."""
        ledgers = tuple(e for e in exports if isinstance(e, LedgerExport))
        entries: dict[str, LedgerEntry] = {}
        places: dict[str, str] = {}
        for ledger in ledgers:
            for entry, line in zip(ledger.entries, ledger.lines, strict=True):
                place = f"{ledger.name}, line {line}"
                seen = entries.setdefault(entry.ledger_id, entry)
                earlier = places.setdefault(entry.ledger_id, place)
                if differing := differences(seen, entry):
                    field_name, there, here = differing[0]
                    raise ImportRefusedError(
                        f"{place}: the id {entry.ledger_id} stands in {earlier} with other content: "
                        f"{field_name} {there} there, {here} here"
                    )
        files = cls(ledgers, entries, places, tuple(e for e in exports if isinstance(e, TradesExport)))
        files.refuse(
            gap
            for ledger in ledgers
            for key, entries in by_holding(ledger.entries).items()
            for gap in prove_chain(key, entries, known_balance=None).gaps
        )
        return files

    def refuse(self, gaps: Iterable[Gap], on_record: Mapping[str, LedgerEntry] | None = None) -> None:
        """Raise with every gap, each named by its neighbours, if there is any."""
        listed = list(gaps)
        named = [
            f"{gap.key}: {format_amount(gap.missing)} is not accounted for between "
            f"{self._neighbour(gap.after)} and {self._neighbour(gap.before)}"
            for gap in listed
        ]
        if named:
            reason = self._reason({gap.key.asset for gap in listed}, on_record or {})
            raise ImportRefusedError("\n  ".join((f"{reason}:", *named)))

    def _reason(self, assets: Collection[str], on_record: Mapping[str, LedgerEntry]) -> str:
        """Say why entries of these assets do not connect, as far as the files show it."""
        for ledger in self.ledgers:
            unplaced = [
                (line, entry)
                for entry, line in zip(ledger.entries, ledger.lines, strict=True)
                if entry.ledger_id in ledger.unplaced and entry.asset in assets
            ]
            if unplaced:
                return (
                    f"{ledger.name}: rows of type earn do not say which wallet they moved (the first is line "
                    f"{unplaced[0][0]}), because the column wallet is missing or empty there; export again "
                    "with all columns. So these do not connect"
                )
        times = [whole_second(entry.entry_time) for entry in self.entries.values()]
        within = [e for e in on_record.values() if min(times) <= whole_second(e.entry_time) <= max(times)]
        if within and not self.entries.keys() & on_record.keys():
            return (
                f"none of the {len(self.entries)} entries is on record, and none of the {len(within)} "
                "recorded in their time is in the files: most likely they are another account's. These do "
                "not connect"
            )
        types = {entry.entry_type for entry in self.entries.values()}
        if len(types) == 1:
            return (
                f"entries are missing: all rows are of type {types.pop()}, so the export was filtered; "
                "export all assets and all types, without a gap"
            )
        return "entries are missing; export all assets and all types, without a gap"

    def _neighbour(self, entry: LedgerEntry | None) -> str:
        if entry is None:
            return "the opening on record"
        return f"entry {entry.ledger_id} ({self.places.get(entry.ledger_id, 'on record')})"
