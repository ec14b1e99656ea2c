"""docker-compose.yaml keeps to the Compose specification, and to what a deployment must not do."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from kraken_airflow.restart_when_unwell import ASKED_SECONDS

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
        assert service["user"].partition(":")[0] not in {"0", "root"}, name
        assert service["cap_drop"] == ["ALL"], name
        assert not {"privileged", "cap_add", "pid", "ipc", "devices"} & service.keys(), name


def test_a_service_can_write_what_the_file_says_and_nothing_else(
    services: dict[str, dict[str, Any]],
) -> None:
    for name, service in services.items():
        assert service["read_only"] is True, name
        for place in service.get("tmpfs", ()):
            assert re.fullmatch(r"/(tmp|run/postgresql):size=\d+m,mode=1777", place), f"{name}: {place}"
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            assert not source.startswith(("./", "/")) or volume.endswith(":ro"), f"{name}: {volume}"


def test_only_what_calls_somebody_has_a_way_out(services: dict[str, dict[str, Any]]) -> None:
    networks = yaml.safe_load(COMPOSE.read_text())["networks"]
    assert networks == {"inside": {"internal": True}, "outside": None}
    out = {name for name, service in services.items() if "outside" in service.get("networks", ())}
    page = (ROOT / "docs/how-to/run-on-celery.md").read_text()
    told = re.findall(r"^\| (`[^|]*) \|[^|]*\| to ", page, re.MULTILINE)
    assert out == {name for cell in told for name in re.findall(r"`([\w-]+)`", cell)}
    assert out == {"api-server", "triggerer", "worker-exchange", "watch"}
    for name, service in services.items():
        # Where no network is named, there is one with a way out.
        assert "inside" in service.get("networks", ()) or service["network_mode"].startswith("service:"), name


def test_every_server_has_a_health_check(services: dict[str, dict[str, Any]]) -> None:
    for name in services.keys() - {"init", "simulator", "forget-logs"}:
        assert "healthcheck" in services[name], name


def test_images_are_pinned(services: dict[str, dict[str, Any]]) -> None:
    for name, service in services.items():
        tag = service["image"].partition(":")[2]
        assert tag.count(".") >= 1, f"{name}: {service['image']}"


def test_the_image_is_built_of_files_that_are_sent_and_of_nothing_secret() -> None:
    ignored = (ROOT / ".dockerignore").read_text().split()
    assert ignored[0] == "*"
    sent = {name.removeprefix("!") for name in ignored if name.startswith("!")}
    copied = {
        name
        for line in re.findall(r"^COPY (.*)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
        for name in line.split()[:-1]
        if not name.startswith("--")
    }
    assert copied == sent
    assert all((ROOT / name).exists() for name in sent)


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


# Who is given what, all of it: a service that is not named here is given nothing.
AIRFLOW = {"airflow_database_url", "celery_broker_url", "celery_result_backend_url", "airflow_api_secret_key"}
READS_STORED = {"airflow_fernet_key"}  # what Airflow keeps of connections, variables and triggers
SIGNS = {"airflow_jwt_secret"}
GIVEN: dict[str, set[str]] = {
    "backup": {"trading_owner_password"},
    "postgres": {
        "postgres_password", "airflow_database_password", "trading_owner_password", "trading_writer_password",
        "trading_audit_password", "trading_reader_password",
    },
    "redis": {"redis.conf"},
    "init": AIRFLOW | READS_STORED | SIGNS
    | {"airflow_admin_password", "airflow_audit_password", "trading_owner_url"},
    "api-server": AIRFLOW | READS_STORED | SIGNS | {"connections_desk.json"},
    "scheduler": AIRFLOW | READS_STORED | SIGNS,
    "dag-processor": AIRFLOW | READS_STORED | SIGNS | {"connections_desk.json"},
    "triggerer": AIRFLOW | READS_STORED | SIGNS | {"connections_exchange.json"},
    "worker-exchange": AIRFLOW | {"connections_exchange.json", "trading_database_url"},
    "worker-default": AIRFLOW | {"connections_default.json", "trading_database_url"},
    "watch": {"airflow_database_url", "connections_watch.json"},
}  # fmt: skip
# What stands in the files of connections; accounts of Kraken are added to the exchange's.
CONNECTIONS = {
    "exchange": {"trading_db"},
    "desk": {"trading_db"},
    "watch": {"trading_db"},
    "default": {"trading_db", "trading_db_audit", "airflow_db_audit", "airflow_api"},
}


def source_of(secret: str | dict[str, str]) -> str:
    return secret if isinstance(secret, str) else secret["source"]


def test_every_service_is_given_exactly_the_secrets_that_it_needs(
    services: dict[str, dict[str, Any]],
) -> None:
    given = {name: {source_of(s) for s in service.get("secrets", ())} for name, service in services.items()}
    assert {name: secrets for name, secrets in given.items() if secrets} == GIVEN
    merged = GIVEN.keys() - {"postgres", "redis"}
    for name, service in services.items():
        for secret in service.get("secrets", ()):
            assert isinstance(secret, str) or secret["target"] == "connections.json", name
        read = set(re.findall(r"/run/secrets/([\w.]+)", json.dumps(service.get("environment", {}))))
        seen = {s if isinstance(s, str) else s["target"] for s in service.get("secrets", ())}
        if name in merged:
            # What is read is given, and what is given is read: by a variable, or by the command.
            in_command = set(re.findall(r"/run/secrets/([\w.]+)", " ".join(service["command"])))
            assert read - {"connections.json"} | in_command == seen - {"connections.json"}, name


def test_what_writes_triggers_has_the_key_of_what_runs_them(services: dict[str, dict[str, Any]]) -> None:
    """The scheduler writes those of missed deadlines; one that cannot be read ends the whole triggerer."""
    keys = {
        name: services[name]["environment"].get("AIRFLOW__CORE__FERNET_KEY_CMD")
        for name in ("scheduler", "dag-processor", "api-server", "triggerer")
    }
    assert set(keys.values()) == {"cat /run/secrets/airflow_fernet_key"}, keys


def test_every_secret_is_a_file_that_is_made_and_every_service_s_secret_is_declared(
    services: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    declared = yaml.safe_load(COMPOSE.read_text())["secrets"]
    subprocess.run([sys.executable, ROOT / "scripts/make-secrets", tmp_path], check=True, capture_output=True)
    for name, place in declared.items():
        assert (tmp_path / Path(place["file"]).name).read_text().strip(), name
    used = {source_of(secret) for service in services.values() for secret in service.get("secrets", ())}
    assert used == set(declared)


def asked_as(connection: str) -> str | None:
    return urlsplit(connection).username


def test_the_audit_may_ask_airflow_as_a_user_of_its_own(
    services: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    make = [sys.executable, ROOT / "scripts/make-secrets", tmp_path]
    subprocess.run(make, check=True, capture_output=True)
    for file, names in CONNECTIONS.items():
        held = json.loads((tmp_path / f"connections_{file}.json").read_text())
        assert held.keys() == names, file
        assert held["trading_db"].startswith("postgres://trading_writer:"), file
    connections = tmp_path / "connections_default.json"
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
    assert audited == ["trading_db_audit", "airflow_db_audit"]
    for name in audited:
        assert asked_as(kept[name]) == "trading_audit"
    assert set(audited) <= kept.keys()


def test_what_containers_print_is_rotated(services: dict[str, dict[str, Any]]) -> None:
    for name, service in services.items():
        assert service["logging"]["options"].keys() == {"max-size", "max-file"}, name


def test_health_checks_start_nothing_heavy(services: dict[str, dict[str, Any]]) -> None:
    for name, service in services.items():
        asked = " ".join(service.get("healthcheck", {}).get("test", ()))
        assert "airflow jobs" not in asked, name
        assert "celery --app" not in asked, name


def test_what_hangs_is_ended_and_so_started_again(services: dict[str, dict[str, Any]]) -> None:
    built = {name: made for name, made in services.items() if made.get("command") and "build" in made}
    for name in built.keys() - {"init", "forget-logs"}:
        check = built[name]["healthcheck"]
        given, _, command = " ".join(check["test"]).partition(" -- ")
        assert given.startswith("CMD python -m kraken_airflow.restart_when_unwell --first 1 "), name
        assert f" --after {check['retries']}" in given, name
        asked = re.search(r"--seconds (\d+)", given)
        assert (int(asked[1]) if asked else ASKED_SECONDS) < int(check["timeout"].rstrip("s")), name
        assert command, name
        assert built[name]["restart"] == "unless-stopped", name


def test_task_logs_are_forgotten_by_age(services: dict[str, dict[str, Any]], tmp_path: Path) -> None:
    [command] = services["forget-logs"]["command"]
    logs = {age: tmp_path / f"run-{age}" / "attempt=1.log" for age in (1, 29, 32)}
    for age, log in logs.items():
        log.parent.mkdir()
        log.touch()
        then = time.time() - age * 86_400
        os.utime(log, (then, then))
    once = (
        command.replace("/opt/airflow/logs", str(tmp_path)).replace("$$", "$").replace("sleep 3600", "exit")
    )
    subprocess.run(["sh", "-c", once], env={**os.environ, "LOG_DAYS_KEPT": "30"}, check=True)
    assert {age for age, log in logs.items() if log.exists()} == {1, 29}
