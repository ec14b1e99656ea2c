"""SQL from packaged files: each query under a ``-- name: ...`` line and a comment that says what it does."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

_HEADER: Final = "-- name: "


@cache
def load(module_file: str, name: str) -> Mapping[str, str]:
    """Read ``<name>.sql`` beside a module into queries by name, without their comment lines.

    Raises:
        ValueError: two queries share a name.
    """
    text = Path(module_file).with_name(f"{name}.sql").read_text(encoding="utf-8")
    queries: dict[str, str] = {}
    for block in f"\n{text}".split(f"\n{_HEADER}")[1:]:
        query, _, body = block.partition("\n")
        if query.strip() in queries:
            raise ValueError(f"expected one query {query.strip()!r} in {name}.sql")
        lines = [line for line in body.splitlines() if not line.lstrip().startswith("--")]
        queries[query.strip()] = "\n".join(lines).strip().removesuffix(";")
    return MappingProxyType(queries)
