"""Draw connections over time with the findings marked; matplotlib is needed for nothing else."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

from kraken_recon.errors import ConfigurationError

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from kraken_recon.sessions.store import SessionStore

LINES: Final = (
    ("connections", "connections of the server", "#222222"),
    ("sessions", "sessions of the database", "#4c78a8"),
    ("ours", "of the project", "#54a24b"),
    ("idle_in_transaction", "idle in a transaction", "#e45756"),
)


def plot_sessions(history: SessionStore, since: datetime, file: Path) -> dict[str, Any]:
    """Write a PNG, one panel per source; return what it shows.

    Raises:
        ConfigurationError: there is nothing to draw, no matplotlib, or the file cannot be written.
    """
    samples, findings = history.samples(since), history.findings_since(since)
    if not samples:
        raise ConfigurationError("no session was sampled in that time; run `python -m kraken_recon audit`")
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415 - optional, and slow to import
    except ImportError as error:
        raise ConfigurationError("install matplotlib: pip install 'kraken-recon[plot]'") from error
    sources = {name: list(rows) for name, rows in groupby(samples, lambda row: row["source"])}
    figure = Figure(figsize=(10, 1 + 3 * len(sources)), layout="constrained")
    axes = figure.subplots(len(sources), squeeze=False)[:, 0]
    for panel, (source, rows) in zip(axes, sources.items(), strict=True):
        times = [row["taken_at"] for row in rows]
        for column, label, colour in LINES:
            panel.plot(
                times, [row[column] for row in rows], label=label, color=colour, drawstyle="steps-post"
            )
        for finding in (f for f in findings if f["source"] == source):
            end = finding["returned_at"] or times[-1]
            panel.axvspan(max(finding["first_seen_at"], times[0]), end, color="#e45756", alpha=0.15)
        panel.set_title(source)
        panel.set_ylim(bottom=0)
        panel.legend(loc="upper left", fontsize="small")
    try:
        figure.savefig(file, format="png", dpi=120)
    except OSError as error:
        raise ConfigurationError(f"cannot write {file}: {error.strerror}") from error
    return {"file": str(file), "samples": len(samples), "findings": len(findings)}
