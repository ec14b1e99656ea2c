"""docker-compose.yaml keeps to the Compose specification, and to what a deployment must not do."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = ROOT / "docker-compose.yaml"
SECRET_WORDS = ("PASSWORD", "SECRET_KEY", "FERNET_KEY", "SQL_ALCHEMY_CONN", "BROKER_URL", "RESULT_BACKEND")


@pytest.fixture
def services() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = yaml.safe_load(COMPOSE.read_text())["services"]
    return found


def test_it_keeps_to_the_specification() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", COMPOSE],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_service_has_limits_and_gains_no_privileges(services: dict[str, dict[str, Any]]) -> None:
    for name, service in services.items():
        assert service["deploy"]["resources"]["limits"].keys() == {"cpus", "memory"}, name
        assert "no-new-privileges:true" in service["security_opt"], name
        if name != "postgres":  # its entrypoint drops root itself, after it has prepared its directory
            assert service["user"].partition(":")[0] not in {"0", "root"}, name
            assert service["cap_drop"] == ["ALL"], name


def test_every_server_has_a_health_check(services: dict[str, dict[str, Any]]) -> None:
    for name in services.keys() - {"init", "simulator"}:
        assert "healthcheck" in services[name], name


def test_images_are_pinned(services: dict[str, dict[str, Any]]) -> None:
    for name, service in services.items():
        tag = service["image"].partition(":")[2]
        assert tag.count(".") >= 1, f"{name}: {service['image']}"


def test_secrets_come_by_file(services: dict[str, dict[str, Any]]) -> None:
    for name, service in services.items():
        for variable in service.get("environment", {}):
            if any(word in variable for word in SECRET_WORDS):
                assert variable.endswith(("_CMD", "_FILE")), f"{name}: {variable}"


def test_both_queues_have_a_worker(services: dict[str, dict[str, Any]]) -> None:
    served = {
        service["command"][service["command"].index("--queues") + 1]
        for service in services.values()
        if "--queues" in service.get("command", ())
    }
    assert served == {"exchange", "default"}


def test_every_secret_is_a_file_that_is_made_and_every_service_s_secret_is_declared(
    services: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    declared = yaml.safe_load(COMPOSE.read_text())["secrets"]
    subprocess.run([sys.executable, ROOT / "scripts/make-secrets", tmp_path], check=True, capture_output=True)
    for name, place in declared.items():
        assert (tmp_path / Path(place["file"]).name).read_text().strip(), name
    used = {secret for service in services.values() for secret in service.get("secrets", ())}
    assert used == set(declared)


def test_the_audit_may_ask_airflow_as_a_user_of_its_own(
    services: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    make = [sys.executable, ROOT / "scripts/make-secrets", tmp_path]
    subprocess.run(make, check=True, capture_output=True)
    connections = tmp_path / "connections.json"
    asked = json.loads(connections.read_text())["airflow_api"]
    assert asked["host"] == "http://api-server:8080"
    assert asked["password"] == (tmp_path / "airflow_audit_password").read_text()
    assert f"--role Viewer --username {asked['login']} " in services["init"]["command"][-1]
    # An account that was added stays; what an older release did not write is added.
    connections.write_text(json.dumps({"trading_db": "mine", "desk": {"conn_type": "kraken"}}))
    subprocess.run(make, check=True, capture_output=True)
    kept = json.loads(connections.read_text())
    assert (kept["trading_db"], kept["desk"]) == ("mine", {"conn_type": "kraken"})
    assert kept["airflow_api"] == asked
    audited = services["worker-default"]["environment"]["KRAKEN_RECON_AUDITED_CONNECTIONS"].split(",")
    assert audited == ["trading_db", "airflow_db_audit"]
    assert set(audited) <= kept.keys()
