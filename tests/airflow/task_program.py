"""Run tasks in processes of their own, each stopped at its first statement: one import of Airflow for all.

Its arguments are the modules of the tasks. Reads one JSON object per line and forks a process for it, which
prints `reached PID` once it is inside a transaction of the trading database, and `ended PID NAME` when it
leaves by itself.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import signal
import sys
import time
import traceback
from datetime import UTC, datetime
from enum import StrEnum
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from uuid import UUID

import psycopg
from airflow.sdk import BaseOperator
from airflow.sdk.execution_time.context import set_current_context
from airflow.sdk.execution_time.timeout import TimeoutPosix
from airflow.triggers.base import BaseTrigger

from kraken_recon.accounts.store import AccountStore

if TYPE_CHECKING:
    from collections.abc import Callable

HANGS_SECONDS = 300
RUN_TYPE = StrEnum("RunType", {"MANUAL": "manual"})


def say(*words: object) -> None:
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


class InjectedError(Exception):
    """What the test throws."""


def stop_at_first_statement(fault: str) -> None:
    """Do as told after the first statement on the books' schema; the session's own registration is none."""

    def reached(query: object) -> None:
        text = str(query)
        if "trading." not in text or "session_owners" in text:
            return
        say("reached", os.getpid())
        if fault == "exception":
            raise InjectedError
        time.sleep(HANGS_SECONDS)

    execute, execute_async = psycopg.Cursor.execute, psycopg.AsyncCursor.execute

    def stopped(self: Any, query: Any, *arguments: Any, **options: Any) -> Any:
        done = execute(self, query, *arguments, **options)
        reached(query)
        return done

    async def stopped_async(self: Any, query: Any, *arguments: Any, **options: Any) -> Any:
        done = await execute_async(self, query, *arguments, **options)
        reached(query)
        return done

    psycopg.Cursor.execute = stopped  # type: ignore[method-assign]
    psycopg.AsyncCursor.execute = stopped_async  # type: ignore[method-assign]


async def first_event(trigger: BaseTrigger) -> object:
    async for event in trigger.run():
        return event
    return None


def work_of(order: dict[str, Any], context: dict[str, Any]) -> Callable[[], object]:
    """Say how to run what is ordered, as Airflow does."""
    kind = getattr(importlib.import_module(order["module"]), order["name"])
    if issubclass(kind, BaseTrigger):
        trigger = kind(**order["arguments"])
        return lambda: asyncio.run(first_event(trigger))
    if not issubclass(kind, BaseOperator):
        hook = kind(**order["arguments"])

        def use() -> None:
            with hook.unit_of_work() as unit:
                AccountStore(unit).find_accounts(None)

        return use
    task = kind(task_id="task", **order["arguments"])
    # What Airflow's task runner does: its SIGTERM handler calls on_kill, and nothing else.
    signal.signal(signal.SIGTERM, lambda *_: task.on_kill())
    return lambda: task.execute.__wrapped__(task, context)


def run(order: dict[str, Any]) -> None:
    """Be the task; never return."""
    name = "success"
    try:
        os.environ.update(order["environment"])
        ti = SimpleNamespace(
            id=UUID(order["task_instance_id"]),
            dag_id="a_dag",
            task_id=order["name"],
            run_id="manual__1",
            map_index=-1,
            try_number=1,
        )
        now = datetime.now(UTC)
        dag_run = SimpleNamespace(
            run_id="manual__1",
            run_type=RUN_TYPE.MANUAL,
            run_after=now,
            start_date=now,
            data_interval_end=None,
        )
        dag = SimpleNamespace(dag_id="a_dag")
        context = {"dag": dag, "ti": ti, "task_instance": ti, "dag_run": dag_run, "params": {}}
        with set_current_context(context):  # type: ignore[arg-type]
            work = work_of(order, context)
            stop_at_first_statement(order["fault"])
            if order["fault"] == "timeout":
                with TimeoutPosix(HANGS_SECONDS):
                    work()
            else:
                work()
    except BaseException as error:  # noqa: BLE001 - told to the test
        traceback.print_exc()
        name = type(error).__name__
    say("ended", os.getpid(), name)
    os._exit(0)


def main() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for module in sys.argv[1:]:
        importlib.import_module(module)  # once, instead of in every process
    say("ready")
    for line in sys.stdin:
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            run(json.loads(line))


if __name__ == "__main__":
    main()
