"""What is done about a desk's differences, what its rows become, and what people read of it."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from desks.fakes import START
from kraken_recon.desk_books.checking import BookCheck
from kraken_recon.desk_books.declaration import (
    AssetColumn,
    BookTolerance,
    Cash,
    Positions,
    WriteBack,
)
from kraken_recon.desk_books.rules.decide import Decided, Seen, Situation, decide, is_emptied
from kraken_recon.desk_books.rules.memory import AssetMemory, JudgedBefore, remembered, standings_now
from kraken_recon.desk_books.rules.names import Names
from kraken_recon.desk_books.rules.records import (
    Answer,
    BookJudgement,
    ComparedAsset,
    DeskAction,
    DeskProblem,
    DeskRow,
    Explained,
    Explanation,
    OrderProblem,
    RowWrite,
    WriteKind,
)
from kraken_recon.desk_books.rules.writes import WriteTerms, columns_read, why_not_writable, writes_of
from kraken_recon.desk_books.view import check_view, diff_view

if TYPE_CHECKING:
    from collections.abc import Mapping

ZERO = Decimal(0)
CASH = {"table": "accounts", "account": "id", "currency": "USD", "quantity": "cash"}


def row(number: int, name: str, quantity: str, /, **columns: Any) -> DeskRow:
    return DeskRow((number,), name, Decimal(quantity), columns)


def proven(**quantities: str) -> dict[str, Decimal]:
    return {asset: Decimal(quantity) for asset, quantity in quantities.items()}


BEHIND = Explained(Answer(Explanation.BEHIND, ("L1",)), oldest_at=START - timedelta(hours=1))
UNEXPLAINED = Explained(Answer(Explanation.UNEXPLAINED))


def compared(asset: str, held: str, desk: str, *rows: DeskRow) -> ComparedAsset:
    difference = Decimal(held) - Decimal(desk)
    own = rows or ((row(1, asset, desk),) if Decimal(desk) else ())
    return ComparedAsset(asset, Decimal(held), Decimal(desk), difference, own)


def situation(write_back: str = "update+insert+remove", **more: Any) -> Situation:
    given: dict[str, Any] = {
        "read_at": START,
        "write_back": WriteBack(write_back),
        "late_by": timedelta(minutes=5),
        "tolerance": BookTolerance(),
        "rows": 10,
        "proven": proven(BTC="10", ETH="100", SOL="0"),
        "prices": proven(BTC="100", ETH="10", SOL="1"),
    }
    return Situation(**{**given, **more})


def action_of(one: ComparedAsset, why: Explained, where: Situation) -> tuple[DeskAction, str]:
    (difference,) = decide([(one, why)], where).differences
    return difference.action, difference.reason


@pytest.mark.parametrize(
    ("one", "write_back", "action"),
    [
        (compared("BTC", "10", "9.9995"), "update", DeskAction.WITHIN_TOLERANCE),
        (compared("BTC", "10", "9.999"), "update", DeskAction.WITHIN_TOLERANCE),
        (compared("BTC", "10", "9.99"), "none", DeskAction.REPORT),
        (compared("BTC", "10", "9.99"), "update", DeskAction.UPDATE),
        (compared("BTC", "0.5", "0"), "update", DeskAction.REPORT),
        (compared("BTC", "0.5", "0"), "update+insert", DeskAction.INSERT),
        (compared("SOL", "0", "3"), "update+insert", DeskAction.REPORT),
        (compared("SOL", "0", "3"), "update+insert+remove", DeskAction.REMOVE),
        (compared("BTC", "10", "0", row(1, "BTC", "0")), "update", DeskAction.HELD),
    ],
)
def test_what_is_done_beyond_the_tolerance(one: ComparedAsset, write_back: str, action: DeskAction) -> None:
    assert action_of(one, BEHIND, situation(write_back))[0] is action


def test_a_tolerance_of_its_own() -> None:
    strict = BookTolerance.model_validate({"assets": {"BTC": "0.0001"}})
    assert action_of(compared("BTC", "10", "9.9995"), BEHIND, situation(tolerance=strict))[0] == "update"


@pytest.mark.parametrize("word", [Explanation.BEHIND, Explanation.MISSED])
@pytest.mark.parametrize(
    ("age", "action"), [(299, DeskAction.WAITING), (300, DeskAction.UPDATE), (-5, DeskAction.WAITING)]
)
def test_what_a_bot_may_still_be_writing_is_waited_for(
    word: Explanation, age: int, action: DeskAction
) -> None:
    late = Explained(Answer(word, ("L1",)), oldest_at=START - timedelta(seconds=age))
    assert action_of(compared("BTC", "10", "9.9"), late, situation())[0] is action


def after(decided: Decided, memory: AssetMemory, read_at: datetime) -> AssetMemory:
    """Remember what a run left for the next one."""
    left = standings_now(decided.differences, (), {"BTC": memory}, read_at)
    before = JudgedBefore(read_at, 0, UUID(int=0), 1)
    return remembered(left.get("BTC"), before, None)


def test_what_nothing_explains_has_to_be_seen_twice() -> None:
    one = compared("BTC", "10", "9.9")
    first = decide([(one, UNEXPLAINED)], situation())
    assert first.differences[0].action is DeskAction.WAITING
    memory = after(first, AssetMemory(), START)
    assert memory.seen == Seen(Decimal("0.1"), START)
    later = replace(situation(seen={"BTC": memory.seen}), read_at=START + timedelta(minutes=5))
    assert action_of(one, UNEXPLAINED, later)[0] is DeskAction.UPDATE
    too_soon = replace(later, read_at=START + timedelta(minutes=4))
    assert action_of(one, UNEXPLAINED, too_soon)[0] is DeskAction.WAITING
    other = decide([(compared("BTC", "10", "9.8"), UNEXPLAINED)], later)
    assert other.differences[0].action is DeskAction.WAITING
    assert after(other, memory, later.read_at).seen == Seen(Decimal("0.2"), later.read_at)
    explained = decide([(one, BEHIND)], later)
    assert after(explained, memory, later.read_at).seen is None
    again = decide([(one, UNEXPLAINED)], later)
    assert after(again, memory, later.read_at).seen == memory.seen


def test_even_without_lateness_one_run_is_not_enough() -> None:
    at_once = situation(late_by=timedelta(0))
    assert action_of(compared("BTC", "10", "9.9"), UNEXPLAINED, at_once)[0] is DeskAction.WAITING


@pytest.mark.parametrize(
    ("one", "more", "why"),
    [
        (compared("BTC", "10", "9.9", row(1, "BTC", "5"), row(2, "BTC", "4.9")), {}, "several rows"),
        (compared("BTC", "0.5", "0"), {"has_unknown_names": True}, "nobody knows"),
        (compared("BTC", "0.5", "0"), {"not_writable": {"BTC": "no value for name"}}, "no value for name"),
        (compared("BTC", "10", "9.9"), {"undone": {"BTC": "ann"}}, "undone by ann"),
        (compared("BTC", "10", "9.9"), {"last_changes": {"BTC": {Decimal("0.1")}}}, "did not last"),
        (compared("BTC", "10", "5"), {}, "more than one run"),
        (compared("BTC", "10", "9.9"), {"prices": {}}, "is worth is not on record"),
        (compared("SOL", "0", "3"), {"proven": proven(SOL="0")}, "more than one run"),
    ],
)
def test_what_is_held_for_a_person(one: ComparedAsset, more: Mapping[str, Any], why: str) -> None:
    action, reason = action_of(one, BEHIND, situation(**more))
    assert action is DeskAction.HELD
    assert why in reason
    assert action_of(one, BEHIND, situation("none", **more))[0] is DeskAction.REPORT


def test_too_many_small_writes_are_held_together() -> None:
    found = [(compared(asset, "10", "9.99"), BEHIND) for asset in ("BTC", "ETH", "SOL")]
    assert {d.action for d in decide(found, situation(rows=12)).differences} == {DeskAction.UPDATE}
    assert {d.action for d in decide(found, situation(rows=11)).differences} == {DeskAction.HELD}


def test_what_a_person_approved_passes_while_it_is_exactly_that() -> None:
    one = compared("BTC", "10", "5", row(1, "BTC", "2"), row(2, "BTC", "3"))
    decided = decide([(one, BEHIND)], situation(approved=proven(BTC="5")))
    assert (decided.differences[0].action, decided.approval_stands) == (DeskAction.UPDATE, True)
    moved = decide([(one, BEHIND)], situation(approved=proven(BTC="4")))
    assert (moved.differences[0].action, moved.approval_stands) == (DeskAction.HELD, False)
    partly = decide([(one, BEHIND)], situation(approved=proven(BTC="5", ETH="1")))
    assert partly.approval_stands is False


def test_cash_is_updated_to_nothing_and_never_inserted() -> None:
    prices, held = proven(USD="1", BTC="100"), proven(USD="0", BTC="10")
    of_cash = situation("none", cash_write_back=WriteBack.UPDATE, proven=held, prices=prices)
    cash = replace(compared("USD", "0", "5"), is_cash=True)
    assert action_of(cash, BEHIND, of_cash)[0] is DeskAction.UPDATE
    assert action_of(cash, BEHIND, replace(of_cash, cash_write_back=WriteBack.NONE))[0] is DeskAction.REPORT
    lacking = replace(compared("USD", "5", "0"), is_cash=True)
    assert action_of(lacking, BEHIND, of_cash)[0] is DeskAction.REPORT


def test_positions_and_cash_are_guarded_together() -> None:
    held, prices = proven(USD="100", BTC="10"), proven(USD="1", BTC="10")
    both = situation("update", cash_write_back=WriteBack.UPDATE, proven=held, prices=prices)
    cash = (replace(compared("USD", "100", "85"), is_cash=True), BEHIND)
    coins = (compared("BTC", "10", "9"), BEHIND)
    assert [d.action for d in decide([cash], both).differences] == [DeskAction.UPDATE]
    assert [d.action for d in decide([coins], both).differences] == [DeskAction.UPDATE]
    assert {d.action for d in decide([cash, coins], both).differences} == {DeskAction.HELD}


def test_what_has_no_price_is_held_for_that_reason() -> None:
    unpriced = situation("update", proven=proven(BTC="10"), prices={})
    action, reason = action_of(compared("BTC", "10", "9"), BEHIND, unpriced)
    assert (action, "what BTC is worth is not on record" in reason) == (DeskAction.HELD, True)


def test_a_book_that_is_empty_at_once_is_no_reading() -> None:
    assert is_emptied(3, 0, proven(BTC="1"))
    assert not is_emptied(0, 0, proven(BTC="1"))
    assert not is_emptied(3, 0, proven(BTC="0"))


POSITIONS = {
    "table": "positions",
    "account": "account_id",
    "asset": "symbol",
    "quantity": "quantity",
    "available": "available_quantity",
    "average_cost": "avg_cost",
    "only": {"market": "CRYPTO"},
    "on_insert": {"version": "v1", "name": "{asset} of {account}", "made_at": "now", "avg_cost": "0"},
    "on_update": {"updated_at": {"zone": "Europe/Berlin"}, "counter": "raise", "by": {"text": "now"}},
}


def write_terms(**more: Any) -> WriteTerms:
    part = Positions.model_validate({**POSITIONS, **more.pop("part", {})})
    return WriteTerms(part, 8, 7, "USD", START, names=Names(AssetColumn(column="symbol"), ("BTC",)), **more)


FOUND = {"quantity": "9", "available_quantity": "9", "avg_cost": "3", "updated_at": 1, "counter": 4, "by": ""}


def test_an_update_changes_named_columns_and_nothing_else() -> None:
    known = {"available": proven(BTC="8"), "average_costs": proven(BTC="40000.123456785")}
    (write,) = writes_of(
        compared("BTC", "10.123456789", "9", row(1, "BTC", "9", **FOUND)), write_terms(**known)
    )
    assert (write.kind, write.key, write.before) == (WriteKind.UPDATE, (1,), FOUND)
    moment = write.after["updated_at"]
    assert (moment, moment.utcoffset()) == (START, timedelta(hours=1))
    assert {**write.after, "updated_at": None} == {
        "quantity": Decimal("10.12345678"),
        "available_quantity": Decimal(8),
        "avg_cost": Decimal("40000.12345678"),
        "updated_at": None,
        "counter": 5,
        "by": "now",
    }
    assert set(columns_read(write_terms().part)) == set(FOUND)


def test_what_is_not_known_is_not_written() -> None:
    (write,) = writes_of(compared("BTC", "10", "9", row(1, "BTC", "9", **FOUND)), write_terms())
    assert set(write.after) == {"quantity", "updated_at", "counter", "by"}


def test_an_insert_has_every_value() -> None:
    (write,) = writes_of(compared("BTC", "0.5", "0"), write_terms())
    assert (write.kind, write.key, write.before) == (WriteKind.INSERT, None, {})
    assert write.after == {
        "market": "CRYPTO",
        "version": "v1",
        "name": "BTC of 7",
        "made_at": START,
        "account_id": 7,
        "symbol": "BTC",
        "quantity": Decimal("0.5"),
        "available_quantity": Decimal("0.5"),
        "avg_cost": "0",
    }
    known = write_terms(available=proven(BTC="0.1"), average_costs=proven(BTC="3"))
    after = writes_of(compared("BTC", "0.5", "0"), known)[0].after
    assert (after["available_quantity"], after["avg_cost"]) == (Decimal("0.1"), Decimal(3))


def test_a_row_that_lacks_what_may_not_be_null_is_not_inserted() -> None:
    new = compared("BTC", "0.5", "0")
    assert why_not_writable(new, write_terms(required={"symbol", "name", "avg_cost"})) == ""
    bare = write_terms(part={"on_insert": {}}, required={"symbol", "name", "avg_cost"})
    assert why_not_writable(new, bare).startswith("a new row has no value for avg_cost, name")


@pytest.mark.parametrize(("counter", "after"), [(4, 5), ("4", 5), (None, 1), ("v1", None)])
def test_only_a_number_is_raised(counter: object, after: int | None) -> None:
    one = compared("BTC", "10", "9", row(1, "BTC", "9", **{**FOUND, "counter": counter}))
    why = why_not_writable(one, write_terms())
    assert bool(why) is (after is None)
    assert after is None or writes_of(one, write_terms())[0].after["counter"] == after


def test_a_removal_deletes_or_sets_to_zero() -> None:
    gone = compared("BTC", "0", "9", row(1, "BTC", "9", **FOUND))
    assert writes_of(gone, write_terms()) == (RowWrite(WriteKind.REMOVE, "BTC", (1,), FOUND, {}),)
    (write,) = writes_of(gone, write_terms(part={"remove": "zero"}))
    assert (write.kind, write.after["quantity"], write.after["available_quantity"]) == ("update", ZERO, ZERO)
    assert "avg_cost" not in write.after


@pytest.mark.parametrize(
    ("held", "desks", "after"),
    [
        ("3", ("1", "1"), {1: "2"}),
        ("1", ("1", "1"), {1: "0"}),
        ("1", ("0.5", "1.5"), {1: "0", 2: "1"}),
        ("0", ("1", "1"), {}),
    ],
)
def test_of_doubled_rows_the_lowest_key_takes_the_difference(
    held: str, desks: tuple[str, str], after: dict[int, str]
) -> None:
    rows = [row(n, "BTC", desk, **{**FOUND, "quantity": desk}) for n, desk in enumerate(desks, 1)]
    total = str(sum(map(Decimal, desks)))
    writes = writes_of(compared("BTC", held, total, *rows), write_terms())
    assert {w.key: w.after["quantity"] for w in writes if w.after} == {
        (n,): Decimal(quantity) for n, quantity in after.items()
    }
    assert len(writes) == (len(after) or 2)


def test_a_scaled_column_gets_whole_numbers() -> None:
    part = Cash.model_validate({**CASH, "decimals": "6", "scaled_by": "1000000", "write_back": "update"})
    on_cash = WriteTerms(part, 6, 7, "USD", START)
    (write,) = writes_of(compared("USD", "1.2345678", "1", row(1, "USD", "1", cash=1_000_000)), on_cash)
    assert (write.before, write.after) == ({"cash": 1_000_000}, {"cash": 1_234_567})


def test_the_view_of_an_account() -> None:
    explained = Explained(Answer(Explanation.MISSED, ("L2",)), (Answer(Explanation.WRONG_WAY, ("L1",)),))
    one = decide([(compared("BTC", "10.50", "9"), explained)], situation("none")).differences
    judged = BookJudgement(
        "arena", "none", 5, 4, one, (OrderProblem("7", "ambiguous"),), (DeskProblem("p", "w", "r"),)
    )
    view = diff_view("gpt-trader", datetime(2026, 1, 5, tzinfo=UTC), [judged])
    assert json.loads(json.dumps(view)) == {
        "account": "gpt-trader",
        "as_of": "2026-01-05T00:00:00+00:00",
        "books": [
            {
                "book": "arena",
                "write_back": "none",
                "rows": 5,
                "agreed": 4,
                "differences": [
                    {
                        "asset": "BTC",
                        "proven": "10.5",
                        "desk": "9",
                        "difference": "1.5",
                        "explanation": "missed",
                        "ledger_ids": ["L2"],
                        "alternatives": [{"explanation": "wrong_way", "ledger_ids": ["L1"]}],
                        "action": "report",
                        "reason": None,
                    }
                ],
                "orders": [{"id": "7", "problem": "ambiguous", "detail": ""}],
                "problems": [{"where": "p", "what": "w", "remedy": "r"}],
            }
        ],
    }


def test_the_view_of_a_check() -> None:
    view = check_view(BookCheck("arena", (), {"a": (2, {"BTC": {"XBT", "BTC"}})}, {"select": True}))
    assert (view["ok"], view["rights"]["select"], view["rights"]["delete"]) == (True, True, False)
    assert view["accounts"] == [{"account": "a", "rows": 2, "assets": {"BTC": ["BTC", "XBT"]}}]
    assert not check_view(BookCheck("arena", (DeskProblem("a", "b", "c"),), {}, {}))["ok"]
