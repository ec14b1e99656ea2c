"""What the sensor and the trigger of order verification share: metrics, and a look at a batch."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from kraken_airflow.telemetry.metrics import metered, set_gauge
from kraken_recon.verification.run import VerifyingRules
from kraken_recon.verification.verifying import look_at, waiting_orders

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kraken_recon.verification.evidence import SeenBooks
    from kraken_recon.verification.rules.records import WindowCount
    from kraken_recon.verification.run import VerifyingPorts
    from kraken_recon.wiring import Wiring

# The run that an event starts takes new orders at once; a batch that is watched takes those it missed.
LEFT_OVER_AFTER: Final = timedelta(seconds=3)
RULES: Final = VerifyingRules()


def publish_metrics(counts: Sequence[WindowCount]) -> None:
    """Set one gauge for each account, source and length of window, from its newest window."""
    newest = {(count.window_seconds, count.account, count.source): count for count in reversed(counts)}
    for count in newest.values():
        if count.failure_percent is not None:
            set_gauge(
                "verification.failure_percent",
                float(count.failure_percent),
                account=count.account,
                source=count.source,
                seconds=str(count.window_seconds),
            )


@dataclass(frozen=True, slots=True)
class Sight:
    """What a look came to: orders that can be judged, and whether that or new orders call for a worker."""

    ready: list[int]
    is_worth_a_worker: bool


@dataclass(slots=True)
class BooksWatch:
    """A claimed batch whose books at Kraken are not all there yet."""

    wiring: Wiring
    token: str
    ports: VerifyingPorts = field(init=False)
    seen: dict[int, SeenBooks] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.ports = self.wiring.verifying_ports()

    def look(self) -> Sight:
        """Look at Kraken's books once, and renew the lease of the batch."""
        with metered(self.wiring):
            cases = look_at(self.ports, RULES, self.token, self.seen)
        ready = [case.order_id for case in cases if not case.verification.awaits_kraken]
        left_over = waiting_orders(self.ports, for_at_least=LEFT_OVER_AFTER)
        return Sight(ready, is_worth_a_worker=bool(ready or left_over or not cases))
