"""Who meets whom: for each pair the state of the desk that they meet in, and what each of them does."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from desks.exports import ledgers_csv
from desks.fake_exchange import bring
from kraken_recon.accounts.store import AccountStore
from kraken_recon.database.unit_of_work import UnitOfWork
from kraken_recon.history.importing import import_exports
from kraken_recon.history.rules.export_rows import LedgerExport
from kraken_recon.kraken.export_files import parse_export
from kraken_recon.ledger.entries import SPOT, HoldingKey
from kraken_recon.reconciliation.backfill import reconcile_as_of
from kraken_recon.reconciliation.rules.policy import Mode, Policy
from kraken_recon.reconciliation.run import SyncRequest
from kraken_recon.reconciliation.sync import sync_accounts
from kraken_recon.repairs.deciding import approve, reject
from kraken_recon.repairs.undoing import undo
from kraken_recon.values.intervals import RUN_INTERVAL, Interval

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.races.stage import Stage
    from desks.fakes import FakeBooks
    from kraken_recon.accounts.account import Account

    Unit = Callable[[Stage, str], object]

DESK: Final = "desk"
ALIKE: Final = (("ETH", "0.5"), ("USD", "-1000"))
PRICES: Final = {"BTC": Decimal(50000), "ETH": Decimal(2000), "XRP": Decimal(1), "USD": Decimal(1)}


@dataclass(frozen=True, slots=True)
class Role:
    """One side of a pair.

    Attributes:
        name: as a person would say.
        units: what it does. Each is one whole: what every schedule has to come to is some order of the units
            of both, one after the other.
    """

    name: str
    units: tuple[Unit, ...]


@dataclass(frozen=True, slots=True)
class Pair:
    """Two roles, and the state in which they begin.

    Attributes:
        about: what they could do to each other.
        may_stand_aside: one that finds the other at work may leave everything to it, and say so.
        afterwards: what the next run does, where one may leave something to it.
    """

    name: str
    about: str
    prepare: Callable[[Stage], None]
    roles: tuple[Role, ...]
    may_stand_aside: bool = False
    afterwards: Unit = lambda _stage, _letter: None


class StoodAsideError(Exception):
    """A role found the other one at work, and left it all to that one."""


def proved_desk(stage: Stage) -> FakeBooks:
    """Give the desk an account whose books at the exchange are on record, and proved."""
    books = stage.desk.account(DESK)
    stage.desk.exchanges[DESK].price_list = PRICES
    for asset, amount in {"BTC": "1.5", "ETH": "40", "XRP": "2500", "USD": "100000"}.items():
        books.add(asset, amount, entry_type="deposit")
    stage.desk.sync()
    return books


def proved_before(stage: Stage) -> None:
    """Let nothing have happened since the last run."""
    proved_desk(stage)
    stage.desk.now += RUN_INTERVAL


def with_news(books: FakeBooks, stage: Stage) -> None:
    """Let the account trade: what it bought and what it paid are not on record yet."""
    books.now = stage.desk.now + timedelta(minutes=1)
    books.add("BTC", "0.5")
    books.add("USD", "-25000", fee="40")


def with_every_trouble(stage: Stage) -> None:
    """Let there be a trade that is not on record, a residual, and a row that was changed by hand."""
    books = proved_desk(stage)
    books.residuals = {key: Decimal(3) for key in books.balances() if key.asset == "XRP"}
    stage.desk.sync()
    stage.desk.sync()
    with_news(books, stage)
    stage.desk.execute("update trading.positions set quantity = quantity + 1 where asset = 'ETH'")
    stage.desk.now += RUN_INTERVAL


def missed_alike(stage: Stage) -> None:
    """Let a trade not be on record that is like the one to come."""
    books = proved_desk(stage)
    books.now = stage.desk.now + timedelta(minutes=1)
    for asset, amount in ALIKE:
        books.add(asset, amount)
    stage.desk.now += RUN_INTERVAL


def sync_of(minutes_later: int = 0) -> Unit:
    """Make a sync of the interval that ends so many minutes after the desk's own."""

    def sync(stage: Stage, letter: str) -> None:
        end = stage.desk.now + timedelta(minutes=minutes_later)
        request = SyncRequest(Interval(end - RUN_INTERVAL, end), Mode.REPAIR, Policy(), concurrency=1)
        sync_accounts([account_of(stage, letter)], request, stage.ports(letter))

    return sync


