"""Reconcile the books of desks with what a run has just proved: judge, record, tell, and let be written.

Invariants:
1. An account is judged by the run that proved it, as long as no newer one has, and once: a task that is tried
   again looks only at what could not be judged before.
2. What is said of a book is on record before anything is written to it.
3. A book that cannot be read is told of, and fails nobody.
4. Neither database is held while the other is asked.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from kraken_recon.alerts.alert import Alert
from kraken_recon.alerts.kinds import OF_DESK_BOOKS, AlertKind
from kraken_recon.alerts.store import AlertStore
from kraken_recon.desk_books.diffing import is_about, known_names, read_declared
from kraken_recon.desk_books.judging import judge_accounts
from kraken_recon.desk_books.own_orders.store import OwnOrderStore
from kraken_recon.desk_books.own_orders.verifying import verify_desk_orders
from kraken_recon.desk_books.rules.judged import JudgedAccount, WriteOutcome, WriteState
from kraken_recon.desk_books.rules.records import WRITES, DeskAction
from kraken_recon.desk_books.store import DeskBookStore
from kraken_recon.desk_books.view import difference_view, problem_views
from kraken_recon.desk_books.writing import settle_unfinished, write_back
from kraken_recon.holdings.pricing import price_list, worth_evidence, worth_words
from kraken_recon.holdings.store import PriceStore
from kraken_recon.reconciliation.plans.store import PlanStore
from kraken_recon.values.money import format_amount

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime
    from uuid import UUID

    from kraken_recon.database.unit_of_work import UnitOfWork
    from kraken_recon.desk_books.declaration import DeskBook
    from kraken_recon.desk_books.declaring import DeclaredBook
    from kraken_recon.desk_books.diffing import DeskBookPorts
    from kraken_recon.desk_books.judging import AccountInBook, KnownNames
    from kraken_recon.desk_books.own_orders.verifying import OwnOrders
    from kraken_recon.desk_books.reading import BookReading
    from kraken_recon.desk_books.rules.records import ComparedAsset, DeskProblem, Difference
    from kraken_recon.desk_books.store import ProvenAccount
    from kraken_recon.holdings.pricing import PriceList

_NEED_THE_WHOLE: Final = WRITES | {DeskAction.HELD}
_LINES_MAX: Final = 20
_NOT_WHOLE: Final = "the book could not be judged as a whole, so that nothing is written"


_Outcomes = dict[tuple[int, str], WriteOutcome]


@dataclass(frozen=True, slots=True)
class BookOutcome:
    """What a run came to in one book: the accounts that it judged, or why the book cannot be used."""

    book: str
    accounts: tuple[AccountInBook, ...] = ()
    problems: tuple[DeskProblem, ...] = ()
    orders: Mapping[str, OwnOrders] = field(default_factory=dict)

    @property
    def told(self) -> str:
        """Sum it up in one line."""
        if not self.accounts and not self.orders:
            why = "; ".join(problem.what for problem in self.problems)
            return (
                f"{self.book}: {why or 'no account of it was proved by this run and is to be judged still'}"
            )
        counts = Counter(one.status for one in self.accounts)
        statuses = ", ".join(f"{count} {status}" for status, count in sorted(counts.items())) or "none judged"
        return "; ".join([f"{self.book}: {statuses}", *self._told_of_orders()])

    def _told_of_orders(self) -> Iterator[str]:
        given = sum(one.given for one in self.orders.values())
        if given:
            yield f"{given} of the desk's orders given to the verification"
        lost = sum(len(one.orders) for one in self.orders.values())
        if lost:
            yield f"{lost} of them not as Kraken tells"
        problems = dict.fromkeys(problem for one in self.orders.values() for problem in one.problems)
        yield from (f"{problem.where}: {problem.what}" for problem in problems)

    @property
    def lines(self) -> list[str]:
        """Sum it up, and name what differs, the first of it."""
        found = [
            f"{one.account.name} {d.asset}: proven {format_amount(d.compared.proven)}, desk"
            f" {format_amount(d.compared.desk)}, {d.explained.answer.explanation}, {d.action}"
            for one in self.accounts
            for d in one.judgement.differences
        ]
        problems = [f"{p.where}: {p.what}" for one in self.accounts for p in one.judgement.problems]
        told = list(dict.fromkeys([*problems, *found]))
        more = len(told) - _LINES_MAX
        return [self.told, *told[:_LINES_MAX], *([f"and {more} more"] if more > 0 else [])]


def reconcile_book(declared: DeclaredBook, run_ids: Sequence[UUID], ports: DeskBookPorts) -> BookOutcome:
    """Judge a book for the accounts that these runs proved."""
    if declared.book is None:
        with ports.open_unit_of_work() as unit:
            _tell_of_declaration(unit, declared)
            unit.commit()
        return BookOutcome(declared.name, problems=declared.problems)
    book = declared.book
    with ports.open_unit_of_work() as unit:
        proved = DeskBookStore(unit).proved_by(run_ids, book.name)
        reached = OwnOrderStore(unit).accounts_of_runs(run_ids) if book.orders and ports.of_orders else []
    accounts = [account for account in proved if is_about(book, account.name)]
    of_orders = [account for account in reached if is_about(book, account.name)]
    if not accounts and not of_orders:
        return BookOutcome(book.name)
    names = known_names([one.kraken_conn_id for one in accounts or of_orders], ports)
    judged = _judge(book, accounts, names, ports) if accounts else ()
    # Orders are verified whether the account was proved or not.
    orders = verify_desk_orders(book, of_orders, names.assets, ports.of_orders) if ports.of_orders else {}
    return BookOutcome(book.name, tuple(judged), orders=orders)


def _judge(
    book: DeskBook, accounts: Sequence[ProvenAccount], names: KnownNames, ports: DeskBookPorts
) -> list[AccountInBook]:
    """Judge accounts in a book, write what it allows, and tell of the rest."""
    settle_unfinished(ports, lambda name: name == book.name)
    reading = read_declared(book, [account.name for account in accounts], ports)
    judged: list[AccountInBook] = []
    for some in judge_accounts(book, accounts, reading, names, ports):
        judged += _concluded(book, [_as_allowed(one) for one in some], reading, ports)
    return judged


def _concluded(
    book: DeskBook, judged: list[AccountInBook], reading: BookReading, ports: DeskBookPorts
) -> list[AccountInBook]:
    """Record what is said of accounts, write what is to be written, and tell of the rest."""
    handed_on = [_handed_on(book, one, reading) for one in judged if one.judgement.is_whole]
    eventful = [one for one in handed_on if one.to_write or one.to_hold]
    with ports.open_unit_of_work() as unit:
        _record(unit, book, judged, reading)
        busy = {one.account_id for one in eventful}
        calm = {one.account_id: None for one in handed_on if one.account_id not in busy}
        PlanStore(unit).settle_held(calm, book.name)
        if not eventful:
            _tell(unit, book, judged, reading.read_at, {})
        unit.commit()
    if not eventful:
        return judged
    outcomes = {
        (one.account_id, outcome.asset): outcome
        for one in eventful
        for outcome in write_back(one, ports).outcomes
    }
    with ports.open_unit_of_work() as unit:
        _tell(unit, book, judged, reading.read_at, outcomes)
        unit.commit()
    return judged


def _as_allowed(one: AccountInBook) -> AccountInBook:
    """Only tell of what would be written where the book was not seen as a whole."""
    if one.judgement.is_whole:
        return one
    differences = tuple(
        replace(d, action=DeskAction.REPORT, reason=_NOT_WHOLE) if d.action in _NEED_THE_WHOLE else d
        for d in one.judgement.differences
    )
    return replace(one, judgement=replace(one.judgement, differences=differences))


def _handed_on(book: DeskBook, one: AccountInBook, reading: BookReading) -> JudgedAccount:
    return JudgedAccount(
        book,
        one.account.account_id,
        one.account.proving_run,
        reading.read_at,
        one.judgement.differences,
        one.terms,
        one.prices,
        one.approved_plan,
        one.approval_stands,
    )


def _record(unit: UnitOfWork, book: DeskBook, judged: Sequence[AccountInBook], reading: BookReading) -> None:
    """Write what is said of all accounts, each kind of row at once."""
    store = DeskBookStore(unit)
    runs = [_run_row(book, one, reading) for one in judged]
    store.record(book.name, runs, [row for one in judged for row in _difference_rows(book, one, reading)])
    whole = {one.account.account_id: one.standings for one in judged if one.judgement.is_whole}
    store.record_standings(book.name, whole)


def _run_row(book: DeskBook, one: AccountInBook, reading: BookReading) -> dict[str, Any]:
    counts = Counter(difference.action for difference in one.judgement.differences)
    return {
        "book": book.name,
        "run_id": one.account.proving_run,
        "account_id": one.account.account_id,
        "status": one.status,
        "read_at": reading.read_at,
        "as_of": one.account.proven_at,
        "ledger_seq": one.ledger_seq,
        "declaration": one.declaration,
        "rows": one.judgement.rows,
        "position_rows": one.position_rows,
        "agreed": one.judgement.agreed,
        "waiting": counts[DeskAction.WAITING],
        "within_tolerance": counts[DeskAction.WITHIN_TOLERANCE],
        "reported": counts[DeskAction.REPORT],
        "updated": counts[DeskAction.UPDATE],
        "inserted": counts[DeskAction.INSERT],
        "removed": counts[DeskAction.REMOVE],
        "held": counts[DeskAction.HELD],
        "problems": problem_views(one.judgement.problems),
    }


def _difference_rows(book: DeskBook, one: AccountInBook, reading: BookReading) -> Iterator[dict[str, Any]]:
    for difference in one.judgement.differences:
        known = one.standings.get(difference.asset)
        yield {
            **difference_view(difference),
            "run_id": one.account.proving_run,
            "book": book.name,
            "account_id": one.account.account_id,
            "is_cash": difference.compared.is_cash,
            "first_seen_at": known.first_seen_at if known else reading.read_at,
        }


def _tell(
    unit: UnitOfWork, book: DeskBook, judged: Sequence[AccountInBook], now: datetime, outcomes: _Outcomes
) -> None:
    """Raise what a person must look at, and end what is over, for the accounts that were looked at."""
    told = [(one, d, why) for one in judged for d, why in _differing(one, outcomes)]
    prices = price_list(PriceStore(unit), {(one.account.quote_currency, d.asset) for one, d, _ in told}, now)
    differing = [_difference_alert(book, one, d, why, prices) for one, d, why in told]
    known = {(alert.account_id, alert.asset) for alert in differing}
    differing += [
        _doubled_alert(book, one, asset)
        for one in judged
        for asset in one.doubled
        if (one.account.account_id, asset.asset) not in known
    ]
    unreadable = list(_unreadable_alerts(book, judged))
    # What may still be on its way into the book has not agreed: what was told of it stays.
    waiting = [
        _about(book, one, d.asset)
        for one in judged
        for d in one.judgement.differences
        if d.action is DeskAction.WAITING
    ]
    alerts = AlertStore(unit)
    alerts.resolve_alerts(
        [one.account.account_id for one in judged if one.judgement.is_whole],
        AlertKind.DESK_DIFFERENCE,
        still=[*differing, *waiting],
        ended_by=f"a run that left book {book.name} in agreement",
        subject=book.name,
    )
    alerts.resolve_alerts(
        [None, *(one.account.account_id for one in judged)],
        AlertKind.DESK_BOOK_UNREADABLE,
        still=unreadable,
        ended_by=f"a run that could judge book {book.name}",
        subject=book.name,
    )
    alerts.raise_alerts([*differing, *unreadable])


def _differing(one: AccountInBook, outcomes: _Outcomes) -> Iterator[tuple[Difference, str]]:
    """Name what a person is told of, each with why it was not put right where there is a reason."""
    for difference in one.judgement.differences:
        if difference.action in WRITES:
            outcome = outcomes.get((one.account.account_id, difference.asset))
            if outcome is not None and outcome.state is not WriteState.WRITTEN:
                yield difference, f"not written: {outcome.reason}"
        elif difference.action is DeskAction.HELD:
            yield difference, f"held: {difference.reason}"
        elif difference.action is DeskAction.REPORT:
            yield difference, ""


def _about(book: DeskBook, one: AccountInBook, asset: str, message: str = "") -> Alert:
    return Alert(AlertKind.DESK_DIFFERENCE, one.account.account_id, asset, book.name, message)


def _doubled_alert(book: DeskBook, one: AccountInBook, doubled: ComparedAsset) -> Alert:
    message = (
        f"{one.account.name}: {len(doubled.rows)} rows stand for {doubled.asset} in the desk's book"
        f" {book.name}; together they agree, and none is written by itself"
    )
    return _about(book, one, doubled.asset, message)


def _difference_alert(
    book: DeskBook, one: AccountInBook, difference: Difference, why: str, prices: PriceList
) -> Alert:
    compared = difference.compared
    worth = prices.worth_of_changes(one.account.quote_currency, {compared.asset: compared.difference})
    word = difference.explained.answer.explanation.replace("_", " ")
    message = (
        f"{one.account.name}: {compared.asset} in the desk's book {book.name} is not what is proven ({word}):"
        f" proven {format_amount(compared.proven)}, desk {format_amount(compared.desk)};"
        f" worth {worth_words(worth)}{why and f'; {why}'}"
    )
    return replace(
        _about(book, one, compared.asset, message),
        amount=compared.difference,
        evidence={
            "run_id": str(one.account.proving_run),
            "book": book.name,
            **difference_view(difference),
            **worth_evidence(worth),
        },
    )


def _unreadable_alerts(book: DeskBook, judged: Sequence[AccountInBook]) -> Iterator[Alert]:
    """Tell of a book once, and of an account's own value or rows in it for each account."""
    shared = [
        problem
        for one in judged
        if one.is_matched and not one.judgement.is_whole
        for problem in one.judgement.problems
        if problem not in one.unclear
    ]
    if shared:
        where = f"the desk's book {book.name}"
        yield _unreadable_alert(None, where, book.name, list(dict.fromkeys(shared)))
    for one in judged:
        if one.unclear:
            where = f"{one.account.name}: the desk's book {book.name}"
            yield _unreadable_alert(one.account.account_id, where, book.name, one.unclear)


