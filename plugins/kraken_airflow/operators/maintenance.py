"""The tasks of ``maintenance``: keep the database in shape, and what accounts are worth on record."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kraken_airflow.operators.base import TradingDbOperator
from kraken_airflow.telemetry.metrics import metered
from kraken_airflow.telemetry.task_log import counted
from kraken_recon.alerts.silence_rules import Job
from kraken_recon.errors import StoreError
from kraken_recon.maintenance.maintaining import render_maintenance, snapshot_assets, tidy

if TYPE_CHECKING:
    from airflow.sdk import Context

    from kraken_airflow.hooks.trading_db import TradingDbHook


class TidyOperator(TradingDbOperator):
    """Make and drop partitions, thin and forget old rows, and give orphaned claims back."""

    page = "database"
    WRITES = (
        "asset_snapshots",
        "asset_snapshot_rows",
        "session_samples",
        "alert_notifications",
        "repair_plans",
        "repair_plan_rows",
        "verification_rates",
        "order_verifications",
    )

    def work(self, _: Context, hook: TradingDbHook) -> dict[str, int]:
        """Do every step, log what was done, and fail if one of them failed."""
        with metered(hook.wiring()) as wiring:
            view = tidy(wiring.maintaining_ports())
            self.leave_heartbeat(Job.MAINTENANCE)
        self.tell([f"Tidied: {', '.join(render_maintenance({**view, 'failed': []}))}", *view["failed"]])
        if view["failed"]:
            raise StoreError("; ".join(view["failed"]))
        done: dict[str, int] = view["done"]
        return done


class SnapshotAssetsOperator(TradingDbOperator):
    """Value every open account at Kraken's prices, once an hour."""

    READS = ("accounts", "positions")
    WRITES = ("asset_snapshots", "asset_snapshot_rows")

    def work(self, _: Context, hook: TradingDbHook) -> int:
        """Keep the values, and fail if accounts had no prices; a retry goes on with those alone."""
        with metered(hook.wiring()) as wiring:
            view = snapshot_assets(wiring.maintaining_ports())
        self.tell(
            [
                f"Valued at Kraken's prices: {counted(view['snapshots'], 'account')}",
                f"Valued anew, as their books are known now: {counted(view['revised'], 'hour')}",
                *view["failed"],
            ]
        )
        if view["failed"]:
            raise StoreError("; ".join(view["failed"]))
        snapshots: int = view["snapshots"]
        return snapshots
