"""What happens on the desk during a row, and the proof that nothing of it was lost or doubled."""

from __future__ import annotations

import base64
import contextlib
import json
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Final

import psycopg
import requests

from benchmarks.kills.deployment import CHANNEL
from benchmarks.servers import with_database
from desks.orders import TRADING
from local_stack.processes import poll_until

if TYPE_CHECKING:
    from collections.abc import Mapping

    from benchmarks.kills.deployment import Deployment

ACCOUNTS: Final = 6
SECRET: Final = base64.b64encode(b"kill matrix".ljust(64)).decode()
CODES: Final = {"BTC": "XXBT", "USD": "ZUSD"}
# Two seconds of work are long enough to be met in the middle of it.
CALL_SECONDS: Final = 0.3
DAGS: Final = ("position_sync", "order_execution", "order_verification", "session_leak_audit")
FILL: Final = {"kind": "manual_order", "pair": "XBTUSD", "side": "buy", "ordertype": "market"}
UNPROVEN: Final = """
select name
from trading.accounts a
where is_active and not exists (
  select from trading.reconciliation_runs r
  where r.account_id = a.account_id and is_proof and reported_as_of > %s
)
"""
UNSETTLED: Final = """
select decision_id, coalesce(o.status, d.status) || coalesce(' ' || v.verdict, '')
from trading.order_decisions d
left join trading.orders o using (order_id)
left join trading.order_verifications v using (order_id)
where (d.status = 'refused' or o.status in ('not_placed', 'refused') or v.verdict = 'verified') is not true
"""
ORDERS: Final = """
select d.decision_id, coalesce(o.status, d.status), o.cl_ord_id, a.name
from trading.order_decisions d
left join trading.orders o using (order_id)
left join trading.accounts a using (account_id)
"""
HELD: Final = """
select a.name, p.asset, sum(p.quantity), (
  select sum(e.quantity_after - e.quantity_before) from trading.position_events e
  where e.account_id = p.account_id and e.asset = p.asset
)
from trading.positions p
join trading.accounts a using (account_id)
group by a.name, p.account_id, p.asset
"""
BOOKED: Final = """
select a.name, array_agg(ledger_id)
from trading.ledger_entries
join trading.accounts a using (account_id)
group by a.name
"""
ADJUSTED: Final = "select count(*) from trading.position_events where cause in ('adjustment', 'correction')"


