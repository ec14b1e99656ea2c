"""Who may talk to whom: the policies are read as a cluster reads them, for every pod and every place."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
import yaml

FILE = Path(__file__).resolve().parents[2] / "deploy/kubernetes/network.yaml"
POLICIES: list[dict[str, Any]] = [policy["spec"] for policy in yaml.safe_load_all(FILE.read_text())]

Labels = dict[str, str]


def of_the_chart(component: str, **more: str) -> Labels:
    return {"tier": "airflow", "release": "airflow", "component": component, **more}


PODS: dict[str, Labels] = {
    "api-server": of_the_chart("api-server"),
    "scheduler": of_the_chart("scheduler"),
    "dag-processor": of_the_chart("dag-processor"),
    "triggerer": of_the_chart("triggerer"),
    "exchange": of_the_chart("worker", **{"worker-set": "exchange"}),
    "general": of_the_chart("worker", **{"worker-set": "general"}),
    "migrations": of_the_chart("run-airflow-migrations"),
    "watch": {"app": "kraken-recon-watch"},
    "prepare": {"app": "kraken-recon-prepare"},
    "a stranger": {"app": "whatever"},
}
PARTS = {"scheduler", "dag-processor", "triggerer", "exchange", "general"}
KRAKEN, PRIVATE, LINK_LOCAL = "104.16.211.191", "10.4.5.6", "169.254.169.254"


def selects(selector: dict[str, Any], labels: Labels) -> bool:
    named = selector.get("matchLabels", {}).items() <= labels.items()
    expressions = selector.get("matchExpressions", ())
    assert all(expression["operator"] == "In" for expression in expressions)
    return named and all(labels.get(each["key"]) in each["values"] for each in expressions)


def is_peer(peer: dict[str, Any], labels: Labels | None, address: str) -> bool:
    if block := peer.get("ipBlock"):
        outside = any(ip_address(address) in ip_network(cidr) for cidr in block.get("except", ()))
        return labels is None and ip_address(address) in ip_network(block["cidr"]) and not outside
    if "namespaceSelector" in peer:  # of another namespace: no pod of ours
        return False
    return labels is not None and selects(peer["podSelector"], labels)


def lets_through(direction: str, pod: Labels, other: Labels | None, address: str, port: int) -> bool:
    """Say whether a policy that selects the pod allows it; the first of all selects every pod."""
    rules = [
        rule
        for policy in POLICIES
        if direction in policy["policyTypes"] and selects(policy["podSelector"], pod)
        for rule in policy.get(direction.lower(), ())
    ]
    peers = "to" if direction == "Egress" else "from"
    return any(
        port in {each["port"] for each in rule["ports"]}
        and any(is_peer(peer, other, address) for peer in rule[peers])
        for rule in rules
    )


def reach(port: int, address: str) -> set[str]:
    return {name for name, pod in PODS.items() if lets_through("Egress", pod, None, address, port)}


def talk_to(name: str, port: int) -> set[str]:
    """Name who may both leave for the pod and enter it."""
    there = PODS[name]
    return {
        other
        for other, pod in PODS.items()
        if lets_through("Egress", pod, there, PRIVATE, port)
        and lets_through("Ingress", there, pod, PRIVATE, port)
    }


def test_nothing_is_let_through_that_is_not_named() -> None:
    assert POLICIES[0] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


def test_kraken_is_reached_by_what_calls_it() -> None:
    assert reach(443, KRAKEN) == {"exchange", "triggerer", "api-server", "watch"}
    assert reach(80, KRAKEN) == set()
    assert reach(587, KRAKEN) == {"watch"}


@pytest.mark.parametrize("port", [53, 80, 443, 587, 3306, 5432, 6379, 8080])
def test_nobody_asks_a_cloud_for_the_machine_s_own_credentials(port: int) -> None:
    assert reach(port, LINK_LOCAL) == set()


def test_servers_are_reached_by_what_needs_them() -> None:
    for port in (5432, 6432):
        assert reach(port, PRIVATE) == set(PODS)
        assert reach(port, KRAKEN) == set()
    assert reach(6379, PRIVATE) == {"scheduler", "exchange", "general"}
    assert reach(3306, PRIVATE) == {"exchange"}
    # Beside a mail server or a chat of your own nothing private is https.
    assert reach(443, PRIVATE) == {"watch"}


def test_the_api_server_is_called_by_airflow_and_reads_the_logs() -> None:
    assert talk_to("api-server", 8080) == PARTS
    assert talk_to("exchange", 8793) == talk_to("general", 8793) == {"api-server"}
    assert talk_to("triggerer", 8794) == {"api-server"}
    for name in PODS.keys() - {"api-server"}:
        assert talk_to(name, 8080) == set(), name
    for name in ("watch", "prepare", "scheduler", "dag-processor", "migrations", "a stranger"):
        assert [port for port in (22, 80, 443, 8793, 8794, 8974) if talk_to(name, port)] == [], name


def test_everybody_may_ask_for_names() -> None:
    (rule,) = [rule for policy in POLICIES for rule in policy.get("egress", ()) if 53 in ports_of(rule)]
    everybody = [policy for policy in POLICIES if rule in policy.get("egress", ())]
    assert [policy["podSelector"] for policy in everybody] == [{}]
    assert {each["protocol"] for each in rule["ports"]} == {"UDP", "TCP"}


def ports_of(rule: dict[str, Any]) -> set[int]:
    return {each["port"] for each in rule["ports"]}


def test_the_sets_of_workers_are_told_apart_by_their_names() -> None:
    values = yaml.safe_load((FILE.parent / "values.yaml").read_text())
    sets = {each["name"]: each["queue"] for each in values["workers"]["celery"]["sets"]}
    assert sets == {"exchange": "exchange", "general": "default"}


def test_a_task_s_own_pod_is_let_out_as_a_worker_of_the_exchange_is() -> None:
    labels = yaml.safe_load(FILE.with_name("task-pod.yaml").read_text())["metadata"]["labels"]
    assert labels == PODS["exchange"]
    (to_the_cluster,) = yaml.safe_load_all(FILE.with_name("network-kubernetes-executor.yaml").read_text())
    selector = to_the_cluster["spec"]["podSelector"]
    assert [name for name, pod in PODS.items() if selects(selector, pod)] == ["scheduler"]
    assert to_the_cluster["spec"]["policyTypes"] == ["Egress"]
