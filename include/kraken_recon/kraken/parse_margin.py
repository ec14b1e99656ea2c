"""``OpenPositions`` into domain values, as strictly as everything else (see ``wire``)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from kraken_recon.kraken.parse_account import ABSENT, Reader
from kraken_recon.kraken.parse_orders import SIDES
from kraken_recon.reconciliation.margin.rules import MarginPosition

if TYPE_CHECKING:
    from datetime import datetime
    from decimal import Decimal

_SIGNED = re.compile(r"\+[0-9.]+")


def parse_open_positions(result: object, *, account: str = "") -> dict[str, MarginPosition]:
    """Read a map of positions by the id of the trade that opened them; the consolidated list is refused."""
    read = Reader(account, "OpenPositions")
    return {
        read.name(position_id, "a position id"): _parse(read, position_id, value)
        for position_id, value in read.mapping(result, "result").items()
    }


def _parse(read: Reader, position_id: str, value: object) -> MarginPosition:
    place = f"result.{position_id}"
    row = read.mapping(value, place)

    def name(field: str) -> str:
        return read.name(row.get(field, ABSENT), f"{place}.{field}")

    def amount(field: str) -> Decimal:
        return read.amount(row.get(field, ABSENT), f"{place}.{field}")

    side = read.choice(row.get("type", ABSENT), f"{place}.type", SIDES, "buy or sell")
    if (status := row.get("posstatus", "open")) != "open":
        read.refuse(f"{place}.posstatus", "open", status)
    position = MarginPosition(
        position_id=position_id,
        order_id=name("ordertxid"),
        pair=name("pair"),
        side=side,
        order_type=name("ordertype"),
        opened_at=read.time(row.get("time", ABSENT), f"{place}.time"),
        volume=amount("vol"),
        volume_closed=amount("vol_closed"),
        cost=amount("cost"),
        fee=amount("fee"),
        margin=amount("margin"),
        terms=read.text(row.get("terms", ""), f"{place}.terms"),
        rollover_at=_rollover(read, row, f"{place}.rollovertm"),
        value=_counted(read, row, "value", place),
        net=_counted(read, row, "net", place),
    )
    if not 0 <= position.volume_closed <= position.volume:
        read.refuse(f"{place}.vol_closed", f"a part of {position.volume}", str(position.volume_closed))
    return position


def _rollover(read: Reader, row: dict[str, Any], field: str) -> datetime | None:
    return read.optional_time(row.get("rollovertm"), field)


def _counted(read: Reader, row: dict[str, Any], field: str, place: str) -> Decimal | None:
    """Read a figure that Kraken counts on demand; a result carries its sign, plus included."""
    text = row.get(field)
    if text is None:
        return None
    if field == "net" and isinstance(text, str) and _SIGNED.fullmatch(text):
        text = text.removeprefix("+")
    return read.amount(text, f"{place}.{field}")
