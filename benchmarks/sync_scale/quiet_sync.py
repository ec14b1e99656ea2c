"""One process of the product: sync accounts on which nothing happened, and print what that took as JSON.

Usage: python -m benchmarks.sync_scale.quiet_sync DSN EXCHANGE_URL FIRST COUNT RUN [PROFILE]

The exchange and the database are other processes, so that this one's CPU time is the product's alone.
"""

from __future__ import annotations

import base64
import cProfile
import hashlib
import json
import pstats
import resource
import sys
import threading
import time
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from kraken_recon.accounts.store import AccountStore
from kraken_recon.kraken.credentials import KrakenCredentials
from kraken_recon.reconciliation.rules.policy import Mode, Policy
from kraken_recon.reconciliation.run import SyncRequest
from kraken_recon.reconciliation.sync import sync_accounts
from kraken_recon.values.intervals import RUN_INTERVAL, Interval
from kraken_recon.wiring import Wiring

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

EPOCH: Final = datetime(2026, 1, 5, tzinfo=UTC)
TIER: Final = "pro"


def account_name(number: int) -> str:
    """Name an account, at the exchange and in the books."""
    return f"quiet-{number:06d}"


def secret_of(name: str) -> str:
    """Give the private key of an account's key, which has the account's name."""
    return base64.b64encode(hashlib.sha512(name.encode()).digest()).decode()


def sync(dsn: str, exchange_url: str, names: Sequence[str], run: int) -> dict[str, Any]:
    """Sync accounts and say what this process spent on it."""
    connects = _counted_connects(exchange_url)
    wiring = Wiring(
        dsn,
        lambda account: KrakenCredentials(account.name, secret_of(account.name), exchange_url, TIER),
        application_name="kraken_recon:scale",
    )
    ports = wiring.sync_ports()
    with ports.open_unit_of_work() as unit:
        accounts = AccountStore(unit).find_accounts(names)
    end = EPOCH + RUN_INTERVAL * run
    request = SyncRequest(Interval(end - RUN_INTERVAL, end), Mode.REPAIR, Policy())
    before, started = _cpu_seconds(), time.perf_counter()
    sync_accounts(accounts, request, ports)
    return {
        "accounts": len(accounts),
        "seconds": time.perf_counter() - started,
        "cpu_seconds": _cpu_seconds() - before,
        "memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "connections_to_exchange": len(connects),
    }


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _counted_connects(exchange_url: str) -> list[object]:
    """Give a list that gets an item for every connection that this process opens to the exchange."""
    port, connects = int(exchange_url.rpartition(":")[2]), list[object]()

    def heard(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "socket.connect" and arguments[1][1:2] == (port,):
            connects.append(arguments[1])

    sys.addaudithook(heard)
    return connects


def main() -> None:
    """Sync, and print the figures; with a profile, write that as well."""
    dsn, exchange_url, first, count, run, *profile = sys.argv[1:]
    names = [account_name(int(first) + number) for number in range(int(count))]
    with profiled(profile[0]) if profile else nullcontext():
        figures = sync(dsn, exchange_url, names, int(run))
    print(json.dumps(figures))


@contextmanager
def profiled(file: str) -> Iterator[None]:
    """Write where every thread spends its time, for pstats."""
    profiles = [cProfile.Profile()]

    def begin(*_: object) -> None:
        profiles.append(cProfile.Profile())
        profiles[-1].enable()  # from here on in place of this function, in this thread

    threading.setprofile(begin)
    profiles[0].enable()
    try:
        yield
    finally:
        profiles[0].disable()
        threading.setprofile(None)
    found = pstats.Stats(*profiles)
    found.dump_stats(file)


if __name__ == "__main__":
    main()
