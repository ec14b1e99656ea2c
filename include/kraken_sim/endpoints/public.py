"""The public endpoints: time, state, assets, pairs, prices."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from kraken_sim.amounts import fixed
from kraken_sim.errors import ApiError
from kraken_sim.market.reference import CURRENCY, TOKENIZED_ASSET

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from decimal import Decimal

    from kraken_sim.exchange import Exchange


ASSET_CLASSES: Final = frozenset({CURRENCY, TOKENIZED_ASSET})


def moment(now: Decimal) -> datetime:
    """Turn unix seconds into a UTC time without a float."""
    return datetime.fromtimestamp(0, UTC) + timedelta(microseconds=int(now * 1_000_000))


def server_time(exchange: Exchange, _: Mapping[str, str]) -> dict[str, Any]:
    """Answer ``Time``; the day is padded with a space."""
    now = exchange.clock.now()
    at = moment(now)
    return {"unixtime": int(now), "rfc1123": f"{at:%a}, {at.day:>2} {at:%b %y %H:%M:%S} +0000"}


def system_status(exchange: Exchange, _: Mapping[str, str]) -> dict[str, Any]:
    """Answer ``SystemStatus``."""
    return {
        "status": exchange.system_status,
        "timestamp": f"{moment(exchange.clock.now()):%Y-%m-%dT%H:%M:%SZ}",
    }


def assets(exchange: Exchange, parameters: Mapping[str, str]) -> dict[str, Any]:
    """Answer ``Assets``, of the class that is asked for."""
    reference = exchange.reference
    wanted = parameters.get("aclass", CURRENCY)
    if wanted not in ASSET_CLASSES:
        raise ApiError("EGeneral:Invalid arguments:aclass")
    ids = [reference.asset_id(name) for name in _names(parameters, "asset")] or list(reference.assets)
    classes = {asset_id: reference.assets[asset_id].get("aclass", CURRENCY) for asset_id in ids}
    return {asset_id: reference.assets[asset_id] for asset_id in ids if classes[asset_id] == wanted}


def asset_pairs(exchange: Exchange, parameters: Mapping[str, str]) -> dict[str, Any]:
    """Answer ``AssetPairs``: of every venue, unless one is named."""
    reference = exchange.reference
    pairs = [reference.pair(name) for name in _names(parameters, "pair")] or list(reference.pairs.values())
    venue = parameters.get("execution_venue")
    pairs = [pair for pair in pairs if venue in {None, pair.venue}]
    wanted = parameters.get("info", "info")
    fields = {
        "leverage": ("leverage_buy", "leverage_sell"),
        "fees": ("fees", "fees_maker", "fee_volume_currency"),
        "margin": ("margin_call", "margin_level"),
    }
    if wanted == "info":
        return {pair.pair_id: pair.wire for pair in pairs}
    if wanted not in fields:
        raise ApiError("EGeneral:Invalid arguments:info")
    return {
        pair.pair_id: {name: pair.wire[name] for name in fields[wanted] if name in pair.wire}
        for pair in pairs
    }


def ticker(exchange: Exchange, parameters: Mapping[str, str]) -> dict[str, Any]:
    """Answer ``Ticker``: one price for everything; pairs without a price are left out."""
    reference = exchange.reference
    pairs = [reference.pair(name) for name in _names(parameters, "pair")] or list(reference.pairs.values())
    venue = parameters.get("execution_venue")
    pairs = [pair for pair in pairs if venue in {None, pair.venue}]
    answer: dict[str, Any] = {}
    for pair in pairs:
        if pair.pair_id not in reference.prices:
            continue
        price = fixed(reference.prices[pair.pair_id], pair.price_decimals)
        answer[pair.pair_id] = {
            "a": [price, "1", "1.000"],
            "b": [price, "1", "1.000"],
            "c": [price, "1.00000000"],
            "v": ["10.00000000", "100.00000000"],
            "p": [price, price],
            "t": [10, 100],
            "l": [price, price],
            "h": [price, price],
            "o": price,
        }
    return answer


def _names(parameters: Mapping[str, str], name: str) -> list[str]:
    return [text.strip() for text in parameters.get(name, "").split(",") if text.strip() and text != "all"]


ENDPOINTS: Final[dict[str, Callable[[Exchange, Mapping[str, str]], dict[str, Any]]]] = {
    "Time": server_time,
    "SystemStatus": system_status,
    "Assets": assets,
    "AssetPairs": asset_pairs,
    "Ticker": ticker,
}
