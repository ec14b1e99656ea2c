"""Orders: decided, placed exactly once, followed to their end."""

from __future__ import annotations
