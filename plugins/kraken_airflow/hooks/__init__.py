"""Connections to units of work and exchange clients."""

from __future__ import annotations
