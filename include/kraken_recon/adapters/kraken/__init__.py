"""Kraken's REST API behind the exchange port."""

from __future__ import annotations
