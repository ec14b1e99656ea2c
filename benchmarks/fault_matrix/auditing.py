"""``session_leak_audit``: it asks no exchange but Airflow, of whose answers sessions live and die.

A stand-in for Airflow's REST API tells of two tasks, one at work and one that has ended; both have a session.
"""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, ClassVar, Final

from benchmarks.fault_matrix.fault import Fault
from benchmarks.fault_matrix.lane import START
from benchmarks.fault_matrix.scene import Scene
from benchmarks.sessions.stage import Stage
from kraken_recon.database.unit_of_work import UnitOfWork, create_engine
from kraken_recon.sessions.airflow_api import AirflowApi
from kraken_recon.sessions.auditing import AuditPorts, AuditRequest, audit
from kraken_recon.sessions.rules.leaks import ActionPolicy, Thresholds
from kraken_recon.wiring import source_of
from kraken_sim.faults.altered_fields import alter

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import psycopg

JOB: Final = "session_leak_audit"
AT_WORK: Final = "at_work"
IMPATIENT: Final = Thresholds(hold_seconds=0, idle_seconds=3600, settle_seconds=0)
#: What is read of Airflow's answers, by the part of the path that asks for them.
READ: Final = {
    "token": ("access_token",),
    "tries": ("state", "end_date"),
    "taskInstances?": ("task_instances", "task_instances.0.start_date"),
}
WAYS: Final = ("dropped", "null", "type", "empty", "endless", "swapped")
WHOLE: Final = ("http 401", "http 500", "html", "cut", "empty", "reset")
OPEN: Final = "select from pg_stat_activity where pid = %s"
ENDED_AT: Final = (datetime.now(UTC) - timedelta(hours=1)).isoformat()


class StandIn(ThreadingHTTPServer):
    """Airflow's REST API as far as the audit asks it, as long as it is not told to spoil an answer."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.spoiled: tuple[str, Mapping[str, Any]] | None = None
        self.met = 0
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    def answer(self, path: str) -> dict[str, Any]:
        """Tell the truth."""
        if path.startswith("/auth"):
            return {"access_token": "a-token", "state": "failed"}
        if "/tries/" in path:
            state = "running" if AT_WORK in path else "failed"
            return {"state": state, "end_date": None if AT_WORK in path else ENDED_AT, "note": "failed"}
        return {"task_instances": [{"start_date": ENDED_AT}, {"start_date": START.isoformat()}]}

    def handle_error(self, *_: object) -> None:
        """Say nothing of clients that hang up."""


class _Handler(BaseHTTPRequestHandler):
    server: StandIn

    def do_GET(self) -> None:
        """Answer, spoiled where that is asked for."""
        self.rfile.read(int(self.headers.get("content-length", 0)))
        status, answer = 200, self.server.answer(self.path)
        kind, options = self.server.spoiled or ("", {})
        body = json.dumps(answer).encode()
        if kind == "field" and options["asked"] in self.path:
            self.server.met += 1
            body = json.dumps(alter(answer, options["path"], options["how"]) or answer, default=str).encode()
        elif kind and kind != "field":
            self.server.met += 1
            status = int(kind.partition(" ")[2]) if kind.startswith("http") else 200
            spoil = {"html": b"<html></html>", "cut": body[:-7], "empty": b""}
            body = spoil.get(kind, body)
        if kind == "reset":
            self.close_connection = True
            return
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET  # noqa: N815 - a name that http.server looks for

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@dataclass
class Auditing(Scene):
    """Two sessions that do nothing: one of a task at work, one of a task that has ended."""

    job: ClassVar = JOB
    sessions: dict[str, psycopg.Connection] = field(default_factory=dict)

    def prepare(self) -> None:
        """Open both sessions, and an Airflow that knows of them."""
        self.airflow = StandIn()
        self.stage = Stage(self.lane.url)
        for task_id in (AT_WORK, "ended"):
            identity = self.stage.task(task_id)
            self.sessions[task_id] = self.stage.declared(identity)
            self.sessions[task_id].execute("select 1")
            self.sessions[task_id].rollback()

    def run(self) -> set[str]:
        """Audit, and end what may be ended."""
        engine = create_engine(self.lane.url, application_name="kraken_recon:matrix")
        source = source_of("trading_db", lambda: UnitOfWork(engine))
        asked = AirflowApi(f"http://127.0.0.1:{self.airflow.server_port}", "audit", "password")
        view = audit(
            AuditRequest(ActionPolicy(is_dry_run=False), IMPATIENT),
            AuditPorts(lambda: UnitOfWork(engine), [source], asked, "the matrix"),
        )
        self.met = self.airflow.met
        return {f"found {one['rule']}" for one in view["findings"]}

    def spoil_input(self, kind: str, options: Mapping[str, Any]) -> None:
        """Let Airflow answer so."""
        self.airflow.spoiled = kind, options

    def mend_input(self) -> None:
        """Let Airflow answer again."""
        self.airflow.spoiled = None

    def is_open(self, task_id: str) -> bool:
        """Say whether a session is still there."""
        return bool(self.lane.rows(OPEN, self.sessions[task_id].info.backend_pid))

    def unfinished(self) -> list[str]:
        """A session that is left for the next audit harms nobody."""
        return []

    def left(self) -> list[str]:
        """The session of the task that has ended is to be ended."""
        return ["the session of an ended task is still open"] if self.is_open("ended") else []

    def wrong(self) -> list[str]:
        """The session of a task at work was ended."""
        return [] if self.is_open(AT_WORK) else ["the session of a task at work was ended"]

    def close(self) -> None:
        """End what is left of both."""
        for session in self.sessions.values():
            session.close()
        self.airflow.shutdown()
        self.airflow.server_close()


def spoiled_answers() -> Iterator[Fault]:
    """List the rows about Airflow's answers."""
    for kind in WHOLE:
        yield Fault(f"airflow {kind}", kind, group="Airflow's answers", jobs=(JOB,), where="input")
    for asked, paths in READ.items():
        for path in paths:
            for how in WAYS:
                yield Fault(
                    f"airflow field {asked} {path} {how}",
                    "field",
                    {"asked": asked, "path": path, "how": how},
                    "A field of Airflow's answers",
                    jobs=(JOB,),
                    where="input",
                )
