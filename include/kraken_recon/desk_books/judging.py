"""Judge what was read of a desk's book by what is proven: compare, explain, decide; nothing is written.

Invariants:
1. Neither database is held while the other is asked, or while anything is computed.
2. Our database is asked for all accounts of a book at once, and of what agrees only for what is proven.
3. A book of which all rows are gone at once is not judged.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Final, Protocol

from kraken_recon.desk_books.declaration import WriteBack
from kraken_recon.desk_books.evidence import read_memory
from kraken_recon.desk_books.rules.compare import (
    compare,
    terms_of_cash,
    terms_of_positions,
)
from kraken_recon.desk_books.rules.decide import Decided, Situation, decide, is_emptied
from kraken_recon.desk_books.rules.explain import DifferenceEvidence, explain
from kraken_recon.desk_books.rules.memory import AssetMemory, standings_now
from kraken_recon.desk_books.rules.names import unknown_in
from kraken_recon.desk_books.rules.records import BookJudgement, DeskAction, DeskProblem
from kraken_recon.desk_books.rules.writes import WriteTerms, why_not_writable
from kraken_recon.ledger.entries import TRADED

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager
    from decimal import Decimal
    from uuid import UUID

    from kraken_recon.database.unit_of_work import UnitOfWork
    from kraken_recon.desk_books.declaration import Cash, DeskBook, Positions
    from kraken_recon.desk_books.evidence import BookEvidence
    from kraken_recon.desk_books.reading import BookReading, PartReading
    from kraken_recon.desk_books.rules.compare import ProvenPositions, Terms
    from kraken_recon.desk_books.rules.memory import AssetStanding
    from kraken_recon.desk_books.rules.records import BookComparison, ComparedAsset, Explained
    from kraken_recon.desk_books.store import AccountAsset, ProvenAccount
    from kraken_recon.ledger.entries import LedgerEntry

_NO_ENTRIES: Final[Sequence[LedgerEntry]] = ()
_NO_MEMORY: Final = AssetMemory()
DIFFERING_AT_ONCE: Final = 200
LEFT_ALONE: Final = frozenset({DeskAction.NONE, DeskAction.WAITING, DeskAction.WITHIN_TOLERANCE})
EMPTIED: Final = DeskProblem(
    "",
    "all rows of positions are gone at once, and there were some when it was last judged",
    "Look what became of them. If they are gone for good, give the book another name: it then begins anew.",
)


class BookStatus(StrEnum):
    """How an account stands in a book."""

    AGREED = "agreed"
    DIFFERS = "differs"
    UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True)
class KnownNames:
    """The assets that Kraken knows, by our names, and why they may not be all."""

    assets: Collection[str]
    problems: tuple[DeskProblem, ...] = ()


class JudgingPorts(Protocol):
    """What judging needs beside what was read."""

    @property
    def open_unit_of_work(self) -> Callable[[], AbstractContextManager[UnitOfWork]]:
        """Open our database."""
        ...

    @property
    def ask_for_prices(self) -> Callable[[str, Collection[str]], None] | None:
        """Keep what assets are worth in the currency of an account, by its name; None where nobody asks."""
        ...


@dataclass(frozen=True, slots=True)
class AccountInBook:
    """One account in one book, judged.

    Attributes:
        account: whose newest proof judges it.
        judgement: what is said of it.
        ledger_seq: the last of our ledger entries by which it was judged.
        declaration: names what is declared of its rows; None where it has no value in the book.
        position_rows: how many rows of positions it has.
        is_matched: whether the book has a value of it.
        unclear: what keeps it, or rows of it, from being judged while others are.
        doubled: what stands in several rows.
        standings: what the next run has to remember, by asset.
        terms: what writes are made of, by whether the rows are of cash.
        prices: by asset, in its quote currency, where known.
        approved_plan: what a person approved of it; None where nobody did.
        approval_stands: whether that is still exactly what there is to write.
    """

    account: ProvenAccount
    judgement: BookJudgement
    ledger_seq: int = 0
    declaration: UUID | None = None
    position_rows: int = 0
    is_matched: bool = True
    unclear: tuple[DeskProblem, ...] = ()
    doubled: tuple[ComparedAsset, ...] = ()
    standings: Mapping[str, AssetStanding] = field(default_factory=dict)
    terms: Mapping[bool, WriteTerms] = field(default_factory=dict)
    prices: Mapping[str, Decimal] = field(default_factory=dict)
    approved_plan: UUID | None = None
    approval_stands: bool = False

    @property
    def status(self) -> BookStatus:
        """Say in one word how the account stands in the book."""
        if not self.judgement.is_whole:
            return BookStatus.UNREADABLE
        differs = any(one.action not in LEFT_ALONE for one in self.judgement.differences)
        return BookStatus.DIFFERS if differs or self.unclear or self.doubled else BookStatus.AGREED


@dataclass(frozen=True, slots=True)
class _ComparedPart:
    """One table of one account, compared."""

    declared: Positions | Cash
    reading: PartReading
    terms: Terms
    comparison: BookComparison

    def counted(self, wallet: str) -> bool:
        return wallet in TRADED or not self.terms.is_spot_only


def problems_of(book: DeskBook, reading: BookReading, names: KnownNames) -> tuple[DeskProblem, ...]:
    """Tell what is wrong with a book whatever account it is about."""
    return (*reading.problems, *unknown_in(book, names.assets), *names.problems)


def terms_of(book: DeskBook, reading: BookReading, names: KnownNames) -> Iterator[tuple[PartReading, Terms]]:
    """Say what the rows mean of each part of a book that could be read: positions, then cash."""
    if reading.positions is not None:
        decimals = reading.positions.decimals
        yield reading.positions, terms_of_positions(book, names.assets, decimals)
    if reading.cash is not None:
        yield reading.cash, terms_of_cash(book, reading.cash.decimals)


def judge_accounts(
    book: DeskBook,
    accounts: Sequence[ProvenAccount],
    reading: BookReading,
    names: KnownNames,
    ports: JudgingPorts,
) -> Iterator[list[AccountInBook]]:
    """Judge accounts by what was read of a book, in the order given; of what has no price, it is asked for.

    They come together as long as they agree; of very many that differ, a part at a time is explained.
    """
    general = problems_of(book, reading, names)
    with ports.open_unit_of_work() as unit:
        evidence = read_memory(unit, book, accounts, reading)
    # Made once: they remember how each name was understood.
    terms = list(terms_of(book, reading, names))
    compared = {
        account.name: list(_compared_parts(book, account, terms, evidence))
        for account in accounts
        if account.name in reading.values and account.name not in reading.of_accounts
    }
    if reading.positions is not None and _is_emptied(book, accounts, compared, evidence):
        general = (DeskProblem(f"{book.name} positions", EMPTIED.what, EMPTIED.remedy), *general)
        compared = {}
    for some, differing in _in_turn(accounts, compared):
        if differing:
            with ports.open_unit_of_work() as unit:
                evidence.explain(unit, book, differing, some, reading.read_at)
            if ports.ask_for_prices and (unpriced := evidence.unpriced(differing, some)):
                for account, assets in unpriced.values():
                    ports.ask_for_prices(account.name, assets)
                with ports.open_unit_of_work() as unit:
                    evidence.read_prices(unit, differing, some, reading.read_at)
        yield [
            _Judging(book, account, reading, parts, evidence).judged(general)
            if (parts := compared.get(account.name)) is not None
            else _not_judged(book, account, general, reading, evidence)
            for account in some
        ]


def _in_turn(
    accounts: Sequence[ProvenAccount], compared: Mapping[str, Sequence[_ComparedPart]]
) -> Iterator[tuple[list[ProvenAccount], set[AccountAsset]]]:
    """Take accounts together until so much of them differs that its ledger would fill the memory."""
    some: list[ProvenAccount] = []
    differing: set[AccountAsset] = set()
    for account in accounts:
        some.append(account)
        parts = compared.get(account.name, ())
        differing |= {(account.account_id, one.asset) for part in parts for one in part.comparison.differing}
        if len(differing) >= DIFFERING_AT_ONCE:
            yield some, differing
            some, differing = [], set()
    if some:
        yield some, differing


def _is_emptied(
    book: DeskBook,
    accounts: Iterable[ProvenAccount],
    compared: Mapping[str, Sequence[_ComparedPart]],
    evidence: BookEvidence,
) -> bool:
    """Say whether every row of positions is gone of accounts that had some."""
    ids = {account.account_id: compared[account.name] for account in accounts if account.name in compared}
    rows_before = sum(evidence.before[i].position_rows for i in ids if i in evidence.before)
    rows_now = sum(_position_rows(parts) for parts in ids.values())
    if not rows_before or rows_now:
        return False
    is_spot_only = book.positions.wallets == "spot"
    return any(
        is_emptied(rows_before, rows_now, evidence.proven(i).by_asset(is_spot_only=is_spot_only)) for i in ids
    )


def _position_rows(parts: Iterable[_ComparedPart]) -> int:
    return sum(part.comparison.rows for part in parts if not part.terms.is_cash)


def _not_judged(
    book: DeskBook,
    account: ProvenAccount,
    general: Sequence[DeskProblem],
    reading: BookReading,
    evidence: BookEvidence,
) -> AccountInBook:
    own = reading.of_accounts.get(account.name)
    unclear = (own,) if own else ()
    told = tuple(dict.fromkeys((*unclear, *general)))
    return AccountInBook(
        account,
        BookJudgement(book.name, book.positions.write_back, problems=told, is_whole=False),
        evidence.ledger_heads[account.account_id],
        evidence.declared.get(account.name),
        is_matched=not own,
        unclear=unclear,
    )


def _compared_parts(
    book: DeskBook,
    account: ProvenAccount,
    of_parts: Iterable[tuple[PartReading, Terms]],
    evidence: BookEvidence,
) -> Iterator[_ComparedPart]:
    held = evidence.proven(account.account_id)
    for read, terms in of_parts:
        proven = held.by_asset(is_spot_only=terms.is_spot_only)
        if terms.is_cash:
            proven = {asset: quantity for asset, quantity in proven.items() if asset in terms.names.known}
        declared = (book.cash if terms.is_cash else None) or book.positions
        rows = read.rows.get(account.name, ())
        yield _ComparedPart(declared, read, terms, compare(rows, proven, terms))


@dataclass(frozen=True, slots=True)
class _Judging:
    """One account of a book, with all that judges it."""

    book: DeskBook
    account: ProvenAccount
    reading: BookReading
    parts: Sequence[_ComparedPart]
    evidence: BookEvidence

    def judged(self, general: Sequence[DeskProblem]) -> AccountInBook:
        """Explain and decide about every difference."""
        found = [
            (one, self._explained(part, one)) for part in self.parts for one in part.comparison.differing
        ]
        prices = self._prices([compared.asset for compared, _ in found]) if found else {}
        terms = {part.terms.is_cash: self._write_terms(part) for part in self.parts} if found else {}
        approved_plan, approved = self.evidence.approved.get(self.account.account_id, (None, {}))
        decided = self._decided(found, prices, terms, approved)
        differences = decided.differences
        comparisons = [part.comparison for part in self.parts]
        of_rows = (problem for one in comparisons for problem in one.problems)
        judgement = BookJudgement(
            self.book.name,
            self.book.positions.write_back,
            sum(one.rows for one in comparisons),
            sum(one.agreed for one in comparisons),
            differences,
            problems=tuple(dict.fromkeys((*general, *of_rows))),
            is_whole=len(self.parts) == (1 if self.book.cash is None else 2),
            agreed_cash=sum(part.comparison.agreed for part in self.parts if part.terms.is_cash),
        )
        unjudged = {asset for one in comparisons for asset in one.unjudged}
        memory = {asset: self._memory(asset) for asset in {*unjudged, *(one.asset for one in differences)}}
        return AccountInBook(
            self.account,
            judgement,
            self.evidence.ledger_heads[self.account.account_id],
            self.evidence.declared.get(self.account.name),
            _position_rows(self.parts),
            unclear=tuple(problem for one in comparisons for problem in one.unclear),
            doubled=tuple(asset for one in comparisons for asset in one.doubled),
            standings=standings_now(differences, unjudged, memory, self.reading.read_at),
            terms=terms,
            prices=prices,
            approved_plan=approved_plan,
            approval_stands=decided.approval_stands,
        )

    def _memory(self, asset: str) -> AssetMemory:
        return self.evidence.memory(self.account.account_id, asset)

    @property
    def _held(self) -> ProvenPositions:
        return self.evidence.proven(self.account.account_id)

    def _explained(self, part: _ComparedPart, compared: ComparedAsset) -> Explained:
        of = (self.account.account_id, compared.asset)
        memory = self._memory(compared.asset)
        agreement = memory.agreement
        return explain(
            DifferenceEvidence(
                compared,
                part.terms.decimals,
                [e for e in self.evidence.entries.get(of, _NO_ENTRIES) if part.counted(e.wallet)],
                has_agreed=agreement is not None,
                agreed=agreement.quantity if agreement else None,
                was_ever_held=of in self.evidence.held,
                wallets={
                    wallet: quantity
                    for wallet, quantity in self._held.of(compared.asset).items()
                    if part.counted(wallet)
                },
                orders=self.evidence.orders.get(self.account.account_id, {}),
                booked_for_it=[entry for entry in memory.booked if part.counted(entry.wallet)],
            )
        )

    def _prices(self, differing: Iterable[str]) -> dict[str, Decimal]:
        quote = self.account.quote_currency
        found = {a: self.evidence.prices.of(quote, a)[0] for a in {*differing, *self._held.assets}}
        return {asset: price for asset, price in found.items() if price is not None}

    def _decided(
        self,
        found: Sequence[tuple[ComparedAsset, Explained]],
        prices: Mapping[str, Decimal],
        terms: Mapping[bool, WriteTerms],
        approved: Mapping[str, Decimal],
    ) -> Decided:
        if not found:
            return Decided(())
        book, memory = self.book, {compared.asset: self._memory(compared.asset) for compared, _ in found}
        situation = Situation(
            self.reading.read_at,
            book.positions.write_back,
            timedelta(seconds=book.late_by),
            book.tolerance,
            sum(
                1
                for part in self.parts
                for row in part.reading.rows.get(self.account.name, ())
                if row.quantity
            ),
            self._held.by_asset(is_spot_only=book.positions.wallets == "spot"),
            prices,
            seen={asset: one.seen for asset, one in memory.items() if one.seen},
            last_changes={asset: one.last_changes for asset, one in memory.items()},
            undone={a: one.write.undone_by for a, one in memory.items() if one.write and one.write.undone_by},
            approved=approved,
            not_writable=dict(self._not_writable(terms)),
            has_unknown_names=any(part.comparison.has_unknown_names for part in self.parts),
            cash_write_back=book.cash.write_back if book.cash else WriteBack.NONE,
        )
        return decide(found, situation)

    def _write_terms(self, part: _ComparedPart) -> WriteTerms:
        account_id = self.account.account_id
        return WriteTerms(
            part.declared,
            part.terms.decimals,
            self.reading.values[self.account.name],
            self.account.quote_currency,
            self.reading.read_at,
            names=part.terms.names,
            available=self.evidence.available.get(account_id, {}),
            average_costs=self.evidence.costs.get(account_id, {}),
            required=part.reading.required,
        )

    def _not_writable(self, terms: Mapping[bool, WriteTerms]) -> Iterator[tuple[str, str]]:
        for part in self.parts:
            if part.declared.write_back is WriteBack.NONE:
                continue
            for compared in part.comparison.differing:
                if why := why_not_writable(compared, terms[part.terms.is_cash]):
                    yield compared.asset, why
