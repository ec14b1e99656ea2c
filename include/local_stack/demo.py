"""The demo: a desk's accounts on an exchange, books that go wrong, and their reconciliation."""

from __future__ import annotations

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import TYPE_CHECKING

from local_stack.airflow import login_of
from local_stack.databases import outcome_since, plant_drift
from local_stack.errors import LocalStackError
from local_stack.exchange import SIMULATOR
from local_stack.settings import REPOSITORY
from local_stack.stack import Stack

if TYPE_CHECKING:
    from local_stack.airflow import AirflowApi
    from local_stack.databases import Database
    from local_stack.exchange import Exchange, Recording
    from local_stack.settings import Settings

DAG_ID = "position_sync"
POOL = "kraken_api"
POOL_SLOTS = 8
DESK_POOL = "desk_books"
DESK_POOL_SLOTS = 4
RUN_TIMEOUT_SECONDS = 180
# Name of the recording, currency of its costs; none whose entries lie in the future, which a run refuses.
RECORDED_ACCOUNTS = {"shideneyu": "USD", "knowm": "USD"}


class Demo:
    """One showing of the demo.

    The first showing plays the month before it; each showing, the first included, lets the exchange move on,
    damages the books, and reconciles.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stack = Stack(settings, self._say)
        self._started = time.monotonic()
        self._recordings: list[Recording] = []

    def show(self) -> None:
        """Start what does not run, tell the story, and leave the stack running."""
        with self._stack.exclusive():
            self._stack.check_ports()
            self._chapter("Starting the stack")
            metadata, trading, arena = self._stack.start_databases()
            exchange, is_first_showing = self._stack.start_exchange()
            if not is_first_showing and trading.marking() != self._stack.exchange_identity():
                # An earlier first showing was cut off half-way; begin it again.
                self._stack.services.stop([SIMULATOR])
                exchange, is_first_showing = self._stack.start_exchange()
            if is_first_showing:
                # This exchange began anew, without the history that the old books know.
                trading.recreate()
                arena.recreate()
            self._stack.migrate_trading(trading)
            if is_first_showing:
                self._introduce_accounts(exchange, trading)
            variables = self._stack.publish_variables(metadata, trading, arena)
            with ThreadPoolExecutor(max_workers=1) as beside:
                # Airflow takes half a minute to come up; meanwhile a month passes.
                month = is_first_showing and beside.submit(self._stack.play_month, exchange, variables)
                api = self._start_airflow(metadata, variables)
            if month:
                self._chapter("The month before: real runs and orders in fast motion, by clocks set back")
                self._say(f"{month.result()}; every run of it says 'demo month'")
                trading.mark(self._stack.exchange_identity())
            elif run_id := api.run_under_way(DAG_ID, patience_seconds=0):
                self._chapter("The schedule is at work")
                self._finish(api, trading, run_id)
            self._go_wrong(exchange, trading)
            self._chapter("Meanwhile in a bot's own database, which is a desk book here")
            for sentence in self._stack.let_bot_trade(arena, variables):
                self._say(sentence)
            self._chapter("The next run reconciles")
            api.unpause(DAG_ID)
            # The schedule's own first run may be quicker than ours.
            self._finish(api, trading, api.run_under_way(DAG_ID, patience_seconds=2) if month else None)
            for dag_id in api.dag_ids():
                api.unpause(dag_id)
            self._report()
            self._farewell()

    def _introduce_accounts(self, exchange: Exchange, trading: Database) -> None:
        directory = self._settings.recordings
        if directory.is_dir():
            for name, quote_currency in RECORDED_ACCOUNTS.items():
                recording = exchange.load_recording(directory, name, quote_currency)
                exchange.move_recording(recording, share=Decimal("0.5"))
                self._recordings.append(recording)
        accounts = exchange.accounts() + [recording.account for recording in self._recordings]
        self._stack.introduce(accounts, trading)
        for account in accounts:
            print(f"           {account.name:20} {account.story}", flush=True)
        if not self._recordings:
            self._say(f"no recordings of real accounts in {directory}: going on without")

    def _go_wrong(self, exchange: Exchange, trading: Database) -> None:
        self._chapter("Meanwhile on Kraken")
        for name, entries in exchange.play_next().items():
            if entries:
                self._say(f"{name}: {entries} new ledger entries")
        for recording in self._recordings:
            exchange.move_recording(recording, share=Decimal(1))
            self._say(f"{recording.account.name}: the other half of its history")
        self._chapter("Meanwhile in the books")
        for sentence in plant_drift(trading):
            self._say(sentence)

    def _start_airflow(self, metadata: Database, variables: dict[str, str]) -> AirflowApi:
        api, was_started = self._stack.start_airflow(metadata, variables)
        self._say(f"Airflow is healthy: {login_of(self._settings).url}")
        api.ensure_pool(POOL, slots=POOL_SLOTS, description="calls to Kraken at the same time")
        api.ensure_pool(DESK_POOL, slots=DESK_POOL_SLOTS, description="desk books judged at the same time")
        api.wait_until_parsed(DAG_ID)
        if was_started:
            api.fail_unfinished_runs(DAG_ID)
        return api

    def _finish(self, api: AirflowApi, trading: Database, run_id: str | None) -> None:
        """Wait for the run, or for one of our own, to end; say what came of it."""
        asked = time.monotonic()
        run_id = run_id or api.trigger(DAG_ID, {})
        state = api.wait_for_run(
            DAG_ID,
            run_id,
            timeout_seconds=RUN_TIMEOUT_SECONDS,
            on_change=lambda now: self._say(f"run {run_id} is {now}"),
        )
        outcome = outcome_since(trading, api.queued_at(DAG_ID, run_id))
        counts = ", ".join(f"{number} {status}" for status, number in sorted(outcome.items()))
        self._say(f"{state} after {time.monotonic() - asked:.1f} s; accounts: {counts or 'none'}")
        if outcome["failed"] and outcome["succeeded"]:
            self._say("a run with a failed account says so; the other accounts were reconciled all the same")
        if not outcome:
            tasks = ", ".join(api.failed_tasks(DAG_ID, run_id)) or "none of its tasks"
            logs = self._settings.state_dir / "airflow" / "logs"
            raise LocalStackError(f"{run_id} reconciled no account (failed: {tasks}); see the UI, or {logs}.")

    def _report(self) -> None:
        self._chapter("The trader's report")
        environment = self._settings.program_environment() | self._stack.variables()
        done = subprocess.run(
            [sys.executable, "-m", "kraken_recon", "report"], env=environment, cwd=REPOSITORY, check=False
        )
        if done.returncode != 0:
            raise LocalStackError(f"The report ended with status {done.returncode}.")

    def _farewell(self) -> None:
        login = login_of(self._settings)
        self._chapter(f"Done in {time.monotonic() - self._started:.0f} seconds; it goes on every 15 minutes")
        print(f"  Airflow    {login.url}   user {login.user}, password {login.password}")
        print("  Staged     what an account's line above calls so: a wrong key, bitcoins that vanish")
        print("  Again      make demo      the exchange moves on, the books go wrong once more")
        print("  Look       make report, make doctor, make psql, make logs")
        print("  Stop       make down", flush=True)

    def _chapter(self, title: str) -> None:
        print(f"\n{title}", flush=True)

    def _say(self, sentence: str) -> None:
        print(f"  {time.monotonic() - self._started:5.1f} s  {sentence}", flush=True)