def account_of(stage: Stage, letter: str) -> Account:
    """Find the account, as whoever begins with it does."""
    with UnitOfWork(stage.engines[letter]) as unit:
        return AccountStore(unit).find_accounts([DESK])[0]


def backfill(stage: Stage, letter: str) -> None:
    """Reconcile as of the end of the interval before the last, which nobody has read yet."""
    end = stage.desk.now - RUN_INTERVAL
    request = SyncRequest(Interval(end - RUN_INTERVAL, end), Mode.REPAIR, Policy(), trigger="backfill")
    reconcile_as_of([account_of(stage, letter)], request, stage.ports(letter))


def opened_by_nobody(stage: Stage) -> None:
    """Let there be an account that no sync has seen yet, whose ledger does not go back to its beginning."""
    books = stage.desk.account(DESK)
    books.openings = {HoldingKey("BTC", SPOT): Decimal(2), HoldingKey("USD", SPOT): Decimal(500)}
    stage.desk.exchanges[DESK].price_list = PRICES
    for asset, amount in {"BTC": "1.5", "USD": "100000"}.items():
        books.add(asset, amount, entry_type="deposit")
    stage.desk.now += RUN_INTERVAL


def missed_lately(stage: Stage) -> None:
    """Let there be a trade that is not on record, in an interval that is over."""
    books = proved_desk(stage)
    with_news(books, stage)
    stage.desk.now += 3 * RUN_INTERVAL


def export_of(books: FakeBooks) -> LedgerExport:
    """Write all that the exchange has as its own export."""
    export = parse_export("ledgers.csv", ledgers_csv(books.entries, 12))
    assert isinstance(export, LedgerExport)
    return export


def import_export(stage: Stage, letter: str) -> None:
    """Import all that the exchange had when the desk was prepared."""
    export = export_of(stage.desk.books[DESK])
    import_exports(account_of(stage, letter), [export], stage.ports(letter).open_unit_of_work)


def import_half(first: int, last: int | None) -> Unit:
    """Make an import of some of the entries: a file of its own each."""

    def import_some(stage: Stage, letter: str) -> None:
        export = parse_export("ledgers.csv", ledgers_csv(stage.desk.books[DESK].entries[first:last], 12))
        import_exports(account_of(stage, letter), [export], stage.ports(letter).open_unit_of_work)

    return import_some


def repaired_lately(stage: Stage) -> None:
    """Let a residual be repaired, so that there is a plan to undo."""
    books = proved_desk(stage)
    books.residuals = {key: Decimal(3) for key in books.balances() if key.asset == "XRP"}
    stage.desk.sync()
    stage.desk.sync()
    stage.desk.sync()
    [stage.kept["plan"]] = [
        row["plan_id"]
        for row in stage.desk.rows(
            "select plan_id from trading.repair_plans join trading.position_events using (plan_id)"
            " where reason is not null"
        )
    ]
    stage.desk.now += RUN_INTERVAL


def held_for_a_person(stage: Stage) -> None:
    """Let half of the dollars be missing without a line of the ledger: that is held."""
    books = proved_desk(stage)
    books.residuals = {key: Decimal(-50000) for key in books.balances() if key.asset == "USD"}
    stage.desk.sync()
    stage.desk.sync()
    [stage.kept["plan"]] = [
        row["plan_id"]
        for row in stage.desk.rows("select plan_id from trading.repair_plans where kind = 'held'")
    ]
    stage.desk.now += RUN_INTERVAL


def undo_by(person: str) -> Unit:
    """Make an undo of the plan that was written."""

    def undo_plan(stage: Stage, letter: str) -> None:
        undo(stage.kept["plan"], person, stage.ports(letter).open_unit_of_work, now=stage.desk.now)

    return undo_plan


def approve_by(person: str) -> Unit:
    """Make an approval of the plan that is held, and its writing."""

    def approve_plan(stage: Stage, letter: str) -> str:
        return approve(stage.kept["plan"], person, stage.ports(letter)).status

    return approve_plan


