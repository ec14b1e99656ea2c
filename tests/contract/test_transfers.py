"""Deposits and withdrawals on their way, liquidations, and moves between the codes of one coin."""

from __future__ import annotations

from decimal import Decimal

import pytest


def rows(desk, refid):
    """Ledger rows of one refid, oldest first."""
    found = [row for row in desk.call("Ledgers")["ledger"].values() if row["refid"] == refid]
    return [(row["type"], row["amount"], row["fee"], row["balance"]) for row in found[::-1]]


def balances(desk):
    """The same amount by Balance, BalanceEx and the truth."""
    seen = {
        desk.call("Balance")["ZUSD"],
        desk.call("BalanceEx")["ZUSD"]["balance"],
        desk.statement()["balances"]["ZUSD"],
    }
    assert len(seen) == 1, seen
    return seen.pop()


def withdraw(desk, **options):
    return desk.event("withdrawal_pending", asset="ZUSD", amount="1000", fee="4", **options)


GONE = ("withdrawal", "-1000.0000", "4.0000", "98996.0000")


@pytest.mark.parametrize("ledger_row", ["at_request", "when_done"])
def test_pending_withdrawal_is_out_of_the_balance_at_once_and_then_done(desk, ledger_row):
    before = desk.statement()["now"]
    made = withdraw(desk, ledger_row=ledger_row)
    assert balances(desk) == "98996.0000"
    at_once = [GONE] if ledger_row == "at_request" else []
    assert rows(desk, made["refid"]) == at_once
    assert len(made["ledger_ids"]) == len(at_once)
    assert desk.statement()["transfers"][0]["state"] == "pending"
    desk.advance(3600)
    done = desk.event("withdrawal_done", refid=made["refid"])
    assert balances(desk) == "98996.0000"
    assert rows(desk, made["refid"]) == [GONE]
    assert len(done["ledger_ids"] + made["ledger_ids"]) == 1
    assert Decimal(desk.statement()["now"]) > Decimal(before)


@pytest.mark.parametrize("ledger_row", ["at_request", "when_done"])
@pytest.mark.parametrize("is_done", [False, True])
def test_withdrawal_is_reversed_whether_pending_or_done(desk, ledger_row, is_done):
    made = withdraw(desk, ledger_row=ledger_row)
    desk.advance(3600)
    if is_done:
        desk.event("withdrawal_done", refid=made["refid"])
    desk.advance(28 * 3600)
    assert balances(desk) == "98996.0000"
    desk.event("withdrawal_reversed", refid=made["refid"])
    assert balances(desk) == "100000.0000"
    back = ("withdrawal", "1000.0000", "-4.0000", "100000.0000")
    assert rows(desk, made["refid"]) == [GONE, back]
    times = [row["time"] for row in desk.call("Ledgers")["ledger"].values()][::-1]
    assert times == sorted(times)
    assert desk.statement()["transfers"][0]["state"] == "reversed"


def test_other_rows_chain_past_a_withdrawal_that_the_ledger_does_not_show(desk):
    made = withdraw(desk, ledger_row="when_done")
    desk.event("deposit", asset="ZUSD", amount="10")
    (row,) = desk.call("Ledgers")["ledger"].values()
    assert row["balance"] == "100010.0000"
    assert balances(desk) == "99006.0000"
    desk.event("withdrawal_done", refid=made["refid"])
    assert rows(desk, made["refid"]) == [("withdrawal", "-1000.0000", "4.0000", "99006.0000")]
    assert balances(desk) == "99006.0000"


def test_pending_withdrawal_cannot_be_spent(desk):
    order = {"pair": "XBTUSD", "type": "buy", "ordertype": "limit", "volume": "1.65", "price": "60000"}
    desk.call("AddOrder", validate="true", **order)
    made = withdraw(desk, ledger_row="when_done")
    assert desk.refusal("AddOrder", **order) == ["EOrder:Insufficient funds"]
    desk.event("withdrawal_reversed", refid=made["refid"])
    assert desk.call("AddOrder", **order)["txid"]


