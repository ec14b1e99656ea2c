"""Tokenized assets: a class of their own in Assets and Ledgers, a suffix in balances, two kinds of units."""

from __future__ import annotations

import pytest


@pytest.fixture
def buyer(desk):
    """A desk that bought two shares in the app."""
    desk.event("instant_buy", asset="ZUSD", amount="360", to_asset="NVDAx", to_amount="2", fee="1")
    yield desk
    desk.simulator.post("/rebase", {"asset": "NVDAx", "multiplier": "1"})


def rows(desk, **parameters):
    answer = desk.call("Ledgers", **parameters)
    return answer["count"], [
        (row["aclass"], row["asset"], row["amount"], row["balance"]) for row in answer["ledger"].values()
    ]


def test_each_class_has_a_ledger_and_a_count_of_its_own(buyer):
    assert rows(buyer) == (1, [("currency", "ZUSD", "-360.0000", "99639.0000")])
    shares = (1, [("tokenized_asset", "NVDAx", "2.00000000", "2.00000000")])
    assert rows(buyer, aclass="tokenized_asset") == shares
    operations = {
        row["refid"]
        for aclass in ("currency", "tokenized_asset")
        for row in buyer.call("Ledgers", aclass=aclass)["ledger"].values()
    }
    assert len(operations) == 1


def test_balances_list_both_classes_the_tokenized_with_a_suffix(buyer):
    assert buyer.call("Balance")["NVDAx.T"] == "2.00000000"
    assert buyer.call("BalanceEx")["NVDAx.T"] == {"balance": "2.00000000", "hold_trade": "0.00000000"}
    assert "NVDAx" not in buyer.call("BalanceEx")


def test_assets_list_them_in_their_class_alone(exchange):
    tokenized = exchange.public("Assets", aclass="tokenized_asset")["result"]
    assert tokenized["NVDAx"]["aclass"] == "tokenized_asset"
    assert not tokenized.keys() & exchange.public("Assets")["result"].keys()


def test_a_split_changes_rebased_units_without_a_row_and_base_units_never(buyer):
    buyer.simulator.post("/rebase", {"asset": "NVDAx", "multiplier": "1.5"})
    told = {
        units: (
            buyer.call("BalanceEx", rebase_multiplier=units)["NVDAx.T"]["balance"],
            rows(buyer, aclass="tokenized_asset", rebase_multiplier=units)[1][0][2],
        )
        for units in ("rebased", "base")
    }
    assert told == {"rebased": ("3.00000000", "3.00000000"), "base": ("2.00000000", "2.00000000")}
    assert buyer.call("BalanceEx")["NVDAx.T"]["balance"] == "3.00000000", "rebased is the default"
    assert buyer.call("BalanceEx", rebase_multiplier="rebased")["ZUSD"]["balance"] == "99639.0000"
    assert buyer.refusal("BalanceEx", rebase_multiplier="other") == [
        "EGeneral:Invalid arguments:rebase_multiplier"
    ]


def test_a_withdrawal_is_told_in_the_units_that_are_asked_for(buyer):
    buyer.event("withdrawal_pending", asset="NVDAx", amount="1")
    buyer.simulator.post("/rebase", {"asset": "NVDAx", "multiplier": "1.5"})
    for units, amount in (("base", "1.00000000"), ("rebased", "1.50000000")):
        [told] = buyer.funding("withdrawals", rebase_multiplier=units)["withdrawals"]
        asset = {"class": "tokenized_asset", "name": "NVDAx"}
        assert told["amount"] == {"asset": asset, "amount": amount}


def test_only_tokenized_assets_are_rebased(exchange):
    exchange.post("/rebase", {"asset": "XXBT", "multiplier": "2"}, status=400)
    exchange.post("/rebase", {"asset": "NVDAx", "multiplier": "0"}, status=400)
