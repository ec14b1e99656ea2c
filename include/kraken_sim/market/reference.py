"""Assets, pairs and prices: the built-in set, or a recorded snapshot.

Invariants: a pair or asset is found by id, altname or websocket name and answered by its id;
the snapshot's objects are sent back as they were read.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from kraken_sim.amounts import ZERO, half_up, number
from kraken_sim.errors import ApiError, ControlError
from kraken_sim.http.wire import decode
from kraken_sim.market import reference_data

if TYPE_CHECKING:
    from pathlib import Path

DEFAULT_DECIMALS: Final = 10
INTERNATIONAL: Final = "international"
CURRENCY: Final = "currency"
TOKENIZED_ASSET: Final = "tokenized_asset"
#: Suffix of tokenized assets in balances; ledgers have none, and name the class.
TOKENIZED_SUFFIX: Final = ".T"
WALLET_SUFFIXES: Final = frozenset({"B", "F", "M", "P", "S", "T", "HOLD"})


@dataclass(frozen=True, slots=True)
class Pair:
    """One market, with its limits as numbers."""

    pair_id: str
    altname: str
    base: str
    quote: str
    price_decimals: int
    cost_decimals: int
    lot_decimals: int
    minimum_volume: Decimal
    minimum_cost: Decimal
    tick_size: Decimal
    taker_percent: Decimal
    maker_percent: Decimal
    wire: dict[str, Any]

    @property
    def status(self) -> str:
        """Whether the market takes orders; old snapshots do not say."""
        return str(self.wire.get("status", "online"))

    @property
    def venue(self) -> str:
        """Where it is traded; snapshots of before April 2026 do not say."""
        return str(self.wire.get("execution_venue", INTERNATIONAL))


class Reference:
    """The market as the public endpoints describe it."""

    def __init__(self, directory: Path | None = None) -> None:
        self.assets: dict[str, dict[str, Any]] = {}
        self.pairs: dict[str, Pair] = {}
        self._asset_names: dict[str, str] = {}
        self._pair_names: dict[str, str] = {}
        self._international_names: dict[str, str] = {}
        self._usd_prices = {
            altname: number(price) for _, altname, _, _, price in reference_data.ASSETS if price
        }
        self._usd_prices |= {asset_id: number(price) for asset_id, _, _, price in reference_data.TOKENIZED}
        self.prices: dict[str, Decimal] = {}
        self.multipliers: dict[str, Decimal] = {}
        self.depths: dict[str, Decimal] = {}
        assets, pairs = _snapshot(directory) if directory else (_own_assets(), _own_pairs())
        for asset_id, wire in assets.items():
            self._add_asset(asset_id, wire)
        for pair_id, wire in pairs.items():
            self._add_pair(pair_id, wire)

    def asset_id(self, name: str) -> str:
        """Find an asset by id or altname.

        Raises:
            ApiError: ``EQuery:Unknown asset``.
        """
        found = self._asset_names.get(name)
        if found is None:
            raise ApiError("EQuery:Unknown asset")
        return found

    def pair(self, name: str) -> Pair:
        """Find a pair by id, altname or websocket name.

        Raises:
            ApiError: ``EQuery:Unknown asset pair``.
        """
        found = self._pair_names.get(name)
        if found is None:
            raise ApiError("EQuery:Unknown asset pair")
        return self.pairs[found]

    def check_venue(self, pair: Pair, venue: str | None) -> None:
        """Refuse a pair that is not traded at the venue that a request names.

        Raises:
            ApiError: ``EGeneral:Invalid arguments:execution_venue``.
        """
        if venue and venue != pair.venue:
            raise ApiError("EGeneral:Invalid arguments:execution_venue")

    def decimals(self, asset: str) -> int:
        """Tell the scale of an asset, by its family when the code itself is not listed."""
        wire = self.assets.get(asset) or self.assets.get(self.family(asset))
        return int(wire["decimals"]) if wire else DEFAULT_DECIMALS

    def asset_class(self, asset: str) -> str:
        """Tell which class an asset is of; what is not listed is a currency."""
        return str(self.assets.get(asset, {}).get("aclass", CURRENCY))

    def balance_code(self, asset: str) -> str:
        """Name an asset as balances do."""
        is_tokenized = self.asset_class(asset) == TOKENIZED_ASSET
        return f"{asset}{TOKENIZED_SUFFIX}" if is_tokenized else asset

    def rebase(self, name: str, multiplier: Decimal) -> None:
        """Let a split or a dividend change how many rebased units one base unit of a tokenized asset is.

        Raises:
            ControlError: it is no tokenized asset, or the multiplier is not positive.
        """
        if self.asset_class(name) != TOKENIZED_ASSET or multiplier <= ZERO:
            raise ControlError(
                f"expected a tokenized asset and a positive multiplier, was {name} {multiplier}"
            )
        self.multipliers[name] = multiplier

    def family(self, asset: str) -> str:
        """Name the asset that a suffixed code belongs to: ``XBT.F`` -> ``XXBT``."""
        stem, _, suffix = asset.partition(".")
        if suffix not in WALLET_SUFFIXES:
            return asset
        return self._asset_names.get(stem) or self._asset_names.get(stem.rstrip("0123456789"), stem)

    def usd_price(self, asset: str) -> Decimal:
        """Price an asset for TradeBalance and fee credits; zero when unknown."""
        wire = self.assets.get(self.family(asset))
        altname = str(wire["altname"]) if wire else asset
        return self._usd_prices.get("ETH" if altname == "ETH2" else altname, ZERO)

    def set_status(self, name: str, status: str) -> None:
        """Change whether a market takes orders."""
        self.pair(name).wire["status"] = status

    def set_depth(self, name: str, volume: Decimal | None) -> Pair:
        """Say how much can be had at a market's price; None for any amount."""
        pair = self.pair(name)
        self.depths.pop(pair.pair_id, None)
        if volume is not None:
            self.depths[pair.pair_id] = volume
        return pair

    def available(self, pair_id: str, wanted: Decimal) -> Decimal:
        """Tell how much of a volume can be had."""
        return min(wanted, self.depths.get(pair_id, wanted))

    def use_up(self, pair_id: str, volume: Decimal) -> None:
        """Take what was filled out of what can be had."""
        if pair_id in self.depths:
            self.depths[pair_id] -= volume

    def set_price(self, name: str, price: Decimal) -> Pair:
        """Move the market."""
        pair = self.pair(name)
        if price <= ZERO:
            raise ControlError(f"expected a positive price, was {price}")
        self.prices[pair.pair_id] = price
        return pair

    def _add_asset(self, asset_id: str, wire: dict[str, Any]) -> None:
        self.assets[asset_id] = wire
        self._asset_names.setdefault(str(wire["altname"]), asset_id)
        self._asset_names[asset_id] = asset_id

    def _add_pair(self, pair_id: str, wire: dict[str, Any]) -> None:
        for side in ("base", "quote"):
            if wire[side] not in self.assets:  # an older asset snapshot than the pairs'
                self._add_asset(
                    wire[side],
                    {
                        "aclass": "currency",
                        "altname": wire[side],
                        "decimals": DEFAULT_DECIMALS,
                        "display_decimals": 5,
                        "status": "enabled",
                    },
                )
        pair = _pair(pair_id, wire)
        self.pairs[pair_id] = pair
        self._pair_names[pair_id] = pair_id
        for name in (pair.altname, str(wire.get("wsname", pair_id))):
            if pair.venue == INTERNATIONAL:
                self._pair_names[name] = self._international_names.setdefault(name, pair_id)
            else:
                self._pair_names.setdefault(name, pair_id)
        base, quote = self.usd_price(pair.base), self.usd_price(pair.quote)
        if base and quote:
            price = half_up(base / quote, pair.price_decimals)
            if price:
                self.prices[pair_id] = price


