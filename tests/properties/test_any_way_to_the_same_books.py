"""Invariant 9, all of it: whatever brings the entries, in whatever windows, order, number and after whatever
interruption, the positions, events, costs, results and discrepancies are those of one straight pass.
"""

from __future__ import annotations

from itertools import groupby, pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from desks.cost_books import QUOTE, costed
from desks.cost_histories import KINDS, Happening, amounts, fees, write
from desks.fake_exchange import bring, minutes
from desks.fakes import START
from desks.histories import adjustments, at_exchange, fresh_account, unconnected_events
from desks.imports import bring_file
from desks.interruptions import Steps, stepped_ports
from desks.past_intervals import SETTLED, backfill, history, past_desk, recorded_at
from kraken_recon.costs.recomputing import recompute, recompute_account, scope_of
from kraken_recon.costs.records import CostKey
from kraken_recon.costs.store import CostStore
from kraken_recon.database.unit_of_work import UnitOfWork
from kraken_recon.errors import ImportRefusedError
from kraken_recon.reconciliation.rules.policy import Mode
from kraken_recon.values.intervals import Interval
from kraken_recon.values.money import ZERO

if TYPE_CHECKING:
    from desks.fake_exchange import Desk
    from desks.fakes import FakeBooks
    from kraken_recon.ledger.entries import LedgerEntry

