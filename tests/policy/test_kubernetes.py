"""The files for Kubernetes say what the containers' file says, which is run as processes in another test."""

from __future__ import annotations

import re
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
    tested = composed["worker-default"]["environment"] | composed["api-server"]["environment"]
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
                wanted = (composed["init"]["environment"] if place == "prepare" else tested)[name]
                assert variable["value"].replace(f"{PLACE}/", "/run/secrets/") == wanted, f"{place}: {name}"


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
    # Docker does not start again what is unwell, as a cluster does: there the question is asked by what does.
    asked = service["healthcheck"]["test"]
    assert watch["livenessProbe"]["exec"]["command"] == asked[asked.index("--") + 1 :]
    assert str(watch["livenessProbe"]["failureThreshold"]) == asked[asked.index("--after") + 1]
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
    assert mounted(pod["volumes"], container["volumeMounts"]) == f"kraken-recon-{name}"


def mounted(volumes: list[dict[str, Any]], mounts: list[dict[str, Any]]) -> str:
    """Name the one Secret that is mounted where the connections are looked for."""
    (volume,) = [volume for volume in volumes if "secret" in volume]
    (mount,) = [mount for mount in mounts if mount["name"] == volume["name"]]
    assert mount == {"name": volume["name"], "mountPath": PLACE, "readOnly": True}
    assert volume["secret"]["defaultMode"] == 0o440
    found: str = volume["secret"]["secretName"]
    return found


def test_every_component_mounts_the_connections_of_its_service(composed: dict[str, Any]) -> None:
    """What is mounted in the chart's components is what the containers are given; nobody else has any."""
    values = read("values")
    components = {
        "api-server": values["apiServer"],
        "dag-processor": values["dagProcessor"],
        "triggerer": values["triggerer"],
        "scheduler": values.get("scheduler", {}),
        **{f"worker-{one['queue']}": one for one in values["workers"]["celery"]["sets"]},
        "watch": {
            "extraVolumes": pod_of("watch")[0]["volumes"],
            "extraVolumeMounts": pod_of("watch")[1]["volumeMounts"],
        },
    }
    assert not {"extraEnvFrom", "extraEnv"} & values.keys(), "these reach every component"
    assert not any("secret" in volume for volume in values["volumes"]), "these reach every component"
    for name, component in components.items():
        given = [s["source"] for s in composed[name]["secrets"] if isinstance(s, dict)]
        if not given:
            assert "extraVolumes" not in component, name
            continue
        secret = mounted(component["extraVolumes"], component["extraVolumeMounts"])
        if name == "watch":
            assert secret == "kraken-recon-watch"
        assert [f"connections_{secret.removeprefix('kraken-recon-')}.json"] == given, name
    with_keys = {n for n in components if "connections_exchange.json" in str(composed[n]["secrets"])}
    assert with_keys == {"worker-exchange", "triggerer"}


def test_the_how_to_makes_every_secret_that_is_mounted() -> None:
    made = set(
        re.findall(
            r"create secret generic (kraken-recon-\w+)",
            (ROOT / "docs/how-to/run-on-kubernetes.md").read_text(),
        )
    )
    named = set(
        re.findall(r"secretName: (kraken-recon-\w+)", "".join(f.read_text() for f in FOLDER.iterdir()))
    )
    assert made == named


def pods(part: Any) -> Iterator[dict[str, Any]]:
    """Find the pods of a manifest, of whatever kind it is."""
    if isinstance(part, dict) and "containers" in part:
        yield part
    elif isinstance(part, dict | list):
        for inner in part.values() if isinstance(part, dict) else part:
            yield from pods(inner)


@pytest.mark.parametrize("file", sorted(FOLDER.glob("*.yaml")), ids=lambda file: file.stem)
def test_every_pod_of_ours_is_locked(file: Path) -> None:
    for pod in pods(list(yaml.safe_load_all(file.read_text())) if not file.stem.startswith("values") else []):
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
    assert written == {mount["mountPath"] for mount in values["volumeMounts"]}


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
    (task,) = read("task-pod")["spec"]["containers"]
    assert {task["image"], *(pod_of(name)[1]["image"] for name in ("prepare", "watch"))} == {named}
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert image["tag"] == version
    own = {service["image"] for service in composed.values() if "kraken-recon" in service["image"]}
    assert own == {f"kraken-recon:{version}"}


def test_backups_are_made_as_in_the_containers(composed: dict[str, Any]) -> None:
    claim, job = yaml.safe_load_all((FOLDER / "backup.yaml").read_text())
    pod = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    [container] = pod["containers"]
    service = composed["backup"]
    assert container["command"] == service["command"]
    assert container["image"].startswith(service["image"].partition("@")[0])
    assert pod["securityContext"]["runAsNonRoot"]
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    variables = {variable["name"]: variable["value"] for variable in container["env"]}
    assert {"PGUSER", "PGDATABASE", "PASSWORD_FILE", "BACKUP_KEEP"} <= variables.keys()
    assert not {"PGPASSWORD", "DSN"} & variables.keys()
    [secret] = [volume["secret"]["secretName"] for volume in pod["volumes"] if "secret" in volume]
    how_to = (ROOT / "docs/how-to/back-up-and-restore.md").read_text()
    assert (
        f"create secret generic {secret} --from-file=secrets/{Path(variables['PASSWORD_FILE']).name}"
        in how_to
    )
    claimed = [
        v["persistentVolumeClaim"]["claimName"] for v in pod["volumes"] if "persistentVolumeClaim" in v
    ]
    assert claimed == [claim["metadata"]["name"]]


def test_a_task_s_own_pod_is_what_a_worker_of_the_exchange_is() -> None:
    """The scheduler alone may ask the cluster, and no task can do more than a worker's."""
    values, more, pod = read("values"), read("values-kubernetes-executor"), read("task-pod")
    assert (more["executor"], more["allowPodLaunching"]) == ("KubernetesExecutor", True)
    assert more["scheduler"] == {"serviceAccount": {"automountServiceAccountToken": True}}
    assert more["workers"] == {"celery": {"sets": []}}
    (container,) = pod["spec"]["containers"]
    assert container["name"] == "base"
    own = ["AIRFLOW_CONFIG", "AIRFLOW__CORE__EXECUTOR"]
    assert [variable["name"] for variable in container["env"][: len(own)]] == own
    assert container["env"][len(own) :] == values["env"]
    (exchange,) = [one for one in values["workers"]["celery"]["sets"] if one["queue"] == "exchange"]
    secret = mounted(pod["spec"]["volumes"], container["volumeMounts"])
    assert secret == mounted(exchange["extraVolumes"], exchange["extraVolumeMounts"])
    assert pod["spec"]["securityContext"] == UNPRIVILEGED
    assert pod["spec"]["restartPolicy"] == "Never"