def _pair(pair_id: str, wire: dict[str, Any]) -> Pair:
    price_decimals = int(wire["pair_decimals"])
    return Pair(
        pair_id=pair_id,
        altname=str(wire["altname"]),
        base=str(wire["base"]),
        quote=str(wire["quote"]),
        price_decimals=price_decimals,
        cost_decimals=int(wire.get("cost_decimals", 5)),
        lot_decimals=int(wire["lot_decimals"]),
        minimum_volume=number(wire.get("ordermin", "0")),
        minimum_cost=number(wire.get("costmin", "0")),
        tick_size=number(wire.get("tick_size", Decimal(1).scaleb(-price_decimals))),
        taker_percent=number(wire["fees"][0][1]),
        maker_percent=number((wire.get("fees_maker") or wire["fees"])[0][1]),
        wire=wire,
    )


def _snapshot(directory: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read ``Assets.json`` and ``AssetPairs.json``: whole replies or their ``result``, if there."""
    found: list[dict[str, Any]] = []
    for name, own in (("Assets.json", _own_assets), ("AssetPairs.json", _own_pairs)):
        path = directory / name
        if not path.exists():
            found.append(own())
            continue
        reply = decode(path.read_bytes())
        found.append(dict(reply.get("result", reply)))
    return found[0], found[1]


def _own_assets() -> dict[str, Any]:
    scales = {asset_id: (decimals, shown) for asset_id, _, decimals, shown, _ in reference_data.ASSETS}
    rows = [(asset_id, altname, *scales[asset_id]) for asset_id, altname, *_ in reference_data.ASSETS]
    rows += [(asset_id, asset_id, *scales[like]) for asset_id, like in reference_data.SUFFIXED]
    rows += [(asset_id, asset_id, scale, shown) for asset_id, scale, shown, _ in reference_data.TOKENIZED]
    tokenized = {asset_id for asset_id, *_ in reference_data.TOKENIZED}
    return {
        asset_id: {
            "aclass": TOKENIZED_ASSET if asset_id in tokenized else CURRENCY,
            "altname": altname,
            "decimals": decimals,
            "display_decimals": shown,
            "status": "enabled",
        }
        for asset_id, altname, decimals, shown in rows
    }


def _own_pairs() -> dict[str, Any]:
    names = {asset_id: altname for asset_id, altname, *_ in reference_data.ASSETS}
    taker = [[int(volume), Decimal(percent)] for volume, percent in reference_data.TAKER_FEES]
    maker = [[int(volume), Decimal(percent)] for volume, percent in reference_data.MAKER_FEES]
    return {
        pair_id: {
            "altname": altname,
            "wsname": f"{names[base]}/{names[quote]}",
            "aclass_base": "currency",
            "base": base,
            "aclass_quote": "currency",
            "quote": quote,
            "lot": "unit",
            "cost_decimals": cost_decimals,
            "pair_decimals": price_decimals,
            "lot_decimals": 8,
            "lot_multiplier": 1,
            "leverage_buy": [],
            "leverage_sell": [],
            "fees": taker,
            "fees_maker": maker,
            "fee_volume_currency": "ZUSD",
            "margin_call": 80,
            "margin_stop": 40,
            "ordermin": minimum,
            "costmin": minimum_cost,
            "tick_size": format(Decimal(1).scaleb(-price_decimals), "f"),
            "status": "online",
            "execution_venue": INTERNATIONAL,
        }
        for (
            pair_id,
            altname,
            base,
            quote,
            price_decimals,
            cost_decimals,
            minimum,
            minimum_cost,
        ) in reference_data.PAIRS
    }
