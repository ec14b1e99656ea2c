"""Bytes on the wire: request bodies in, the envelope out.

Invariant: a ``Decimal`` leaves as a JSON number with the digits it has; amounts are already text.
"""

from __future__ import annotations

import json
from decimal import Decimal
from json.encoder import encode_basestring_ascii
from typing import Any
from urllib.parse import parse_qsl

from kraken_sim.amounts import plain
from kraken_sim.errors import ApiError


def encode(value: object) -> str:
    """Write JSON compactly, with exact decimals."""
    match value:
        case str():
            return encode_basestring_ascii(value)
        case dict():
            return "{" + ",".join(f"{encode(str(key))}:{encode(item)}" for key, item in value.items()) + "}"
        case list() | tuple():
            return "[" + ",".join(map(encode, value)) + "]"
        case Decimal():
            return plain(value)
        case None | bool() | int():
            return json.dumps(value)
        case _:
            raise TypeError(f"expected something exact to write as JSON, was {type(value).__name__}")


def decode(text: str | bytes) -> Any:  # noqa: ANN401 - JSON
    """Read JSON without a float anywhere."""
    return json.loads(text, parse_float=Decimal)


def parameters(body: bytes, content_type: str) -> dict[str, str]:
    """Read the parameters of a form or JSON request as text.

    Raises:
        ApiError: when the body is neither.
    """
    try:
        if "json" not in content_type:
            return dict(parse_qsl(body.decode(), keep_blank_values=True))
        fields = decode(body)
        return as_text(fields)
    except (ValueError, AttributeError) as error:
        raise ApiError("EGeneral:Invalid arguments") from error


def as_text(fields: dict[str, Any]) -> dict[str, str]:
    """Write every parameter as a form would send it; one that is null is not there."""
    return {name: _text(item) for name, item in fields.items() if item is not None}


def _text(item: object) -> str:
    match item:
        case bool():
            return "true" if item else "false"
        case list() if any(isinstance(part, dict) for part in item):
            return encode(item)  # a batch: whoever reads it decodes it again
        case list():
            return ",".join(map(_text, item))
        case Decimal():
            return format(item, "f")
        case _:
            return str(item)


def failure(*codes: str) -> str:
    """Write the envelope of a refused call: no ``result`` at all."""
    return f'{{"error":{encode(list(codes))}}}'
