"""Join exported trades to the ledger entries that they name.

What does not join is a finding. Nothing is looked for elsewhere, and nothing is guessed.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from kraken_recon.ledger.entry_kinds import TRADE
from kraken_recon.values.money import SCALE_MAX, ZERO, exact_arithmetic, format_amount

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kraken_recon.history.rules.export_rows import ExportedTrade
    from kraken_recon.ledger.entries import LedgerEntry

LEGS_OF_A_SPOT_TRADE: Final = 2


@dataclass(frozen=True, slots=True)
class TradeFinding:
    """One thing about a trade that its ledger entries do not bear out."""

    kind: str
    txid: str
    ledger_id: str | None
    detail: str


@exact_arithmetic()
def join_trade(trade: ExportedTrade, entries: Mapping[str, LedgerEntry]) -> list[TradeFinding]:
    """Compare a trade with the entries it names; ``entries`` are all that is on record or being imported."""
    if not trade.ledger_ids:
        return [TradeFinding("names_no_entry", trade.txid, None, "the trade names no ledger entry")]
    findings = []
    named = [entries[ledger_id] for ledger_id in trade.ledger_ids if ledger_id in entries]
    for ledger_id in trade.ledger_ids:
        if ledger_id not in entries:
            findings.append(
                TradeFinding("entry_missing", trade.txid, ledger_id, "neither imported nor recorded")
            )
        elif entries[ledger_id].refid != trade.txid:
            findings.append(
                TradeFinding(
                    "entry_of_another_trade",
                    trade.txid,
                    ledger_id,
                    f"the entry belongs to {entries[ledger_id].operation or 'no trade'}",
                )
            )
    if not findings and _is_spot(trade, named):
        findings += _differing_amounts(trade, named)
    return findings


def _is_spot(trade: ExportedTrade, legs: list[LedgerEntry]) -> bool:
    """Say whether volume and cost are what the legs must show; a margin trade books only its result."""
    return (
        trade.margin == ZERO
        and len(legs) == LEGS_OF_A_SPOT_TRADE
        and all(leg.entry_type == TRADE for leg in legs)
    )


def _differing_amounts(trade: ExportedTrade, legs: list[LedgerEntry]) -> list[TradeFinding]:
    received = max(legs, key=lambda leg: leg.amount)
    spent = min(legs, key=lambda leg: leg.amount)
    base, quote = (received, spent) if trade.side == "buy" else (spent, received)
    return [
        TradeFinding(
            "amount_differs",
            trade.txid,
            leg.ledger_id,
            f"{name} {format_amount(traded)} became {format_amount(booked)} {leg.asset} in the ledger",
        )
        for name, traded, leg in (("volume", trade.volume, base), ("cost", trade.cost, quote))
        for booked in [abs(leg.amount)]
        if abs(booked - traded) > _half_a_unit(leg)
    ]


def _half_a_unit(leg: LedgerEntry) -> Decimal:
    """Say how far Kraken's rounding may go: half a unit of the last decimal that the entry shows."""
    decimals = max(_decimals(amount) for amount in (leg.amount, leg.fee, leg.balance))
    return Decimal(5).scaleb(-decimals - 1)


def _decimals(amount: Decimal) -> int:
    exponent = amount.normalize().as_tuple().exponent
    return min(SCALE_MAX, max(0, -exponent)) if isinstance(exponent, int) else 0
