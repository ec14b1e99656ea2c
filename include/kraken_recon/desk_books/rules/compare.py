"""Compare the rows of one account with what is proven, at the precision that the desk's column can hold.

Invariants:
1. A proven quantity that is rounded down, half-up or half-even to the desk's digits agrees.
2. Rows of one asset are added; what nobody can read is told, and its asset is not judged.
3. Where everything agrees nothing is computed: equality of numbers suffices.
"""

from __future__ import annotations

import decimal
from collections import defaultdict
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from kraken_recon.desk_books.declaration import AssetColumn, Holds, Spelling
from kraken_recon.desk_books.rules.names import Names, is_kept
from kraken_recon.desk_books.rules.records import BookComparison, ComparedAsset, DeskProblem, DeskRow
from kraken_recon.ledger.entries import TRADED
from kraken_recon.plain_text import one_line
from kraken_recon.values.money import SCALE_MAX, ZERO, exact_arithmetic, format_amount

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from kraken_recon.desk_books.declaration import DeskBook
    from kraken_recon.desk_books.rules.names import Meant

_ROUNDED: Final = decimal.Context(prec=120, rounding=decimal.ROUND_HALF_EVEN)
ROUNDINGS: Final = (decimal.ROUND_DOWN, decimal.ROUND_HALF_UP, decimal.ROUND_HALF_EVEN)
_STEPS: Final = tuple(Decimal(1).scaleb(-digits) for digits in range(SCALE_MAX + 1))
INTEGER_DIGITS_READ_MAX: Final = 18
"""Of more digits before the point no sum of rows would fit a column of ours; nothing has so many."""
_SHOWN_CHARACTERS_MAX: Final = 60
_SHOWN_KEYS_MAX: Final = 5


@dataclass(frozen=True, slots=True)
class Terms:
    """What the rows of one table mean.

    ``where`` names the table in a problem, ``decimals`` are the digits of the real quantity. ``apart`` are
    assets that the desk keeps in another table, ``is_cash`` says that this is the table that holds cash.
    ``kept`` remembers which names of rows that count mean which asset.
    """

    where: str
    names: Names
    holds: Holds
    decimals: int
    is_spot_only: bool = False
    apart: Collection[str] = frozenset()
    is_cash: bool = False
    kept: dict[str, str] = field(default_factory=dict, init=False, repr=False, compare=False)

    def keeps(self, meant: Meant) -> bool:
        """Say whether a row is about something that the table is meant to keep."""
        is_outside = self.is_spot_only and meant.wallet not in TRADED
        return not is_outside and meant.asset not in self.apart and is_kept(meant.asset, self.holds)


def terms_of_positions(book: DeskBook, known: Collection[str], decimals: int) -> Terms:
    """Say what rows of a book's positions mean; cash that has a table of its own is not among them.

    Args:
        book: as declared.
        known: the assets that Kraken knows, by our names.
        decimals: as declared, else the column's own scale.
    """
    positions = book.positions
    return Terms(
        f"{book.name} {positions.table or 'query'}",
        Names(positions.asset, known),
        positions.holds,
        decimals,
        is_spot_only=positions.wallets == "spot",
        apart={book.cash.currency} - {*positions.holds.assets} if book.cash else frozenset(),
    )


def terms_of_cash(book: DeskBook, decimals: int) -> Terms:
    """Say what rows of a book's cash mean; they are all named after its currency."""
    if book.cash is None:
        raise ValueError(f"{book.name} declares no cash")
    currency = book.cash.currency
    names = Names(AssetColumn(column=book.cash.quantity, spelled=Spelling.PLAIN), (currency,))
    return Terms(
        f"{book.name} {book.cash.table or 'query'}",
        names,
        Holds.model_validate([currency]),
        decimals,
        is_spot_only=book.positions.wallets == "spot",
        is_cash=True,
    )


