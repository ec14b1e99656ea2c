"""One operator per use case."""

from __future__ import annotations
