"""Judge the books of desks by what is proven: read, compare, explain, decide; nothing is written.

Invariants:
1. A book is judged only by an account whose newest proof is fresh.
2. What keeps a book or an account from being judged is told; it stops no other.
3. Neither database is held while the other is asked, or while anything is computed.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from kraken_recon.desk_books.declaration import WriteBack
from kraken_recon.desk_books.reading import BookReading
from kraken_recon.desk_books.row_store import read_book
from kraken_recon.desk_books.rules.compare import (
    compare,
    proven_by_asset,
    terms_of_cash,
    terms_of_positions,
)
from kraken_recon.desk_books.rules.decide import Situation, decide
from kraken_recon.desk_books.rules.explain import DifferenceEvidence, explain
from kraken_recon.desk_books.rules.names import known_assets, unknown_in
from kraken_recon.desk_books.rules.records import BookJudgement, DeskProblem
from kraken_recon.desk_books.rules.writes import WriteTerms, why_not_writable
from kraken_recon.desk_books.store import DeskBookStore, ProvenAccount
from kraken_recon.errors import ConfigurationError, ExchangeError, NotOnRecordError
from kraken_recon.holdings.pricing import PriceList, price_list
from kraken_recon.holdings.store import PriceStore
from kraken_recon.ledger.entries import TRADED
from kraken_recon.plain_text import one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager
    from datetime import datetime
    from decimal import Decimal

    from kraken_recon.database.unit_of_work import UnitOfWork
    from kraken_recon.desk_books.address import DeskAddress
    from kraken_recon.desk_books.declaration import Cash, DeskBook, Positions
    from kraken_recon.desk_books.declaring import DeclaredBook
    from kraken_recon.desk_books.reading import PartReading
    from kraken_recon.desk_books.rules.compare import Terms
    from kraken_recon.desk_books.rules.records import BookComparison, ComparedAsset, Difference, Explained
    from kraken_recon.desk_books.store import AccountAsset
    from kraken_recon.ledger.entries import HoldingKey, LedgerEntry

log = logging.getLogger(__name__)
_NO_ENTRIES: Final[Sequence[LedgerEntry]] = ()


@dataclass(frozen=True, slots=True)
class DeskBookPorts:
    """What judging needs of the outside world.

    Attributes:
        open_unit_of_work: of our database.
        address_of: where a connection leads; raises ConfigurationError.
        known_assets: the names that Kraken knows, asked by one of these connections of accounts; raises
            ExchangeError or ConfigurationError.
        clock: the time.
    """

    open_unit_of_work: Callable[[], AbstractContextManager[UnitOfWork]]
    address_of: Callable[[str], DeskAddress]
    known_assets: Callable[[Sequence[str]], Collection[str]]
    clock: Callable[[], datetime]


@dataclass(frozen=True, slots=True)
class KnownNames:
    """The assets that Kraken knows, by our names, and why they may not be all."""

    assets: Collection[str]
    problems: tuple[DeskProblem, ...] = ()


@dataclass(frozen=True, slots=True)
class _ComparedPart:
    """One table of one account, compared."""

    declared: Positions | Cash
    reading: PartReading
    terms: Terms
    comparison: BookComparison

    def counted(self, wallet: str) -> bool:
        return wallet in TRADED or not self.terms.is_spot_only


@dataclass(slots=True)
class _Evidence:
    """What our database says of the accounts and assets that differ."""

    entries: Mapping[AccountAsset, Sequence[LedgerEntry]] = field(default_factory=dict)
    held: Collection[AccountAsset] = frozenset()
    orders: Mapping[int, Mapping[str, str]] = field(default_factory=dict)
    costs: Mapping[int, Mapping[str, Decimal]] = field(default_factory=dict)
    prices: PriceList = field(default_factory=PriceList)


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
        elif one.book.accounts.by is not None or account.name in one.book.accounts.values:
            names = names or known_names([account], ports)
            judged.append(judge_book(one.book, [account], names, ports)[account.name])
    return judged


def known_names(accounts: Sequence[ProvenAccount], ports: DeskBookPorts) -> KnownNames:
    """Ask Kraken for the names of all assets; where it cannot be asked, those on record have to do."""
    try:
        return KnownNames(known_assets(ports.known_assets([a.kraken_conn_id for a in accounts])))
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


def judge_book(
    book: DeskBook, accounts: Sequence[ProvenAccount], names: KnownNames, ports: DeskBookPorts
) -> dict[str, BookJudgement]:
    """Judge accounts in a book, by account; what is wrong with other accounts of the book is left out."""
    about = {a.name for a in accounts if book.accounts.by is not None or a.name in book.accounts.values}
    own = [account for account in accounts if account.name in about]
    reading = read_declared(book, about, ports)
    return judge_reading(book, own, reading, names, ports)


def problems_of(book: DeskBook, reading: BookReading, names: KnownNames) -> tuple[DeskProblem, ...]:
    """Tell what is wrong with a book whatever account it is about."""
    return (*names.problems, *unknown_in(book, names.assets), *reading.problems)


def terms_of(book: DeskBook, reading: BookReading, names: KnownNames) -> Iterator[tuple[PartReading, Terms]]:
    """Say what the rows mean of each part of a book that could be read: positions, then cash."""
    if reading.positions is not None:
        decimals = reading.positions.decimals
        yield reading.positions, terms_of_positions(book, names.assets, decimals)
    if reading.cash is not None:
        yield reading.cash, terms_of_cash(book, reading.cash.decimals)


def judge_reading(
    book: DeskBook,
    accounts: Sequence[ProvenAccount],
    reading: BookReading,
    names: KnownNames,
    ports: DeskBookPorts,
) -> dict[str, BookJudgement]:
    """Judge what was read of a book."""
    general = problems_of(book, reading, names)
    judged: dict[str, BookJudgement] = {}
    with ports.open_unit_of_work() as unit:
        positions = DeskBookStore(unit).positions([account.account_id for account in accounts])
    compared: dict[str, list[_ComparedPart]] = {}
    for account in accounts:
        if account.name in reading.of_accounts:
            problems = (*general, reading.of_accounts[account.name])
            judged[account.name] = _nothing_judged(book, problems)
        elif account.name not in reading.values:
            judged[account.name] = _nothing_judged(book, general)
        else:
            held = positions.get(account.account_id, {})
            compared[account.name] = list(_compared_parts(book, account.name, reading, names, held))
    of_ours = {account.name: account for account in accounts}
    evidence = _evidence([(of_ours[name], parts) for name, parts in compared.items()], ports)
    for name, parts in compared.items():
        held = positions.get(of_ours[name].account_id, {})
        own = _AccountInBook(book, of_ours[name], held, reading)
        judged[name] = _judged(own, parts, evidence, general)
    return judged


def _nothing_judged(book: DeskBook, problems: Iterable[DeskProblem]) -> BookJudgement:
    told = tuple(dict.fromkeys(problems))
    return BookJudgement(book.name, book.positions.write_back, problems=told, is_whole=False)


def _compared_parts(
    book: DeskBook,
    account: str,
    reading: BookReading,
    names: KnownNames,
    held: Mapping[HoldingKey, Decimal],
) -> Iterator[_ComparedPart]:
    for read, terms in terms_of(book, reading, names):
        proven = proven_by_asset(held, is_spot_only=terms.is_spot_only)
        if terms.is_cash:
            proven = {asset: quantity for asset, quantity in proven.items() if asset in terms.names.known}
        declared = (book.cash if terms.is_cash else None) or book.positions
        rows = read.rows.get(account, ())
        yield _ComparedPart(declared, read, terms, compare(rows, proven, terms))


def _evidence(
    compared: Sequence[tuple[ProvenAccount, Sequence[_ComparedPart]]], ports: DeskBookPorts
) -> _Evidence:
    """Read of our database what explains differences, and nothing about what agrees."""
    wanted = {
        (account.account_id, one.asset)
        for account, parts in compared
        for part in parts
        for one in part.comparison.differing
    }
    if not wanted:
        return _Evidence()
    ids = {account_id for account_id, _ in wanted}
    quoted = {account.account_id: account.quote_currency for account, _ in compared}
    with ports.open_unit_of_work() as unit:
        store = DeskBookStore(unit)
        held = {(i, key.asset) for i, keys in store.positions(ids).items() for key in keys}
        return _Evidence(
            store.entries(wanted),
            store.ever_held(wanted),
            store.orders_of_trades(wanted),
            store.average_costs(ids),
            price_list(PriceStore(unit), {(quoted[i], asset) for i, asset in wanted | held}, ports.clock()),
        )


@dataclass(frozen=True, slots=True)
class _AccountInBook:
    book: DeskBook
    account: ProvenAccount
    held: Mapping[HoldingKey, Decimal]
    reading: BookReading


def _judged(
    own: _AccountInBook,
    parts: Sequence[_ComparedPart],
    evidence: _Evidence,
    general: Sequence[DeskProblem],
) -> BookJudgement:
    found = [
        (one, _explained(own, part, one, evidence)) for part in parts for one in part.comparison.differing
    ]
    problems = (*general, *(problem for part in parts for problem in part.comparison.problems))
    return BookJudgement(
        own.book.name,
        own.book.positions.write_back,
        sum(part.comparison.rows for part in parts),
        sum(part.comparison.agreed for part in parts),
        _decided(own, parts, found, evidence),
        problems=tuple(dict.fromkeys(problems)),
        is_whole=len(parts) == (1 if own.book.cash is None else 2),
    )


def _explained(
    own: _AccountInBook, part: _ComparedPart, compared: ComparedAsset, evidence: _Evidence
) -> Explained:
    of = (own.account.account_id, compared.asset)
    return explain(
        DifferenceEvidence(
            compared,
            part.terms.decimals,
            [entry for entry in evidence.entries.get(of, _NO_ENTRIES) if part.counted(entry.wallet)],
            has_agreed=False,
            was_ever_held=of in evidence.held,
            wallets={
                key.wallet: quantity
                for key, quantity in own.held.items()
                if key.asset == compared.asset and part.counted(key.wallet)
            },
            orders=evidence.orders.get(own.account.account_id, {}),
        )
    )


def _decided(
    own: _AccountInBook,
    parts: Sequence[_ComparedPart],
    found: Sequence[tuple[ComparedAsset, Explained]],
    evidence: _Evidence,
) -> tuple[Difference, ...]:
    """Decide as a first look does: no earlier run has seen, written or agreed on anything."""
    book, quote = own.book, own.account.quote_currency
    proven = proven_by_asset(own.held, is_spot_only=book.positions.wallets == "spot")
    prices = {asset: evidence.prices.of(quote, asset)[0] for asset in {*proven, *(c.asset for c, _ in found)}}
    situation = Situation(
        own.reading.read_at,
        book.positions.write_back,
        timedelta(seconds=book.late_by),
        book.tolerance,
        sum(1 for part in parts for row in part.reading.rows.get(own.account.name, ()) if row.quantity),
        proven,
        {asset: price for asset, price in prices.items() if price is not None},
        not_writable=dict(_not_writable(own, parts, evidence)),
        has_unknown_names=any(part.comparison.has_unknown_names for part in parts),
        cash_write_back=book.cash.write_back if book.cash else WriteBack.NONE,
    )
    return decide(found, situation).differences


def _not_writable(
    own: _AccountInBook, parts: Sequence[_ComparedPart], evidence: _Evidence
) -> Iterator[tuple[str, str]]:
    for part in parts:
        if part.declared.write_back is WriteBack.NONE:
            continue
        terms = WriteTerms(
            part.declared,
            part.terms.decimals,
            own.reading.values[own.account.name],
            own.account.quote_currency,
            own.reading.read_at,
            names=part.terms.names,
            average_costs=evidence.costs.get(own.account.account_id, {}),
            required=part.reading.required,
        )
        for compared in part.comparison.differing:
            if why := why_not_writable(compared, terms):
                yield compared.asset, why