def quantity_of(value: Any, decimals: int, scaled_by: int | None = None) -> Decimal | None:  # noqa: ANN401
    """Read a quantity as any database gives it, to the desk's digits; None where it is no number.

    A binary fraction is the decimal that it stands for: of what lies near it, the one with these digits.
    """
    number = value if isinstance(value, Decimal) else _number_of(value)
    if number is None:
        return None
    has_the_digits = scaled_by is None and number.same_quantum(_STEPS[decimals])
    if has_the_digits and number.adjusted() < INTEGER_DIGITS_READ_MAX:
        return number
    try:
        if scaled_by is not None:
            number = _ROUNDED.divide(number, Decimal(scaled_by))
        is_quantity = not number or (number.is_finite() and number.adjusted() < INTEGER_DIGITS_READ_MAX)
        return rounded(number, decimals) if is_quantity else None
    except decimal.DecimalException:
        return None


def _number_of(value: Any) -> Decimal | None:  # noqa: ANN401
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    if isinstance(value, str) and ("_" in value or not value.isascii()):
        return None  # Python reads 1_000 and the digits of every script; a person may have meant anything
    try:
        return Decimal(repr(value) if isinstance(value, float) else value)
    except decimal.DecimalException:
        return None


def rounded(number: Decimal, decimals: int, rounding: str = decimal.ROUND_HALF_EVEN) -> Decimal:
    """Round to so many digits after the point."""
    return number.quantize(_STEPS[decimals], rounding, _ROUNDED)


def agrees(proven: Decimal, desk: Decimal, decimals: int) -> bool:
    """Say whether a quantity of the desk's is the proven one, however it was rounded."""
    if proven == desk:
        return True
    return any(rounded(proven, decimals, rounding) == desk for rounding in ROUNDINGS)


def as_held(proven: Decimal, decimals: int) -> Decimal:
    """Write a proven quantity as the desk's column can hold it: rounded down, never more than there is."""
    return rounded(proven, decimals, decimal.ROUND_DOWN)


@dataclass(frozen=True, slots=True)
class ProvenPositions:
    """What is proven of one account: in each place an asset, one of its wallets, and the quantity there."""

    assets: Sequence[str] = ()
    wallets: Sequence[str] = ()
    quantities: Sequence[Decimal] = ()

    @exact_arithmetic()
    def by_asset(self, *, is_spot_only: bool) -> dict[str, Decimal]:
        """Sum by asset, over all wallets or of the spot wallet alone."""
        whole = dict(zip(self.assets, self.quantities, strict=True))
        if len(whole) == len(self.assets) and (not is_spot_only or TRADED.issuperset(self.wallets)):
            return whole
        totals: dict[str, Decimal] = {}
        for asset, wallet, quantity in zip(self.assets, self.wallets, self.quantities, strict=True):
            if wallet in TRADED or not is_spot_only:
                totals[asset] = totals.get(asset, ZERO) + quantity
        return totals

    def of(self, asset: str) -> dict[str, Decimal]:
        """Say how much of an asset lies in which wallet."""
        every = zip(self.assets, self.wallets, self.quantities, strict=True)
        return {wallet: quantity for own, wallet, quantity in every if own == asset}


@exact_arithmetic()
def compare(rows: Sequence[DeskRow], proven: Mapping[str, Decimal], terms: Terms) -> BookComparison:
    """Compare the rows of one account with its proven quantities by asset."""
    if (agreeing := _all_agree(rows, proven, terms)) is not None:
        return BookComparison(len(rows), len(agreeing), assets=tuple(sorted(agreeing)))
    by_asset, unclear, unjudged, has_unknown_names = _understood(rows, terms)
    agreed, differing, doubled = 0, [], []
    for asset in sorted(by_asset.keys() | proven.keys()):
        own, quantity = by_asset.get(asset, ()), proven.get(asset, ZERO)
        if asset in unjudged or (not own and not _is_missing(asset, quantity, terms)):
            continue
        if len(own) == 1 and own[0].quantity == quantity:
            agreed += 1
            continue
        compared = _compared(asset, quantity, own, terms)
        if compared.is_doubled:
            doubled.append(compared)
        if compared.difference:
            differing.append(compared)
        else:
            agreed += 1
    return BookComparison(
        len(rows),
        agreed,
        tuple(differing),
        tuple(doubled),
        (*unclear, *(_told_twice(compared, terms) for compared in doubled)),
        tuple(sorted(by_asset)),
        has_unknown_names,
        tuple(sorted(unjudged)),
        tuple(unclear),
    )


