"""What GitHub runs keeps to its forms, asks for few rights, and calls only what there is."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from wheel_matrix.cells import EVERY

ROOT = Path(__file__).resolve().parents[2]
GITHUB = ROOT / ".github"
WORKFLOWS = {path.stem: path for path in (GITHUB / "workflows").iterdir()}
FORMS = sorted(path for path in (GITHUB / "ISSUE_TEMPLATE").iterdir() if path.name != "config.yml")
SCHEMAS = {
    "vendor.github-workflows": list(WORKFLOWS.values()),
    "vendor.dependabot": [GITHUB / "dependabot.yml"],
    "vendor.github-issue-forms": FORMS,
    "vendor.github-issue-config": [GITHUB / "ISSUE_TEMPLATE/config.yml"],
}
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
# What the machines of GitHub have, and what a job makes itself.
PROGRAMS = {"sudo", "make", "mkdir", "mv", "echo", "gh"}
# Why a job needs more than to read: nothing else may have it.
RIGHTS = {
    ("security", "codeql"): {"security-events"},
    ("release", "build"): {"id-token", "attestations"},
    ("release", "image"): {"packages", "id-token", "attestations"},
    ("release", "pypi"): {"id-token"},
    ("release", "release"): {"contents"},
}


def read(name: str) -> dict[str, Any]:
    # "on" is a word of YAML: yes.
    found: dict[str, Any] = yaml.safe_load(
        re.sub(r"^on:", "'on':", WORKFLOWS[name].read_text(), flags=re.MULTILINE)
    )
    return found


def jobs() -> dict[tuple[str, str], dict[str, Any]]:
    return {(name, job): described for name in WORKFLOWS for job, described in read(name)["jobs"].items()}


def steps() -> list[tuple[str, dict[str, Any]]]:
    return [
        (f"{name}.{job}", step) for (name, job), found in jobs().items() for step in found.get("steps", ())
    ]


def test_every_file_keeps_to_its_schema() -> None:
    running = [
        subprocess.Popen(
            [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, *files],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for schema, files in SCHEMAS.items()
    ]
    told = [process.communicate()[0] for process in running]
    assert [process.returncode for process in running] == [0] * len(running), "\n".join(told)


def test_a_job_has_the_rights_that_are_named_here_and_ends() -> None:
    for name in WORKFLOWS:
        assert read(name)["permissions"] == {}, name
        assert read(name)["concurrency"]["group"], name
        # With the rights of the repository, on what a stranger wrote.
        assert not {"pull_request_target", "workflow_run", "issue_comment"} & read(name)["on"].keys(), name
    for (name, job), found in jobs().items():
        asked = {right for right, kind in found["permissions"].items() if kind == "write"}
        assert asked == RIGHTS.get((name, job), set()), f"{name}.{job}"
        if "uses" not in found:
            assert 0 < found["timeout-minutes"] <= 60, f"{name}.{job}"


def test_actions_are_pinned_by_commit_and_say_which_version_that_is() -> None:
    for name, path in WORKFLOWS.items():
        used = re.findall(r"uses: (?!\./)(.*)", path.read_text())
        for action in used:
            assert re.fullmatch(r"[\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action), (
                f"{name}: {action}"
            )
    commits = {step["uses"].split("@")[0]: set[str]() for _, step in steps() if "uses" in step}
    for _, step in steps():
        if "uses" in step:
            commits[step["uses"].split("@")[0]].add(step["uses"])
    assert all(len(found) == 1 for found in commits.values()), "one version of an action everywhere"


def test_a_checkout_leaves_no_token_behind() -> None:
    for place, step in steps():
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False, place


def test_every_command_exists_and_takes_no_text_of_strangers() -> None:
    for place, step in steps():
        lines = [line.strip() for line in step.get("run", "").split("\n") if line.strip()]
        for line in lines:
            assert "${{" not in line, f"{place}: hand it over as a variable: {line}"
            for part in re.split(r"&&|\|\|", line):
                words = [word for word in part.split() if word != "sudo"]
                if "/" in words[0]:
                    assert os.access(ROOT / words[0], os.X_OK), f"{place}: {line}"
                    assert (ROOT / words[0]).is_relative_to(ROOT / "scripts"), f"{place}: {line}"
                else:
                    assert words[0] in PROGRAMS, f"{place}: {line}"
                if words[0] == "make":
                    assert words[1] in TARGETS, f"{place}: {line}"


def test_what_runs_on_github_is_what_runs_here() -> None:
    here = (ROOT / ".ci/run").read_text()
    there = {step["run"].split()[1] for _, step in steps() if step.get("run", "").startswith("make ")}
    assert set(re.findall(r"^make (\w+)", here, re.MULTILINE)) - {"setup"} <= there
    tests = jobs()["checks", "tests"]
    assert tests["strategy"]["matrix"]["postgresql"] == ["15", "16", "17", "18"]
    install = (ROOT / "scripts/install-servers").read_text()
    assert "15 | 16 | 17 | 18)" in install
    assert tests["env"]["RECON_PG_BIN"] == "/usr/lib/postgresql/${{ matrix.postgresql }}/bin"
    assert tests["env"]["CI"] == "true"  # or what is skipped for want of a program would be nobody's loss
    assert "export CI=true" in here


def test_the_wheel_is_tried_in_every_cell() -> None:
    matrix = jobs()["checks", "wheel"]["strategy"]["matrix"]
    tried = [(airflow, python) for airflow in matrix["airflow"] for python in matrix["python"]]
    tried += [(cell["airflow"], cell["python"]) for cell in matrix["include"]]
    assert sorted(tried) == sorted((cell.airflow, cell.python) for cell in EVERY)


def test_nothing_is_published_before_everything_has_passed() -> None:
    release = read("release")["jobs"]
    assert release["checks"]["uses"] == "./.github/workflows/checks.yml"
    before: dict[str, set[str]] = {}
    for name, job in release.items():
        needed = job.get("needs", [])
        needed = {needed} if isinstance(needed, str) else set(needed)
        before[name] = needed.union(*(before[earlier] for earlier in needed))
    assert before["pypi"] >= {"checks", "build"}
    assert before["image"] >= {"checks", "build"}
    assert before["release"] == {"checks", "build", "image", "pypi"}
    assert read("release")["on"] == {"push": {"tags": ["v[0-9]+.[0-9]+.[0-9]+*"]}}
    image = [step["with"] for step in release["image"]["steps"] if step.get("id") == "push"]
    assert (image[0]["provenance"], image[0]["sbom"]) == ("mode=max", True)


def test_dependabot_keeps_all_that_is_pinned() -> None:
    kept = {
        (update["package-ecosystem"], place)
        for update in yaml.safe_load((GITHUB / "dependabot.yml").read_text())["updates"]
        for place in update.get("directories", [update.get("directory")])
    }
    assert kept == {
        ("pip", "/"),
        ("pip", "/include/kraken_sim"),
        ("github-actions", "/"),
        ("docker", "/"),
        ("docker", "/deploy/kubernetes"),
        ("docker-compose", "/"),
    }


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.stem)
def test_a_form_warns_of_secrets_and_asks_for_none(form: Path) -> None:
    said = yaml.safe_load(form.read_text())["body"]
    assert "API key" in said[0]["attributes"]["value"], "the first thing that is read"
    assert "security/advisories/new" in said[0]["attributes"]["value"]
    asked = [part["attributes"].get("label", "") for part in said[1:]]
    assert not [
        label
        for label in asked
        if re.search(r"key|secret|password|connection|login|log\b", label, re.IGNORECASE)
    ]


def test_owners_own_what_there_is() -> None:
    for line in (GITHUB / "CODEOWNERS").read_text().splitlines():
        if line and not line.startswith("#"):
            place, *owners = line.split()
            assert place == "*" or (ROOT / place.lstrip("/")).exists(), place
            assert owners, place


def test_a_commit_is_checked_by_programs_that_there_are() -> None:
    for hook in yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]:
        words = hook["entry"].split()
        assert words[0] != "make" or words[1] in TARGETS, hook
        assert words[0] == "make" or (Path(sys.executable).parent / Path(words[0]).name).exists(), hook
    (given,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
    assert (Path(sys.executable).parent / given["entry"]).exists()


def test_without_recordings_the_check_goes_on_and_says_so(tmp_path: Path) -> None:
    place = tmp_path / "checkout"
    (place / ".ci").mkdir(parents=True)
    (place / "scripts").mkdir()
    shutil.copy(ROOT / ".ci/run", place / ".ci/run")
    (place / "scripts/install-programs").symlink_to("/bin/true")
    (place / "Makefile").write_text("%:\n\t@echo made $@, CI is $$CI\n")
    environment = {"PATH": os.environ["PATH"], "KRAKEN_DATA_DIR": str(tmp_path / "none")}
    done = subprocess.run(
        [place / ".ci/run"], env=environment, cwd="/", capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    made = [f"made {part}, CI is true" for part in ("setup", "lint", "test")]
    assert done.stdout.splitlines()[:3] == made
    assert str(tmp_path / "none") in done.stderr
    assert "skipped" in done.stderr


PINNED = "sha256:" + "0f" * 32


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A checkout with one image of each kind, and a registry that knows two of them."""
    (tmp_path / "scripts").mkdir()
    shutil.copy(ROOT / "scripts/pin-images", tmp_path / "scripts")
    (tmp_path / "Dockerfile").write_text("# FROM nowhere\nFROM apache/airflow:3.3.2-python3.11\n")
    (tmp_path / "docker-compose.yaml").write_text(
        "services:\n"
        "  a: {}\n"
        "    image: postgres:18.6\n"
        "    image: postgres:18.6-alpine\n"
        f"    image: redis:7.4.2@sha256:{'ab' * 32}\n"
        "    image: kraken-recon:0.1.0\n"
    )
    docker = tmp_path / "bin/docker"
    docker.parent.mkdir()
    docker.write_text(f"""#!/bin/sh
case $4 in
    *alpine) [ -e "$0.knows" ] || {{ echo no such image >&2; exit 1; }} ;;
esac
echo '{{"digest": "{PINNED}"}}'
""")
    docker.chmod(0o755)
    return tmp_path


