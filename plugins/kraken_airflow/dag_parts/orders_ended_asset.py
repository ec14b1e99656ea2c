"""The asset that ended orders bring up to date, and the trigger that watches for them."""

from __future__ import annotations

from typing import Final

from airflow.sdk import Asset, AssetWatcher

from kraken_airflow.triggers.orders_ended import OrdersEndedTrigger

ORDERS_ENDED: Final = Asset(
    name="orders_ended",
    uri="kraken-recon://orders/ended",
    watchers=[AssetWatcher(name="orders_ended", trigger=OrdersEndedTrigger())],
)