def _all_agree(
    rows: Sequence[DeskRow], proven: Mapping[str, Decimal], terms: Terms
) -> Collection[str] | None:
    """Name the assets of an account whose rows are all as proven, which most are; None where one is not."""
    try:
        held = {terms.kept[row.name]: row.quantity for row in rows}
    except KeyError:
        return None
    if len(held) < len(rows):
        return None
    for asset, quantity in held.items():
        own = proven.get(asset, ZERO)
        # What has more digits than the desk's column is equal by its rounding alone.
        if quantity != own and (quantity is None or not agrees(own, quantity, terms.decimals)):
            return None
    is_one_missing = any(_is_missing(asset, proven[asset], terms) for asset in proven.keys() - held.keys())
    return None if is_one_missing else held.keys()


def _understood(
    rows: Iterable[DeskRow], terms: Terms
) -> tuple[dict[str, list[DeskRow]], list[DeskProblem], set[str], bool]:
    """Sort rows by asset; tell of those without a name that anybody knows, or without a number."""
    by_asset: dict[str, list[DeskRow]] = defaultdict(list)
    problems: list[DeskProblem] = []
    unjudged: set[str] = set()
    has_unknown_names = False
    for row in rows:
        meant = terms.names.read(row.name)
        if meant is None:
            has_unknown_names = True
            problems.append(_unknown_name(row, terms))
        elif not terms.keeps(meant):
            continue
        elif row.quantity is None:
            unjudged.add(meant.asset)
            problems.append(_no_number(row, terms))
        else:
            terms.kept[row.name] = meant.asset
            by_asset[meant.asset].append(row)
    return by_asset, problems, unjudged, has_unknown_names


def _is_missing(asset: str, quantity: Decimal, terms: Terms) -> bool:
    """Say whether an asset without a row should have one."""
    is_kept_here = asset not in terms.apart and is_kept(asset, terms.holds)
    return bool(quantity) and is_kept_here and bool(as_held(quantity, terms.decimals))


def _compared(asset: str, proven: Decimal, rows: Sequence[DeskRow], terms: Terms) -> ComparedAsset:
    desk = sum((row.quantity for row in rows if row.quantity is not None), ZERO)
    is_same = agrees(proven, desk, terms.decimals)
    return ComparedAsset(
        asset,
        proven,
        desk,
        ZERO if is_same else as_held(proven, terms.decimals) - desk,
        tuple(sorted(rows, key=_key_order)),
        len(rows) > 1 and len({_identity(row, terms) for row in rows}) < len(rows),
        terms.is_cash,
    )


def _identity(row: DeskRow, terms: Terms) -> object:
    """Say what a row stands for: a pair, or an asset in one wallet."""
    is_pair = terms.names.column.spelled is Spelling.PAIR
    return row.name if is_pair else terms.names.read(row.name)


def _key_order(row: DeskRow) -> tuple[tuple[bool, Any], ...]:
    """Order numbers before text; a key of any other type by how it is written."""
    return tuple((True, str(part)) if not isinstance(part, int) else (False, part) for part in row.key)


def _keys_of(rows: Sequence[DeskRow]) -> str:
    keys = ["/".join(map(str, row.key)) or row.name for row in rows[:_SHOWN_KEYS_MAX]]
    return one_line(", ".join(keys) + (" and more" if len(rows) > _SHOWN_KEYS_MAX else ""))


def _told_twice(compared: ComparedAsset, terms: Terms) -> DeskProblem:
    what = (
        f"{len(compared.rows)} rows stand for {compared.asset}, {format_amount(compared.desk)} together: "
        f"{_keys_of(compared.rows)}"
    )
    return DeskProblem(
        terms.where, what, "Make them one row; until then nothing is written to them by itself."
    )


def _unknown_name(row: DeskRow, terms: Terms) -> DeskProblem:
    shown = one_line(repr(row.name), _SHOWN_CHARACTERS_MAX)
    what = f"the name {shown} in row {_keys_of([row])} is none that Kraken knows"
    return DeskProblem(terms.where, what, "Map it under positions.asset.also, or leave the row out by only.")


def _no_number(row: DeskRow, terms: Terms) -> DeskProblem:
    what = (
        f"the quantity of {one_line(row.name, _SHOWN_CHARACTERS_MAX)} in row {_keys_of([row])} is no number"
    )
    return DeskProblem(terms.where, what, "Put the row right; until then its asset is not judged.")
