"""A real account's orders, trades and ledger of 2015, as Kraken told them: nothing may be called wrong."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from desks.reported_orders import order
from kraken_recon.kraken import parse_account, parse_ledger, parse_orders
from kraken_recon.verification.rules.judge import (
    OrderEvidence,
    Overall,
    Tolerances,
    judge_order,
)
from kraken_recon.verification.rules.levels import Level, Verdict

if TYPE_CHECKING:
    from pathlib import Path

    from kraken_recon.ledger.entries import LedgerEntry
    from kraken_recon.orders.rules.order import Fill
    from kraken_recon.orders.rules.reports import ReportedOrder


@pytest.fixture(scope="module")
def evidences(kraken_data_dir: Path) -> list[OrderEvidence]:
    """Every recorded order, with our books as if we had recorded exactly what Kraken told."""
    cassettes = kraken_data_dir / "shideneyu__kraken_client" / "cassettes"
    if not cassettes.is_dir():
        pytest.skip(f"no recordings of orders in {cassettes}")

    def recorded(name: str) -> Any:
        [exchange] = json.loads((cassettes / f"{name}.json").read_text())
        body = json.dumps({"error": [], "result": exchange["response"]["json"]["result"]}).encode()
        return parse_account.decode_reply(body, account="recorded", endpoint=name).result

    markets = parse_orders.parse_markets(recorded("assets_pairs"))
    names = {"markets": markets, "account": "recorded", "endpoint": "recorded"}
    orders = parse_orders.parse_orders(recorded("closed_orders")["closed"], **names)
    trades = parse_orders.parse_trades(recorded("trades_history")["trades"], **names)
    entries = parse_ledger.parse_ledger_page(recorded("ledgers")).entries
    return [evidence_of(reported, trades, entries) for reported in orders.values()]


def evidence_of(
    reported: ReportedOrder, trades: dict[str, Fill], entries: tuple[LedgerEntry, ...]
) -> OrderEvidence:
    own = {name: trade for name, trade in trades.items() if trade.kraken_txid == reported.kraken_txid}
    base, _, quote = reported.pair.partition("/")
    ours = order(
        pair=reported.pair, base=base, quote=quote, side=reported.side, kraken_txid=reported.kraken_txid,
        status=reported.status, volume_executed=reported.volume_executed, cost_executed=reported.cost,
        fee_reported=reported.fee,
    )  # fmt: skip
    return OrderEvidence(
        order=ours,
        recorded_fills=own,
        reported=replace(reported, trade_ids=tuple(own)),
        trades=own,
        entries=entries,
        recorded_entries={entry.ledger_id: entry for entry in entries},
        movements={entry.ledger_id: entry.change for entry in entries},
    )


def test_recorded_orders_are_verified(evidences: list[OrderEvidence]) -> None:
    complete = [e for e in evidences if sum(t.volume for t in e.trades.values()) == e.order.volume_executed]
    found = [judge_order(evidence, Tolerances()) for evidence in complete]
    told = [v.message for v in found if v.verdict is Overall.MISMATCH]
    assert told == []
    assert {v.verdict for v in found} == {Overall.VERIFIED}
    ledger = Counter(r.verdict for v in found for r in v.levels if r.level is Level.LEDGER)
    assert ledger == {Verdict.PASSED: 11, Verdict.NOT_APPLICABLE: 39}, "filled, and canceled without a fill"
