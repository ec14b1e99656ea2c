"""The simulator with the whole desk in it, every call slow, and a count of who called how often.

It is the simulator itself; only its accounts are made in its own process, because ten thousand requests
would take longer than what is measured.
"""

from __future__ import annotations

import argparse
import asyncio
import decimal
import random
import socket
from collections import Counter
from decimal import Decimal
from typing import TYPE_CHECKING, Final

import uvicorn
from fastapi import APIRouter

from benchmarks.sync_scale.desk import SECRET, accounts_of
from kraken_sim.account import events
from kraken_sim.amounts import CONTEXT
from kraken_sim.exchange import Exchange
from kraken_sim.http.app import create_app
from kraken_sim.http.auth import READ_PERMISSIONS

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

PATH: Final = "/_bench"
API: Final = "/0/"


class Counting:
    """Let each call wait, and count calls and the connections by which they came."""

    def __init__(self, app: ASGIApp, delay_seconds: float) -> None:
        self.app = app
        self.delay_seconds = delay_seconds
        self.calls: Counter[str] = Counter()
        self.connections: set[tuple[str, int]] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] == "http" and scope["path"].startswith(API):
            self.calls[scope["path"].rpartition("/")[2]] += 1
            self.connections.add(scope["client"])
            await asyncio.sleep(self.delay_seconds)
        await self.app(scope, receive, send)


def make_exchange(count: int) -> Exchange:
    """Open the accounts of the desk."""
    exchange = Exchange(1)
    exchange.clock.use_real()
    for one in accounts_of(1, count):
        account = exchange.open_account(
            name=one.name,
            api_key=one.key,
            api_secret=SECRET,
            permissions=list(READ_PERMISSIONS),
            tier="unlimited",
        )
        account.ledger.load(one.entries())
    return exchange


def routes(exchange: Exchange, counting: Counting) -> APIRouter:
    """Offer what only this benchmark asks for."""
    router = APIRouter(prefix=PATH)

    @router.post("/news")
    async def news(accounts: int, share_percent: int, seed: int) -> list[str]:
        """Let a deposit arrive on some of the first accounts, and name them."""
        dice = random.Random(seed)  # noqa: S311 - must be reproducible
        chosen = dice.sample(accounts_of(1, accounts), max(1, accounts * share_percent // 100))
        for one in chosen:
            events.deposit(exchange.account(one.name), "ZUSD", Decimal(dice.randint(1, 10_000)) / 100)
        return sorted(one.name for one in chosen)

    @router.post("/counts")
    async def counts() -> dict[str, object]:
        """Tell what was counted since the last time, and begin anew."""
        told = {"calls": dict(counting.calls), "connections": len(counting.connections)}
        counting.calls.clear()
        counting.connections.clear()
        return told

    return router


def main() -> None:
    """Serve until a signal says stop."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--accounts", type=int, required=True)
    parser.add_argument("--delay-ms", type=float, required=True)
    options = parser.parse_args()
    decimal.setcontext(CONTEXT)
    exchange = make_exchange(options.accounts)
    app = create_app(exchange)
    counting = Counting(app, options.delay_ms / 1000)
    app.include_router(routes(exchange, counting))
    listener = socket.create_server(("127.0.0.1", options.port), backlog=1024)
    # As the simulator itself does: without it every answer waits 40 ms for the client's acknowledgement.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    config = uvicorn.Config(counting, log_level="warning", access_log=False, lifespan="off")
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
