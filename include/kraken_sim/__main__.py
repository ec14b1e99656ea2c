"""Start the simulator: ``python -m kraken_sim --port 8080``."""

from __future__ import annotations

import argparse
import contextlib
import decimal
import importlib.metadata
import signal
import socket
import sys
from pathlib import Path

import uvicorn

from kraken_sim.amounts import CONTEXT
from kraken_sim.control.demo_scenario import DAY, load_demo
from kraken_sim.exchange import Exchange
from kraken_sim.http.app import create_app

#: How long a request may outlive the order to stop; a simulated timeout would hold on for longer.
SHUTDOWN_SECONDS = 1


class AnnouncingServer(uvicorn.Server):
    """A server that says on standard output where it listens, once it does."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start listening, then tell."""
        await super().startup(sockets=sockets)
        if self.started and sockets:
            host, port = sockets[0].getsockname()[:2]
            sys.stdout.write(f"listening on http://{host}:{port}\n")
            sys.stdout.flush()


def _version() -> str:
    try:
        return importlib.metadata.version("kraken-sim")
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def main() -> None:
    """Serve until a signal says stop."""
    parser = argparse.ArgumentParser(prog="kraken_sim", description="A local Kraken REST exchange")
    parser.add_argument("--version", action="version", version=f"kraken-sim {_version()}")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080, help="0 picks a free one")
    parser.add_argument(
        "--reference-dir", type=Path, help="a directory with Assets.json and AssetPairs.json, as recorded"
    )
    parser.add_argument("--scenario", choices=["demo"], help="accounts to start with")
    parser.add_argument("--days-ago", type=int, default=0, help="start with a clock that is so far behind")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()

    decimal.setcontext(CONTEXT)
    exchange = Exchange(options.seed, options.reference_dir)
    exchange.clock.use_real(options.days_ago * DAY)
    if options.scenario:
        load_demo(exchange)
    listener = socket.create_server((options.host, options.port))
    # Accepted connections inherit it; without it every answer waits 40 ms for the client's acknowledgement.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    config = uvicorn.Config(
        create_app(exchange),
        log_level="warning",
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
    )
    # The server stops gently on a signal, then raises it again for whoever handled it before.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with contextlib.suppress(KeyboardInterrupt):
        AnnouncingServer(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