def test_pending_deposit_is_nowhere_until_it_is_done(desk):
    made = desk.event("deposit_pending", asset="ZUSD", amount="500", fee="1")
    assert balances(desk) == "100000.0000"
    assert (desk.call("Ledgers")["count"], made["ledger_ids"]) == (0, [])
    desk.advance(1800)
    desk.event("deposit_done", refid=made["refid"])
    assert rows(desk, made["refid"]) == [("deposit", "500.0000", "1.0000", "100499.0000")]
    assert balances(desk) == "100499.0000"


def test_a_transfer_ends_once(exchange, desk):
    made = withdraw(desk)
    deposited = desk.event("deposit_pending", asset="ZUSD", amount="500")
    desk.event("withdrawal_reversed", refid=made["refid"])
    for body in (
        {"kind": "withdrawal_done", "refid": made["refid"]},
        {"kind": "withdrawal_reversed", "refid": made["refid"]},
        {"kind": "withdrawal_reversed", "refid": deposited["refid"]},
        {"kind": "withdrawal_done", "refid": deposited["refid"]},
        {"kind": "deposit_done", "refid": "FTnone"},
    ):
        reply = exchange.post(f"/accounts/{desk.name}/events", body, status=400)
        assert "expected the refid of a" in reply["detail"], body
    assert balances(desk) == "100000.0000"


def test_liquidation_leaves_an_order_a_trade_and_a_margin_row(desk):
    opened = desk.event("margin_open", asset="ZUSD", fee="6")
    position = desk.call("QueryLedgers", id=opened["ledger_ids"][0])[opened["ledger_ids"][0]]["refid"]
    desk.advance(4 * 3600)
    desk.event("rollover", asset="ZUSD", fee="6", refid=position)
    made = desk.event(
        "liquidation",
        pair="XBTUSD",
        side="sell",
        volume="0.5",
        price="48000",
        amount="-6000",
        fee_percent="0.4",
        refid=position,
    )
    order = desk.call("ClosedOrders", trades="true")["closed"][made["order"]]
    assert (order["status"], order["misc"], order["userref"], order["cl_ord_id"]) == (
        "closed",
        "liquidated",
        None,
        None,
    )
    assert order["descr"]["order"] == "sell 0.50000000 XBTUSD @ market with 2:1 leverage"
    assert (order["vol_exec"], order["cost"], order["fee"]) == ("0.50000000", "24000.00000", "96.00000")
    trade = desk.call("TradesHistory", ledgers="true")["trades"][made["trade"]]
    assert (trade["misc"], trade["postxid"], trade["margin"]) == (
        "closing,liquidated",
        position,
        "12000.00000",
    )
    assert trade["ledgers"] == made["ledger_ids"]
    assert rows(desk, made["trade"]) == [("margin", "-6000.0000", "96.0000", "93892.0000")]
    assert [row[0] for row in rows(desk, position)] == ["margin", "rollover"]
    assert desk.call("Balance")["ZUSD"] == "93892.0000"
    assert desk.call("Balance")["XXBT"] == "2.0000000000"  # a margin position is in no balance


def test_autoallocation_leaves_the_hold_on_a_coin_that_is_elsewhere(desk):
    desk.call("AddOrder", pair="XBTUSD", type="sell", ordertype="limit", volume="1.5", price="90000")
    desk.event("earn_autoallocation", asset="XXBT", amount="2", to_asset="XBT.F")
    extended = desk.call("BalanceEx")
    assert extended["XXBT"] == {"balance": "0.0000000000", "hold_trade": "1.5000000000"}
    assert extended["XBT.F"] == {"balance": "2.0000000000", "hold_trade": "0.0000000000"}
    assert {row["subtype"] for row in desk.call("Ledgers")["ledger"].values()} == {"autoallocation"}
    desk.call("AddOrder", pair="XBTUSD", type="sell", ordertype="limit", volume="0.5", price="90000")
    refused = {"pair": "XBTUSD", "type": "sell", "ordertype": "limit", "volume": "0.001", "price": "90000"}
    assert desk.refusal("AddOrder", **refused) == ["EOrder:Insufficient funds"]


