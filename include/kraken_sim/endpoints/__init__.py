"""Kraken's REST calls."""

from __future__ import annotations
