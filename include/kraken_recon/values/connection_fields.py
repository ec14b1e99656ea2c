"""An Airflow connection as text, in its JSON and its URI form, read as Airflow reads it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

_EXTRA_KEY: Final = "__extra__"


@dataclass(frozen=True, slots=True)
class ConnectionFields:
    """The fields of a connection as Airflow names them."""

    login: str | None = field(repr=False, default=None)
    password: str | None = field(repr=False, default=None)
    host: str | None = None
    port: int | None = None
    schema: str | None = None
    extra: str | Mapping[str, object] | None = field(repr=False, default=None)

    def extra_values(self) -> Mapping[str, object]:
        """Read ``extra``.

        Raises:
            ValueError: it is no JSON object.
        """
        try:
            values = json.loads(self.extra or "{}") if isinstance(self.extra, str) else self.extra or {}
        except (ValueError, RecursionError):
            values = None
        # Raised here because the original error quotes the text.
        if not isinstance(values, Mapping):
            raise ValueError("expected extra to be a JSON object")  # noqa: TRY004 - an unreadable text
        return values


def parse_connection(text: str) -> tuple[str | None, ConnectionFields]:
    """Read a connection's type and fields; the type is None where the JSON names none.

    Raises:
        ValueError: it is neither; the message quotes nothing of the text, which may hold a password.
    """
    try:
        found = _from_json(text) if text.startswith("{") else _from_uri(text)
    except (ValueError, TypeError, OverflowError, RecursionError):
        found = None
    # Raised here because the original error quotes the text.
    if found is None:
        raise ValueError("neither Airflow's JSON nor a URI")
    return found


def _from_json(text: str) -> tuple[str | None, ConnectionFields]:
    values = json.loads(text)
    texts = {name: values.get(name) for name in ("login", "password", "host", "schema", "conn_type")}
    if any(value is not None and not isinstance(value, str) for value in texts.values()):
        raise TypeError("expected text")
    port = values.get("port")
    conn_type = texts.pop("conn_type")
    return conn_type, ConnectionFields(
        **texts,
        port=None if port in (None, "") else int(port),
        extra=values.get("extra"),
    )


def _from_uri(text: str) -> tuple[str, ConnectionFields]:
    """Follow Airflow's reading, which allows a second scheme: ``kraken://http://key:secret@host:port``."""
    conn_type, separator, rest = text.partition("://")
    if not separator:
        raise ValueError("expected a URI")
    scheme, separator, _ = rest.partition("://")
    has_scheme = bool(separator) and scheme.isalpha()
    parts = urlsplit(rest if has_scheme else f"//{rest}")
    authority = parts.netloc.rpartition("@")[2]
    host = unquote(authority.partition(":")[0] if not authority.startswith("[") else f"[{parts.hostname}]")
    extra: dict[str, object] = dict(parse_qsl(parts.query, keep_blank_values=True))
    return conn_type.replace("-", "_"), ConnectionFields(
        login=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
        host=f"{parts.scheme}://{host}" if has_scheme and host else host,
        port=parts.port,
        schema=unquote(parts.path.removeprefix("/")),
        extra=str(extra[_EXTRA_KEY]) if _EXTRA_KEY in extra else extra,
    )
