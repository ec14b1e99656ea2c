"""The desk that is soaked: its exchange, its accounts, its bot, its DAGs, and what happens there."""

from __future__ import annotations

import base64
import json
import os
import secrets
import sys
from collections import defaultdict
from contextlib import contextmanager
from datetime import timedelta
from decimal import Decimal
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import psycopg
import requests

from benchmarks.figures import ROOT
from local_stack.databases import Database, insert_accounts, plant_drift, postgres_connection
from local_stack.exchange import SIMULATOR, Account, Exchange
from local_stack.ports import free_port
from local_stack.processes import Service, Services, poll_until

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator
    from datetime import datetime

    from kraken_recon.ledger.entries import LedgerEntry

TRADER: Final = "trader"
PERMISSIONS: Final = [
    "query-funds",
    "query-ledger",
    "query-open-trades",
    "query-closed-trades",
    "modify-trades",
    "close-trades",
]
# What each worker would import again in its own process.
PRELOADED: Final = (
    "airflow.sdk.execution_time.supervisor",
    "airflow.sdk.execution_time.task_runner",
    "airflow.api_fastapi.execution_api.app",
    "airflow.serialization.definitions.dag",
    "kraken_recon.wiring",
)
# Of five rounds, three are quiet; a fault strikes so many requests, whichever come.
FAULTS: Final[tuple[dict[str, Any], ...]] = (
    {"name": "http_error", "status": 503, "count": 30},
    {"name": "http_error", "status": 520, "count": 5},
    {"name": "reset", "count": 5},
    {"name": "reset_mid_answer", "count": 5},
    {"name": "truncated_json", "count": 5},
    {"name": "partial_balances", "count": 3},
    {"name": "missing_row", "count": 3},
    {"name": "duplicate_row", "count": 3},
    {"name": "invalid_nonce", "count": 3},
    {"name": "throttled", "seconds": "2", "count": 3},
    {"name": "slow", "seconds": "2", "count": 5},
)
FAULTY_SHARE: Final = 0.4
DECIDE: Final = """
insert into trading.order_decisions (payload)
select jsonb_build_object('account', %s::text, 'pair', 'BTC/USD', 'side', %s::text, 'volume', '0.001')
"""
CONNECTIONS: Final = """
select concat_ws(' ', pid, application_name, backend_start, xact_start, state, wait_event, left(query, 200))
from pg_stat_activity
where datname = current_database() and backend_type = 'client backend' and pid <> pg_backend_pid()
order by backend_start
"""


@contextmanager
def exchange(place: Path) -> Iterator[Exchange]:
    """Yield a running simulator with the demo's accounts."""
    services, port = Services(place), free_port()
    command = (sys.executable, "-m", "kraken_sim", "--host", "127.0.0.1", "--port", str(port))
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "include")}
    services.ensure(Service(SIMULATOR, (*command, "--scenario", "demo"), environment))
    try:
        running = Exchange(f"http://127.0.0.1:{port}")
        if not poll_until(running.answers, timeout_seconds=30):
            raise SystemExit(f"the simulator did not start:\n{services.end_of_log(SIMULATOR)}")
        yield running
    finally:
        services.stop(services.names())


def prepare_airflow(home: Path, url: str, market: Exchange) -> None:
    """Point Airflow, which is not imported yet, at a home of its own and at this desk."""
    accounts = [*market.accounts(), open_trader(market)]
    insert_accounts(beside(url, urlsplit(url).path.lstrip("/")), accounts)
    metadata, arena = (beside(url, name) for name in ("airflow", "arena"))
    metadata.ensure()
    arena.ensure()
    os.environ |= {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": metadata.url.replace("postgresql:", "postgresql+psycopg2:"),
        "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(ROOT / "plugins"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_urlsafe(64),
        "AIRFLOW_CONN_ARENA_DB": postgres_connection(arena.url),
        "KRAKEN_RECON_DESK_BOOKS": str(ROOT / "include/demo_bot/desk_books"),
        "AIRFLOW_CONN_TRADING_DB": postgres_connection(url),
        "KRAKEN_RECON_ALLOWED_HOSTS": "127.0.0.1",
        **{account.connection_variable: account.connection for account in accounts},
    }


def open_trader(market: Exchange) -> Account:
    """Open an account whose key may trade."""
    account = Account(
        name=TRADER,
        story="places an order in each round",
        key="trader-key",
        secret=base64.b64encode(secrets.token_bytes(64)).decode(),
        quote_currency="USD",
        base_url=market.base_url,
    )
    body = {
        "name": account.name,
        "api_key": account.key,
        "api_secret": account.secret,
        "tier": "unlimited",
        "permissions": PERMISSIONS,
        "opening": {"XXBT": "2", "ZUSD": "100000"},
    }
    requests.post(f"{market.base_url}/_sim/accounts", json=body, timeout=30).raise_for_status()
    return account


