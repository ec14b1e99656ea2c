"""One worker process of the call slot tests: calls Kraken with a shared key, or holds the key until it dies.

Usage: call_slots_worker.py {shared|alone|hold} DSN URL CALLS CAPACITY DECAY_PER_SECOND
"""

from __future__ import annotations

import random
import sys
import time
from decimal import Decimal

from kraken_recon.kraken.call_slots import PostgresCallSlots
from kraken_recon.kraken.credentials import KrakenCredentials
from kraken_recon.kraken.local_call_slots import InProcessCallSlots
from kraken_recon.kraken.rate_limits import CallBudget
from kraken_recon.kraken.slot_sessions import SlotSessions
from kraken_recon.kraken.transport import KrakenTransport

API_KEY = "public-key-of-the-test"
PRIVATE_KEY = "cHJpdmF0ZSBrZXkgb2YgdGhlIHRlc3QsIDY0IGJ5dGVzIGxvbmcgb3Igc28="


def main() -> None:
    mode, dsn, url, calls, capacity, decay = sys.argv[1:]
    budget = CallBudget(Decimal(capacity), Decimal(decay))
    sender = KrakenTransport(
        KrakenCredentials(API_KEY, PRIVATE_KEY, url, "pro"), account="shared", timeout_seconds=(5, 5)
    )
    sessions = SlotSessions(dsn, application_name="call_slots_worker")
    with PostgresCallSlots(sessions, api_key=API_KEY, tier=budget) as shared:
        slots = InProcessCallSlots() if mode == "alone" else shared
        for _ in range(int(calls)):
            with slots.take(1) as nonce:
                if mode == "hold":
                    sys.stdout.write(f"{nonce}\n")
                    sys.stdout.flush()
                    time.sleep(600)
                # The network's own delay, which turns the order of nonces around if nothing prevents it.
                time.sleep(random.uniform(0, 0.02))  # noqa: S311 - not for secrecy
                sender.send_private("Balance", {}, nonce=nonce)
    sender.close()


if __name__ == "__main__":
    main()
