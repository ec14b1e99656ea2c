"""The example of the how-to, run as it stands: a bot decides over REST, and loses the answer on its way."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import requests

from desks.airflow import AirflowDesk
from desks.orders import TRADING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Simulator
    from desks.airflow_processes import StartAirflow
    from local_stack.airflow import Login

ROOT = Path(__file__).parents[2]
HOW_TO = ROOT / "docs/how-to/place-an-order.md"


@pytest.fixture
def desk(simulator: Simulator, database_url: str, monkeypatch: pytest.MonkeyPatch) -> AirflowDesk:
    """A desk that may trade."""
    desk = AirflowDesk(simulator, database_url, monkeypatch)
    desk.account("desk", ZUSD="1000000")
    simulator.control.patch("accounts/desk", {"permissions": list(TRADING)})
    simulator.control.post("prices", {"XBTUSD": "50000"})
    return desk


@pytest.fixture
def login(desk: AirflowDesk, start_airflow: StartAirflow) -> Iterator[Login]:
    """A healthy Airflow that has parsed the DAG."""
    with start_airflow(desk.variables) as airflow:
        airflow.wait_for("order_execution")
        airflow.api.unpause("order_execution")
        yield airflow.login


class LossyWay(ThreadingHTTPServer):
    """A way to Airflow on which the answer to the first decision is lost."""

    def __init__(self, url: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.to = url
        self.lost: list[str] = []


class _Handler(BaseHTTPRequestHandler):
    server: LossyWay

    def _pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {
            name: self.headers[name] for name in ("Authorization", "Content-Type") if name in self.headers
        }
        reply = requests.request(
            self.command, self.server.to + self.path, data=body, headers=headers, timeout=30
        )
        if self.path.endswith("/dagRuns") and not self.server.lost:
            self.server.lost.append(reply.json()["dag_run_id"])
            self.close_connection = True
            return
        self.send_response(reply.status_code)
        self.send_header("Content-Length", str(len(reply.content)))
        self.end_headers()
        self.wfile.write(reply.content)

    do_GET = do_POST = _pass_on  # noqa: N815 - the library's names

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def run_example(url: str, login: Login, *changes: tuple[str, str]) -> subprocess.CompletedProcess[str]:
    [program] = re.findall(r"```python\n(.*?)```", HOW_TO.read_text(), re.DOTALL)
    for before, after in changes:
        assert before in program
        program = program.replace(before, after)
    environment = {
        **os.environ,
        "AIRFLOW_URL": url,
        "AIRFLOW_USER": login.user,
        "AIRFLOW_PASSWORD": login.password,
    }
    return subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        text=True,
        capture_output=True,
        check=False,
        timeout=180,
    )


@pytest.mark.timeout(400)
def test_a_bot_that_loses_the_answer_buys_once(login: Login, desk: AirflowDesk) -> None:
    with LossyWay(login.url) as way:
        threading.Thread(target=way.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{way.server_port}"
        bought = run_example(url, login)
        assert len(way.lost) == 1
        again = run_example(url, login)
        other = run_example(url, login, ('"volume": "0.25"', '"volume": "0.5"'))
        misspelt = run_example(url, login, ('"pair"', '"piar"'), ("momentum 2026", "another 2026"))
        wrong_type = run_example(url, login, ('"volume": "0.25"', '"volume": 0.25'))
        way.shutdown()
    assert bought.stdout == again.stdout == "accepted 1 closed 0.25 None\n", bought.stderr
    assert len(desk.simulator.control.get("accounts/desk/statement")["orders"]) == 1
    assert "refused: " in other.stderr
    assert "refused: " in misspelt.stderr
    assert wrong_type.returncode == 1
    assert "not taken: " in wrong_type.stderr
    decisions = desk.rows("select status, refusal from trading.order_decisions order by decision_id")
    assert [row["status"] for row in decisions] == ["accepted", "refused", "refused"]
    assert "differs in volume" in decisions[1]["refusal"]
    assert "piar: there is no such field; did you mean pair?" in decisions[2]["refusal"]
    alerts = desk.rows("select kind from trading.alerts")
    assert [row["kind"] for row in alerts] == ["order_refused"] * 2
