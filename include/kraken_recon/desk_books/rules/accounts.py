"""Which of the desk's accounts is which of ours."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kraken_recon.desk_books.rules.records import DeskProblem
from kraken_recon.orders.decisions import nearest

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from kraken_recon.desk_books.declaration import DeskBook


@dataclass(frozen=True, slots=True)
class MatchedAccounts:
    """The desk's value of each account of ours that a book is about, and why others cannot be judged."""

    values: Mapping[str, Any]
    problems: Mapping[str, DeskProblem]


def match_accounts(
    book: DeskBook, ours: Collection[str], looked_up: Mapping[str, Sequence[Any]] | None = None
) -> MatchedAccounts:
    """Match accounts by the book's names, or by what its query gave for each of ours.

    A mistake about one account stops no other. ``looked_up`` has every value that the query gave, by account.
    """
    where = f"{book.name} accounts"
    problems: dict[str, DeskProblem] = {}
    values: dict[str, Any] = {}
    given = looked_up or {}
    if book.accounts.by is not None:
        for account in sorted(ours):
            found = given.get(account, ())
            if len(found) == 1 and found[0] is not None:
                values[account] = found[0]
            else:
                told = "null" if len(found) == 1 else f"{len(found)} values"
                what = f"the query gives {told} for {account}, and one value is needed"
                problems[account] = DeskProblem(where, what, "Change accounts.by, or name the accounts.")
    for account, value in book.accounts.values.items():
        if account in ours:
            values[account] = value
        else:
            what = f"we have no account {account}{nearest(account, ours)}"
            problems[account] = DeskProblem(where, what, "Name one of `account list`, or add it.")
    by_value: dict[str, list[str]] = defaultdict(list)
    for account, value in values.items():
        by_value[str(value)].append(account)
    for value, accounts in by_value.items():
        for account in accounts if len(accounts) > 1 else ():
            what = f"{' and '.join(accounts)} are both {value}"
            problems[account] = DeskProblem(where, what, "Give each account a value of its own.")
    return MatchedAccounts({a: v for a, v in values.items() if a not in problems}, problems)
