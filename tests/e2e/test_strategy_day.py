"""A day of an AI strategy on recorded prices: every decision is traced from reason to ledger entry.

The prices are a real day of XBT/EUR, hour by hour, as Kraken told them. The strategy is simple on purpose: it
buys what fell, sells what rose, and leaves limit and stop orders behind, as a model might.
"""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from desks.orders import TradingDesk
from kraken_recon.orders.store import OrderStore
from kraken_recon.orders.view import render_trace, trace

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from conftest import Simulator

RECORDING = "shideneyu__kraken_client/cassettes/ohlc.json"
HOURS = 24


@pytest.fixture
def candles(kraken_data_dir: Path) -> list[list[Any]]:
    file = kraken_data_dir / RECORDING
    if not file.is_file():
        pytest.skip(f"no recorded prices: {file} does not exist")
    [exchange] = json.loads(file.read_text())
    hours: list[list[Any]] = exchange["response"]["json"]["result"]["XXBTZEUR"][-HOURS:]
    return hours


@pytest.fixture
def desk(simulator: Simulator, database_url: str) -> Iterator[TradingDesk]:
    desk = TradingDesk(simulator, database_url)
    yield desk
    desk.close()


def rounded(price: str, share: str = "1") -> str:
    """Write a price in whole tenths, as this market wants it."""
    return str((Decimal(price) * Decimal(share)).quantize(Decimal("0.1")))


def decide(desk: TradingDesk, hour: int, candle: list[Any]) -> int:
    """Ask the model, and put its decision into the table."""
    opened, close = candle[1], candle[4]
    side = "buy" if Decimal(close) < Decimal(opened) else "sell"
    answer = {"side": side, "confidence": "0.7"}
    prompt = f"The hour opened at {opened} and closed at {close}. What now?"
    terms: dict[str, Any] = [
        {"portion": "0.1"},
        {
            "portion": "0.1",
            "type": "limit",
            "limit_price": rounded(close, "0.995" if side == "buy" else "1.005"),
        },
        {"side": "sell", "volume": "0.05", "type": "stop-loss", "trigger_price": rounded(close, "0.99")},
        {"volume": "0.2", "type": "limit", "limit_price": rounded(close), "time_in_force": "IOC"},
    ][hour % 4]
    return desk.decide(
        "fund",
        key=f"hour-{hour}",
        **{
            "pair": "BTC/EUR",
            "side": side,
            "source": "ai",
            "expected_price": rounded(close),
            "reason": f"hour {hour}: {opened} -> {close}",
            "ai_model": "momentum-1",
            "ai_prompt_sha256": hashlib.sha256(prompt.encode()).hexdigest(),
            "ai_answer": json.dumps(answer),
            **terms,
        },
    )


def test_every_decision_of_a_day_is_traced_from_reason_to_ledger_entry(
    desk: TradingDesk, candles: list[list[Any]]
) -> None:
    first = datetime.fromtimestamp(candles[0][0], UTC)
    desk.simulator.control.post("clock", {"mode": "virtual", "now": str(int(first.timestamp()))})
    desk.account("fund", XXBT="3", ZEUR="20000")
    desk.prices(XBTEUR=rounded(candles[0][1]))
    desk.sync()
    decisions = []
    for hour, candle in enumerate(candles):
        for price in candle[1:5]:
            desk.prices(XBTEUR=rounded(price))
            desk.pause(900)
        decisions.append(decide(desk, hour, candle))
        desk.execute_orders()
        if hour % 6 == 5:
            desk.sync()
    desk.pause(60)
    desk.run_until_settled()
    check_day(desk, decisions)


def check_day(desk: TradingDesk, decisions: list[int]) -> None:
    judged = desk.rows("select * from trading.order_decisions order by decision_id")
    assert [row["decision_id"] for row in judged] == decisions
    assert {row["status"] for row in judged} == {"accepted"}
    statuses = [row["status"] for row in desk.orders()]
    assert len(statuses) == HOURS
    assert statuses.count("closed") >= HOURS // 4
    known = {
        row["ledger_id"]
        for row in desk.rows("select ledger_id from trading.ledger_entries where type = 'trade'")
    }
    traced = set()
    with desk.ports.open_unit_of_work() as unit:
        for order, decision in zip(desk.orders(), judged, strict=True):
            view = trace(OrderStore(unit), order["order_id"])
            assert view["reason"] == decision["payload"]["reason"]
            assert view["decision"]["payload"]["ai_answer"] == order["ai_answer"]
            assert sum(Decimal(fill["volume"]) for fill in view["fills"]) == order["volume_executed"]
            assert {e["refid"] for e in view["ledger_entries"]} == {f["trade_id"] for f in view["fills"]}
            assert len(view["position_events"]) == len(view["ledger_entries"])
            assert any(view["reason"] in line for line in render_trace(view))
            traced |= {entry["ledger_id"] for entry in view["ledger_entries"]}
    # Nothing moved without a decision: the traces together are all trades of the ledger.
    assert traced == known == trades_at_kraken(desk)
    balances = desk.truth("fund")["balances"]
    assert desk.positions("fund") == {"BTC": Decimal(balances["XXBT"]), "EUR": Decimal(balances["ZEUR"])}
    assert desk.rows("select message from trading.alerts") == []


def trades_at_kraken(desk: TradingDesk) -> set[str]:
    return {entry["id"] for entry in desk.truth("fund")["ledger"] if entry["type"] == "trade"}