@dataclass
class Desk:
    """Accounts that trade, at the exchange and in the database.

    Attributes:
        accounts: how many.
        tier: of every key: how many calls Kraken takes from it.
        heard: the subjects of messages that arrived at the desk's channel.
    """

    deployment: Deployment
    accounts: int = ACCOUNTS
    tier: str = "unlimited"
    url: str = ""
    decided: int = 0
    fills: int = 0
    http: requests.Session = field(default_factory=requests.Session)
    heard: list[str] = field(default_factory=list)

    @property
    def names(self) -> list[str]:
        """Name the accounts."""
        return [f"desk-{number}" for number in range(1, self.accounts + 1)]

    def control(self, method: str, path: str, body: object = None) -> Any:  # noqa: ANN401 - JSON
        """Speak to the simulator's control interface."""
        url = f"{self.deployment.simulator_url}/_sim/{path}"
        reply = self.http.request(method, url, json=body, timeout=60)
        reply.raise_for_status()
        return reply.json() if reply.content else None

    def open(self) -> None:
        """Open the accounts and hand their keys to the services that may have them."""
        composed = self.deployment.composed
        assert poll_until(self._listens, timeout_seconds=30, pause_seconds=0.1)
        file = composed.secrets / "connections_exchange.json"
        connections = json.loads(file.read_text())
        for name in self.names:
            key = {"name": name, "api_key": name, "api_secret": SECRET, "tier": self.tier}
            more = {"permissions": TRADING, "opening": {"XXBT": "2", "ZUSD": "10000000"}}
            self.control("POST", "accounts", key | more)
            connections[name] = {
                "conn_type": "kraken",
                "login": name,
                "password": SECRET,
                "host": f"http://127.0.0.1:{composed.exchange_port}",
                "extra": {"tier": self.tier},
            }
        file.write_text(json.dumps(connections))
        self._listen_for_alerts()
        self.control("POST", "prices", {"XBTUSD": "50000"})
        self.control("POST", "faults", {"name": "slow", "seconds": CALL_SECONDS})

    def _listen_for_alerts(self) -> None:
        """Open the channel by which the watch tells people."""
        heard = self.heard

        class Receiver(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                heard.append(str(json.loads(body)["subject"]))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        receiver = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
        threading.Thread(target=receiver.serve_forever, daemon=True).start()
        file = self.deployment.composed.secrets / "connections_watch.json"
        channel = {"conn_type": "http", "host": f"http://127.0.0.1:{receiver.server_port}"}
        file.write_text(json.dumps(json.loads(file.read_text()) | {CHANNEL: channel}))

    def introduce(self) -> None:
        """Write the accounts into the trading database, which has its tables by now."""
        self.url = with_database(self.deployment.server.url("postgres"), "trading")
        with psycopg.connect(self.url) as session:
            session.cursor().executemany(
                "insert into trading.accounts (name, kraken_conn_id) values (%s, %s)",
                [(name, name) for name in self.names],
            )

    def _listens(self) -> bool:
        with contextlib.suppress(requests.RequestException):
            self.control("GET", "clock")
            return True
        return False

    def trade(self) -> None:
        """Let every account trade at the exchange by itself: news for the next run."""
        for name in self.names:
            self.control("POST", f"accounts/{name}/events", {**FILL, "volume": "0.001"})
            self.fills += 1

    def decide(self) -> bool:
        """Decide an order, as a strategy beside the database would; tell whether the database took it."""
        account = self.names[self.decided % self.accounts]
        payload = {"account": account, "pair": "BTC/USD", "side": "buy", "volume": "0.001"}
        with contextlib.suppress(psycopg.Error):
            with psycopg.connect(self.url, connect_timeout=2, options="-c statement_timeout=2000") as session:
                session.execute(
                    "insert into trading.order_decisions (payload) values (%s)", [json.dumps(payload)]
                )
            self.decided += 1
            return True
        return False

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """Ask the trading database."""
        with psycopg.connect(self.url, connect_timeout=2) as session:
            return session.execute(query.encode(), values).fetchall()

    def airflow_rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """Ask Airflow's own database."""
        url = with_database(self.url, "airflow")
        with psycopg.connect(url, connect_timeout=2) as session:
            return session.execute(query.encode(), values).fetchall()

    def unproven(self, since: datetime) -> list[str]:
        """Name the accounts without a proof since a moment, and the orders that are not settled."""
        try:
            accounts = [str(name) for (name,) in self.rows(UNPROVEN, since)]
            orders = [f"order {number} {status}" for number, status in self.rows(UNSETTLED)]
        except psycopg.Error as error:
            return [f"the database does not answer: {str(error).splitlines()[0]}"]
        return accounts + orders

    def losses(self) -> list[str]:
        """Compare every book with the exchange's own; say what is lost, doubled or invented."""
        found: list[str] = []
        statements = {name: self.control("GET", f"accounts/{name}/statement") for name in self.names}
        booked = {str(name): set(ids) for name, ids in self.rows(BOOKED)}
        for name, statement in statements.items():
            told = {str(entry["id"]) for entry in statement["ledger"]}
            if missing := told - booked.get(name, set()):
                found.append(f"{name}: {len(missing)} entries lost")
            if invented := booked.get(name, set()) - told:
                found.append(f"{name}: {len(invented)} entries invented")
        found += self._wrong_positions(statements)
        ours = [order["cl_ord_id"] for told in statements.values() for order in told["orders"]]
        sent = [cl_ord_id for cl_ord_id in ours if cl_ord_id]
        for decision, status, cl_ord_id, name in self.rows(ORDERS):
            times = sent.count(cl_ord_id) if cl_ord_id else 0
            if times != (status == "closed"):
                found.append(f"decision {decision} of {name} is {status}, and {times} times at the exchange")
        known = len(self.rows("select from trading.order_decisions"))
        if known != self.decided:
            found.append(f"{self.decided - known} decisions lost")
        [(adjusted,)] = self.rows(ADJUSTED)
        return found + ([f"{adjusted} positions were set by hand or by a repair"] if adjusted else [])

    def _wrong_positions(self, statements: Mapping[str, Any]) -> list[str]:
        found, seen = [], set()
        for name, asset, quantity, by_events in self.rows(HELD):
            told = Decimal(statements[name]["balances"].get(CODES.get(asset, asset), "0"))
            seen.add((name, asset))
            if not told == quantity == by_events:
                found.append(f"{name}: {quantity} {asset}, by events {by_events}, at the exchange {told}")
        missing = {(name, asset) for name in self.names for asset in CODES} - seen
        return found + [f"{name}: no position in {asset}" for name, asset in sorted(missing)]


@dataclass
class Pulse:
    """Ask for a run of each DAG as soon as the last one has ended, instead of waiting for its schedule."""

    base_url: str
    password: str
    over: threading.Event = field(default_factory=threading.Event)
    http: requests.Session = field(default_factory=requests.Session)
    unwell: set[str] = field(default_factory=set)

    def start(self) -> None:
        """Begin."""
        threading.Thread(target=self._beat, daemon=True).start()

    def _beat(self) -> None:
        while not self.over.wait(1):
            with contextlib.suppress(requests.RequestException, KeyError, ValueError):
                self._look_at_health()
                for dag_id in DAGS[:2]:
                    self._ask_for(dag_id)

    def _look_at_health(self) -> None:
        told = self.http.get(f"{self.base_url}/api/v2/monitor/health", timeout=2).json()
        parts = ("scheduler", "triggerer", "dag_processor", "metadatabase")
        self.unwell |= {part for part in parts if told.get(part, {}).get("status") != "healthy"}

    def _ask_for(self, dag_id: str) -> None:
        if "Authorization" not in self.http.headers:
            credentials = {"username": "admin", "password": self.password}
            token = self.http.post(f"{self.base_url}/auth/token", json=credentials, timeout=5).json()
            self.http.headers["Authorization"] = f"Bearer {token['access_token']}"
        path = f"{self.base_url}/api/v2/dags/{dag_id}/dagRuns"
        for state in ("running", "queued"):
            reply = self.http.get(path, params={"state": state, "limit": 1}, timeout=2)
            if reply.status_code in {401, 403}:
                del self.http.headers["Authorization"]
            if reply.json()["dag_runs"]:
                return
        self.http.post(path, json={"logical_date": None, "conf": {}}, timeout=2)


def now() -> datetime:
    """Return the time."""
    return datetime.now(UTC)
