"""Read what is installed here, and what this machine's folders take."""

from __future__ import annotations

import importlib.metadata
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from kraken_recon.doctor.rules.installation import FERNET, SECRETS
from kraken_recon.doctor.rules.readings import Folder, Package
from kraken_recon.installed import DISTRIBUTION, second_copies

if TYPE_CHECKING:
    from collections.abc import Mapping

# Tools of who works on the project itself.
_OF_DEVELOPERS: Final = "dev"


def look_at_packages() -> list[Package]:
    """Compare what is installed with what our own distribution declares; none where it is not installed."""
    from packaging.requirements import Requirement  # noqa: PLC0415 - comes with Airflow, and may be missing

    try:
        declared = importlib.metadata.requires(DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:
        return []
    packages = []
    for text in declared:
        one = Requirement(text)
        is_needed = one.marker is None or one.marker.evaluate({"extra": ""})
        if one.marker is not None and one.marker.evaluate({"extra": _OF_DEVELOPERS}) and not is_needed:
            continue
        version = _version_of(one.name)
        if version or is_needed:
            is_supported = bool(version) and one.specifier.contains(version, prereleases=True)
            packages.append(Package(one.name, version, str(one.specifier), is_supported))
    return packages


def _version_of(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return ""


def look_at_folders(environment: Mapping[str, str], data_directory: str = "") -> list[Folder]:
    """Try the folders that work writes to, and see how full their disks are."""
    folders = [_folder(Path(tempfile.gettempdir()), "temporary files")]
    if logs := _log_folder(environment):
        folders.append(_folder(logs, "Airflow's logs"))
    # A server of this machine tells where it keeps its data, to who may know.
    if data_directory and Path(data_directory).is_dir():
        folders.append(_room_of(data_directory, "the database"))
    return folders


def _log_folder(environment: Mapping[str, str]) -> Path | None:
    if folder := environment.get("AIRFLOW__LOGGING__BASE_LOG_FOLDER"):
        return Path(folder)
    home = environment.get("AIRFLOW_HOME")
    return Path(home) / "logs" if home else None


def _folder(path: Path, purpose: str) -> Folder:
    try:
        with tempfile.TemporaryFile(dir=path) as file:
            file.write(b"0")
            file.flush()
    except OSError as error:
        return Folder(str(path), purpose, refusal=error.strerror or type(error).__name__)
    return _room_of(str(path), purpose)


def _room_of(path: str, purpose: str) -> Folder:
    disk = os.statvfs(path)
    return Folder(
        path,
        purpose,
        free_bytes=disk.f_bavail * disk.f_frsize,
        total_bytes=disk.f_blocks * disk.f_frsize,
        # Some file systems count no files.
        free_files=disk.f_favail if disk.f_files else 1,
        total_files=disk.f_files or 1,
    )


def secrets_set(environment: Mapping[str, str]) -> dict[str, str]:
    """Find those of Airflow's secrets that the environment holds itself."""
    return {name: environment[name] for name in (FERNET, *SECRETS) if name in environment}


def copies_here(environment: Mapping[str, str]) -> list[str]:
    """Tell what of this project lies here twice, in the plugins folder or on Python's path."""
    folder = environment.get("AIRFLOW__CORE__PLUGINS_FOLDER")
    if folder is None and (home := environment.get("AIRFLOW_HOME")):
        folder = str(Path(home) / "plugins")
    return [str(copy) for copy in second_copies(folder)]
