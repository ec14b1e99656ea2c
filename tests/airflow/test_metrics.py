"""What arrives at a StatsD server when tasks send metrics, and that nothing has another name."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from kraken_airflow.metrics import METRICS, PREFIX, add, reference, set_gauge

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
SEND = """
from airflow.sdk.observability import stats
from airflow.sdk.observability.metrics import stats_utils
stats.initialize(factory=stats_utils.get_stats_factory(), export_legacy_names=False)
from kraken_airflow.metrics import publish_sync
account = dict.fromkeys(
    ("explained", "within_tolerance", "updated", "added", "removed", "held", "awaiting"), 0
)
account |= {"account": "desk", "seconds": "1.5", "ledger_proof_age_seconds": 60, "api_calls": 3}
publish_sync({"accounts": [{**account, "status": "failed", "explained": 2}]})
"""


@pytest.fixture
def server() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listening:
        listening.bind(("127.0.0.1", 0))
        listening.settimeout(20)
        yield listening


def test_a_statsd_server_gets_what_a_sync_took_and_found(
    server: socket.socket, project_environment: dict[str, str]
) -> None:
    environment = project_environment | {
        "AIRFLOW__METRICS__STATSD_ON": "True",
        "AIRFLOW__METRICS__STATSD_HOST": "127.0.0.1",
        "AIRFLOW__METRICS__STATSD_PORT": str(server.getsockname()[1]),
        "AIRFLOW__METRICS__STATSD_PREFIX": "airflow",
        "AIRFLOW__METRICS__STATSD_INFLUXDB_ENABLED": "True",
    }
    subprocess.run([sys.executable, "-W", "ignore", "-c", SEND], env=environment, check=True, timeout=60)
    # Sent for certain by now, and among them what Airflow says of itself.
    ours: set[str] = set()
    while len(ours) < 5:
        line = server.recv(1024).decode()
        ours |= {line} if ".kraken_recon." in line else set()
    assert ours == {
        "airflow.kraken_recon.sync.seconds,account=desk:1.5|g",
        "airflow.kraken_recon.sync.proof_age_seconds,account=desk:60|g",
        "airflow.kraken_recon.sync.api_calls,account=desk:3|c",
        "airflow.kraken_recon.sync.failures,account=desk:1|c",
        "airflow.kraken_recon.sync.differences,account=desk,kind=explained:2|c",
    }


def test_an_unknown_name_a_wrong_kind_and_a_missing_tag_are_refused() -> None:
    with pytest.raises(KeyError):
        set_gauge("sync.second", 1, account="desk")
    with pytest.raises(ValueError, match=r"expected sync\.seconds as gauge"):
        add("sync.seconds", 1, account="desk")
    with pytest.raises(ValueError, match=r"with \('account',\)"):
        set_gauge("sync.seconds", 1)


def test_the_reference_is_up_to_date() -> None:
    page = (ROOT / "docs/reference/metrics.md").read_text()
    assert page == reference(), "python -m kraken_airflow.metrics > docs/reference/metrics.md"


def test_nothing_is_sent_but_through_the_one_module() -> None:
    senders = [
        path.name
        for path in (ROOT / "plugins").rglob("*.py")
        if re.search(r"\bstats\.(gauge|incr|timing|timer|decr)\(", path.read_text())
    ]
    assert senders == ["metrics.py"]
    assert len(METRICS) == len({metric.name for metric in METRICS.values()})


def exported_names() -> set[str]:
    """Name all metrics as a Prometheus behind statsd_exporter sees them."""
    return {f"airflow.{PREFIX}{name}".replace(".", "_") for name in METRICS}


def test_the_dashboard_shows_every_metric_and_no_other() -> None:
    dashboard = json.loads((ROOT / "ops/grafana/kraken-recon.json").read_text())
    shown = " ".join(target["expr"] for panel in dashboard["panels"] for target in panel["targets"])
    assert set(re.findall(r"airflow_[a-z_]+", shown)) == exported_names()


def test_every_alert_rule_is_on_a_metric_that_exists_and_names_its_runbook() -> None:
    [group] = yaml.safe_load((ROOT / "ops/prometheus/alerts.yaml").read_text())["groups"]
    for rule in group["rules"]:
        used = set(re.findall(r"airflow_[a-z_]+", rule["expr"]))
        assert used, rule["alert"]
        assert used <= exported_names(), rule["alert"]
        assert (ROOT / rule["annotations"]["runbook"]).is_file(), rule["alert"]
