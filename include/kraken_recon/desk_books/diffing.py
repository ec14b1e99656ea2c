"""Judge the books of desks by what is proven: read, compare, explain, decide; nothing is written.

Invariants:
1. A book is judged only by an account whose newest proof is fresh.
2. What keeps a book or an account from being judged is told; it stops no other.
3. Neither database is held while the other is asked, or while anything is computed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from kraken_recon.desk_books.declaration import WriteBack
from kraken_recon.desk_books.judging import KnownNames, judge_accounts
from kraken_recon.desk_books.own_orders.looking import OwnOrderPorts
from kraken_recon.desk_books.own_orders.verifying import look_at_desk_orders
from kraken_recon.desk_books.reading import BookReading
from kraken_recon.desk_books.row_store import read_book
from kraken_recon.desk_books.rules.names import known_assets
from kraken_recon.desk_books.rules.records import BookJudgement, DeskProblem
from kraken_recon.desk_books.store import DeskBookStore, ProvenAccount
from kraken_recon.errors import ConfigurationError, ExchangeError, NotOnRecordError
from kraken_recon.plain_text import one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence
    from contextlib import AbstractContextManager
    from datetime import datetime

    from kraken_recon.accounts.account import Account
    from kraken_recon.database.unit_of_work import UnitOfWork
    from kraken_recon.desk_books.address import DeskAddress
    from kraken_recon.desk_books.declaration import DeskBook
    from kraken_recon.desk_books.declaring import DeclaredBook
    from kraken_recon.orders.exchange import OrderRecords


@dataclass(frozen=True, slots=True)
class DeskBookPorts:
    """What judging needs of the outside world.

    Attributes:
        open_unit_of_work: of our database.
        address_of: where a connection leads; raises ConfigurationError.
        known_assets: the names that Kraken knows, asked by one of these connections of accounts; raises
            ExchangeError or ConfigurationError.
        clock: the time.
        open_orders: an account's orders at Kraken, to find the desk's own among them; raises ExchangeError or
            ConfigurationError. None where they are not looked for.
        worker: who is at work, in the stories of orders.
        ask_for_prices: keeps what assets are worth in the currency of an account, by its name, where Kraken
            answers. None where nobody asks.
        open_own_session: of our database, in a session that stays its own over many transactions.
    """

    open_unit_of_work: Callable[[], AbstractContextManager[UnitOfWork]]
    address_of: Callable[[str], DeskAddress]
    known_assets: Callable[[Sequence[str]], Collection[str]]
    clock: Callable[[], datetime]
    open_orders: Callable[[Account], AbstractContextManager[OrderRecords]] | None = None
    worker: str = "kraken_recon"
    ask_for_prices: Callable[[str, Collection[str]], None] | None = None
    open_own_session: Callable[[], AbstractContextManager[UnitOfWork]] | None = None

    @property
    def of_orders(self) -> OwnOrderPorts | None:
        """What looking for the desk's own orders needs of it; None where they are not looked for."""
        if self.open_orders is None:
            return None
        return OwnOrderPorts(
            self.open_unit_of_work, self.address_of, self.open_orders, self.clock, self.worker
        )


def proven_account(name: str, ports: DeskBookPorts) -> ProvenAccount:
    """Find an account that its newest proof can still judge.

    Raises:
        NotOnRecordError: there is no such account.
        ConfigurationError: it was never proved, or too long ago.
    """
    with ports.open_unit_of_work() as unit:
        found = DeskBookStore(unit).proofs([name], ports.clock())
    if not found:
        raise NotOnRecordError(f"no account is named {name}; see `python -m kraken_recon account list`")
    if why := why_not_proven(found[0]):
        raise ConfigurationError(f"account {name} {why}: run `python -m kraken_recon sync --account {name}`")
    return found[0]


def why_not_proven(account: ProvenAccount) -> str:
    """Say why an account can judge no book; empty where it can."""
    if account.proven_at is None:
        return "was never proved"
    if account.is_fresh:
        return ""
    limit = account.freshness_limit_minutes
    return f"was proved at {account.proven_at.isoformat()}, which is more than its {limit} minutes ago"


def diff_account(
    account: ProvenAccount, declared: Iterable[DeclaredBook], ports: DeskBookPorts
) -> list[BookJudgement]:
    """Say how an account stands in every book that is about it; files that cannot be used are told."""
    judged = []
    names: KnownNames | None = None
    for one in declared:
        if one.book is None:
            judged.append(BookJudgement(one.name, WriteBack.NONE, problems=one.problems, is_whole=False))
        elif is_about(one.book, account.name):
            names = names or known_names([account.kraken_conn_id], ports)
            reading = read_declared(one.book, [account.name], ports)
            [[seen]] = judge_accounts(one.book, [account], reading, names, ports)
            judged.append(_with_orders(one.book, account, seen.judgement, names, ports))
    return judged


def _with_orders(
    book: DeskBook,
    account: ProvenAccount,
    judgement: BookJudgement,
    names: KnownNames,
    ports: DeskBookPorts,
) -> BookJudgement:
    """Add how the desk's own orders stand."""
    if ports.of_orders is None:
        return judgement
    seen = look_at_desk_orders(book, account.account, names.assets, ports.of_orders)
    problems = tuple(dict.fromkeys((*judgement.problems, *seen.problems)))
    return replace(judgement, orders=seen.orders, problems=problems)


def known_names(connections: Sequence[str], ports: DeskBookPorts) -> KnownNames:
    """Ask Kraken, by one of these connections, for all assets; else those on record have to do."""
    try:
        return KnownNames(known_assets(ports.known_assets(connections)))
    except (ExchangeError, ConfigurationError) as error:
        with ports.open_unit_of_work() as unit:
            recorded = DeskBookStore(unit).recorded_assets()
        what = one_line(f"Kraken could not be asked for its assets: {error}")
        remedy = "Until then a name that is not on record here counts as unknown; try again."
        return KnownNames(known_assets(recorded), (DeskProblem("Kraken", what, remedy),))


def read_declared(book: DeskBook, accounts: Collection[str], ports: DeskBookPorts) -> BookReading:
    """Read a book; a connection that is not set is a problem like any other."""
    try:
        address = ports.address_of(book.connection)
    except ConfigurationError as error:
        problem = DeskProblem(f"{book.name} connection", one_line(str(error)), error.remedy)
        return BookReading(ports.clock(), problems=(problem,))
    return read_book(address, book, accounts)


def is_about(book: DeskBook, account: str) -> bool:
    """Say whether an account of ours may have rows in a book."""
    return book.accounts.by is not None or account in book.accounts.values