def _unreadable_alert(
    account_id: int | None, where: str, book: str, problems: Sequence[DeskProblem]
) -> Alert:
    first, more = problems[0], len(problems) - 1
    others = f" (and {more} more)" if more else ""
    return Alert(
        AlertKind.DESK_BOOK_UNREADABLE,
        account_id,
        None,
        book,
        f"{where} cannot be judged: {first.where}: {first.what}{others}. {first.remedy}",
        evidence={"book": book, "problems": problem_views(problems)},
    )


def _tell_of_declaration(unit: UnitOfWork, declared: DeclaredBook) -> None:
    """Say that a file declares nothing that can be used."""
    where = f"the desk's book {declared.name} ({declared.file.name})"
    AlertStore(unit).raise_alerts([_unreadable_alert(None, where, declared.name, declared.problems)])


def settle_books(declared: Sequence[DeclaredBook], ports: DeskBookPorts) -> None:
    """End what is open of books that nobody declares any more; while a file cannot be used, none is gone."""
    if any(one.book is None for one in declared):
        return
    names = {one.name for one in declared}
    settle_unfinished(ports, lambda name: name not in names)
    with ports.open_unit_of_work() as unit:
        for book in sorted(DeskBookStore(unit).alerted_books() - names):
            ended_by = f"book {book}, which is no longer declared"
            AlertStore(unit).resolve_alerts(None, *OF_DESK_BOOKS, ended_by=ended_by, subject=book)
        PlanStore(unit).outdate_undeclared(names)
        unit.commit()
