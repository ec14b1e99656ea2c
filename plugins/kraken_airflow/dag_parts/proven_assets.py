"""What ``position_sync`` tells other DAGs: that positions, or one account's, were just proven.

An event means: this run looked at the present, and left nothing of the account failed, moving, held or
waiting to be confirmed. Dry runs and runs as of the past tell nothing.
"""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from airflow.sdk import Asset, AssetAlias

from kraken_airflow.dag_parts.run_interval import is_for_the_past
from kraken_recon.settings import ANNOUNCED_ACCOUNTS

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from airflow.sdk import Context

log = logging.getLogger(__name__)

POSITIONS_RECONCILED: Final = Asset(name="positions_reconciled", uri="kraken-recon://positions/reconciled")
# Outlets by alias: an asset that is an outlet itself has an event whenever its task succeeds, proof or not.
PROVEN: Final = AssetAlias(name="proven_by_position_sync")
# Each event is a row of Airflow's database that stays until `airflow db clean`.
ANNOUNCED_MAX: Final = 100


def account_reconciled(account: str) -> Asset:
    """Name the asset that has an event whenever this account was proven: ``schedule=[...]`` of a DAG."""
    name = quote(account, safe="")
    return Asset(name=f"account_reconciled:{name}", uri=f"kraken-recon://accounts/{name}/reconciled")


def proven_accounts(report: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """List the accounts of a report that are proven, nothing of them being left open."""
    return [account for account in report["accounts"] if account["is_proof"]]


def announced(active: Collection[str], setting: str | None) -> set[str]:
    """Choose the accounts that have events of their own: those that are named, or the first hundred."""
    names = sorted(active)[:ANNOUNCED_MAX] if setting is None else setting.split(",")
    return {name.strip() for name in names} & set(active)


def announce(context: Context, report: Mapping[str, Any], active: Collection[str]) -> None:
    """Emit an event for each proven account, and one for all if every active account is proven."""
    if is_for_the_past(context):
        return
    proven = {account["account"]: account for account in proven_accounts(report)}
    events = context["outlet_events"][PROVEN]
    for name in sorted(announced(active, os.environ.get(ANNOUNCED_ACCOUNTS.name)) & proven.keys()):
        account = proven[name]
        extra = {"account": name, "run_id": account["run_id"], "as_of": account["reported_as_of"]}
        events.add(account_reconciled(name), extra=extra)
    missing = len(set(active) - proven.keys())
    if missing:
        log.info("%d of %d active accounts were not proven: no event for all positions", missing, len(active))
    elif proven:
        oldest = min(account["reported_as_of"] for account in proven.values())
        events.add(POSITIONS_RECONCILED, extra={"accounts": len(proven), "as_of": oldest})
