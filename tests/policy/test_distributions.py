"""What is delivered: two wheels, whole, and an Airflow that has nothing but the first of them.

The wheels are built by the backend that pip asks, and unpacked beside the packages that are installed here.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from email.parser import Parser
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import grimp
import pytest

from kraken_recon.provider_info import MODULES

if TYPE_CHECKING:
    from email.message import Message

ROOT = Path(__file__).resolve().parents[2]
PROJECTS: Final = {"kraken_recon": ROOT, "kraken_sim": ROOT / "include/kraken_sim"}
#: Where each folder of the checkout lies in its wheel.
DELIVERED: Final = {
    "kraken_recon": {
        "include/kraken_recon": "kraken_recon",
        "include/session_lint": "session_lint",
        "plugins/kraken_airflow": "kraken_airflow",
        "docs": "kraken_airflow/docs",
    },
    "kraken_sim": {"include/kraken_sim": "kraken_sim"},
}
#: Files of those folders that nobody needs who has the wheel: its metadata have them, or no page shows them.
LEFT_OUT: Final = (
    "docs/images/",
    "include/kraken_sim/README.md",
    "include/kraken_sim/LICENSE",
    "include/kraken_sim/pyproject.toml",
)

# What an Airflow with the wheel, an empty plugins folder and a bundle of six lines has.
IN_AIRFLOW = """
import importlib.metadata, json, sys
from airflow.dag_processing.dagbag import DagBag
from airflow.plugins_manager import get_fastapi_plugins, get_import_errors, get_plugin_info
from airflow.providers_manager import ProvidersManager
from airflow.sdk._shared.module_loading import import_string

bag = DagBag(sys.argv[1], bundle_path=sys.argv[1])
manager = ProvidersManager()
hook = manager.hooks['kraken']
info = manager.providers['kraken-recon'].data
listed = [name for kind in ('operators', 'sensors', 'hooks', 'triggers')
          for group in info.get(kind, ()) for name in group['python-modules']]
for name in listed:
    importlib.import_module(name)
import_string(hook.hook_class_name)
from kraken_airflow.dashboard.app import create_app
from kraken_airflow.dashboard.pages import runbooks
pages = create_app()
import kraken_recon.cli.main, kraken_recon.database.migrate, session_lint.__main__
ours = ('kraken_recon', 'kraken_airflow', 'session_lint', 'kraken_sim')
files = {name: getattr(module, '__file__', '') for name, module in list(sys.modules.items())}
print(json.dumps({
    'dags': sorted(bag.dags), 'errors': bag.import_errors,
    'places': sorted({dag.relative_fileloc for dag in bag.dags.values()}),
    'plugins': [str(one['source']) for one in get_plugin_info() if one['name'] == 'kraken_recon'],
    'plugin_errors': get_import_errors(), 'hook': hook.hook_class_name,
    'links': manager.extra_links_class_names, 'listed': listed,
    'mounted': [app['url_prefix'] for app in get_fastapi_plugins()[0]],
    'pages': [route.path for route in pages.routes], 'docs': str(runbooks.FOLDER),
    'from': sorted(file for name, file in files.items() if name.split('.')[0] in ours),
}))
"""


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp("wheels")
    for project in PROJECTS.values():
        command = [sys.executable, "-m", "hatchling", "build", "-d", str(place)]
        subprocess.run(command, cwd=project, check=True, capture_output=True)
    return {name: next(place.glob(f"{name}-*.whl")) for name in PROJECTS}


@pytest.fixture(scope="module")
def installed(wheels: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return site-packages with the provider's wheel, and without this checkout."""
    site = tmp_path_factory.mktemp("site-packages")
    shutil.unpack_archive(wheels["kraken_recon"], site, "zip")
    here = Path(pytest.__file__).parents[1]
    for found in here.iterdir():
        if not found.name.startswith(("kraken_recon", "kraken_sim", "_kraken")):
            (site / found.name).symlink_to(found)
    return site


