"""The kinds of order: what each is called on the wire, and whether it waits for a price first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class OrderType:
    """One value of ``ordertype``.

    Attributes:
        words: how the one-line description calls it.
        is_limited: whether it fills at its limit price or better only.
        trigger: the remark that an order carries once its trigger was reached; empty without a trigger.
        trade_words: ``ordertype`` of its trades, where that differs (recorded: ``stop market``).
    """

    words: str
    is_limited: bool = False
    trigger: str = ""
    trade_words: str = ""


ORDER_TYPES: Final = {
    "market": OrderType("market"),
    "limit": OrderType("limit", is_limited=True),
    "stop-loss": OrderType("stop loss", trigger="stopped", trade_words="stop market"),
    "take-profit": OrderType("take profit", trigger="touched", trade_words="touched market"),
    "stop-loss-limit": OrderType("stop loss", is_limited=True, trigger="stopped", trade_words="stop limit"),
    "take-profit-limit": OrderType(
        "take profit", is_limited=True, trigger="touched", trade_words="touched limit"
    ),
}
#: Recorded orders may be of a kind that cannot be placed here.
UNKNOWN: Final = OrderType("")
