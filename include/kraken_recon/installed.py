"""What is installed here: which release, in which places, and what a DAG folder needs to hold.

The packages that know Airflow are looked for by name and not imported.
"""

from __future__ import annotations

import importlib.metadata
import pkgutil
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

DISTRIBUTION: Final = "kraken-recon"
PACKAGES: Final = ("kraken_recon", "kraken_airflow", "session_lint")
DAGS: Final = "kraken_airflow.dags"
_PLUGIN_FILE: Final = "kraken_plugin.py"
_CHECKOUT: Final = Path(__file__).resolve().parents[2]


class SecondCopy(NamedTuple):
    """Code of this project that is there twice.

    Attributes:
        name: of the package, or of the file that registers the plugin.
        used: what Python imports.
        other: what lies beside it, and may be another release.
    """

    name: str
    used: Path
    other: Path

    def __str__(self) -> str:
        """Say it to the person who installed it, with what to do."""
        return (
            f"{self.name} is here twice: {self.used} is imported, and {self.other} is a second copy. "
            f"Remove the second; or, to work with that one alone, pip uninstall {DISTRIBUTION}"
        )


def version() -> str:
    """Name the release of this program, or say that it runs without having been installed."""
    try:
        return importlib.metadata.version(DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def second_copies(
    plugins_folder: str | Path | None, search_path: Iterable[str] | None = None
) -> list[SecondCopy]:
    """Find what could be imported, or registered, in the place of what is.

    Args:
        plugins_folder: Airflow's, which it searches to the bottom; None or empty for none.
        search_path: where Python looks for packages; ``sys.path`` if None.
    """
    used = {name: place for name in PACKAGES if (place := _place_of(name)) is not None}
    searched = [Path(entry) for entry in (sys.path if search_path is None else search_path)]
    places = [entry / name for entry in searched for name in used]
    if plugins_folder:
        places += _in_plugins_folder(Path(plugins_folder))
    if package := used.get("kraken_airflow"):
        # What registers the plugin lies beside the package in a checkout, and in it in a wheel.
        beside = package.with_name(_PLUGIN_FILE)
        used[_PLUGIN_FILE] = beside if beside.is_file() else package / "plugin.py"
    others = {place.resolve(): place.name for place in places if _is_code(place)}
    return [
        SecondCopy(name, used[name], place)
        for place, name in others.items()
        if name in used and place != used[name]
    ]


def _place_of(package: str) -> Path | None:
    try:
        spec = find_spec(package)
    except ValueError:  # a module that somebody put there by hand has none
        return None
    return Path(spec.origin).resolve().parent if spec and spec.origin else None


def _in_plugins_folder(folder: Path) -> Iterator[Path]:
    yield from (folder / package for package in PACKAGES)  # also where that is a link, which is not followed
    for found in folder.rglob("*.py"):
        if found.name == _PLUGIN_FILE:
            yield found
        elif found.name == "__init__.py" and found.parent.name in PACKAGES:
            yield found.parent


def _is_code(place: Path) -> bool:
    try:
        return place.is_file() if place.suffix else (place / "__init__.py").is_file()
    except OSError:  # what this process may not look into it cannot import either
        return False


def dag_lines() -> dict[str, str]:
    """Give what a DAG folder needs to hold: per file the one line by which Airflow finds a DAG.

    Returns:
        Nothing where the packages that know Airflow are not installed.
    """
    try:
        package = find_spec(DAGS)
    except ModuleNotFoundError:
        return {}
    folders = package.submodule_search_locations if package else None
    names = sorted(module.name for module in pkgutil.iter_modules(folders or ()))
    return {f"{name}.py": f"from {DAGS}.{name} import DAG\n" for name in names}


def beside_dags(environment: Mapping[str, str]) -> Path:
    """Say where the DAG folder lies: in the checkout, or in the home of the Airflow that has the wheel."""
    if (_CHECKOUT / "pyproject.toml").is_file():
        return _CHECKOUT
    return Path(environment.get("AIRFLOW_HOME") or "~/airflow").expanduser()
