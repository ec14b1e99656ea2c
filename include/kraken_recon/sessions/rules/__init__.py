"""Which sessions leak, and which are only busy."""

from __future__ import annotations
