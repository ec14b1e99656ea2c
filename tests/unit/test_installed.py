"""What is installed: which release, from where, whether it is there twice, and the lines of a DAG folder."""

from __future__ import annotations

import json
import sys
import tomllib
from pathlib import Path

import pytest

from kraken_recon.cli.main import main
from kraken_recon.desk_books.declaring import folder_of
from kraken_recon.installed import beside_dags, second_copies, version

ROOT = Path(__file__).resolve().parents[2]
STATED = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


def test_the_release_is_the_one_that_the_project_states(capsys: pytest.CaptureFixture[str]) -> None:
    assert version() == STATED, "run make setup, which installs this release"
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"kraken-recon {STATED}\n"


def copy_of(place: Path) -> Path:
    place.mkdir(parents=True)
    (place / "__init__.py").touch()
    return place


def test_a_checkout_is_no_second_copy_of_itself(tmp_path: Path) -> None:
    assert second_copies(ROOT / "plugins") == []
    assert second_copies(tmp_path / "missing") == []
    assert second_copies(None) == second_copies("") == []
    (tmp_path / "plugins").symlink_to(ROOT / "plugins")
    assert second_copies(tmp_path / "plugins", [str(tmp_path / "plugins"), *sys.path]) == []


@pytest.mark.parametrize("below", [".", "kraken-recon/plugins"], ids=["in it", "further down"])
def test_a_copy_in_the_plugins_folder_is_told(below: str, tmp_path: Path) -> None:
    other = copy_of(tmp_path / below / "kraken_airflow")
    file = other.with_name("kraken_plugin.py")
    file.touch()
    copies = second_copies(tmp_path)
    assert {copy.other for copy in copies} == {other.resolve(), file.resolve()}
    [told] = [str(copy) for copy in copies if copy.name == "kraken_airflow"]
    assert f"{ROOT / 'plugins/kraken_airflow'} is imported" in told
    assert str(other) in told
    assert "Remove the second" in told


def test_a_copy_behind_a_link_is_told_and_a_closed_folder_harms_nobody(tmp_path: Path) -> None:
    other = copy_of(tmp_path / "elsewhere/kraken_recon")
    plugins = tmp_path / "plugins"
    plugins.mkdir()
    (plugins / "kraken_recon").symlink_to(other)
    too_long = str(tmp_path / ("x" * 300))
    assert [copy.other for copy in second_copies(plugins, [too_long])] == [other]


def test_a_copy_on_the_search_path_is_told_and_what_has_another_name_is_not(tmp_path: Path) -> None:
    other = copy_of(tmp_path / "kraken_recon")
    copy_of(tmp_path / "desk_plugins")
    [copy] = second_copies(None, [*sys.path, str(tmp_path)])
    assert (copy.used, copy.other) == (ROOT / "include/kraken_recon", other)


def test_a_dag_folder_is_filled_and_nothing_in_it_is_lost(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "bundle"
    assert main(["dags", "--to", str(folder)]) == 0
    lines = {path.name: path.read_text() for path in folder.iterdir()}
    assert lines == {path.name: path.read_text() for path in (ROOT / "dags").glob("*.py")}
    capsys.readouterr()
    assert main(["dags", "--to", str(folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["written"] == []
    (folder / "maintenance.py").write_text("mine")
    (folder / "position_sync.py").unlink()
    assert main(["dags", "--to", str(folder)]) == 1
    assert "maintenance.py; nothing was written" in capsys.readouterr().err
    assert (folder / "maintenance.py").read_text() == "mine"
    assert not (folder / "position_sync.py").exists()
    assert main(["dags", "--to", str(folder), "--replace"]) == 0
    assert lines == {path.name: path.read_text() for path in folder.iterdir()}


def test_a_folder_that_cannot_be_filled_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    assert main(["dags", "--to", str(tmp_path / "file")]) == 1
    assert "cannot be filled" in capsys.readouterr().err


def test_where_the_wheel_is_installed_desk_books_lie_in_airflow_s_home(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert folder_of({"AIRFLOW_HOME": "/opt/airflow"}) == ROOT / "desk_books"
    monkeypatch.setattr("kraken_recon.installed._CHECKOUT", Path("/usr/lib"))
    assert folder_of({"AIRFLOW_HOME": "/opt/airflow"}) == Path("/opt/airflow/desk_books")
    assert beside_dags({}) == Path("~/airflow").expanduser()
