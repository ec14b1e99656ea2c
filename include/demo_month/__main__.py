"""``python -m demo_month SIMULATOR_URL``: play the month before the demo, day by day.

Nothing is made up here: each day something happens on the exchange, the accounts are reconciled, orders are
placed and verified, and worths are kept, by the same code that Airflow runs. Its clock and the exchange's are
as many days behind as the day is ago; times that the database gave to rows are moved back as far. Every run
of it says ``demo month``.
"""

from __future__ import annotations

import os
import sys
import time
from datetime import timedelta
from decimal import Decimal
from itertools import cycle
from typing import Final

import requests

from demo_month.clocks import Past
from kraken_recon.accounts.store import AccountStore
from kraken_recon.database.unit_of_work import UnitOfWork
from kraken_recon.kraken.credentials import allowed_hosts, credentials_from_environment
from kraken_recon.maintenance.maintaining import snapshot_assets
from kraken_recon.orders.ordering import Ordering
from kraken_recon.reconciliation.rules.policy import Mode, Policy
from kraken_recon.reconciliation.run import SyncRequest
from kraken_recon.reconciliation.sync import sync_accounts
from kraken_recon.sessions.airflow_api import NoAirflow
from kraken_recon.sessions.auditing import AuditRequest, audit
from kraken_recon.sessions.rules.leaks import ActionPolicy
from kraken_recon.settings import DSN
from kraken_recon.values.intervals import interval_ending_now
from kraken_recon.verification.run import VerifyingRules
from kraken_recon.verification.verifying import verify_order
from kraken_recon.wiring import Wiring, source_of, utc_now

DAYS: Final = 30
DAYS_PER_STEP: Final = 3
HOURS: Final = 24
ORDERS: Final = (("BTC/USD", "buy", "0.01"), ("ETH/USD", "sell", "0.3"), ("SOL/USD", "buy", "4"))
TRADING_HOURS: Final = (20, 15, 9, 3)
TRADER: Final = "alpha-market-making"
# Who loses bitcoins without a ledger line, how many hours ago and how many.
LOSER, LOST_HOURS_AGO, LOST = "theta-otc", 5, "-1.5"
ANSWER_SECONDS: Final = 30


class Month:
    """The desk and its exchange, at moments of the past."""

    def __init__(self, exchange_url: str) -> None:
        self._exchange = exchange_url
        self._session = requests.Session()
        self._session.trust_env = False  # no proxy between us and ourselves
        self._dsn = os.environ[DSN.name]
        self._past = Past(self._dsn)
        self._orders = cycle(ORDERS)

    def play(self) -> None:
        """Play every day, then the hours of the last one."""
        self._past.go_to(timedelta(days=DAYS + 1))
        self._past.move_back()
        for day in range(DAYS, 0, -DAYS_PER_STEP):
            self._at(timedelta(days=day))
            self._tell("scenario/day")
            wiring = self._wiring()
            self._reconcile(wiring, self._desks())
            self._trade(wiring)
            self._past.move_back()
        for hour in range(HOURS - 1, 0, -1):
            self._at(timedelta(hours=hour))
            wiring = self._wiring()
            if hour == LOST_HOURS_AGO:
                self._tell(f"accounts/{LOSER}/residual", {"asset": "XXBT", "amount": LOST})
            if hour in TRADING_HOURS:
                self._trade(wiring)
            if hour in {HOURS // 2, LOST_HOURS_AGO, LOST_HOURS_AGO - 1}:
                # The last time with what was recorded of real accounts, whose ledgers are long.
                self._reconcile(wiring, None if hour < LOST_HOURS_AGO else self._desks())
            self._watch(wiring)
            self._past.move_back()
        self._tell("clock", {"mode": "real"})

    def _at(self, ago: timedelta) -> None:
        self._past.go_to(ago)
        self._tell("clock", {"behind_seconds": str(ago.total_seconds())})

    def _wiring(self) -> Wiring:
        hosts = allowed_hosts(os.environ)
        behind = self._past.behind
        return Wiring(
            self._dsn,
            lambda account: credentials_from_environment(
                account.kraken_conn_id, os.environ, allowed_hosts=hosts
            ),
            application_name="demo_month",
            clock=lambda: utc_now() - behind,
        )

    def _reconcile(self, wiring: Wiring, names: list[str] | None) -> None:
        ports = wiring.sync_ports()
        with ports.open_unit_of_work() as unit:
            accounts = AccountStore(unit).find_accounts(names)
        request = SyncRequest(interval_ending_now(ports.clock()), Mode.REPAIR, Policy(), trigger="demo month")
        sync_accounts(accounts, request, ports)
        snapshot_assets(wiring.maintaining_ports())

    def _trade(self, wiring: Wiring) -> None:
        ports = wiring.order_ports()
        pair, side, volume = next(self._orders)
        values = {
            "account": TRADER,
            "pair": pair,
            "side": side,
            "volume": volume,
            "source": "matching",
            "expected_price": self._price(pair),
            "reason": "spread above the threshold",
        }
        order = Ordering(ports).place(values, seconds=1)
        verify_order(wiring.verifying_ports(), VerifyingRules(), order.order_id)

    def _watch(self, wiring: Wiring) -> None:
        engine = wiring.engine()
        source = source_of("trading_db", lambda: UnitOfWork(engine))
        audit(
            AuditRequest(ActionPolicy(is_dry_run=True)),
            wiring.audit_ports([source], NoAirflow(), acted_by="demo month"),
        )

    def _desks(self) -> list[str]:
        found = self._session.get(f"{self._exchange}/_sim/scenario/accounts", timeout=ANSWER_SECONDS).json()
        return [account["name"] for account in found]

    def _price(self, pair: str) -> str:
        name = pair.replace("BTC", "XBT").replace("/", "")
        reply = self._session.get(
            f"{self._exchange}/0/public/Ticker", params={"pair": name}, timeout=ANSWER_SECONDS
        ).json()
        [ticker] = reply["result"].values()
        return str(Decimal(ticker["c"][0]))

    def _tell(self, path: str, body: object = None) -> None:
        reply = self._session.post(f"{self._exchange}/_sim/{path}", json=body, timeout=ANSWER_SECONDS)
        if not reply.ok:
            raise SystemExit(f"the exchange simulator answered {reply.status_code} to {path}: {reply.text}")


def main() -> None:
    """Play it, and say in how many seconds."""
    started = time.monotonic()
    Month(sys.argv[1]).play()
    sys.stdout.write(f"{DAYS} days in {time.monotonic() - started:.0f} s\n")


if __name__ == "__main__":
    main()
