"""The rounds of the watch: what it looks at, whom it tells, what it measures.

Invariants:
1. Whatever fails in a round, the next one is tried: a database that restarts ends nothing.
2. Each channel is sent to by a thread of its own, so that a slow one delays no other.
3. Metrics of what is open and stale are sent apart from both: a metrics server that is down stops nothing.
4. After each round that did its work it leaves a row, by whose age `session_leak_audit` knows whether it is
   alive. A file, by whose age its container does, is touched after each look, whatever that met: to start it
   again mends no database.
5. While rounds do no work, there are no rows to tell of: the channels are told so past them.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final

from kraken_airflow.alerting.channels import send
from kraken_airflow.alerting.links import links_of
from kraken_airflow.hooks.trading_db import TradingDbHook
from kraken_airflow.telemetry.metrics import publish_desk, publish_desk_books, start_sending
from kraken_recon.alerts.blindness import Blindness
from kraken_recon.alerts.heartbeats import beat, look_after_jobs
from kraken_recon.alerts.silence_rules import Job
from kraken_recon.alerts.store import AlertStore
from kraken_recon.alerts.telling import deliver, desk_state, prepare_notifications, watch_freshness
from kraken_recon.cli.log_lines import log_to_stderr
from kraken_recon.desk_books.declared_here import declared_here
from kraken_recon.errors import KrakenReconError
from kraken_recon.reports.report_store import ReportStore
from kraken_recon.settings import ALERT_CHANNELS
from kraken_recon.wiring import utc_now

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from kraken_recon.alerts.rules import Notification
    from kraken_recon.database.unit_of_work import UnitOfWork

ROUND_SECONDS: Final = 5
METRICS_SECONDS: Final = 60
log = logging.getLogger(__name__)


def _open_unit() -> UnitOfWork:
    return TradingDbHook(application_name="kraken_recon:watch").unit_of_work()


def _look(channels: Sequence[str], after_each: Callable[[], None] = lambda: None) -> None:
    """Look at everything, whatever one look meets, and fail in the end.

    Raises:
        KrakenReconError: the first of what failed.
    """
    failures = []
    for step in (
        lambda: watch_freshness(_open_unit, utc_now()),
        lambda: look_after_jobs(_open_unit, utc_now()),
        lambda: prepare_notifications(_open_unit, channels, utc_now(), links_of=links_of),
    ):
        try:
            step()
        except KrakenReconError as error:
            failures.append(error)
        after_each()
    if failures:
        raise failures[0]


def _measure(channels: Sequence[str]) -> None:
    with _open_unit() as unit:
        state = desk_state(AlertStore(unit), utc_now())
        books = ReportStore(unit).desk_book_counts(declared_here())
    publish_desk(state, channels)
    publish_desk_books(books)


def _sending(channel: str) -> Callable[[Notification], None]:
    def logged(notification: Notification) -> None:
        try:
            send(channel, notification)
        except Exception as error:
            log.warning("%s: not sent, tried again later (%s)", channel, type(error).__name__)
            raise

    return logged


def _deliver(channel: str, blindness: Blindness | None = None) -> None:
    if blindness and (notification := blindness.due(channel, utc_now())):
        with suppress(Exception):  # logged, and due again in the next round
            _sending(channel)(notification)
            blindness.arrived(channel, notification)
    deliver(_open_unit, channel, _sending(channel), utc_now)


def one_round(channels: Sequence[str]) -> None:
    """Look once, and send what is due."""
    _look(channels)
    for channel in channels:
        _deliver(channel)


def _repeat(step: Callable[[], None], stopped: threading.Event, round_seconds: float) -> None:
    while not stopped.is_set():
        try:
            step()
        except KrakenReconError as error:
            log.warning("%s: %s", type(error).__name__, error)
        stopped.wait(round_seconds)


def run_rounds(channels: Sequence[str], heartbeat: Path | None, stopped: threading.Event) -> None:
    """Look and deliver, round after round, until told to stop."""
    blindness = Blindness(utc_now())

    def show_life() -> None:
        if heartbeat:
            heartbeat.touch()

    def look() -> None:
        try:
            _look(channels, show_life)
            beat(_open_unit, Job.WATCH, utc_now())
        except KrakenReconError as error:
            blindness.cause = f"{type(error).__name__}, {error}"
            raise
        blindness.seen_at = utc_now()

    def start(name: str, step: Callable[[], None], round_seconds: float) -> None:
        threading.Thread(target=_repeat, args=(step, stopped, round_seconds), name=name, daemon=True).start()

    for channel in channels:
        start(channel, partial(_deliver, channel, blindness), ROUND_SECONDS)
    start("metrics", partial(_measure, channels), METRICS_SECONDS)
    _repeat(look, stopped, ROUND_SECONDS)


def watch(heartbeat: Path | None, *, once: bool) -> None:
    """Watch until told to stop, or for one round, by the channels that are set."""
    log_to_stderr(logging.INFO)
    start_sending()
    channels = ALERT_CHANNELS.listed(os.environ)
    if not channels:
        log.warning("nobody is told of alerts: name Airflow connections in %s", ALERT_CHANNELS.name)
    if once:
        one_round(channels)
        beat(_open_unit, Job.WATCH, utc_now())
        _measure(channels)
        return
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    run_rounds(channels, heartbeat, stopped)
