"""A file of Airflow connections, which is read once, and again only after it was changed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

# What each file said when it was last read, and how it was marked then.
_kept: Final[dict[str, tuple[tuple[int, int, int], Mapping[str, Any]]]] = {}


def connections_of(file: str) -> Mapping[str, Any]:
    """Read connections by their ids, each as an object of Airflow's fields or as a URI.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is neither JSON nor YAML with connections by name.
    """
    status = Path(file).stat()
    mark = (status.st_mtime_ns, status.st_size, status.st_ino)
    kept = _kept.get(file)
    if kept is None or kept[0] != mark:
        kept = _kept[file] = (mark, _read(Path(file).read_text(encoding="utf-8")))
    return kept[1]


def connection_text(file: str, conn_id: str) -> str | None:
    """Find what a file says of one connection, in Airflow's JSON or URI form; None where it says nothing.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is neither JSON nor YAML with connections by name.
    """
    found = connections_of(file).get(conn_id)
    return found if found is None or isinstance(found, str) else json.dumps(found)


def _read(text: str) -> Mapping[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        found = _read_yaml(text)
    if not isinstance(found, dict):
        raise ValueError("it holds no connections by name")  # noqa: TRY004 - an unreadable text
    return found


def _read_yaml(text: str) -> Any:  # noqa: ANN401 - YAML
    import yaml  # noqa: PLC0415 - JSON is the rule, and this is read by every process of Airflow

    try:
        return yaml.safe_load(text) or {}
    except yaml.YAMLError:
        # Not its text, which may quote the file.
        raise ValueError("it is neither JSON nor YAML") from None
