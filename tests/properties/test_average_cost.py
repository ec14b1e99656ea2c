"""Average costs: exact, conserved, and the same whatever the order and the batches the entries came in."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import fields
from datetime import datetime
from decimal import Context, Decimal
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from hypothesis import given, settings
from hypothesis import strategies as st

from desks.cost_books import QUOTE, costed
from desks.cost_histories import ASSETS, KINDS, Happening, amounts, happenings, written
from desks.histories import fresh_account
from kraken_recon.costs.average_cost import CostBook
from kraken_recon.costs.recomputing import recompute_account
from kraken_recon.costs.store import CostStore
from kraken_recon.database.unit_of_work import UnitOfWork
from kraken_recon.ledger.entry_kinds import MOVES
from kraken_recon.ledger.sequence import grouped
from kraken_recon.values.money import exact_arithmetic

if TYPE_CHECKING:
    from desks.fake_exchange import Desk

ZERO = Decimal(0)
WIDE = Context(prec=60)
few = settings(max_examples=max(5, settings.default.max_examples // 8))


@given(happenings(*KINDS), st.randoms(use_true_random=False), st.lists(st.integers(0, 30)))
def test_order_and_batches_of_the_entries_do_not_matter(
    history: list[Happening], dice: Any, cuts: list[int]
) -> None:
    entries = written(history)
    expected = costed(entries)
    shuffled = list(entries)
    dice.shuffle(shuffled)
    assert (costed(shuffled).costs, costed(shuffled).results) == (expected.costs, expected.results)
    groups = grouped(shuffled, QUOTE)
    book = CostBook(QUOTE)
    places = [0, *sorted(cut for cut in cuts if cut < len(groups)), len(groups)]
    for start, end in pairwise(places):
        book.apply(groups[start:end])
    assert (book.costs, book.results) == (expected.costs, expected.results)


@given(happenings(*KINDS), st.dictionaries(st.sampled_from((*ASSETS, QUOTE)), amounts))
def test_quantities_add_up_to_the_ledger_and_nothing_is_less_than_nothing(
    history: list[Happening], openings: dict[str, Decimal]
) -> None:
    entries = written(history)
    book = costed(entries, openings)
    with exact_arithmetic():
        family: dict[str, Decimal] = defaultdict(lambda: ZERO, openings)
        for entry in entries:
            family[entry.asset] += entry.amount - entry.fee
        realised: dict[str, Decimal] = defaultdict(lambda: ZERO)
        for result in book.results:
            realised[result.asset] += result.result or ZERO
            assert result.quantity > ZERO
            assert ZERO <= result.unknown_share <= 1
            assert result.result is not None or result.cost == ZERO
        assert set(book.costs) == set(family)
        for asset, cost in book.costs.items():
            assert cost.quantity_known + cost.quantity_unknown + cost.quantity_moving == family[asset]
            assert cost.quantity_moving == ZERO
            assert cost.realised == realised[asset]
            if asset == QUOTE:
                assert (cost.cost, cost.quantity_unknown) == (cost.quantity_known, ZERO)
                continue
            assert cost.quantity_known >= ZERO
            assert cost.cost >= ZERO
            assert cost.quantity_known or not cost.cost
            assert cost.quantity_unknown >= ZERO or not cost.quantity_known


@given(happenings("buy", "sell", "swap", "deposit", "reward", "move"))
def test_cost_in_less_cost_out_is_the_cost_that_remains(history: list[Happening]) -> None:
    # Enough of everything, so that no purchase fills a hole and drops its cost.
    stock = [Happening("buy", a, a, Decimal(2000), Decimal(70), ZERO, together=False) for a in ASSETS]
    stock.append(stock[0]._replace(asset="SOL"))
    entries = written([*stock, *history])
    book = costed(entries)
    with exact_arithmetic():
        money_spent_and_earned = book.costs[QUOTE].cost
        held = sum((c.cost for asset, c in book.costs.items() if asset != QUOTE), ZERO)
        sold = sum((r.cost for r in book.results), ZERO)
        proceeds = sum((r.proceeds for r in book.results), ZERO)
        spent = proceeds - money_spent_and_earned
        assert spent - sold == held
        for result in book.results:
            if not result.unknown_share:
                assert result.result == result.proceeds - result.cost


@given(happenings(*KINDS))
def test_moves_between_wallets_are_neutral(history: list[Happening]) -> None:
    entries = written(history)
    without = [e for e in entries if e.kind not in MOVES]
    moved, still = costed(entries), costed(without)
    assert moved.results == still.results
    for asset, cost in still.costs.items():
        figures = moved.costs[asset]
        assert (figures.quantity_known, figures.quantity_unknown, figures.cost, figures.realised) == (
            cost.quantity_known,
            cost.quantity_unknown,
            cost.cost,
            cost.realised,
        )


@given(happenings(*KINDS))
def test_every_figure_is_a_decimal_that_fits_its_column(history: list[Happening]) -> None:
    book = costed(written(history))
    for row in (*book.costs.values(), *book.results):
        for column in fields(row):
            value = getattr(row, column.name)
            assert isinstance(value, (Decimal, str, datetime)) or value is None
            if isinstance(value, Decimal):
                assert value == value.quantize(Decimal("1E-18"), context=WIDE)


def stored(desk: Desk, name: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]], list[dict[str, Any]]]:
    account = desk.account_id(name)
    return (
        desk.rows(
            "select *, xmin::text from trading.asset_costs where account_id = :a order by 2", a=account
        ),
        desk.rows(
            "select *, xmin::text from trading.realised_results where account_id = :a order by 2, 3",
            a=account,
        ),
        desk.rows(
            "select asset, wallet, avg_cost from trading.positions where account_id = :a order by 1, 2",
            a=account,
        ),
    )


@few
@given(happenings(*KINDS), st.lists(st.integers(1, 6), min_size=1, max_size=4))
def test_books_costed_batch_by_batch_are_those_costed_at_once(
    desk: Desk, history: list[Happening], sizes: list[int]
) -> None:
    name, books = fresh_account(desk)
    entries = written(history)
    books.now = entries[-1].entry_time
    for size in [*sizes, len(entries)]:
        books.entries = entries[: len(books.entries) + size]
        desk.sync(name)
        assert desk.run(name)["status"] == "succeeded", desk.run(name)["error"]
    before = stored(desk, name)
    expected = costed(entries)
    assert {
        row["asset"]: (
            row["quantity_known"],
            row["quantity_unknown"],
            row["quantity_moving"],
            row["cost"],
            row["avg_cost"],
            row["realised"],
            row["as_of"],
        )
        for row in before[0]
    } == {
        asset: (
            cost.quantity_known,
            cost.quantity_unknown,
            cost.quantity_moving,
            cost.cost,
            cost.average,
            cost.realised,
            cost.as_of,
        )
        for asset, cost in expected.costs.items()
    }
    assert {(r["refid"], r["asset"]): (r["cost"], r["result"], r["proceeds"]) for r in before[1]} == {
        (r.refid, r.asset): (r.cost, r.result, r.proceeds) for r in expected.results
    }
    assert {(row["asset"], row["avg_cost"]) for row in before[2]} <= {
        (asset, cost.average) for asset, cost in expected.costs.items()
    }
    with UnitOfWork(desk.engine) as unit:
        assert not recompute_account(CostStore(unit), name).anything
        unit.commit()
    desk.sync(name)
    assert stored(desk, name) == before