def reject_by(person: str) -> Unit:
    """Make a rejection of the plan that is held."""

    def reject_plan(stage: Stage, letter: str) -> str:
        return reject(stage.kept["plan"], person, stage.ports(letter)).status

    return reject_plan


def fill_of(*legs: tuple[str, str]) -> tuple[Unit, ...]:
    """Make a trade of these legs, each of which happens for itself, and the fill that books it."""

    def leg_of(asset: str, amount: str) -> Unit:
        def happen(stage: Stage, _letter: str) -> None:
            stage.turns.happens(f"{asset} {amount} at the exchange")
            books = stage.desk.books[DESK]
            books.now = max(books.now, stage.desk.now)
            books.add(asset, amount)

        return happen

    def book(stage: Stage, letter: str) -> None:
        found = stage.desk.books[DESK].entries[::-1]
        mine = [next(e for e in found if (e.asset, str(e.amount)) == leg) for leg in legs]
        bring(stage.engines[letter], {account_of(stage, letter).account_id: mine})

    return (*(leg_of(*leg) for leg in legs), book)


PAIRS: Final = (
    Pair(
        "sync-sync",
        "two runs of overlapping intervals find the same trade, residual and row changed by hand",
        with_every_trouble,
        (Role("sync", (sync_of(),)), Role("sync of another interval", (sync_of(5),))),
    ),
    Pair(
        "sync-retry",
        "a task is tried again while its first try is still at work",
        with_every_trouble,
        (Role("sync", (sync_of(),)), Role("sync of the same interval", (sync_of(),))),
    ),
    Pair(
        "opening-opening",
        "two runs see an account for the first time",
        opened_by_nobody,
        (Role("sync", (sync_of(),)), Role("sync of another interval", (sync_of(5),))),
    ),
    Pair(
        "sync-fill",
        "a trade happens while a run reads, and is booked by the fill and by the run",
        with_every_trouble,
        (Role("sync", (sync_of(),)), Role("trade and fill", fill_of(("ETH", "0.5"), ("USD", "-1000")))),
    ),
    Pair(
        "sync-same-fill",
        "a fill like one that was missed is booked while a run asks and compares",
        missed_alike,
        (Role("sync", (sync_of(),)), Role("trade and fill", fill_of(*ALIKE))),
    ),
    Pair(
        "sync-backfill",
        "a run of now and one of the past read and book the same stretch of the ledger",
        missed_lately,
        (Role("sync", (sync_of(),)), Role("backfill", (backfill,))),
    ),
    Pair(
        "fill-fill",
        "two workers book fills of the same assets, in the opposite order",
        proved_before,
        (
            Role("trade and fill", fill_of(("ETH", "0.5"), ("USD", "-1000"))),
            Role("another trade and its fill", fill_of(("USD", "700"), ("ETH", "-0.25"))),
        ),
    ),
    Pair(
        "fill-undo",
        "a position moves while the repair of it is taken back",
        repaired_lately,
        (
            Role("trade and fill", fill_of(("XRP", "100"), ("USD", "-100"))),
            Role("undo", (undo_by("ann"),)),
        ),
    ),
    Pair(
        "undo-undo",
        "two people take the same repair back",
        repaired_lately,
        (Role("undo", (undo_by("ann"),)), Role("undo by another", (undo_by("bob"),))),
    ),
    Pair(
        "approval-sync",
        "a held plan is approved and written while a run judges the same drift",
        held_for_a_person,
        (Role("approval", (approve_by("ann"),)), Role("sync", (sync_of(5),))),
    ),
    Pair(
        "approval-rejection",
        "two people decide about the same plan, one each way",
        held_for_a_person,
        (Role("approval", (approve_by("ann"),)), Role("rejection", (reject_by("bob"),))),
    ),
    Pair(
        "import-sync",
        "a file and a run bring the same entries",
        missed_lately,
        (Role("import", (import_export,)), Role("sync", (sync_of(),))),
    ),
    Pair(
        "import-opening",
        "a file and a run open the same account",
        opened_by_nobody,
        (Role("import", (import_export,)), Role("sync", (sync_of(),))),
    ),
    Pair(
        "import-import",
        "two files, of which each has entries that the other one lacks, open the same account",
        opened_by_nobody,
        (Role("import", (import_half(0, 1),)), Role("import of another file", (import_half(1, None),))),
    ),
)