# An example is two accounts with a history each, every window of them twice.
few = settings(max_examples=settings.default.max_examples // 6)
TICKS_MAX = 5
ASSETS = ("BTC", "ETH", "DOT")


DOINGS = ("backfill", "backfill", "dry run", "import", "import", "sync", "killed backfill", "killed sync")


class Tick(NamedTuple):
    """A quarter of an hour: what happens, how much of it a fill brings at once, whether a sync runs."""

    things: list[Happening]
    brought: int
    synced: bool


class Doing(NamedTuple):
    """One thing that an operator, a scheduler or an accident does, and between which bounds."""

    kind: str
    first: int
    last: int


things = st.builds(
    Happening,
    st.sampled_from(KINDS),
    st.sampled_from(ASSETS),
    st.sampled_from(ASSETS),
    amounts,
    amounts,
    fees,
    st.booleans(),
)
ticks = st.lists(
    st.builds(Tick, st.lists(things, max_size=3), st.integers(0, 3), st.booleans()),
    min_size=1,
    max_size=TICKS_MAX,
)
cuts = st.sets(st.integers(-20, 15 * TICKS_MAX), min_size=2, max_size=6).map(sorted)
doings = st.lists(
    st.builds(
        Doing,
        st.sampled_from(DOINGS),
        st.integers(0, 40),
        st.integers(0, 40),
    ),
    max_size=8,
)


class Killed(BaseException):
    """The process is gone."""


def tell(desk: Desk, past: list[Tick]) -> tuple[str, FakeBooks]:
    """Let a past happen to a new account, which the first sync opens at START."""
    name, books = fresh_account(desk)
    books.now = START - minutes(40)
    write(books, Happening("deposit", "USD", "USD", amount(1000), ZERO, ZERO, together=False))
    write(books, Happening("buy", "BTC", "BTC", amount(500), amount(100), ZERO, together=False))
    desk.now = START
    desk.sync_again(name)
    recorded_at(desk, name, desk.now)
    for number, tick in enumerate(past):
        books.now = START + minutes(15 * number + 3)
        before = len(books.entries)
        for place, thing in enumerate(tick.things):
            # What shares its time with the thing before cannot turn up a quarter of an hour after it.
            write(books, thing._replace(together=thing.together and place > 0))
        fresh = books.entries[before:]
        if tick.brought and fresh:
            fill(desk, name, fresh[-tick.brought :])
            recorded_at(desk, name, START + minutes(15 * number + 9))
        desk.now = START + minutes(15 * (number + 1))
        if tick.synced:
            desk.sync_again(name)
            recorded_at(desk, name, desk.now)
    desk.now = START + minutes(15 * TICKS_MAX) + SETTLED
    return name, books


def fill(desk: Desk, name: str, entries: list[LedgerEntry]) -> None:
    """Book entries as a fill does, and their costs as `docs/average-cost.md` asks of whoever does so."""
    account = desk.account_id(name)
    bring(desk.engine, {account: entries})
    money = CostKey(account, QUOTE, QUOTE)
    with UnitOfWork(desk.engine) as unit:
        scope = scope_of(
            CostStore(unit),
            {CostKey(account, entry.asset, QUOTE) for entry in entries},
            [(money, entry.refid) for entry in entries if entry.asset == QUOTE],
        )
        CostStore(unit).lock(scope.positions)
        recompute(CostStore(unit), scope)
        unit.commit()


def amount(units: int) -> Any:
    return ZERO + units


def instants(books: FakeBooks) -> list[list[Any]]:
    return [list(same) for _, same in groupby(books.entries, key=lambda entry: entry.entry_time)]


def do(desk: Desk, name: str, doing: Doing, windows: list[Interval]) -> None:
    """Do one thing; a file that leaves a gap is refused, and what is killed is over."""
    window = windows[doing.first % len(windows)]

    def kill(number: int, _: str) -> None:
        if number == doing.last + 1:
            raise Killed

    match doing.kind:
        case "backfill":
            backfill(desk, window, name)
        case "dry run":
            backfill(desk, window, name, mode=Mode.DRY_RUN)
        case "import":
            parts = instants(desk.books[name])
            low, high = sorted((doing.first % len(parts), doing.last % len(parts)))
            try:
                # Ten columns: the wallet is a suffix of the asset's name.
                bring_file(desk, [entry for part in parts[low : high + 1] for entry in part], 10, name)
            except ImportRefusedError:
                return
        case "sync":
            desk.now += minutes(15)
            desk.sync_again(name)
        case _:
            ports = stepped_ports(desk, desk.engine, Steps(kill))
            try:
                if doing.kind == "killed backfill":
                    backfill(desk, window, name, ports=ports)
                else:
                    desk.now += minutes(15)
                    desk.sync_again(name, ports=ports)
            except Killed:
                return
            finally:
                desk.exchanges[name].before_call = lambda _: None


def books_of(desk: Desk, name: str) -> dict[str, Any]:
    """Read what must be the same: everything but our own numbering, and who did it when."""
    account = desk.account_id(name)
    columns = {
        "ledger_entries": "ledger_id, refid, entry_time, type, subtype, asset, wallet, amount, fee, balance",
        "asset_costs": "asset, quantity_known, quantity_unknown, quantity_moving, cost, avg_cost, realised,"
        " as_of, entries_counted, opening_counted",
        "realised_results": "refid, asset, quantity, proceeds, cost, result, unknown_share, effective_at",
    }
    rows = {
        table: desk.rows(
            f"select {listed} from trading.{table} where account_id = :account order by 1, 2", account=account
        )
        for table, listed in columns.items()
    }
    events = desk.rows(
        "select cause, ledger_id, asset, wallet, effective_at, quantity_after - quantity_before as change"
        " from trading.position_events where account_id = :account order by 1, 2, 3, 4",
        account=account,
    )
    averages = desk.rows(
        "select asset, wallet, quantity, avg_cost from trading.positions where account_id = :account"
        " order by 1, 2",
        account=account,
    )
    return {**rows, "events": events, "positions": averages, "past": history(desk, name)}


@few
@given(ticks, st.lists(cuts, min_size=1, max_size=2), doings, st.data())
def test_every_way_leads_to_the_books_of_one_straight_pass(
    desk: Desk, past: list[Tick], several: list[list[int]], done: list[Doing], data: st.DataObject
) -> None:
    desk = past_desk(desk)
    windows = list(
        dict.fromkeys(
            Interval(START + minutes(a), START + minutes(b)) for cut in several for a, b in pairwise(cut)
        )
    )
    straight, books = tell(desk, past)
    winding, same_books = tell(desk, past)
    assert [e.change for e in books.entries] == [e.change for e in same_books.entries]
    for window in windows:
        backfill(desk, window, straight)
    desk.now += minutes(15)
    desk.sync_again(straight)

    for doing in done:
        do(desk, winding, doing, windows)
    for window in data.draw(st.permutations(windows)):
        backfill(desk, window, winding)
    desk.now += minutes(15)
    desk.sync_again(winding)

    for name in (straight, winding):
        assert desk.run(name)["status"] == "succeeded", desk.run(name)["error"]
        assert desk.positions(name) == desk.event_totals(name) == at_exchange(desk.books[name])
        assert unconnected_events(desk, name) == []
        assert adjustments(desk, name) == []
    assert books_of(desk, straight) == books_of(desk, winding)
    expected = costed(books.entries)
    assert {row["asset"]: row["avg_cost"] for row in books_of(desk, winding)["asset_costs"]} == {
        asset: cost.average for asset, cost in expected.costs.items()
    }
    with UnitOfWork(desk.engine) as unit:
        assert not recompute_account(CostStore(unit), winding).anything
