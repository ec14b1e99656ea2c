"""SQL from packaged files: each query under a ``-- name: ...`` line and a comment that says what it does."""

from __future__ import annotations

from functools import cache
from importlib import resources
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

_HEADER: Final = "-- name: "


@cache
def load(name_of_file: str) -> Mapping[str, str]:
    """Read ``sql/<name_of_file>.sql`` into queries by name, without their comment lines.

    Raises:
        ValueError: two queries share a name.
    """
    text = resources.files(__package__).joinpath("sql", f"{name_of_file}.sql").read_text(encoding="utf-8")
    queries: dict[str, str] = {}
    for block in f"\n{text}".split(f"\n{_HEADER}")[1:]:
        name, _, body = block.partition("\n")
        if name.strip() in queries:
            raise ValueError(f"expected one query {name.strip()!r} in {name_of_file}.sql")
        lines = [line for line in body.splitlines() if not line.lstrip().startswith("--")]
        queries[name.strip()] = "\n".join(lines).strip().removesuffix(";")
    return MappingProxyType(queries)
