"""What can happen to what an account paid, for hypothesis to choose from."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple

from hypothesis import strategies as st

from desks.cost_books import QUOTE, happen
from desks.fakes import FakeBooks
from kraken_recon.values.money import format_amount

if TYPE_CHECKING:
    from datetime import datetime

    from kraken_recon.ledger.entries import LedgerEntry

ASSETS = ("BTC", "ETH", "DOT")


class Happening(NamedTuple):
    """One thing on an account; ``together`` gives it the time of the one before."""

    kind: str
    asset: str
    other: str
    quantity: Decimal
    value: Decimal
    fee: Decimal
    together: bool


amounts = st.integers(1, 10_000).map(lambda units: Decimal(units).scaleb(-2))
fees = st.sampled_from(tuple(map(Decimal, ("0", "0", "0.01", "0.0001"))))
SPECIAL = ("unnamed", "vault", "rename")
KINDS = (
    "buy",
    "buy",
    "sell",
    "sell",
    "swap",
    "deposit",
    "reward",
    "withdrawal",
    "move",
    "sweep",
    "unnamed",
    "vault",
    "rename",
)


def happenings(*kinds: str) -> st.SearchStrategy[list[Happening]]:
    """Choose what happens, of these kinds."""
    one = st.builds(
        Happening,
        st.sampled_from(kinds),
        st.sampled_from(ASSETS),
        st.sampled_from(ASSETS),
        amounts,
        amounts,
        fees,
        st.booleans(),
    )
    return st.lists(one, min_size=1, max_size=14)


def write_special(books: FakeBooks, thing: Happening, other: str, at: datetime | None) -> None:
    """Let happen what Kraken writes without naming what belongs together."""
    quantity, fee, asset = format_amount(thing.quantity), format_amount(thing.fee), thing.asset
    if thing.kind == "unnamed":
        happen(books, (asset, quantity, fee, "F"), kind="earn", refid="Unknown", at=at)
        happen(books, (asset, f"-{quantity}", "0", "S"), kind="earn", refid="Unknown", at=at)
    elif thing.kind == "vault":
        kind = "hybridearndeposit" if thing.value > thing.quantity else "hybridearnwithdrawal"
        change = quantity if thing.value > thing.quantity else f"-{quantity}"
        happen(books, (asset, change, fee), kind=kind, at=at)
    else:
        happen(books, (asset, f"-{quantity}"), kind="earn", subtype="delistingconversion", at=at)
        happen(books, (other, quantity), kind="transfer", subtype="delistingconversion", at=at)


def write(books: FakeBooks, thing: Happening) -> None:
    """Let it happen at the exchange."""
    at = books.entries[-1].entry_time if thing.together and books.entries else None
    quantity, value, fee = map(format_amount, (thing.quantity, thing.value, thing.fee))
    asset, other = thing.asset, thing.other if thing.other != thing.asset else "SOL"
    if thing.kind == "buy":
        happen(books, (asset, quantity, fee), (QUOTE, f"-{value}"), at=at)
    elif thing.kind == "sell":
        happen(books, (asset, f"-{quantity}"), (QUOTE, value, fee), ("KFEE", "0", fee), at=at)
    elif thing.kind == "swap":
        happen(books, (asset, f"-{quantity}", fee), (other, value), at=at)
    elif thing.kind == "sweep":
        happen(books, (asset, f"-{quantity}"), (other, f"-{value}"), (QUOTE, "3"), kind="spend", at=at)
    elif thing.kind == "deposit":
        happen(books, (asset, quantity), kind="deposit", at=at)
    elif thing.kind == "reward":
        happen(books, (asset, quantity, fee, "F"), kind="earn", subtype="reward", at=at)
    elif thing.kind in SPECIAL:
        write_special(books, thing, other, at)
    elif thing.kind == "withdrawal":
        happen(books, (asset, f"-{quantity}", fee), kind="withdrawal", at=at)
    else:
        happen(books, (asset, f"-{quantity}"), kind="transfer", subtype="spottostaking", at=at)
        happen(books, (asset, quantity, "0", "S"), kind="transfer", subtype="stakingfromspot", at=at)


def written(history: list[Happening]) -> list[LedgerEntry]:
    """Write a whole history."""
    books = FakeBooks()
    for thing in history:
        write(books, thing)
    return books.entries
