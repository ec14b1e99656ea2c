"""No secret stands in anything that is written: rows, XComs, logs, pages, messages, documents, errors."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
from airflow.configuration import conf
from fastapi.testclient import TestClient

from desks.dag_runs import read_dags, run_dag
from desks.logins import PASSWORD, as_writer
from desks.page_routes import EXAMPLES, every_route, required
from kraken_airflow.watch_rounds import watch
from kraken_recon.cli.main import main
from local_stack.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

    from desks.airflow import AirflowDesk

# Each is the only holder of its word; none of them may be met again.
CANARIES = {name: f"canary{name}7f3a9c" for name in (
    "webhook", "webhookpath", "slack", "mail", "proxylogin", "proxy", "desk", "direct",
)}  # fmt: skip
TABLES = """
select relname from pg_class
where relnamespace = 'trading'::regnamespace and relkind in ('r', 'p') and not relispartition
"""


def connections(dead_port: int) -> dict[str, str]:
    """Ways that lead nowhere, each with a secret: what fails tells most."""
    here = {"host": "127.0.0.1", "port": dead_port}
    hook = {"path": f"/services/{CANARIES['webhookpath']}", "timeout": 1}
    fields: dict[str, dict[str, Any]] = {
        "HOOK": {"conn_type": "http", **here, "password": CANARIES["webhook"], "extra": hook},
        "SLACK": {"conn_type": "slackwebhook",
                  "password": f"http://127.0.0.1:{dead_port}/{CANARIES['slack']}"},
        "MAIL": {"conn_type": "smtp", **here, "login": "ann", "password": CANARIES["mail"],
                 "extra": {"to_email": "ann@desk.example", "timeout": 1, "retry_limit": 1}},
        "ARENA_DB": {"conn_type": "postgres", **here, "login": "ann",
                     "password": CANARIES["desk"], "schema": "a"},
        "TRADING_DB_DIRECT": {"conn_type": "postgres", **here, "login": "ann",
                              "password": CANARIES["direct"]},
    }  # fmt: skip
    return {f"AIRFLOW_CONN_{name}": json.dumps(values) for name, values in fields.items()}


def written_by_airflow() -> str:
    """Read Airflow's database and all of its logs."""
    database = Path(conf.get_mandatory_value("database", "sql_alchemy_conn").removeprefix("sqlite:///"))
    logs = Path(conf.get_mandatory_value("logging", "base_log_folder")).rglob("*")
    files = [*database.parent.glob(f"{database.name}*"), *(path for path in logs if path.is_file())]
    assert database in files
    return "".join(path.read_bytes().decode(errors="replace") for path in files)


def test_no_secret_stands_in_anything_that_is_written(  # noqa: PLR0913 - all that writes
    *,
    desk: AirflowDesk,
    api_app: Any,
    token_of: Callable[[str | None], str],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    caplog.set_level(logging.DEBUG)
    for name, has_right_key in (("alphacanary", True), ("betacanary", False), ("gammacanary", True)):
        desk.account(name, has_right_key=has_right_key, USD="1000", XXBT="0.5")
    dead_port = free_port()
    for variable, value in connections(dead_port).items():
        monkeypatch.setenv(variable, value)
    proxied = json.loads(desk.variables["AIRFLOW_CONN_KRAKEN_GAMMACANARY"])
    proxied["extra"] |= {
        "proxy": f"http://127.0.0.1:{dead_port}",
        "proxy_login": CANARIES["proxylogin"],
        "proxy_password": CANARIES["proxy"],
    }
    monkeypatch.setenv("AIRFLOW_CONN_KRAKEN_GAMMACANARY", json.dumps(proxied))
    monkeypatch.setenv("KRAKEN_RECON_ALERT_CHANNELS", "hook,slack,mail")
    secrets = {
        **CANARIES,
        **{f"private key of {name}": secret for name, secret in desk.secrets.items()},
        **{f"key of {name}": f"key-of-{name}" for name in desk.secrets},
        "password of the trading database": PASSWORD,
    }
    run_dag(read_dags().dags["position_sync"])
    desk.execute("insert into trading.alerts (kind, message) values ('session_leak', 'a leak')")
    watch(None, once=True)

    printed = []
    monkeypatch.setenv("KRAKEN_RECON_DSN", as_writer(desk.database_url))
    certificate = tmp_path / "certificate.json"
    for words in (
        ["report"], ["report", "--json"], ["alerts"], ["doctor", "--json"],
        ["check-key", "kraken_betacanary"], ["sync", "--account", "gammacanary"],
        ["cost", "--account", "alphacanary"], ["seals", "now"],
        ["certify", "--account", "alphacanary", "--at", "2026-01-01T00:00:00Z", "--output", str(certificate)],
        ["book", "init", "--connection", "arena_db"], ["maintain"],
    ):  # fmt: skip
        main(words)
        told = capfd.readouterr()
        printed += [told.out, told.err]
    lost = f"postgresql://ann:{CANARIES['direct']}@127.0.0.1:{dead_port}/none"
    monkeypatch.setenv("KRAKEN_RECON_DSN", lost)
    main(["report"])
    printed += [*capfd.readouterr()]

    viewer = TestClient(api_app, headers={"Authorization": f"Bearer {token_of('ADMIN')}"})
    examples = EXAMPLES | {"name": "alphacanary", "account": "alphacanary"}
    pages = [
        viewer.get(f"/kraken-recon{path}", params={n: examples[n] for n in required(route)}).text
        for path, route in every_route().items()
    ]
    with psycopg.connect(desk.database_url) as connection:
        tables = [name for (name,) in connection.execute(TABLES).fetchall()]
        rows = {
            name: "\n".join(
                row
                for (row,) in connection.execute(f"select t::text from trading.{name} t".encode()).fetchall()
            )
            for name in tables
        }
    places = rows | {
        "what Airflow keeps": written_by_airflow(),
        "logs": caplog.text,
        "commands": "\n".join(printed),
        "pages": "\n".join(pages),
        "files": "".join(path.read_text() for path in tmp_path.rglob("*") if path.is_file()),
    }
    assert rows["alert_notifications"].count("\n") >= 2, "nobody was told, so nothing was looked at"
    assert "betacanary" in places["what Airflow keeps"] + places["logs"]
    found = {
        (place, name) for place, text in places.items() for name, secret in secrets.items() if secret in text
    }
    assert found == set()
    assert not re.search(r"://[^/\s:@]+:[^/\s@*]+@", places["logs"] + places["commands"]), (
        "a login in an address"
    )