def names_in(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as opened:
        return opened.namelist()


def metadata_of(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as opened:
        [name] = [name for name in opened.namelist() if name.endswith(".dist-info/METADATA")]
        return Parser().parsestr(opened.read(name).decode())


def kept_in_git(folder: str) -> list[str]:
    done = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", folder],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return [name for name in done.stdout.splitlines() if (ROOT / name).is_file()]


@pytest.mark.parametrize("name", PROJECTS)
def test_a_wheel_holds_every_file_and_no_other(name: str, wheels: dict[str, Path]) -> None:
    expected = {
        wheel_folder + file.removeprefix(folder)
        for folder, wheel_folder in DELIVERED[name].items()
        for file in kept_in_git(folder)
        if not file.startswith(LEFT_OUT)
    }
    found = [entry for entry in names_in(wheels[name]) if ".dist-info/" not in entry]
    assert sorted(found) == sorted(expected)
    suffixes = {Path(entry).suffix for entry in found}
    if name == "kraken_recon":
        assert {".py", ".sql", ".html", ".js", ".css", ".mako", ".typed", ".md"} <= suffixes


@pytest.mark.parametrize("name", PROJECTS)
def test_a_wheel_says_what_it_is(name: str, wheels: dict[str, Path]) -> None:
    metadata = metadata_of(wheels[name])
    said = {"Keywords", "Project-URL", "License-Expression", "License-File", "Requires-Python", "Summary"}
    assert said <= set(metadata)
    classifiers = metadata.get_all("Classifier", [])
    assert ("Framework :: Apache Airflow :: Provider" in classifiers) == (name == "kraken_recon")
    body = metadata.get_payload()
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert (PROJECTS[name] / "README.md").read_text().strip() in str(body)
    licences = [entry for entry in names_in(wheels[name]) if "/licenses/" in entry]
    assert len(licences) == len(metadata.get_all("License-File", []))


@pytest.mark.parametrize("name", PROJECTS)
def test_the_source_distribution_makes_the_same_wheel(
    name: str, wheels: dict[str, Path], tmp_path: Path
) -> None:
    [source] = wheels[name].parent.glob(f"{name}-*.tar.gz")
    subprocess.run(["tar", "-xzf", str(source), "-C", str(tmp_path)], check=True)
    [project] = tmp_path.iterdir()
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=project, check=True, capture_output=True)
    assert sorted(names_in(next(tmp_path.glob("*.whl")))) == sorted(names_in(wheels[name]))


def ask_airflow(site: Path, home: Path, program: str, *arguments: str) -> str:
    """Run a program in an Airflow with these packages and this home; return all that it says."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("PYTHON")},
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db",
        "AIRFLOW__CORE__DAGS_FOLDER": str(home / "bundle"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(home / "plugins"),
        "PYTHONPATH": str(site),
    }
    done = subprocess.run(
        [sys.executable, "-S", "-W", "ignore", "-c", program, *arguments],
        env=environment, cwd=home, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:]
    return done.stdout


@pytest.fixture(scope="module")
def airflow(installed: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Ask an Airflow that has the wheel, no plugins folder, and a bundle of six lines."""
    home = tmp_path_factory.mktemp("airflow")
    bundle = home / "bundle"
    bundle.mkdir()
    for file in (ROOT / "dags").glob("*.py"):
        (bundle / file.name).write_text(file.read_text())
    written = ask_airflow(installed, home, IN_AIRFLOW, str(bundle))
    assert "second copy" not in written
    told: dict[str, Any] = json.loads(written[written.index('{"dags"') :].splitlines()[0])
    return told


def test_a_bundle_of_six_lines_has_the_six_dags(airflow: dict[str, Any]) -> None:
    names = sorted(path.stem for path in (ROOT / "dags").glob("*.py"))
    assert airflow["errors"] == {}
    assert airflow["dags"] == names
    assert len(names) == 6
    assert airflow["places"] == [f"{name}.py" for name in names]


def test_the_plugin_is_registered_once_by_its_entry_point(airflow: dict[str, Any]) -> None:
    [source] = airflow["plugins"]
    assert source.startswith("kraken-recon==")
    assert airflow["plugin_errors"] == {}
    assert airflow["mounted"].count("/kraken-recon") == 1


def test_the_provider_holds_what_it_names(airflow: dict[str, Any], installed: Path) -> None:
    assert airflow["hook"] == "kraken_airflow.hooks.kraken.KrakenHook"
    assert "/orders" in airflow["pages"]
    assert airflow["docs"] == str(installed / "kraken_airflow/docs")
    assert airflow["from"]
    assert [file for file in airflow["from"] if not file.startswith(f"{installed}/")] == []
    assert airflow["links"].count("kraken_airflow.dag_parts.links.DashboardLink") == 1
    parts = {kind: ROOT / "plugins/kraken_airflow" / kind for kind in MODULES}
    exist = {
        f"kraken_airflow.{kind}.{path.stem}"
        for kind, folder in parts.items()
        for path in folder.glob("*.py")
        if re.search(r"^class \w+(Operator|Sensor|Hook|Trigger)\(", path.read_text(), re.MULTILINE)
    }
    assert set(airflow["listed"]) == exist - {"kraken_airflow.operators.base"}


def test_a_second_copy_in_the_plugins_folder_is_told(installed: Path, tmp_path: Path) -> None:
    shutil.copytree(installed / "kraken_airflow", tmp_path / "plugins/kraken_airflow")
    for name in (".airflowignore", "kraken_plugin.py"):
        shutil.copy(ROOT / "plugins" / name, tmp_path / "plugins")
    program = "from airflow.plugins_manager import get_plugin_info as ask; print([p['name'] for p in ask()])"
    written = ask_airflow(installed, tmp_path, program)
    assert written.count("'kraken_recon'") == 1
    assert "already registered" not in written
    assert f"{installed}/kraken_airflow is imported" in written
    assert f"{tmp_path}/plugins/kraken_airflow is a second copy" in written
    assert f"{installed}/kraken_airflow/plugin.py is imported" in written
    assert f"{tmp_path}/plugins/kraken_plugin.py is a second copy" in written


def test_the_simulator_needs_nothing_but_what_it_declares(wheels: dict[str, Path], tmp_path: Path) -> None:
    shutil.unpack_archive(wheels["kraken_sim"], tmp_path, "zip")
    others = Path(pytest.__file__).parents[1]  # without -S its .pth files would bring this checkout
    said = subprocess.run(
        [sys.executable, "-S", "-m", "kraken_sim", "--version"],
        env={"PYTHONPATH": f"{tmp_path}{os.pathsep}{others}"}, cwd=tmp_path, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    version = metadata_of(wheels["kraken_sim"])["Version"]
    assert said.stdout == f"kraken-sim {version}\n"
    declared = {
        re.split(r"\W", line)[0] for line in metadata_of(wheels["kraken_sim"]).get_all("Requires-Dist", [])
    }
    modules = grimp.build_graph("kraken_sim", include_external_packages=True, cache_dir=None).modules
    imported = {name.partition(".")[0] for name in modules}
    assert imported - sys.stdlib_module_names - {"kraken_sim"} == declared