def load_dags() -> dict[str, Any]:
    """Import Airflow and every DAG of the project."""
    from airflow.dag_processing.bundles.manager import DagBundlesManager  # noqa: PLC0415 - see prepare_airflow
    from airflow.dag_processing.dagbag import DagBag, sync_bag_to_db  # noqa: PLC0415
    from airflow.utils.db import initdb  # noqa: PLC0415

    for module in PRELOADED:
        import_module(module)
    initdb()
    bag = DagBag(str(ROOT / "dags"))
    DagBundlesManager().sync_bundles_to_db()
    sync_bag_to_db(bag, "dags-folder", None)
    for dag in bag.dags.values():
        dag.deadline = None  # `dag.test` cannot run a DAG with one
        for task in dag.tasks:
            task.retry_delay = timedelta(0)  # it stands for hours that pass at once
    # `dag.test` would read every file again for every run.
    empty = Path(os.environ["AIRFLOW_HOME"]) / "empty"
    empty.mkdir()
    os.environ["AIRFLOW__CORE__DAGS_FOLDER"] = str(empty)
    return dict(bag.dags)


def happen(url: str, market: Exchange, chance: random.Random, number: int) -> None:
    """Let time pass on the exchange, in the books and at the bot."""
    market.play_next()
    if number % 8 == 0:
        plant_drift(beside(url, urlsplit(url).path.lstrip("/")))
    let_bot_book(url, market)
    decide(url, chance.choice(("buy", "sell")))


def decide(url: str, side: str) -> None:
    """Decide an order, as a strategy beside the database would."""
    with psycopg.connect(url) as connection:
        connection.execute(DECIDE, (TRADER, side))


def let_bot_book(url: str, market: Exchange) -> None:
    """Let the bot book in its own tables what is new at the exchange, with its mistakes."""
    from demo_bot.__main__ import ACCOUNT, honest_mistakes  # noqa: PLC0415 - see prepare_airflow
    from demo_bot.bot import Bot  # noqa: PLC0415
    from demo_bot.tables import TableBook, bot_engine  # noqa: PLC0415
    from kraken_recon.kraken.parse_ledger import parse_ledger_page  # noqa: PLC0415

    # Not by the account's key: a nonce of the bot's would strike the product's.
    said = requests.get(f"{market.base_url}/_sim/accounts/{ACCOUNT}/statement", timeout=30).text
    truth = json.loads(said, parse_float=Decimal)
    rows = {row.pop("id"): row for row in truth["ledger"]}
    entries = sorted(parse_ledger_page({"ledger": rows, "count": len(rows)}).entries, key=_moment)
    book = TableBook(bot_engine(beside(url, "arena").url))
    seen = book.open_for(ACCOUNT)
    if seen is None:
        for asset, amount in held(truth["balances"]).items():
            book.move(asset, amount)
    else:
        new = entries[[entry.ledger_id for entry in entries].index(seen) + 1 :]
        Bot(book, honest_mistakes(new)).follow(new)
    book.remember(entries[-1].ledger_id)


def held(balances: dict[str, str]) -> dict[str, Decimal]:
    """Sum the exchange's own balances by asset, whatever wallet they are in; zeros are left out."""
    from kraken_recon.ledger.asset_names import parse_kraken_code  # noqa: PLC0415 - see prepare_airflow

    amounts: dict[str, Decimal] = defaultdict(Decimal)
    for code, amount in balances.items():
        amounts[parse_kraken_code(code).asset] += Decimal(amount)
    return {asset: amount for asset, amount in amounts.items() if amount}


@contextmanager
def failing(market: Exchange, chance: random.Random) -> Iterator[None]:
    """Let the exchange fail in one of its ways, or not."""
    faults = f"{market.base_url}/_sim/faults"
    if chance.random() < FAULTY_SHARE:
        requests.post(faults, json=chance.choice(FAULTS), timeout=30).raise_for_status()
    try:
        yield
    finally:
        requests.delete(faults, timeout=30).raise_for_status()


def connections(url: str) -> list[str]:
    """Name the sessions of the trading database but this one."""
    with psycopg.connect(url) as connection:
        return [str(name) for (name,) in connection.execute(CONNECTIONS)]


def beside(url: str, name: str) -> Database:
    """Return another database of the same server."""
    return Database(url.rsplit("/", 1)[0] + "/postgres", name)


def _moment(entry: LedgerEntry) -> datetime:
    return entry.entry_time
