"""Alembic migrations of the trading schema."""

from __future__ import annotations
