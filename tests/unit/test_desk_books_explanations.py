"""Each explanation of a desk's difference, where it holds and where it does not."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from desks.fakes import START
from kraken_recon.desk_books.rules.compare import as_held
from kraken_recon.desk_books.rules.explain import (
    ALTERNATIVES_MAX,
    BOOKED_LATER,
    ROUNDED_EACH,
    TOO_MANY,
    DifferenceEvidence,
    explain,
)
from kraken_recon.desk_books.rules.records import Answer, ComparedAsset, Explained, Explanation
from kraken_recon.ledger.entries import LedgerEntry
from kraken_recon.values.money import exact_arithmetic

ZERO = Decimal(0)


@exact_arithmetic()
def ledger(*changes: str) -> list[LedgerEntry]:
    """Write a ledger; each change is ``amount``, ``amount fee`` or ``amount fee wallet``."""
    entries: list[LedgerEntry] = []
    balances: dict[str, Decimal] = {}
    for n, change in enumerate(changes, 1):
        amount, fee, wallet = (*change.split(), *("0", "spot")[len(change.split()) - 1 :])
        balances[wallet] = balances.get(wallet, ZERO) + Decimal(amount) - Decimal(fee)
        at = START + timedelta(seconds=n)
        key, exact = (f"L{n:05d}", f"T{n:05d}", at, "trade", "", "BTC", wallet), map(Decimal, (amount, fee))
        entries.append(LedgerEntry(*key, *exact, balances[wallet]))
    return entries


def evidence(entries: list[LedgerEntry], desk: str, decimals: int = 8, **more: Any) -> DifferenceEvidence:
    wallets: dict[str, Decimal] = {}
    for entry in entries:
        wallets[entry.wallet] = wallets.get(entry.wallet, ZERO) + entry.change
    proven = sum(wallets.values(), ZERO)
    compared = ComparedAsset("BTC", proven, Decimal(desk), as_held(proven, decimals) - Decimal(desk))
    return DifferenceEvidence(compared, decimals, entries, **{"has_agreed": True, "wallets": wallets, **more})


def told(found: Explained) -> list[str]:
    """Write the answers in their order, as ``word ids``."""
    return [
        " ".join((one.explanation, *(ledger_id.replace("L0000", "") for ledger_id in one.ledger_ids)))
        for one in (found.answer, *found.alternatives)
    ]


@pytest.mark.parametrize(
    ("changes", "desk", "answers"),
    [
        (("5", "0.3", "-1"), "5.3", ["behind 3", "missed 3"]),
        (("5", "0.3", "-1"), "5", ["behind 2 3", "missed 2 3"]),
        (("5", "0.3", "-1"), "0", ["behind 1 2 3", "missed 1 2 3"]),
        (("5", "0.3", "-1"), "4", ["missed 2"]),
        (("5", "0.3", "-1", "0.07"), "5", ["behind 2 3 4", "missed 2 3 4"]),
        (("5", "0.3", "-1", "0.07"), "4.3", ["behind 4", "missed 4"]),
        (("5", "0.3", "-1", "0.07", "11"), "15", ["missed 2 4"]),
        (("5", "0.3", "-1", "0.07", "11", "0.9"), "15", ["missed 2 4 6"]),
        (("5", "0.3", "-1"), "4.6", ["doubled 2"]),
        (("5", "0.3", "-1"), "3.3", ["doubled 3"]),
        (("5", "0.3 0.01", "-1 0.02"), "4.3", ["fee_left_out 2 3"]),
        (("5", "0.3 0.01", "-1 0.02"), "4.29", ["fee_left_out 3"]),
        (("5", "0.3", "-1"), "3.7", ["wrong_way 2"]),
        (("5", "0.3 0 S", "-1"), "4", ["missed 2", "wallet_left_out 2"]),
        (("5", "0.3 0 S", "-1", "0.1 0 S", "0.05 0 F", "9"), "13", ["missed 2 4 5", "wallet_left_out 2 4 5"]),
        (("5", "0.3 0 S", "-1", "0.1 0 S", "0.05 0 F", "9"), "13.05", ["missed 2 4", "wallet_left_out 2 4"]),
        (("5", "0.3", "-1"), "77", ["unexplained"]),
        ((), "77", ["unexplained"]),
    ],
)
def test_what_the_difference_is_explained_by(changes: tuple[str, ...], desk: str, answers: list[str]) -> None:
    assert told(explain(evidence(ledger(*changes), desk))) == answers


def test_behind_is_the_newest_moment_that_fits() -> None:
    found = explain(evidence(ledger("5", "1", "-1", "2"), "5"))
    assert told(found)[0] == "behind 4"
    assert found.oldest_at == START + timedelta(seconds=4)


def test_a_whole_operation_is_missed_and_not_one_of_its_entries() -> None:
    one, two, three, four = ledger("5", "0.3", "0.2", "-1")
    operation = [one, two, replace(three, refid=two.refid), four]
    assert told(explain(evidence(operation, "4"))) == ["missed 2 3"]
    assert told(explain(evidence(operation, "4.2"))) == ["unexplained"]
    unnamed = [one, replace(two, refid="Unknown"), replace(three, refid="Unknown"), four]
    assert told(explain(evidence(unnamed, "4.2"))) == ["missed 2"]


def test_all_of_an_order_is_counted_twice_or_without_its_fee() -> None:
    entries = ledger("5", "0.3 0.01", "7", "0.2 0.02", "-1 0.04")
    orders = {entries[1].refid: "OA", entries[3].refid: "OA"}
    assert told(explain(evidence(entries, "11.90", orders=orders))) == ["doubled 2 4"]
    assert told(explain(evidence(entries, "11.46", orders=orders))) == ["fee_left_out 2 4"]
    assert told(explain(evidence(entries, "11.90"))) == ["unexplained"]


@pytest.mark.parametrize(
    ("desk", "answers"),
    [
        ("5", ["behind 2 3"]),
        ("4", ["missed 2"]),
        ("4.6", ["doubled 2"]),
        ("3.7", ["wrong_way 2"]),
        ("4.32", ["fee_left_out 2"]),
        ("4.35", ["unexplained"]),
        ("-1", ["unexplained"]),
    ],
)
def test_before_it_ever_agreed_one_operation_explains(desk: str, answers: list[str]) -> None:
    entries = ledger("5", "0.32 0.02", "-1 0.03") if desk in ("4.32", "4.35") else ledger("5", "0.3", "-1")
    desk = {"4.32": "4.29", "4.35": "4.32"}.get(desk, desk)
    assert told(explain(evidence(entries, desk, has_agreed=False))) == answers


def test_a_row_of_what_was_never_held_is_unknown() -> None:
    assert told(explain(evidence([], "3", has_agreed=False, was_ever_held=False))) == ["unknown_row"]
    assert told(explain(evidence([], "3", has_agreed=False))) == ["unexplained"]


@pytest.mark.parametrize("desk", ["3.32", "3.33", "3.36"])
def test_what_rounding_each_entry_leaves(desk: str) -> None:
    found = explain(evidence(ledger("1.1149", "1.1149", "1.1149"), desk, 2))
    assert told(found) == {"3.33": ["rounded 1 2 3"]}.get(desk, ["unexplained"])


def test_a_column_that_rounds_each_sum() -> None:
    halves = ledger("1", "0.005", "0.005", "0.005", "0.005")
    assert "rounded 2 3 4 5" in told(explain(evidence(halves, "1.04", 2)))
    assert "rounded 2 3 4 5" in told(explain(evidence(halves, "1", 2)))


def test_a_column_that_rounds_each_sum_and_fees_that_come_back() -> None:
    assert "rounded 2 3" in told(explain(evidence(ledger("1", "-0.006 -0.001", "0.005"), "1.01", 2)))


def test_a_whole_unit_less_is_no_rounding() -> None:
    found = explain(evidence(ledger("5", "3", "0.5"), "4", 0))
    assert found.answer.explanation is not Explanation.BEHIND


@pytest.mark.parametrize(("agreed", "is_rounded"), [("1.00", True), ("1.01", False), (None, True)])
def test_the_desks_own_last_quantity_is_where_its_rounding_begins(
    agreed: str | None,
    is_rounded: bool,  # noqa: FBT001 - of the table above
) -> None:
    opened = evidence(ledger("0.004", "0.004", "0.004"), "1.00", 2)
    opened = replace(opened, compared=replace(opened.compared, proven=Decimal("1.017")))
    opened = replace(opened, agreed=None if agreed is None else Decimal(agreed))
    assert ("rounded 1 2 3" in told(explain(opened))) is is_rounded


def test_a_mistake_of_a_bot_that_rounds_is_found_and_said_so() -> None:
    entries = ledger("1.0049", "3.0049", "8.0049", "21.0049")
    found = explain(evidence(entries, "30", 2))
    assert (told(found), found.remark) == (["missed 2"], ROUNDED_EACH)


@pytest.mark.parametrize("desk", ["1.23", "1.24"])
def test_an_answer_fits_however_the_desk_rounds(desk: str) -> None:
    assert told(explain(evidence(ledger("1.235", "4"), desk, 2)))[0] == "behind 2"


def test_entries_of_one_moment_follow_each_other_as_their_balances_do() -> None:
    one, two, three = ledger("5", "0.3", "-1")
    moment = [one, replace(two, ledger_id="L9"), replace(three, entry_time=two.entry_time, ledger_id="L8")]
    found = explain(evidence(moment, "5.3"))
    assert found.answer == Answer(Explanation.BEHIND, ("L8",))


def test_what_was_written_for_the_bot_and_booked_by_it_later() -> None:
    before = ledger("0.3", "0.4")
    found = explain(evidence(ledger("5"), "5.7", booked_for_it=before))
    assert found.answer == Answer(Explanation.DOUBLED, ("L00001", "L00002"))
    assert found.remark == BOOKED_LATER
    assert told(explain(evidence(ledger("5"), "5.6", booked_for_it=before))) == ["unexplained"]


def test_three_operations_are_tried_among_a_hundred_and_not_more() -> None:
    changes = [str(pow(7, n, 1_000_003)) for n in range(1, 101)]
    desk = str(sum(map(Decimal, changes)) - sum(Decimal(changes[n]) for n in (3, 40, 77)))
    few, many = ledger(*changes), ledger(*changes, "0")
    ids = tuple(few[n].ledger_id for n in (3, 40, 77))
    hundred = explain(evidence(few, desk, 0))
    assert Answer(Explanation.MISSED, ids) in (hundred.answer, *hundred.alternatives)
    more = explain(evidence(many, desk, 0))
    assert Answer(Explanation.MISSED, ids) not in (more.answer, *more.alternatives)


def test_past_two_thousand_operations_nothing_is_guessed() -> None:
    changes = ["1"] * 2_000
    assert explain(evidence(ledger(*changes), "1999")).answer.explanation is Explanation.BEHIND
    found = explain(evidence(ledger(*changes, "1"), "2000"))
    assert (told(found), found.remark) == (["unexplained"], TOO_MANY)
    never = explain(evidence(ledger(*changes, "1"), "2000", has_agreed=False))
    assert never.answer.explanation is Explanation.BEHIND


def test_of_too_many_answers_each_word_keeps_one() -> None:
    found = explain(evidence(ledger("5 0 S", *["1"] * 20, "-1"), "25"))
    words = [one.explanation for one in found.alternatives]
    assert found.answer.explanation is Explanation.BEHIND
    assert len(words) == ALTERNATIVES_MAX
    assert set(words) == {Explanation.MISSED, Explanation.DOUBLED}
    assert words == sorted(words, key=list(Explanation).index)
