"""What runs remember of a book: since when assets have not agreed, and what was written.

A run in which everything agrees leaves one row for each account. An asset that is remembered as one that
stands out did not agree in the newest run that judged its account; every other asset did.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from uuid import UUID, uuid5

from kraken_recon.desk_books.rules.decide import Seen
from kraken_recon.desk_books.rules.records import Explanation

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime
    from decimal import Decimal

    from kraken_recon.desk_books.declaration import DeskBook
    from kraken_recon.desk_books.rules.records import Difference
    from kraken_recon.ledger.entries import LedgerEntry

_DECLARATIONS: Final = UUID("0a6b7f5e-4b1c-4d3b-8b56-6465736b6273")
_MEANING: Final = {
    *("table", "query", "account", "only", "quantity", "decimals", "scaled_by"),
    *("asset", "holds", "wallets", "currency"),
}
"""The fields that say what rows mean: what agreed under others is no agreement."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """That an asset agreed, by all ledger entries up to one; ``quantity`` is the desk's, where on record."""

    ledger_seq: int
    quantity: Decimal | None = None


@dataclass(frozen=True, slots=True)
class AssetStanding:
    """An asset that stood out when its account was last judged.

    ``agreed_at`` and ``agreed_seq`` are None where it never agreed; ``difference`` and ``explanation`` where
    its rows could not be judged. ``first_seen_at`` is since when the same difference has been seen,
    unexplained or explained as it is now.
    """

    agreed_at: datetime | None
    agreed_seq: int | None
    difference: Decimal | None
    explanation: str | None
    first_seen_at: datetime


@dataclass(frozen=True, slots=True)
class JudgedBefore:
    """The newest run that judged an account in a book; counts of rows are of positions."""

    read_at: datetime
    ledger_seq: int
    declaration: UUID
    position_rows: int


@dataclass(frozen=True, slots=True)
class LastWrite:
    """Our last write to the rows of an asset.

    ``change`` is of the desk's quantity, ``quantity`` what that became; ``ledger_ids`` are the entries by
    which it was explained. ``undone_by`` is who took it back, if somebody did.
    """

    written_at: datetime
    ledger_seq: int
    change: Decimal
    quantity: Decimal
    explanation: str
    ledger_ids: tuple[str, ...] = ()
    undone_by: str | None = None

    @property
    def was_booked_for_the_bot(self) -> bool:
        """Say whether it wrote what the bot had not booked yet, and may book later."""
        return self.undone_by is None and self.explanation in (Explanation.BEHIND, Explanation.MISSED)


@dataclass(frozen=True, slots=True)
class AssetMemory:
    """What is remembered of an asset that does not agree now.

    Attributes:
        agreed_at: when a run last saw it agree; None where none did.
        agreed_seq: the last of our ledger entries then.
        standing: as the newest run left it, if it stood out.
        write: our last write to its rows.
        booked: the entries which that write was made of, where the bot may book them later.
    """

    agreed_at: datetime | None = None
    agreed_seq: int | None = None
    standing: AssetStanding | None = None
    write: LastWrite | None = None
    booked: Sequence[LedgerEntry] = ()

    @property
    def agreement(self) -> Agreement | None:
        """Since when the ledger explains it: it agreed, or was written by us."""
        if self._is_written_since and self.write and self.write.undone_by is None:
            return Agreement(self.write.ledger_seq, self.write.quantity)
        return None if self.agreed_seq is None else Agreement(self.agreed_seq)

    @property
    def seen(self) -> Seen | None:
        """The same as an earlier run saw it, where nothing explained it."""
        one = self.standing
        if one is None or one.difference is None or one.explanation != Explanation.UNEXPLAINED:
            return None
        return Seen(one.difference, one.first_seen_at)

    @property
    def last_changes(self) -> tuple[Decimal, ...]:
        """What our last write changed, where the asset has not agreed since."""
        return (self.write.change,) if self.write and self._is_written_since else ()

    @property
    def _is_written_since(self) -> bool:
        if self.write is None:
            return False
        return self.agreed_at is None or self.write.written_at > self.agreed_at


def declaration_ids(book: DeskBook, values: Mapping[str, object]) -> dict[str, UUID]:
    """Name what is declared of the rows of accounts, each with the desk's value of it."""
    told = book.model_dump_json(include={"connection": True, "positions": _MEANING, "cash": _MEANING})
    declared = uuid5(_DECLARATIONS, told)
    return {account: uuid5(declared, str(value)) for account, value in values.items()}


def remembered(
    standing: AssetStanding | None,
    before: JudgedBefore | None,
    write: LastWrite | None,
    booked: Sequence[LedgerEntry] = (),
) -> AssetMemory:
    """Say since when an asset has not agreed.

    Args:
        standing: as the newest run left it.
        before: the newest run that judged its account, under the same declaration.
        write: our last write to its rows.
        booked: the entries which that was made of, where the bot may book them later.
    """
    if before is None:
        return AssetMemory(write=write, booked=booked)
    if standing is None:
        return AssetMemory(before.read_at, before.ledger_seq, None, write, booked)
    return AssetMemory(standing.agreed_at, standing.agreed_seq, standing, write, booked)


def standings_now(
    differences: Iterable[Difference],
    unjudged: Iterable[str],
    memory: Mapping[str, AssetMemory],
    read_at: datetime,
) -> dict[str, AssetStanding]:
    """Say what the next run has to remember of the assets of an account that do not agree."""
    found: dict[str, tuple[Decimal | None, str | None]] = dict.fromkeys(unjudged, (None, None))
    for one in differences:
        found[one.asset] = (one.compared.difference, one.explained.answer.explanation.value)
    return {asset: _standing(memory[asset], *change, read_at) for asset, change in found.items()}


def _standing(
    memory: AssetMemory, difference: Decimal | None, explanation: str | None, read_at: datetime
) -> AssetStanding:
    before = memory.standing
    was_unexplained = before is not None and before.explanation == Explanation.UNEXPLAINED
    is_same = (
        before is not None
        and before.difference == difference
        and was_unexplained == (explanation == Explanation.UNEXPLAINED)
    )
    first_seen_at = before.first_seen_at if before is not None and is_same else read_at
    return AssetStanding(memory.agreed_at, memory.agreed_seq, difference, explanation, first_seen_at)
