"""The verification of orders that ended."""

from __future__ import annotations
