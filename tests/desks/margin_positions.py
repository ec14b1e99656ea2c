"""An open margin position, as Kraken tells it."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

POSITION: dict[str, Any] = {
    "ordertxid": "OLWNFG-LLH4R-D6SFFP",
    "posstatus": "open",
    "pair": "XXBTZUSD",
    "time": Decimal("1605280097.8294"),
    "type": "buy",
    "ordertype": "limit",
    "cost": "104610.52842",
    "fee": "289.06565",
    "vol": "8.82412861",
    "vol_closed": "0.20200000",
    "margin": "20922.10568",
    "value": "258797.5",
    "net": "+154186.9728",
    "terms": "0.0100% per 4 hours",
    "rollovertm": "1616672637",
    "misc": "",
    "oflags": "",
}
