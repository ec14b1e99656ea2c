"""A spot account that every peer is given: its fills, Kraken's replies, and what it holds at the end.

Invariants:
1. The same seed and number give the same account, to the last digit.
2. The account held every coin before the first fill that anybody is shown, as one does of which a month is
   looked at. Its fees are in dollars and nothing but trades happens: every peer knows all of that.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from pathlib import Path

COINS: Final = tuple(f"C{place:02d}" for place in range(20))
PAGE_LENGTH: Final = 50
BEGIN_SECONDS: Final = 1_767_225_600  # 2026
_LETTERS: Final = "ABCDEFGHJKLMNPQRSTUVWXYZ234567"


@dataclass(frozen=True, slots=True)
class Files:
    """Where the account lies; what its programs are started with."""

    fills: Path
    """JSON: ``opening`` and ``closing`` by coin, ``fills`` as lists in the order of ``FIELDS``."""
    replies: Path
    """A reply of ``Ledgers`` in each line, newest first."""


FIELDS: Final = ("trade", "seconds", "coin", "side", "quantity", "price", "cost", "fee")


def write(place: Path, count: int, seed: int) -> Files:
    """Make an account with so many fills."""
    dice = random.Random(seed)  # noqa: S311 - the same account every time is the point
    opening = {**dict.fromkeys(COINS, Decimal(1000)), "USD": Decimal(10**9)}
    held, fills, rows = dict(opening), [], []

    def line(refid: str, seconds: str, asset: str, amount: Decimal, fee: Decimal) -> None:
        held[asset] += amount - fee
        row = {"refid": refid, "time": seconds, "type": "trade", "subtype": "tradespot", "aclass": "currency"}
        code = "ZUSD" if asset == "USD" else asset
        told = {"amount": f"{amount:.10f}", "fee": f"{fee:.10f}", "balance": f"{held[asset]:.10f}"}
        rows.append((_kraken_id("L", dice), {**row, "asset": code, **told}))

    for number in range(count):
        coin, refid = dice.choice(COINS), _kraken_id("T", dice)
        quantity, price = (
            Decimal(dice.randint(1, 9_999)).scaleb(-3),
            Decimal(dice.randint(100, 200)).scaleb(-2),
        )
        is_buy = dice.random() < 0.5 or held[coin] < quantity
        cost, sign = quantity * price, 1 if is_buy else -1
        fee = cost.scaleb(-3)
        seconds = f"{BEGIN_SECONDS + number * 60}.{dice.randint(0, 9999):04d}"
        line(refid, seconds, coin, sign * quantity, Decimal(0))
        line(refid, seconds, "USD", -sign * cost, fee)
        fills.append(
            (refid, seconds, coin, "buy" if is_buy else "sell", *map(str, (quantity, price, cost, fee)))
        )
    files = Files(place / "fills.json", place / "replies.jsonl")
    told = {"opening": _texts(opening), "closing": _texts(held), "fields": FIELDS, "fills": fills}
    files.fills.write_text(json.dumps(told), encoding="utf-8")
    files.replies.write_bytes(b"\n".join(_replies(rows)))
    return files


def _kraken_id(first: str, dice: random.Random) -> str:
    letters = "".join(dice.choices(_LETTERS, k=16))
    return f"{first}{letters[:5]}-{letters[5:10]}-{letters[10:]}"


def _texts(amounts: dict[str, Decimal]) -> dict[str, str]:
    return {asset: str(amount) for asset, amount in amounts.items()}


def _replies(rows: list[tuple[str, dict[str, str]]]) -> list[bytes]:
    """Write the ledger as Kraken does: newest first, times as numbers."""
    newest_first = rows[::-1]
    pages: list[dict[str, Any]] = [
        {
            ledger_id: {**row, "time": float(row["time"])}  # its digits are few enough to stay
            for ledger_id, row in newest_first[place : place + PAGE_LENGTH]
        }
        for place in range(0, len(rows), PAGE_LENGTH)
    ]
    return [
        json.dumps({"error": [], "result": {"ledger": page, "count": len(rows)}}).encode() for page in pages
    ]
