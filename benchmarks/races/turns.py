"""Let sessions go on one at a time, from one statement to the next, and see which of them wait for a lock.

Invariants:
1. At most one actor is let go at a time. The others stand before a step, or wait inside of one for a lock.
2. Who waits is said by the server: an actor is blocked while another session stands in its way.
3. Nobody is left behind: who cannot go on within ``PATIENCE_SECONDS`` is an error, and its session is ended.
"""

from __future__ import annotations

import queue
import threading
import time
from contextvars import ContextVar
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Final

from benchmarks.races.steps import EXCHANGE, Step

if TYPE_CHECKING:
    from collections.abc import Callable

    import psycopg

PATIENCE_SECONDS: Final = 30.0
# So long a session waits before the server looks for a deadlock; who is called blocked has waited longer.
DEADLOCK_TIMEOUT_MS: Final = 4
LOOK_AFTER_SECONDS: Final = 0.004
BLOCKED_AFTER_SECONDS: Final = 0.007


class State(Enum):
    """Where an actor is."""

    READY = "stands before its next step"
    RUNNING = "is on its way"
    BLOCKED = "waits for a lock"
    DONE = "has ended"


class StuckError(Exception):
    """An actor neither ended, nor came to its next step, nor waits for another one."""


class _EndedError(BaseException):
    """Ends the work of an actor that is no longer needed."""


@dataclass(eq=False)
class Actor:
    """One session, or several one after the other, with the work of one use case.

    Attributes:
        letter: what it is called in the code of a schedule.
        work: the use case; what it returns or raises is its outcome.
    """

    letter: str
    name: str
    work: Callable[[], object]
    state: State = State.RUNNING
    pending: Step | None = None
    outcome: object = None
    error: Exception | None = None
    pid: int = 0
    steps: int = 0
    waits: int = 0
    deadlocks: int = 0
    go: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    thread: threading.Thread | None = None
    is_ended: bool = False


# In every thread of an actor's, the one that it works for.
ACTOR: ContextVar[Actor | None] = ContextVar("actor", default=None)


class Turns:
    """Who may go on; ``watch`` is a session that looks at the others."""

    def __init__(self, watch: psycopg.Connection) -> None:
        self._watch = watch
        self._arrivals: queue.SimpleQueue[Actor] = queue.SimpleQueue()
        self.actors: dict[str, Actor] = {}
        self._closed: list[int] = []

    def start(self, actors: list[Actor]) -> None:
        """Bring every actor, one after the other, to its first step."""
        self.actors = {actor.letter: actor for actor in actors}
        for actor in actors:
            actor.thread = threading.Thread(target=self._run, args=(actor,), daemon=True)
            actor.thread.start()
            self._settle()

    def _run(self, actor: Actor) -> None:
        ACTOR.set(actor)
        try:
            actor.outcome = actor.work()
        except _EndedError:
            pass
        except Exception as error:  # noqa: BLE001 - the outcome, whatever it is
            actor.error = error
        actor.is_ended = True
        self._arrivals.put(actor)

    def before(self, step: Step, pid: int = 0) -> None:
        """Stand before a step until it is one's turn; called in the threads of actors, and by nobody else."""
        actor = ACTOR.get()
        if actor is None or actor.is_ended:
            return
        actor.pending, actor.pid = step, pid
        self._arrivals.put(actor)
        actor.go.acquire()
        if actor.is_ended:
            raise _EndedError

    def enabled(self) -> list[str]:
        """Name the actors that can go on."""
        return [letter for letter, actor in self.actors.items() if actor.state is State.READY]

    def let_go(self, letter: str) -> None:
        """Let one actor do its step, and wait until everybody stands still again."""
        actor = self.actors[letter]
        assert actor.state is State.READY, (letter, actor.state)
        actor.steps += 1
        actor.state = State.RUNNING
        actor.go.release()
        self._settle()

    def _settle(self) -> None:
        started = time.monotonic()
        while self._is_moving():
            try:
                arrived = self._arrivals.get(timeout=LOOK_AFTER_SECONDS)
            except queue.Empty:
                self._look_at_locks(started)
            else:
                arrived.state = State.DONE if arrived.is_ended else State.READY
                # The step may have let somebody go on who had waited.
                self._look_again()
        self._await_ends()

    def _await_ends(self) -> None:
        """Wait until the server has let go of what closed sessions held: it does so on its own time."""
        gone = "select not exists (select from pg_stat_activity where pid = any(%s))"
        while self._closed and self._watch.execute(gone, (self._closed,)).fetchone() == (False,):
            time.sleep(0.001)
        self._closed.clear()

    def _is_moving(self) -> bool:
        states = {actor.state for actor in self.actors.values() if actor.thread is not None}
        # If everybody waits, the server breaks the deadlock.
        return State.RUNNING in states or (State.BLOCKED in states and State.READY not in states)

    def _look_again(self) -> None:
        """See who waits no longer: whoever lets a lock go wakes them before it is answered itself."""
        for actor in self.actors.values():
            if actor.state is State.BLOCKED and not self._blockers(actor):
                actor.state = State.RUNNING

    def _look_at_locks(self, started: float) -> None:
        waited = time.monotonic() - started
        if waited > PATIENCE_SECONDS:
            self.end()
            states = {letter: actor.state.name for letter, actor in self.actors.items()}
            raise StuckError(f"nobody goes on: {states}")
        self._look_again()
        for actor in self.actors.values():
            is_late = waited > BLOCKED_AFTER_SECONDS
            if actor.state is State.RUNNING and not actor.is_ended and is_late and self._blockers(actor):
                actor.state = State.BLOCKED
                actor.waits += 1

    def _blockers(self, actor: Actor) -> set[int]:
        """Name the sessions of other actors for which this one waits."""
        if not actor.pid:
            return set()
        row = self._watch.execute("select pg_blocking_pids(%s)", (actor.pid,)).fetchone()
        return {*row[0]} if row else set()

    def end(self) -> None:
        """End all actors that have not ended, wherever they are."""
        for actor in self.actors.values():
            if not actor.is_ended:
                actor.is_ended = True
                if actor.pid:
                    self._watch.execute("select pg_terminate_backend(%s)", (actor.pid,))
                actor.go.release()
        for actor in self.actors.values():
            if actor.thread is not None:
                actor.thread.join(timeout=PATIENCE_SECONDS)
        while not self._arrivals.empty():
            self._arrivals.get()
        self.actors = {}

    def finish(self) -> None:
        """Let go of actors that have all ended."""
        for actor in self.actors.values():
            if actor.thread is not None:
                actor.thread.join()
        self.actors = {}

    def closes(self, pid: int) -> None:
        """Say that an actor's session ends now, with what it holds."""
        self._closed.append(pid)

    def asks(self, endpoint: str) -> None:
        """Make a call to the exchange a step."""
        self.before(Step(endpoint, read=frozenset({EXCHANGE})))

    def happens(self, what: str) -> None:
        """Make what happens at the exchange a step."""
        self.before(Step(what, written=frozenset({EXCHANGE}), let_go=frozenset({EXCHANGE})))
