"""The page about every metric, from the table of metrics."""

from __future__ import annotations

from kraken_airflow.telemetry.metrics import METRICS, PREFIX
from reference_pages.markdown import code, page, table


def metrics() -> str:
    """Write the page."""
    return page(
        "Metrics",
        "Sent by tasks, and every minute by the watch (`alerts`, `approvals`, `accounts`, `desk_books`), "
        "through Airflow's own metrics; [how to connect them](../how-to/connect-metrics.md). Airflow puts "
        "its prefix first.",
        table(
            ("metric", "kind", "unit", "means", "tags"),
            ((code(PREFIX + m.name), m.kind, m.unit, m.meaning, ", ".join(m.tags)) for m in METRICS.values()),
        ),
    )
