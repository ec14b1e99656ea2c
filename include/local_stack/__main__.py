"""The stack's command line: ``python -m local_stack demo|down|status|logs|psql|run``."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from typing import TYPE_CHECKING

from dotenv import load_dotenv

from local_stack.airflow import COMPONENTS, WATCH, login_of
from local_stack.binaries import find_programs
from local_stack.demo import Demo
from local_stack.errors import LocalStackError
from local_stack.exchange import SIMULATOR
from local_stack.settings import REPOSITORY, Settings
from local_stack.stack import Stack

if TYPE_CHECKING:
    from collections.abc import Sequence

INTERRUPTED = 128 + signal.SIGINT


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says; return the exit status."""
    parser = argparse.ArgumentParser(prog="local_stack", description="The whole stack on this machine")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("demo", help="start what does not run, reconcile the demo accounts, print the report")
    commands.add_parser("down", help="stop everything")
    commands.add_parser("status", help="what runs, and where")
    commands.add_parser("logs", help="follow the logs")
    commands.add_parser("psql", help="a psql session on the trading database")
    run = commands.add_parser("run", help="run a command that speaks to the stack")
    run.add_argument("program", nargs=argparse.REMAINDER)
    given = parser.parse_args(arguments)
    load_dotenv(REPOSITORY / ".env")
    try:
        settings = Settings.from_environment()
        if given.command == "demo":
            Demo(settings).show()
        elif given.command == "down":
            down(settings)
        elif given.command == "status":
            status(settings)
        elif given.command == "logs":
            follow_logs(settings)
        elif given.command == "psql":
            variables = Stack(settings, print).variables()
            become(settings, [str(find_programs() / "psql"), variables["KRAKEN_RECON_DSN"]])
        else:
            become(settings, given.program)
    except LocalStackError as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # whoever read us has left
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted. make demo takes it up again, make down stops everything.", file=sys.stderr)
        return INTERRUPTED
    return 0


def down(settings: Settings) -> None:
    """Stop every process of the stack."""
    stack = Stack(settings, print)
    with stack.exclusive():
        stopped = stack.stop()
    print(f"Stopped: {', '.join(stopped)}." if stopped else "Nothing was running.")


def status(settings: Settings) -> None:
    """Print what runs, and where."""
    stack = Stack(settings, print)
    for name in (*COMPONENTS, WATCH, SIMULATOR):
        pid = stack.services.pid_of(name)
        print(f"  {name:24} {f'running, pid {pid}' if pid else 'stopped'}")
    if settings.postgres_url:
        print(f"  {'postgres':24} your own")
    else:
        pid = stack.postgres().pid if (settings.state_dir / "postgres").is_dir() else None
        print(f"  {'postgres':24} {f'running, pid {pid}' if pid else 'stopped'}")
    login = login_of(settings)
    print(f"  {login.url}   user {login.user}, password {login.password}")


def follow_logs(settings: Settings) -> None:
    """Become a ``tail`` that follows every log."""
    logs = sorted(map(str, (settings.state_dir / "logs").glob("*.log")))
    if not logs:
        raise LocalStackError("There are no logs yet: make demo")
    os.execvp("tail", ["tail", "-n", "20", "-F", *logs])  # noqa: S606, S607 - the user's own tail


def become(settings: Settings, program: list[str]) -> None:
    """Become the program, with the variables that let it speak to the stack."""
    if not program:
        raise LocalStackError("Say which program to run.")
    environment = os.environ | settings.program_environment() | Stack(settings, print).variables()
    if program[0] == "python":
        program = [sys.executable, *program[1:]]
    os.execvpe(program[0], program, environment)  # noqa: S606 - what the user asked for


if __name__ == "__main__":
    sys.exit(main())
