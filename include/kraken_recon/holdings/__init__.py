"""What accounts are worth."""

from __future__ import annotations
