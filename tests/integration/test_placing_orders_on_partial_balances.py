"""Orders that are sized while a reply of Kraken's shows less than the account has."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from desks.orders import TradingDesk
from kraken_recon.errors import RequestRefusedError
from kraken_recon.kraken.order_reading_client import MarketCache
from kraken_recon.kraken.trading_client import TradingClient
from kraken_recon.orders.deciding import accept_decisions

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Simulator
    from kraken_recon.orders.rules.bounds import MarketPrice


@pytest.fixture
def desk(simulator: Simulator, database_url: str) -> Iterator[TradingDesk]:
    desk = TradingDesk(simulator, database_url)
    desk.account()
    desk.prices(XBTUSD="50000", ETHUSD="2500")
    yield desk
    desk.close()


PARTIAL = {"empty": ("empty_balances", {}), "partial": ("partial_balances", {"assets": ["ZUSD"]})}


@pytest.mark.parametrize("synced", [["desk"], []], ids=["recorded", "not opened"])
@pytest.mark.parametrize("reply", PARTIAL)
def test_one_reply_that_shows_too_little_refuses_nothing(
    desk: TradingDesk, reply: str, synced: list[str]
) -> None:
    for name in synced:
        desk.sync(name)
    name, options = PARTIAL[reply]
    desk.fault(name, count=1, **options)
    desk.decide(volume="0.1")
    desk.execute_orders()
    assert desk.order()["status"] == "closed"


@pytest.mark.parametrize("reply", PARTIAL)
@pytest.mark.parametrize("size", [{"volume": "0.1"}, {"portion": "0.5"}])
def test_replies_that_contradict_the_records_keep_an_order_waiting(
    desk: TradingDesk, reply: str, size: dict[str, str]
) -> None:
    desk.sync()
    name, options = PARTIAL[reply]
    desk.fault(name, **options)
    desk.decide(**size)
    for _ in range(2):
        desk.execute_orders()
        desk.pause(60)
    order = desk.order()
    assert order["status"] == "decided"
    assert "less than is recorded here" in order["status_reason"]
    assert len(desk.story(order["order_id"])) == 2
    desk.simulator.control.delete("faults")
    desk.execute_orders()
    order = desk.order()
    assert (order["status"], order["status_reason"]) == ("closed", None)
    if "portion" in size:
        assert Decimal(9) < order["volume"] < Decimal(10)


MARKETS = {
    "empty": ("empty_balances", {}),
    "partial": ("partial_balances", {"assets": ["XXBTZUSD"]}),
    "odd": ("missing_fields", {"fields": ["pair_decimals"]}),
}


@pytest.mark.parametrize("reply", MARKETS)
@pytest.mark.parametrize("when", ["decided", "placed"])
def test_one_reply_that_lists_too_few_markets_refuses_nothing(
    desk: TradingDesk, reply: str, when: str
) -> None:
    desk.decide(volume="0.1")
    if when == "placed":
        accept_decisions(desk.ports)
        desk.markets = MarketCache()
    name, options = MARKETS[reply]
    desk.fault(name, endpoint="AssetPairs", count=1, **options)
    desk.execute_orders()
    assert desk.order()["status"] == "closed"


def test_replies_without_any_market_keep_a_decision(desk: TradingDesk) -> None:
    desk.fault("empty_balances", endpoint="AssetPairs")
    desk.decide(volume="0.1")
    assert "AssetPairs" in desk.execute_orders().failures["desk"]
    desk.simulator.control.delete("faults")
    desk.execute_orders()
    assert desk.order()["status"] == "closed"


def test_market_that_two_readings_lack_is_refused(desk: TradingDesk) -> None:
    for _ in range(2):
        desk.decide(pair="BTC/EURO", volume="0.1")
    desk.execute_orders()
    assert [row["refusal"] for row in desk.rows("select refusal from trading.order_decisions")] == [
        "Kraken has no market BTC/EURO"
    ] * 2


def test_what_is_really_not_there_is_refused_by_two_readings(desk: TradingDesk) -> None:
    desk.sync()
    desk.simulator.control.post(
        "accounts/desk/events", {"kind": "withdrawal", "asset": "ZUSD", "amount": "999000"}
    )
    desk.decide(volume="0.1")
    desk.execute_orders()
    assert desk.order()["status"] == "decided"
    desk.pause(60)
    desk.sync()
    desk.execute_orders()
    order = desk.order()
    assert order["status"] == "refused"
    assert "of which 1000 is available" in order["status_reason"]


def test_refusal_of_an_account_that_was_never_proved_says_what_to_do(desk: TradingDesk) -> None:
    desk.fault("empty_balances")
    desk.decide(volume="0.1")
    for _ in range(2):
        desk.execute_orders()
        desk.pause(60)
    order = desk.order()
    assert order["status"] == "refused"
    assert (
        "nothing is recorded here that they could contradict: run `python -m kraken_recon sync`"
        in (order["status_reason"])
    )


def test_an_order_whose_price_cannot_be_read_keeps_no_other_from_being_placed(
    desk: TradingDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = TradingClient.price

    def price(client: TradingClient, pair: str) -> MarketPrice | None:
        if pair == "BTC/USD":
            raise RequestRefusedError("Ticker: Kraken answered EQuery:Unknown asset pair")
        return read(client, pair)

    monkeypatch.setattr(TradingClient, "price", price)
    desk.decide(volume="0.1")
    desk.decide(pair="ETH/USD", volume="1")
    done = desk.execute_orders()
    stuck, placed = desk.orders()
    assert (stuck["status"], placed["status"]) == ("decided", "closed")
    assert f"order {stuck['order_id']}" in done.failures["desk"]
