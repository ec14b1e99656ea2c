"""What arrives at StatsD and OpenTelemetry servers, and that nothing has another name."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from desks.otlp_collector import OtlpCollector
from kraken_airflow.telemetry.metrics import METRICS, PREFIX, TIMER, add, observe, set_gauge

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
SEND = """
from datetime import timedelta
from kraken_airflow.telemetry.metrics import observe, publish_desk, publish_desk_books, publish_sync
from kraken_airflow.telemetry.metrics import publish_use, start_sending
from kraken_recon.reconciliation.rules.counts import TOLD
from kraken_recon.values.usage_meter import KeyUse, Use
start_sending()
account = {count.name: 0 for count in TOLD}
account |= {"account": "desk", "seconds": "1.5", "ledger_proof_age_seconds": 60, "api_calls": 3}
publish_sync({"accounts": [{**account, "status": "failed", "explained": 2}]})
publish_use(Use({"desk": KeyUse(7, 62.5, room_seconds=1.5, turn_seconds=0.25)}, locks_refused=2))
observe("verification.latency", timedelta(seconds=4))
state = {"open": {"held_repair": 3, "sync_failure": 0}, "unsent": {"chat": 1}}
publish_desk(state | {"approvals": 2, "stale": 1, "oldest_proof_seconds": 90.0}, ["chat", "mail"])
book = {"book": "arena", "agreed": 50, "differing": 2, "held": 1, "unjudged": 0, "judged_age_seconds": 61.5}
publish_desk_books([book, {**book, "book": "new", "judged_age_seconds": None}])
"""
SENT = {
    "sync.seconds,account=desk": 1.5,
    "sync.proof_age_seconds,account=desk": 60,
    "sync.api_calls,account=desk": 3,
    "sync.failures,account=desk": 1,
    "sync.differences,account=desk,kind=explained": 2,
    "calls.sent,account=desk": 7,
    "calls.wait,account=desk,cause=room": 1500,
    "calls.wait,account=desk,cause=turn": 250,
    "calls.budget_percent,account=desk": 62.5,
    "locks.refused": 2,
    "verification.latency": 4000,
    "alerts.open,kind=held_repair": 3,
    "alerts.open,kind=sync_failure": 0,
    "alerts.unsent,channel=chat": 1,
    "alerts.unsent,channel=mail": 0,
    "approvals.waiting": 2,
    "accounts.stale": 1,
    "accounts.oldest_proof_seconds": 90,
    **{
        f"desk_books.{name},book={book}": count
        for book in ("arena", "new")
        for name, count in {"agreed": 50, "differing": 2, "held": 1, "unjudged": 0}.items()
    },
    "desk_books.judged_age_seconds,book=arena": 61.5,
}
STATSD_KINDS = {"gauge": "g", "counter": "c", "timer": "ms"}


@pytest.fixture
def server() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listening:
        listening.bind(("127.0.0.1", 0))
        listening.settimeout(20)
        yield listening


def send(environment: dict[str, str], **changes: str) -> None:
    """Send one of everything from a process that ends right after."""
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SEND], env=environment | changes, check=True, timeout=60
    )


def test_a_statsd_server_gets_everything(server: socket.socket, project_environment: dict[str, str]) -> None:
    send(
        project_environment,
        AIRFLOW__METRICS__STATSD_ON="True",
        AIRFLOW__METRICS__STATSD_HOST="127.0.0.1",
        AIRFLOW__METRICS__STATSD_PORT=str(server.getsockname()[1]),
        AIRFLOW__METRICS__STATSD_PREFIX="airflow",
        AIRFLOW__METRICS__STATSD_INFLUXDB_ENABLED="True",
    )
    # Sent for certain by now, and among them what Airflow says of itself.
    ours: dict[str, float] = {}
    while len(ours) < len(SENT):
        line = server.recv(1024).decode()
        if name := re.fullmatch(r"airflow\.kraken_recon\.(([^,:]+).*):([\d.]+)\|(\w+)", line):
            assert name[4] == STATSD_KINDS[METRICS[name[2]].kind]
            ours[name[1]] = float(name[3])
    assert ours == SENT


@pytest.fixture
def collector() -> Iterator[OtlpCollector]:
    with OtlpCollector() as listening:
        yield listening


@pytest.mark.parametrize("by_variables", [False, True], ids=["airflow.cfg", "OTEL_*"])
def test_an_opentelemetry_collector_gets_everything(
    collector: OtlpCollector,
    project_environment: dict[str, str],
    by_variables: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    settings = {
        "AIRFLOW__METRICS__OTEL_HOST": "127.0.0.1",
        "AIRFLOW__METRICS__OTEL_PORT": str(collector.port),
        "AIRFLOW__METRICS__OTEL_INTERVAL_MILLISECONDS": "60000",
    }
    if by_variables:
        settings = collector.settings | {"OTEL_SERVICE_NAME": "desk-airflow"}
    send(project_environment, AIRFLOW__METRICS__OTEL_ON="True", **settings)
    # What a process sent and did not export yet is exported at its end.
    assert {path for path, _ in collector.received} == {"/v1/metrics"}
    assert collector.services() == {"desk-airflow" if by_variables else "airflow"}
    values = {}
    for name, kind, point in collector.points(f"airflow.{PREFIX}"):
        metric = METRICS[name.partition(",")[0]]
        assert kind == {"gauge": "gauge", "counter": "sum", "timer": "exponential_histogram"}[metric.kind]
        if metric.kind == TIMER:
            assert point.count == 1
            values[name] = point.sum
        else:
            values[name] = point.as_double or point.as_int
    assert values == SENT


def test_an_unknown_name_a_wrong_kind_and_a_missing_tag_are_refused() -> None:
    with pytest.raises(KeyError):
        set_gauge("sync.second", 1, account="desk")
    with pytest.raises(ValueError, match=r"expected sync\.seconds as gauge"):
        add("sync.seconds", 1, account="desk")
    with pytest.raises(ValueError, match=r"with \('account',\)"):
        set_gauge("sync.seconds", 1)
    with pytest.raises(ValueError, match=r"expected locks\.refused as counter"):
        observe("locks.refused", timedelta(seconds=1))


def test_nothing_is_sent_but_through_the_one_module() -> None:
    senders = [
        path.name
        for path in (ROOT / "plugins").rglob("*.py")
        if re.search(r"\b[Ss]tats\.(gauge|incr|timing|timer|decr)\(", path.read_text())
    ]
    assert senders == ["metrics.py"]
    assert len(METRICS) == len({metric.name for metric in METRICS.values()})


def exported_names() -> set[str]:
    """Name all metrics as a Prometheus behind statsd_exporter sees them."""
    return {f"airflow.{PREFIX}{name}".replace(".", "_") for name in METRICS}


def test_the_dashboard_shows_every_metric_and_no_other() -> None:
    dashboard = json.loads((ROOT / "deploy/grafana/kraken-recon.json").read_text())
    shown = " ".join(target["expr"] for panel in dashboard["panels"] for target in panel["targets"])
    assert set(re.findall(r"airflow_[a-z_]+", shown)) == exported_names()


def test_every_alert_rule_is_on_a_metric_that_exists_and_names_its_runbook() -> None:
    [group] = yaml.safe_load((ROOT / "deploy/prometheus/alerts.yaml").read_text())["groups"]
    for rule in group["rules"]:
        used = set(re.findall(r"airflow_[a-z_]+", rule["expr"]))
        assert used, rule["alert"]
        assert used <= exported_names(), rule["alert"]
        assert (ROOT / rule["annotations"]["runbook"]).is_file(), rule["alert"]
