"""Make a trigger again in another triggerer."""

from __future__ import annotations

import inspect
from typing import Any


class KeptArguments:
    """A trigger that keeps each argument under its own name."""

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Say how to make this trigger again, in another triggerer if need be."""
        kind = type(self)
        arguments = {name: getattr(self, name) for name in inspect.signature(kind).parameters}
        return f"{kind.__module__}.{kind.__qualname__}", arguments