def test_a_family_may_have_many_codes(desk):
    for suffixed, amount in (("XBT.F", "0.5"), ("XBT.B", "0.25")):
        desk.event("earn_allocation", asset="XXBT", amount=amount, to_asset=suffixed)
    desk.event("staking_reward", asset="DOT.S", amount="1")
    desk.event("deposit", asset="EUR.HOLD", amount="100")
    found = desk.call("Balance")
    assert [found[code] for code in ("XXBT", "XBT.F", "XBT.B", "DOT.S", "EUR.HOLD", "ZEUR")] == [
        "1.2500000000",
        "0.5000000000",
        "0.2500000000",
        "1.0000000000",
        "100.0000",
        "50000.0000",
    ]
    desk.call("AddOrder", pair="XBTUSD", type="sell", ordertype="market", volume="1.75")
    assert desk.call("Balance")["XBT.B"] == "0.2500000000"  # bonded coins cannot be sold
    refused = {"pair": "XBTUSD", "type": "sell", "ordertype": "market", "volume": "0.1"}
    assert desk.refusal("AddOrder", **refused) == ["EOrder:Insufficient funds"]


def listed(desk, kind, **parameters):
    """Transfers as the Funding (Beta) API lists them."""
    return desk.funding(f"{kind}s", **parameters)


def test_funding_lists_what_is_under_way_and_what_became_of_it(desk):
    made = withdraw(desk, ledger_row="when_done")
    coming = desk.event("deposit_pending", asset="XXBT", amount="0.5")
    (out,) = listed(desk, "withdrawal")["withdrawals"]
    assert (out["withdrawal_id"], out["status"]) == (made["refid"], "pending")
    assert out["amount"] == {"asset": {"class": "currency", "name": "USD"}, "amount": "1000.0000"}
    assert out["fee"]["amount"] == "4.0000"
    (back,) = listed(desk, "deposit")["deposits"]
    assert (back["deposit_id"], back["amount"]["asset"]["name"]) == (coming["refid"], "XBT")
    desk.event("transfer_held", refid=made["refid"])
    assert [row["status"] for row in listed(desk, "withdrawal")["withdrawals"]] == ["on_hold"]
    desk.event("withdrawal_failed", refid=made["refid"])
    desk.event("deposit_done", refid=coming["refid"])
    assert [row["status"] for row in listed(desk, "withdrawal")["withdrawals"]] == ["failed"]
    assert [row["status"] for row in listed(desk, "deposit")["deposits"]] == ["success"]
    assert listed(desk, "withdrawal", status="pending") == {"withdrawals": []}


def test_funding_pages_with_a_cursor_newest_first(desk):
    made = [withdraw(desk)["refid"] for _ in range(3)]
    page = listed(desk, "withdrawal", limit="2")
    assert [row["withdrawal_id"] for row in page["withdrawals"]] == made[:0:-1]
    rest = listed(desk, "withdrawal", limit="2", cursor=page["next_cursor"])
    assert [row["withdrawal_id"] for row in rest["withdrawals"]] == made[:1]
    assert "next_cursor" not in rest


def test_funding_needs_the_right_to_query_funds_and_a_signature_over_the_query(desk):
    withdraw(desk)
    assert listed(desk, "withdrawal", signed="/funding/v1/withdrawals?limit=1") == {
        "error": ["EAPI:Invalid signature"]
    }
    desk.change(permissions=["query-ledger"])
    assert listed(desk, "withdrawal") == {"error": ["EGeneral:Permission denied"]}
