"""The files for Kubernetes say what the containers' file says, which is run as processes in another test."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "deploy/kubernetes"
PLACE = "/run/secrets/kraken-recon"
SECRET_WORDS = (
    "PASSWORD",
    "SECRET_KEY",
    "FERNET_KEY",
    "SQL_ALCHEMY_CONN",
    "BROKER_URL",
    "RESULT_BACKEND",
    "DSN",
)


def read(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((FOLDER / f"{name}.yaml").read_text())
    return found


def pod_of(name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    pod = read(name)["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    return pod, container


def environments() -> dict[str, list[dict[str, Any]]]:
    return {
        "values": read("values")["env"],
        **{name: pod_of(name)[1]["env"] for name in ("prepare", "watch")},
    }


@pytest.fixture(scope="module")
def composed() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yaml").read_text())["services"]
    return found


def test_both_queues_have_workers() -> None:
    celery = read("values")["workers"]["celery"]
    assert not celery["enableDefault"]
    assert {workers["queue"] for workers in celery["sets"]} == {"exchange", "default"}
    assert all({"requests", "limits"} <= workers["resources"].keys() for workers in celery["sets"])


def test_variables_have_the_values_of_the_containers(composed: dict[str, Any]) -> None:
    tested = composed["scheduler"]["environment"]
    own = {
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL",
        "KRAKEN_RECON_ALERT_CHANNELS",
        "KRAKEN_RECON_ALLOWED_HOSTS",
    }
    for place, variables in environments().items():
        for variable in variables:
            name = variable["name"]
            assert name in tested or f"{name}_CMD" in tested, f"{place}: {name}"
            if "value" in variable and name not in own:
                assert variable["value"].replace(f"{PLACE}/", "/run/secrets/") == tested[name], (
                    f"{place}: {name}"
                )


def test_no_secret_is_written_into_a_variable() -> None:
    for place, variables in environments().items():
        for variable in variables:
            if any(word in variable["name"] for word in SECRET_WORDS):
                assert "valueFrom" in variable or variable["name"].endswith("_FILE"), (
                    f"{place}: {variable['name']}"
                )


def test_commands_are_those_of_the_containers(composed: dict[str, Any]) -> None:
    watch, service = pod_of("watch")[1], composed["watch"]
    assert watch["command"] == service["command"]
    assert ["CMD", *watch["livenessProbe"]["exec"]["command"]] == service["healthcheck"]["test"]
    steps = pod_of("prepare")[1]["command"][-1].replace(PLACE, "/run/secrets").replace("$(", "$$(")
    # The chart migrates Airflow's own database itself.
    assert f"airflow db migrate && {steps}" == composed["init"]["command"][-1]


LOCKED = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}
UNPRIVILEGED = {
    "runAsNonRoot": True,
    "runAsUser": 50000,
    "runAsGroup": 0,
    "fsGroup": 0,
    "seccompProfile": {"type": "RuntimeDefault"},
}


@pytest.mark.parametrize("name", ["prepare", "watch"])
def test_a_pod_gains_no_privileges_and_mounts_the_secret_file(name: str) -> None:
    pod, container = pod_of(name)
    assert pod["securityContext"] == UNPRIVILEGED
    assert pod["automountServiceAccountToken"] is False
    assert container["securityContext"] == LOCKED
    assert container["resources"].keys() == {"requests", "limits"}
    values = read("values")
    assert container["volumeMounts"] == values["volumeMounts"]
    assert pod["volumes"] == values["volumes"]
    assert container["volumeMounts"][0]["mountPath"] == PLACE


def pods(part: Any) -> Iterator[dict[str, Any]]:
    """Find the pods of a manifest, of whatever kind it is."""
    if isinstance(part, dict) and "containers" in part:
        yield part
    elif isinstance(part, dict | list):
        for inner in part.values() if isinstance(part, dict) else part:
            yield from pods(inner)


@pytest.mark.parametrize("file", sorted(FOLDER.glob("*.yaml")), ids=lambda file: file.stem)
def test_every_pod_of_ours_is_locked(file: Path) -> None:
    for pod in pods(list(yaml.safe_load_all(file.read_text())) if file.stem != "values" else []):
        assert pod["automountServiceAccountToken"] is False
        user = pod["securityContext"]
        assert user["runAsUser"] > 0
        assert (user["runAsNonRoot"], user["seccompProfile"]) == (True, {"type": "RuntimeDefault"})
        for container in (*pod["containers"], *pod.get("initContainers", ())):
            assert container["securityContext"] == LOCKED, container["name"]
            assert container["resources"].keys() == {"requests", "limits"}, container["name"]
        assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
        assert not [volume for volume in pod["volumes"] if "hostPath" in volume]


def test_the_pods_of_the_chart_are_no_less_locked() -> None:
    values = read("values")
    assert values["securityContexts"] == {"pod": UNPRIVILEGED, "containers": LOCKED}
    parts = [values[name] for name in ("scheduler", "apiServer", "dagProcessor", "triggerer")]
    parts += [values["migrateDatabaseJob"], *values["workers"]["celery"]["sets"]]
    # Without limits a quota of the namespace would refuse the pod, for its smallest container too.
    groomers = [
        part["logGroomerSidecar"] for part in (values["workers"], *parts) if "logGroomerSidecar" in part
    ]
    assert len(groomers) == 4
    for part in (*parts, *groomers):
        assert part["resources"].keys() == {"requests", "limits"}, part
    tokens = [part["serviceAccount"] for part in (*parts[:5], values["workers"])]
    assert [token["automountServiceAccountToken"] for token in tokens] == [False] * 6
    assert values["allowPodLaunching"] is False


def test_what_is_written_is_kept_somewhere(composed: dict[str, Any]) -> None:
    written = {place.partition(":")[0] for place in composed["scheduler"]["tmpfs"]}
    values = read("values")
    assert written == {mount["mountPath"] for mount in values["volumeMounts"]} - {PLACE}


def test_each_kind_of_pod_has_a_budget_that_lets_a_node_be_drained() -> None:
    budgets = list(yaml.safe_load_all((FOLDER / "disruption.yaml").read_text()))
    selected = {
        labels.get("component") or labels["app"]
        for budget in budgets
        for labels in [budget["spec"]["selector"]["matchLabels"]]
    }
    assert selected == {
        "api-server", "scheduler", "dag-processor", "triggerer", "worker", "kraken-recon-watch",
    }  # fmt: skip
    assert all(budget["spec"].keys() == {"maxUnavailable", "selector"} for budget in budgets)
    values = read("values")
    replicas = [values[name]["replicas"] for name in ("apiServer", "scheduler", "triggerer")]
    assert [*replicas, read("watch")["spec"]["replicas"]] == [2, 2, 2, 2]


def test_one_image_everywhere(composed: dict[str, Any]) -> None:
    image = read("values")["images"]["airflow"]
    named = f"{image['repository']}:{image['tag']}"
    assert {pod_of(name)[1]["image"] for name in ("prepare", "watch")} == {named}
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert image["tag"] == version
    own = {service["image"] for service in composed.values() if "kraken-recon" in service["image"]}
    assert own == {f"kraken-recon:{version}"}
