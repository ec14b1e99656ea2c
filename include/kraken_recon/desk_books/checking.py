"""Try a declaration on the desk's database, and guess one from it; read only."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from kraken_recon.desk_books.declaration import Positions, WriteBack
from kraken_recon.desk_books.diffing import known_names, read_declared, why_not_proven
from kraken_recon.desk_books.guessing import guessed_declaration
from kraken_recon.desk_books.judging import judge_accounts, problems_of, terms_of
from kraken_recon.desk_books.own_orders.row_store import OrdersReading
from kraken_recon.desk_books.own_orders.verifying import read_desk_orders
from kraken_recon.desk_books.rules.compare import compare
from kraken_recon.desk_books.rules.records import LOCK, DeskProblem
from kraken_recon.desk_books.schema_store import seen_tables
from kraken_recon.desk_books.session_store import desk_session
from kraken_recon.desk_books.store import DeskBookStore

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

    from kraken_recon.desk_books.address import DeskAddress
    from kraken_recon.desk_books.declaration import Cash, DeskBook
    from kraken_recon.desk_books.declaring import DeclaredBook
    from kraken_recon.desk_books.diffing import DeskBookPorts
    from kraken_recon.desk_books.judging import KnownNames
    from kraken_recon.desk_books.reading import BookReading
    from kraken_recon.desk_books.rules.records import BookJudgement
    from kraken_recon.desk_books.store import ProvenAccount

_RIGHT_OF: Final = {"update": "update", "insert": "insert", "remove": "delete"}
_TAKES_NO_WRITES: Final = (
    "the desk's database takes no writes: it is a standby, or set to be read only",
    "Let the connection lead to the primary, or leave write_back out.",
)


@dataclass(frozen=True, slots=True)
class BookCheck:
    """What trying a declaration showed.

    Attributes:
        name: of the book.
        problems: all that a person should put right.
        accounts: by account of ours, how many rows it has, and how the desk spells each asset in them.
        rights: what the role may do to the table of positions.
        notes: what is worth knowing and keeps nothing from working.
        judged: the first comparison, by account.
        proven_at: the proof that it rests on, by account.
    """

    name: str
    problems: tuple[DeskProblem, ...]
    accounts: Mapping[str, tuple[int, Mapping[str, set[str]]]]
    rights: Mapping[str, bool]
    notes: tuple[str, ...] = ()
    judged: Mapping[str, BookJudgement] = field(default_factory=dict)
    proven_at: Mapping[str, datetime | None] = field(default_factory=dict)


def check_book(declared: DeclaredBook, ports: DeskBookPorts) -> BookCheck:
    """Say what a declaration makes of the desk's rows, and everything that is wrong with it."""
    book = declared.book
    if book is None:
        return BookCheck(declared.name, declared.problems, {}, {})
    with ports.open_unit_of_work() as unit:
        ours = [one for one in DeskBookStore(unit).proofs(None, ports.clock()) if one.is_active]
    reading = read_declared(book, [account.name for account in ours], ports)
    matched = [account for account in ours if account.name in reading.values]
    names = known_names([account.kraken_conn_id for account in matched or ours], ports)
    unproven = {account.name: why for account in matched if (why := why_not_proven(account))}
    proven = [account for account in matched if account.name not in unproven]
    judged = {
        one.account.name: one.judgement
        for some in judge_accounts(book, proven, reading, names, ports)
        for one in some
    }
    accounts, of_rows = _seen(book, matched, reading, names)
    orders = OrdersReading()
    if book.orders is not None:
        orders = read_desk_orders(book, [one.account for one in matched], names.assets, ports)
    missing, not_needed = _rights(book, reading)
    problems = (
        *problems_of(book, reading, names),
        *reading.of_accounts.values(),
        *of_rows,
        *missing,
        *orders.problems,
    )
    notes = (
        *not_needed,
        *_told_of_orders(orders),
        *(f"account {name} {why}: there is nothing to compare it with" for name, why in unproven.items()),
    )
    rights = _useful_rights(reading, "positions")
    return BookCheck(
        book.name,
        tuple(dict.fromkeys(problems)),
        accounts,
        rights,
        notes,
        judged,
        {account.name: account.proven_at for account in proven},
    )


