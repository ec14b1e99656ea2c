"""What happens to an account without its key: every kind writes rows whose chain holds."""

from __future__ import annotations

from decimal import Decimal

import pytest


def rows(desk):
    """Ledger rows, oldest first, as (asset, type, subtype, amount, fee, balance)."""
    fields = ("asset", "type", "subtype", "amount", "fee", "balance")
    return [tuple(row[name] for name in fields) for row in desk.call("Ledgers")["ledger"].values()][::-1]


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (
            {"kind": "deposit", "asset": "ZUSD", "amount": "10"},
            [("ZUSD", "deposit", "", "10.0000", "0.0000", "100010.0000")],
        ),
        (
            {"kind": "withdrawal", "asset": "ZUSD", "amount": "10", "fee": "1"},
            [("ZUSD", "withdrawal", "", "-10.0000", "1.0000", "99989.0000")],
        ),
        (
            {"kind": "withdrawal_reversed", "asset": "ZUSD", "amount": "10", "fee": "1"},
            [
                ("ZUSD", "withdrawal", "", "-10.0000", "1.0000", "99989.0000"),
                ("ZUSD", "withdrawal", "", "10.0000", "-1.0000", "100000.0000"),
            ],
        ),
        (
            {"kind": "dust_sweep", "assets": ["XXDG", "XETH"], "to_asset": "ZUSD", "to_amount": "0.5"},
            [
                ("XXDG", "spend", "dustsweeping", "-90000.00000000", "0.00000000", "0.00000000"),
                ("XETH", "spend", "dustsweeping", "-50.0000000000", "0.0000000000", "0.0000000000"),
                ("ZUSD", "receive", "dustsweeping", "0.5000", "0.0000", "100000.5000"),
            ],
        ),
        (
            {"kind": "staking_reward", "asset": "DOT.S", "amount": "0.125"},
            [("DOT.S", "staking", "", "0.1250000000", "0.0000000000", "0.1250000000")],
        ),
        (
            {"kind": "earn_reward", "asset": "XXBT", "amount": "0.002", "fee": "0.0005"},
            [("XXBT", "earn", "reward", "0.0020000000", "0.0005000000", "2.0015000000")],
        ),
        (
            {"kind": "earn_allocation", "asset": "XXBT", "amount": "1", "to_asset": "XBT.F"},
            [
                ("XXBT", "earn", "allocation", "-1.0000000000", "0.0000000000", "1.0000000000"),
                ("XBT.F", "earn", "allocation", "1.0000000000", "0.0000000000", "1.0000000000"),
            ],
        ),
        (
            {"kind": "airdrop", "asset": "NEAR", "amount": "3"},
            [("NEAR", "transfer", "airdrop", "3.0000000000", "0.0000000000", "3.0000000000")],
        ),
        (
            {"kind": "margin_open", "asset": "ZUSD", "fee": "2"},
            [("ZUSD", "margin", "", "0.0000", "2.0000", "99998.0000")],
        ),
        (
            {"kind": "rollover", "asset": "ZUSD", "fee": "2"},
            [("ZUSD", "rollover", "", "0.0000", "2.0000", "99998.0000")],
        ),
        (
            {"kind": "margin_close", "asset": "ZUSD", "amount": "-7", "fee": "2"},
            [("ZUSD", "margin", "", "-7.0000", "2.0000", "99991.0000")],
        ),
    ],
    ids=lambda value: value["kind"] if isinstance(value, dict) else "",
)
def test_event(desk, event, expected):
    ids = desk.event(**event)["ledger_ids"]
    assert rows(desk) == expected
    assert list(desk.call("Ledgers")["ledger"])[::-1] == ids


