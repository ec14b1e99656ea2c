"""What is wrong with what is installed and with the machine that it runs on."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Final

from kraken_recon.doctor.rules.diagnosis import not_checked, warning, well, wrong

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from kraken_recon.doctor.rules.diagnosis import Diagnosis
    from kraken_recon.doctor.rules.readings import Folder, Package

GIB: Final = 1024**3
# A share alone would complain of a large disk with much room, a size alone of a small one that is meant so.
FULL: Final = (0.03, 5 * GIB)
FILLING: Final = (0.10, 20 * GIB)
SECRET_CHARACTERS_MIN: Final = 16
FERNET_BYTES: Final = 32
FERNET: Final = "AIRFLOW__CORE__FERNET_KEY"
SECRETS: Final = ("AIRFLOW__API__SECRET_KEY", "AIRFLOW__API_AUTH__JWT_SECRET")


def diagnose_packages(packages: Sequence[Package]) -> Iterator[Diagnosis]:
    """Say which distributions are missing or out of the supported range."""
    unsupported = [package for package in packages if not package.is_supported]
    for package in unsupported:
        what = f"{package.name} {package.version or 'is not installed'}; supported is {package.supported}"
        meaning = "Nobody has tried this project with it; parts may fail at any time."
        yield wrong("versions", what, meaning, f"pip install '{package.name}{package.supported}'")
    if not packages:
        yield not_checked("versions", "kraken-recon is not installed as a distribution, so none are declared")
    elif not unsupported:
        told = ", ".join(f"{package.name} {package.version}" for package in packages if _is_named(package))
        yield well("versions", f"{len(packages)} distributions are in their range: {told}")


def _is_named(package: Package) -> bool:
    return package.name in {"apache-airflow", "sqlalchemy", "psycopg"}


def diagnose_folders(folders: Sequence[Folder]) -> Iterator[Diagnosis]:
    """Say which folders take no file, and which disks are nearly full."""
    good = []
    for folder in folders:
        check = f"{'folder' if folder.refusal else 'disk'} of {folder.purpose}"
        if folder.refusal:
            meaning = "What should be written there is lost, and tasks fail."
            remedy = f"Let the user of this process write to {folder.path}, or mount a volume there."
            yield wrong(check, f"{folder.path} cannot be written: {folder.refusal}", meaning, remedy)
            continue
        room = min(
            (folder.free_bytes / max(folder.total_bytes, 1), f"{folder.free_bytes / GIB:.1f} GiB"),
            (folder.free_files / max(folder.total_files, 1), f"{folder.free_files} files"),
        )
        if not _is_short(folder, *FILLING):
            good.append(folder)
            continue
        is_full = _is_short(folder, *FULL)
        tell, meaning = (
            (wrong, "Writes fail soon: logs are lost, and a database on it stops.")
            if is_full
            else (warning, "It will be full some day.")
        )
        what = f"{folder.path}: {room[0]:.0%} are free, {room[1]}"
        yield tell(
            check, what, meaning, f"`du --one-file-system {folder.path}`; delete old logs, or enlarge it."
        )
    if good:
        yield well("disk", f"there is room for {', '.join(folder.purpose for folder in good)}")


def _is_short(folder: Folder, share: float, size_bytes: int) -> bool:
    is_short_of_bytes = folder.free_bytes < min(share * folder.total_bytes, size_bytes)
    return is_short_of_bytes or folder.free_files < share * folder.total_files


def diagnose_secrets(settings: Mapping[str, str]) -> Iterator[Diagnosis]:
    """Say which of Airflow's secrets are missing or easily guessed; none is ever shown."""
    if FERNET in settings and not _is_fernet(settings[FERNET]):
        told = "cannot be used as a key" if settings[FERNET] else "is empty"
        meaning = "Connections kept in Airflow's database are not encrypted, or can no longer be read."
        yield wrong("secrets", f"{FERNET} {told}", meaning, "Set one: docs/how-to/run-on-celery.md")
    for name in SECRETS:
        if name in settings and len(settings[name]) < SECRET_CHARACTERS_MIN:
            what = f"{name} has fewer than {SECRET_CHARACTERS_MIN} characters"
            meaning = "Whoever guesses it can sign in as anybody."
            yield wrong("secrets", what, meaning, "Make a random one: `scripts/make-secrets` shows how.")


def _is_fernet(key: str) -> bool:
    # Several keys, separated by commas, while one is replaced by another.
    try:
        return all(len(base64.urlsafe_b64decode(one.strip())) == FERNET_BYTES for one in key.split(","))
    except (binascii.Error, ValueError):
        return False


def diagnose_copies(copies: Sequence[str]) -> Iterator[Diagnosis]:
    """Say what of this project lies here twice."""
    for told in copies:
        what, _, remedy = told.partition(". ")
        yield wrong("copies", what, "After an upgrade the one that runs may be the old one.", remedy)
    if not copies:
        yield well("copies", "nothing of this project is here twice")