def pin(place: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join((str(place / "bin"), os.environ["PATH"]))
    command = [sys.executable, place / "scripts/pin-images", *arguments]
    return subprocess.run(command, env={"PATH": path}, capture_output=True, text=True, check=False)


def test_images_are_pinned_all_or_none_and_never_twice(images: Path) -> None:
    files = {name: images / name for name in ("Dockerfile", "docker-compose.yaml")}
    before = {name: path.read_text() for name, path in files.items()}
    asked = pin(images, "--check")
    assert asked.returncode == 1
    assert "Dockerfile: apache/airflow:3.3.2-python3.11\n" in asked.stderr
    assert "docker-compose.yaml: postgres:18.6, postgres:18.6-alpine\n" in asked.stderr
    refused = pin(images)
    assert refused.returncode == 1
    assert "no such image" in refused.stderr
    assert before == {name: path.read_text() for name, path in files.items()}
    (images / "bin/docker.knows").touch()
    assert pin(images).returncode == 0
    after = {name: path.read_text() for name, path in files.items()}
    assert after["Dockerfile"].splitlines()[1] == f"FROM apache/airflow:3.3.2-python3.11@{PINNED}"
    assert after["docker-compose.yaml"].count(f"@{PINNED}") == 2
    assert f"image: postgres:18.6@{PINNED}\n" in after["docker-compose.yaml"]
    assert "image: kraken-recon:0.1.0\n" in after["docker-compose.yaml"]
    assert pin(images, "--check").returncode == 0
    assert pin(images).returncode == 0
    assert after == {name: path.read_text() for name, path in files.items()}


def test_a_release_is_refused_under_another_name() -> None:
    done = subprocess.run(
        [ROOT / "scripts/build-release", "v999.0.0"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "the tag is v999.0.0, and pyproject.toml says" in done.stderr
    unknown = subprocess.run(
        [ROOT / "scripts/install-servers", "14"], capture_output=True, text=True, check=False
    )
    assert unknown.returncode == 1
    assert "15, 16, 17 or 18, not 14" in unknown.stderr