def test_one_refid_joins_a_reversal_and_a_sweep_but_not_an_adjustment_or_a_stake(desk):
    def refids():
        return {row["refid"] for row in desk.call("Ledgers")["ledger"].values()}

    seen = set()
    for event, different in (
        ({"kind": "withdrawal_reversed", "asset": "ZUSD", "amount": "10", "fee": "1"}, 1),
        ({"kind": "dust_sweep", "assets": ["XXDG", "XETH"], "to_asset": "ZUSD", "to_amount": "1"}, 1),
        ({"kind": "adjustment", "asset": "XXBT", "amount": "-1", "to_asset": "BCH", "to_amount": "1"}, 2),
        ({"kind": "legacy_stake", "asset": "XXBT", "amount": "0.5", "to_asset": "XBT.M"}, 2),
    ):
        desk.event(**event)
        assert len(refids() - seen) == different, event
        seen = refids()


def test_an_earlier_withdrawal_comes_back(desk):
    desk.event("withdrawal", asset="ZEUR", amount="100", fee="0.09")
    (gone,) = desk.call("Ledgers")["ledger"].values()
    desk.advance(3600)
    desk.event("withdrawal_reversed", refid=gone["refid"])
    assert desk.call("Balance")["ZEUR"] == "50000.0000"


def test_fee_may_be_on_both_legs(desk):
    # Recorded 2022-02-24: 693.0000 EUR with fee 0.2337, and 54.00387298 DOT with fee 0.12220006.
    desk.event(
        "trade",
        pair="DOTEUR",
        volume="54.00387298",
        price="12.832413",
        fee_percent="0.26",
        fee_mode="both",
        base_fee="0.12220006",
    )
    base, quote = rows(desk)
    assert base[3:] == ("54.0038729800", "0.1222000600", "53.8816729200")
    assert quote[3:5] == ("-693.0000", "0.2337")


@pytest.mark.parametrize(
    ("volume", "price", "trade_fee", "base_fee"),
    [
        ("5984.41815", "0.00000195", "0.000030341", "15.55948718"),
        ("1994.7917", "0.00000192", "0.000009958", "5.18645833"),
    ],
)
def test_fee_on_the_base_leg_as_recorded(desk, volume, price, trade_fee, base_fee):
    desk.event(
        "trade", pair="XXDGXXBT", side="sell", volume=volume, price=price, fee_percent="0.26", fee_mode="base"
    )
    (trade,) = desk.call("TradesHistory")["trades"].values()
    base, quote = rows(desk)
    assert (trade["fee"], base[0], base[4], quote[4]) == (trade_fee, "XXDG", base_fee, "0.0000000000")


def test_a_leg_that_rounds_to_nothing_is_left_out(desk):
    desk.event("trade", pair="XDGEUR", volume="0.0001", price="0.1", fee_percent="0")
    assert [row[0] for row in rows(desk)] == ["XXDG"]


def test_residual_is_only_in_the_balance(exchange, desk):
    exchange.post(f"/accounts/{desk.name}/residual", {"asset": "XXBT", "amount": "-0.5"})
    assert desk.call("Balance")["XXBT"] == "1.5000000000"
    assert desk.call("BalanceEx")["XXBT"]["balance"] == "1.5000000000"
    assert desk.statement()["balances"]["XXBT"] == "2.0000000000"
    exchange.post(f"/accounts/{desk.name}/residual", {"asset": "XXBT", "amount": "0"})
    assert Decimal(desk.call("Balance")["XXBT"]) == 2


def test_the_control_api_says_what_is_wrong(exchange, desk):
    for body, part in (
        ({"kind": "miracle"}, "expected a kind out of"),
        ({"kind": "deposit"}, "expected asset"),
        ({"kind": "deposit", "aset": "ZUSD"}, "aset"),
        ({"kind": "trade", "pair": "NOPAIR"}, "Unknown asset pair"),
    ):
        reply = exchange.post(f"/accounts/{desk.name}/events", body, status=400)
        assert part in reply["detail"]
    fault = {"name": "slow", "secconds": 2}
    assert "expected options of slow" in exchange.post("/faults", fault, status=400)["detail"]
    assert "expected a fault out of" in exchange.post("/faults", {"name": "gremlin"}, status=400)["detail"]
