"""Every field of an answer that the product reads, from the envelope on, and the ways to alter each.

Invariant: what the parsers read of an answer stands here; a test reads samples with a watchful map, and
compares.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from benchmarks.fault_matrix.fault import Fault

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

CONTAINER_WAYS: Final = ("dropped", "null", "type", "empty")
TEXT_WAYS: Final = (*CONTAINER_WAYS, "endless", "swapped")
NUMBER_WAYS: Final = (*CONTAINER_WAYS, "zero", "huge", "negative", "swapped")
AMOUNT_WAYS: Final = (*NUMBER_WAYS, "endless", "tiny")
#: What a reader can take for true: it is tried at every job, what no reader takes at the first alone.
CREDIBLE_WAYS: Final = frozenset({"dropped", "huge", "swapped"})
#: What can be read, and says something else.
CREDIBLE: Final = frozenset({"dropped", "empty", "zero", "huge", "tiny", "negative", "swapped", "null"})
MARKET_LIE: Final = (
    "prices and terms of markets come from nowhere else: one that can be read is believed, and shown with"
    " what is valued by it"
)
#: Fields by the last part of their path; what is neither is text.
AMOUNTS: Final = frozenset({"balance", "hold_trade", "amount"})
NUMBERS: Final = AMOUNTS | {
    *(
        "time",
        "opentm",
        "closetm",
        "expiretm",
        "vol",
        "vol_exec",
        "vol_closed",
        "cost",
        "fee",
        "price",
        "margin",
    ),
    *(
        "rollovertm",
        "value",
        "net",
        "count",
        "queryFrom",
        "queryTo",
        "validUntil",
        "pair_decimals",
        "lot_decimals",
    ),
    *("ordermin", "costmin", "tick_size", "unixtime"),
}
ENVELOPE: Final = ("error", "result")
_ORDER: Final = (
    *("status", "cl_ord_id", "opentm", "closetm", "expiretm", "vol", "vol_exec", "cost", "fee", "price"),
    *("reason", "oflags", "trades", "descr", "descr.pair", "descr.type", "descr.ordertype", "descr.price"),
)
_TRADE: Final = ("ordertxid", "pair", "type", "time", "price", "vol", "cost", "fee", "maker")
_TRANSFER: Final = (
    *("status", "create_time", "amount", "amount.amount", "amount.asset", "amount.asset.name"),
    *("fee", "fee.amount", "fee.asset", "fee.asset.name"),
)
_MARKET: Final = (
    *(
        "altname",
        "wsname",
        "base",
        "quote",
        "pair_decimals",
        "lot_decimals",
        "ordermin",
        "costmin",
        "tick_size",
    ),
    *("status", "fees", "execution_venue"),
)
_POSITION: Final = (
    *(
        "ordertxid",
        "pair",
        "type",
        "ordertype",
        "time",
        "vol",
        "vol_closed",
        "cost",
        "fee",
        "margin",
        "terms",
    ),
    *("posstatus", "rollovertm", "value", "net"),
)


def _below(place: str, names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(f"{place}.{name}" for name in names)


READ: Final[Mapping[str, tuple[str, ...]]] = {
    "BalanceEx": (*ENVELOPE, "result.*", *_below("result.*", ("balance", "hold_trade"))),
    "Ledgers": (
        *(*ENVELOPE, "result.ledger", "result.count", "result.ledger.*"),
        *_below(
            "result.ledger.*",
            ("refid", "time", "type", "subtype", "aclass", "asset", "amount", "fee", "balance"),
        ),
    ),
    "GetApiKeyInfo": (
        *ENVELOPE,
        *_below(
            "result", ("apiKeyName", "permissions", "permissions.*", "queryFrom", "queryTo", "validUntil")
        ),
    ),
    "OpenPositions": (*ENVELOPE, "result.*", *_below("result.*", _POSITION)),
    "OpenOrders": (*ENVELOPE, "result.open", "result.open.*", *_below("result.open.*", _ORDER)),
    "ClosedOrders": (*ENVELOPE, "result.closed", "result.closed.*", *_below("result.closed.*", _ORDER)),
    "QueryOrders": (*ENVELOPE, "result.*", *_below("result.*", _ORDER)),
    "TradesHistory": (*ENVELOPE, "result.trades", "result.trades.*", *_below("result.trades.*", _TRADE)),
    "QueryTrades": (*ENVELOPE, "result.*", *_below("result.*", _TRADE)),
    "AddOrder": (*ENVELOPE, *_below("result", ("descr", "txid", "txid.*"))),
    "CancelOrder": ENVELOPE,
    "AmendOrder": ENVELOPE,
    "withdrawals": ("withdrawals", "withdrawals.*", *_below("withdrawals.*", ("withdrawal_id", *_TRANSFER))),
    "deposits": ("deposits", "deposits.*", *_below("deposits.*", ("deposit_id", *_TRANSFER))),
    "AssetPairs": (*ENVELOPE, "result.XXBTZUSD", *_below("result.XXBTZUSD", _MARKET)),
    "Ticker": (
        *(*ENVELOPE, "result.XXBTZUSD"),
        *(path for side in "abc" for path in _below("result.XXBTZUSD", (side, f"{side}.*"))),
    ),
    "Assets": (*ENVELOPE, "result.XXBT"),
    "Time": (*ENVELOPE, "result.unixtime"),
    "SystemStatus": (*ENVELOPE, "result.status"),
}
#: Their rows are those of QueryOrders and QueryTrades, which all ways are tried on.
READ_ALIKE: Final = frozenset({"OpenOrders", "ClosedOrders", "TradesHistory"})
FEW_WAYS: Final = frozenset({"dropped", "type", "huge", "swapped"})
PUBLIC: Final = frozenset({"AssetPairs", "Ticker", "Assets", "Time", "SystemStatus"})
#: Who asks what; a job that never asks an endpoint is not bothered with its fields.
ASKED_BY: Final[Mapping[str, tuple[str, ...]]] = {
    "BalanceEx": ("position_sync", "order_execution", "order_verification", "repair_approval", "desk_books"),
    "Ledgers": ("position_sync", "order_execution", "order_verification", "repair_approval", "desk_books"),
    "GetApiKeyInfo": ("position_sync", "order_execution", "repair_approval"),
    "OpenPositions": ("position_sync",),
    "withdrawals": ("position_sync",),
    "deposits": ("position_sync",),
    "AssetPairs": ("order_execution", "order_verification", "maintenance", "position_sync", "desk_books"),
    "Ticker": ("order_execution", "maintenance", "position_sync", "desk_books"),
    "Assets": ("desk_books",),
    "QueryOrders": ("order_execution", "order_verification"),
    "QueryTrades": ("order_execution", "order_verification"),
    "TradesHistory": ("order_execution", "order_verification"),
    **dict.fromkeys(
        ("OpenOrders", "ClosedOrders", "AddOrder", "CancelOrder", "AmendOrder", "Time", "SystemStatus"),
        ("order_execution",),
    ),
}


def ways_of(endpoint: str, path: str, paths: tuple[str, ...]) -> tuple[str, ...]:
    """Say in which ways a field can be altered; few where its rows are read as another endpoint's are."""
    ways = _ways_of(path, paths)
    return tuple(way for way in ways if endpoint not in READ_ALIKE or way in FEW_WAYS)


def _ways_of(path: str, paths: tuple[str, ...]) -> tuple[str, ...]:
    if any(other.startswith(f"{path}.") for other in paths) or path in ENVELOPE:
        return CONTAINER_WAYS
    name = path.rpartition(".")[2]
    if name in AMOUNTS:
        return AMOUNT_WAYS
    return NUMBER_WAYS if name in NUMBERS or path.rpartition(".")[0][-2:] in {".a", ".b", ".c"} else TEXT_WAYS


def altered() -> Iterator[Fault]:
    """List the rows about altered fields."""
    for endpoint, paths in READ.items():
        aimed = {} if endpoint in PUBLIC else {"account": "struck-{name}"}
        for path in paths:
            ways = ways_of(endpoint, path, paths)
            is_number = "huge" in ways
            for how in ways:
                yield Fault(
                    f"altered_field {endpoint} {path} {how}",
                    "altered_field",
                    {**aimed, "endpoint": endpoint, "path": path, "how": how},
                    f"A field of {endpoint}",
                    lie=MARKET_LIE if endpoint in {"Ticker", "AssetPairs"} and how in CREDIBLE else "",
                    jobs=ASKED_BY[endpoint][: None if is_number and how in CREDIBLE_WAYS else 1],
                )
