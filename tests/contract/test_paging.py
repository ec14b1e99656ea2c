"""Pages: fifty rows, newest first, ``start`` exclusive, ``end`` inclusive, by time or id."""

from __future__ import annotations

import pytest

ROWS = 120


@pytest.fixture(scope="module")
def long_desk(exchange):
    entries = [
        {
            "id": f"L{number:05}-AAAAA-AAAAAA",
            "refid": f"Q{number:06}-AAAAAA-AAAAAA",
            "time": str(1767000000 + number // 2),  # two rows share every second
            "type": "deposit",
            "subtype": "",
            "asset": "ZUSD" if number % 3 else "XXBT",
            "amount": "1",
        }
        for number in range(ROWS)
    ]
    return exchange.open(entries=entries, opening={"ZUSD": "5"})


def numbers(reply):
    return [int(name[1:6]) for name in reply["ledger"]]


def identifier(number):
    return f"L{number:05}-AAAAA-AAAAAA"


def test_fifty_a_page_newest_first(long_desk):
    pages = [long_desk.call("Ledgers", ofs=offset) for offset in (0, 50, 100, 150)]
    assert [len(page["ledger"]) for page in pages] == [50, 50, 20, 0]
    assert [row for page in pages for row in numbers(page)] == list(range(ROWS))[::-1]
    assert {page["count"] for page in pages} == {ROWS}


def test_without_count(long_desk):
    assert "count" not in long_desk.call("Ledgers", without_count="true")


def test_start_is_exclusive_and_end_inclusive_by_time(long_desk):
    found = numbers(long_desk.call("Ledgers", start="1767000010", end="1767000012"))
    assert found == [25, 24, 23, 22]


def test_fractional_times_cut_between_rows(long_desk):
    assert numbers(long_desk.call("Ledgers", start="1767000009.5", end="1767000010.4")) == [21, 20]


def test_an_id_separates_rows_of_one_moment(long_desk):
    assert numbers(long_desk.call("Ledgers", start=identifier(20), end=identifier(22))) == [22, 21]
    assert numbers(long_desk.call("Ledgers", start=identifier(ROWS - 1))) == []


def test_unreadable_bounds_are_refused(long_desk):
    assert long_desk.refusal("Ledgers", start="yesterday") == ["EGeneral:Invalid arguments:start"]
    assert long_desk.refusal("Ledgers", ofs="-1") == ["EGeneral:Invalid arguments:ofs"]


def test_filters_take_id_and_altname(long_desk):
    by_id, by_name = (long_desk.call("Ledgers", asset=name)["count"] for name in ("XXBT", "XBT"))
    assert by_id == by_name == ROWS // 3
    assert long_desk.call("Ledgers", asset="XBT,USD")["count"] == ROWS
    assert long_desk.call("Ledgers", type="trade")["count"] == 0
    assert long_desk.refusal("Ledgers", asset="NOSUCH") == ["EQuery:Unknown asset"]


def test_rows_appear_when_the_clock_reaches_them(exchange):
    rows = [
        {"refid": "Q1", "time": str(100 + number), "type": "deposit", "asset": "XXBT", "amount": "1"}
        for number in range(3)
    ]
    desk = exchange.open(entries=rows, now="99.9")
    assert (desk.call("BalanceEx"), desk.call("Ledgers")["count"]) == ({}, 0)
    assert desk.call("Balance") is None  # Kraken leaves the result out then
    desk.advance("0.1")
    assert (desk.call("Balance"), desk.call("Ledgers")["count"]) == ({"XXBT": "1.0000000000"}, 1)
    desk.advance(5)
    assert (desk.call("Balance"), desk.call("Ledgers")["count"]) == ({"XXBT": "3.0000000000"}, 3)


def test_spend_and_receive_answer_to_sale(desk):
    desk.event("instant_buy", asset="ZUSD", amount="100", to_asset="XXBT", to_amount="0.001", fee="1.5")
    rows = desk.call("Ledgers", type="sale")["ledger"].values()
    assert {row["type"] for row in rows} == {"spend", "receive"}
    assert len({row["refid"] for row in rows}) == 1
    assert desk.call("TradesHistory")["count"] == 0


def test_trades_and_closed_orders_are_paged_too(desk):
    for _ in range(53):
        desk.event("trade", pair="XBTUSD", volume="0.001", price="60000")
        desk.advance(1)
    first, second = (desk.call("TradesHistory", ofs=offset) for offset in (0, 50))
    assert (len(first["trades"]), len(second["trades"]), first["count"]) == (50, 3, 53)
    times = [trade["time"] for page in (first, second) for trade in page["trades"].values()]
    assert times == sorted(times, reverse=True)
    middle = list(first["trades"])[10]
    assert next(iter(desk.call("TradesHistory", end=middle)["trades"])) == middle
    assert len(desk.call("TradesHistory", start=middle)["trades"]) == 10
    closed = desk.call("ClosedOrders", ofs=50)
    assert (len(closed["closed"]), closed["count"]) == (3, 53)
    newest = list(desk.call("ClosedOrders")["closed"])
    assert len(desk.call("ClosedOrders", start=newest[4])["closed"]) == 4
