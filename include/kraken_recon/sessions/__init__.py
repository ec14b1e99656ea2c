"""The audit of database sessions."""

from __future__ import annotations
