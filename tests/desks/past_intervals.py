"""A desk whose past is told: what was recorded when, and runs as of the end of a past interval."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from desks.fake_exchange import Desk
from kraken_recon.accounts.store import AccountStore
from kraken_recon.database.unit_of_work import UnitOfWork
from kraken_recon.ledger.entries import HoldingKey
from kraken_recon.reconciliation.backfill import reconcile_as_of
from kraken_recon.reconciliation.rules.policy import Mode, Policy
from kraken_recon.reconciliation.run import SyncRequest

if TYPE_CHECKING:
    from datetime import datetime
    from decimal import Decimal
    from uuid import UUID

    from kraken_recon.reconciliation.run import SyncPorts
    from kraken_recon.values.intervals import Interval

# Longer than the books of a past interval take to settle.
SETTLED = timedelta(minutes=6)


def past_desk(desk: Desk) -> Desk:
    """Make a desk on the same database whose clock begins anew."""
    own = Desk(desk.url)
    own.engine.dispose()
    own.engine = desk.engine
    return own


def recorded_at(desk: Desk, name: str, moment: datetime) -> None:
    """Say that what was just recorded was recorded at a moment of the test's own clock."""
    for column in ("position_events.recorded_at", "accounts.opened_at"):
        table, stamp = column.split(".")
        desk.execute(
            f"update trading.{table} set {stamp} = :moment"
            f" where account_id = :account and {stamp} > now() - interval '10 minutes'",
            moment=moment,
            account=desk.account_id(name),
        )


def backfill(
    desk: Desk,
    interval: Interval,
    *names: str,
    mode: Mode = Mode.REPAIR,
    ports: SyncPorts | None = None,
) -> list[UUID]:
    """Reconcile as of the end of an interval."""
    with UnitOfWork(desk.engine) as unit:
        accounts = AccountStore(unit).find_accounts(names or None)
    request = SyncRequest(interval, mode, Policy(), trigger="backfill")
    return reconcile_as_of(accounts, request, ports or desk.ports)


def history(desk: Desk, name: str = "desk", *, mode: str = "repair") -> dict[str, list[dict[str, Any]]]:
    """Read what the backfilled runs of an account say of the past; not what it cost them to find out."""
    runs = desk.rows(
        "select interval_start, interval_end, status, note, error, recorded_as_of, reported_as_of,"
        " reported_head, checked, matched, explained from trading.reconciliation_runs"
        " where account_id = :account and trigger = 'backfill' and mode = :mode order by 1, 2",
        account=desk.account_id(name),
        mode=mode,
    )
    findings = desk.rows(
        "select interval_start, interval_end, asset, wallet, db_quantity, exchange_quantity, d.explained,"
        " database_drift, residual, action, ledger_ids from trading.discrepancies d"
        " join trading.reconciliation_runs r using (run_id)"
        " where r.account_id = :account and r.trigger = 'backfill' and mode = :mode order by 1, 2, 3, 4",
        account=desk.account_id(name),
        mode=mode,
    )
    return {"runs": runs, "findings": findings}


def drifts(rows: list[dict[str, Any]]) -> dict[datetime, dict[HoldingKey, tuple[Decimal, Decimal]]]:
    """Sort findings by their interval's end: recorded and reported, by holding."""
    found: dict[datetime, dict[HoldingKey, tuple[Decimal, Decimal]]] = {}
    for row in rows:
        found.setdefault(row["interval_end"], {})[HoldingKey(row["asset"], row["wallet"])] = (
            row["db_quantity"],
            row["exchange_quantity"],
        )
    return found