def _told_of_orders(orders: OrdersReading) -> Iterator[str]:
    for account, listed in sorted(orders.by_account.items()):
        yield f"orders of {account}: {len(listed)} ended in the last day, or since they were last read"


def _seen(
    book: DeskBook, accounts: Sequence[ProvenAccount], reading: BookReading, names: KnownNames
) -> tuple[dict[str, tuple[int, Mapping[str, set[str]]]], list[DeskProblem]]:
    """Say of each account what its rows are about, and which of them nobody can read."""
    seen: dict[str, tuple[int, Mapping[str, set[str]]]] = {}
    problems: list[DeskProblem] = []
    parts = list(terms_of(book, reading, names))
    for account in accounts if parts else ():
        count, spelled = 0, defaultdict[str, set[str]](set)
        for part, terms in parts:
            rows = part.rows.get(account.name, ())
            count += len(rows)
            for row in rows:
                if meant := terms.names.read(row.name):
                    spelled[meant.asset].add(row.name)
            problems += compare(rows, {}, terms).problems
        seen[account.name] = (count, spelled)
    return seen, problems


def rights_problems(book: DeskBook, reading: BookReading) -> list[DeskProblem]:
    """Say which rights a declaration needs and the role does not have."""
    return _rights(book, reading)[0]


def _rights(book: DeskBook, reading: BookReading) -> tuple[list[DeskProblem], list[str]]:
    """Compare what the role may do with what the declaration needs: what is missing, what is too much."""
    missing: list[DeskProblem] = []
    not_needed: list[str] = []
    parts: tuple[tuple[str, Positions | Cash | None], ...] = (
        ("positions", book.positions),
        ("cash", book.cash),
    )
    for name, declared in parts:
        rights = _useful_rights(reading, name)
        if declared is None or not rights:
            continue
        needed = _needed(declared)
        if reading.is_read_only and declared.write_back is not WriteBack.NONE:
            missing.append(DeskProblem(f"{book.name} {name} rights", *_TAKES_NO_WRITES))
            continue
        missing += [
            _missing_right(f"{book.name} {name} rights", right, declared)
            for right in sorted(needed - {right for right, may in rights.items() if may})
        ]
        more = [right for right, may in rights.items() if may and right not in {*needed, LOCK}]
        if more:
            not_needed.append(f"{name}: the role may {', '.join(more)}, which the declaration does not need")
    return missing, not_needed


def _missing_right(where: str, right: str, declared: Positions | Cash) -> DeskProblem:
    if right == LOCK:
        table = declared.locked_by.table
        what = f"the role may not lock the account's row of {table}"
        return DeskProblem(where, what, f"Grant it update on {table}; nothing there changes.")
    return DeskProblem(where, f"the role may not {right}", f"Grant it {right}, or write less.")


def _useful_rights(reading: BookReading, part: str) -> dict[str, bool]:
    """Say what the role may do to a table, and can, because the database takes it."""
    rights = reading.rights.get(part, {})
    return {right: may and (right == "select" or not reading.is_read_only) for right, may in rights.items()}


def _needed(declared: Positions | Cash) -> set[str]:
    """Name the rights that a part of a declaration needs."""
    needed = {"select", *(_RIGHT_OF[word] for word in declared.write_back.allowed)}
    if declared.locked_by.table is not None and declared.write_back is not WriteBack.NONE:
        needed.add(LOCK)
    if isinstance(declared, Positions) and declared.remove == "zero" and "delete" in needed:
        needed = needed - {"delete"} | {"update"}
    return needed


def guess(address: DeskAddress) -> str:
    """Look at a desk's database and write what its declaration could be.

    Raises:
        DeskUnreadableError: it cannot be looked at.
    """
    with desk_session(address) as session:
        tables = seen_tables(session)
    name = re.sub(r"[^A-Za-z0-9.-]+", "_", address.connection.removesuffix("_db")).strip("_.-") or "desk"
    return guessed_declaration(name[:63], address.connection, tables)
